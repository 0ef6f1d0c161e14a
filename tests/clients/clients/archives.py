"""unzip, 7z, bsdtar, tar and gzip, with archives of folders."""

import itertools
import os

from kit.bench import make, noise, tree
from kit.checks import same

NAME = "archives"
DEBIAN = {"unzip": "unzip", "7z": "p7zip-full", "bsdtar": "libarchive-tools", "curl": "curl"}
NAMES = ["plain.txt", "with space.txt", "Grüße 你好.txt", "deep/er/" + "long" * 40 + ".bin", "empty.txt", "-rf", "100%.txt"]


LIMITS = {"a_file_beyond_4_gib": 900, "more_entries_than_16_bits": 180}
NUMBERS = itertools.count()


def version(at):
    return at.run(["bsdtar", "--version"]).text.split()[1]


def site(at):
    """A server with archives, and its folder: small and large files, text and noise, and an empty folder."""
    if not hasattr(at, "archiving"):
        folder = at.folder("archived")
        for number, name in enumerate(NAMES):
            make(folder / "tree" / name, b"" if name == "empty.txt" else noise(1000 * number + 1, number))
        make(folder / "tree" / "large.bin", noise(3_000_000))
        make(folder / "tree" / "large.txt", b"all work and no play\n" * 100_000)
        (folder / "tree" / "nothing").mkdir()
        at.archiving = at.serve("modest", folder, "-b", "127.0.0.1", "-p", "0", "--archive"), folder
    return at.archiving


def fetched(at, form, name="tree"):
    server, _ = site(at)
    path = at.folder(f"fetched-{next(NUMBERS)}") / f"{name}.{form}"
    at.run(["curl", "-sS", "--fail", "-o", path, f"{server.url}/{name}/?archive={form}"], within=300).good()
    return path


def unpacked(at, words, form, stdin=b""):
    """Unpacks with a command that runs in a new folder, and compares all files."""
    _, folder = site(at)
    copy = at.folder(f"unpacked-{next(NUMBERS)}")
    at.run([*words], stdin=stdin, cwd=copy, within=60).good()
    same(tree(copy / "tree"), tree(folder / "tree"), f"what {words[0]} unpacks of {form}")
    assert (copy / "tree" / "nothing").is_dir(), "the empty folder"


def check_unzip(at):
    """-t finds no error, and the unpacked files are equal"""
    path = fetched(at, "zip")
    assert "No errors detected" in at.run(["unzip", "-t", path]).good().text
    unpacked(at, ["unzip", "-q", path], "zip")


def check_7z(at):
    """t finds no error in any format, and the unpacked files are equal"""
    for form in ["zip", "tar", "tar.gz"]:
        assert "Everything is Ok" in at.run(["7z", "t", fetched(at, form)]).good().text, form
    unpacked(at, ["7z", "x", fetched(at, "zip")], "zip")


def check_bsdtar(at):
    """all formats, from a file and from stdin, in which the directory at the end of a zip can't be read first"""
    for form in ["zip", "tar", "tar.gz"]:
        path = fetched(at, form)
        unpacked(at, ["bsdtar", "-xf", path], form)
        unpacked(at, ["bsdtar", "-xf", "-"], form, stdin=path.read_bytes())


def check_tar(at):
    """GNU tar and gzip"""
    at.run(["gzip", "-t", fetched(at, "tar.gz")]).good()
    for form in ["tar", "tar.gz"]:
        unpacked(at, ["tar", "-xf", fetched(at, form)], form)


def check_more_entries_than_16_bits(at):
    """70,000 entries: a zip with records of 64 bits"""
    _, folder = site(at)
    for number in range(70):
        (folder / "many" / f"{number}").mkdir(parents=True)
        for file in range(1000):
            (folder / "many" / f"{number}" / f"{file}.txt").write_bytes(b"%d" % file)
    path = fetched(at, "zip", "many")
    assert "No errors detected" in at.run(["unzip", "-tq", path], within=90).good().text
    assert "Files: 70000" in at.run(["7z", "t", path], within=60).good().text
    same(len(at.run(["bsdtar", "-tf", path], within=60).good().text.splitlines()), 70071, "entries")


def check_a_file_beyond_4_gib(at):
    """5 GiB of zeros and a word: sizes of 64 bits, in a zip and in a tar"""
    server, folder = site(at)
    (folder / "huge").mkdir()
    with open(folder / "huge" / "huge.bin", "wb") as file:
        file.seek((5 << 30) - 4)
        file.write(b"last")
    path = fetched(at, "zip", "huge")
    same(at.run(["7z", "l", "-slt", path]).good().text.count(f"Size = {5 << 30}\n"), 1, "its size to 7z")
    assert str(5 << 30) in at.run(["unzip", "-l", path]).good().text, "its size to unzip"
    said = at.run(["sh", "-c", f"unzip -p '{path}' huge/huge.bin | tail -c 4"], within=300).good()
    same(said.out, b"last", "its end, by unzip")
    url = f"{server.url}/huge/?archive=tar"
    said = at.run(["sh", "-c", f"curl -sS '{url}' | tar -xOf - huge/huge.bin | tail -c 4"], within=300).good()
    same(said.out, b"last", "its end, by tar")
    os.unlink(folder / "huge" / "huge.bin")
