"""aria2: a file in many parts at once."""

from kit.bench import digest, make, noise
from kit.checks import same

NAME = "aria2"
DEBIAN = {"aria2c": "aria2"}
WORDS = ["aria2c", "--no-conf", "-q", "--allow-overwrite=true", "--file-allocation=none", "--max-tries=2"]


def version(at):
    return at.run(["aria2c", "--version"]).text.split()[2]


def check_parts(at):
    """a file of 16 MB in 8 parts at once"""
    whole = make(at.root / "aria.bin", noise(16 << 20, 4))
    at.settle("/aria.bin")
    folder, mark = at.folder("aria2-parts"), at.site.mark()
    at.run([*WORDS, *at.trusting("--ca-certificate="), "-x8", "-s8", "-k1M", "--piece-length=1M", "-d", folder, f"{at.site.url}/aria.bin"]).good()
    same(digest(folder / "aria.bin"), digest(whole), "the file")
    parts = [line for line in at.site.logged(mark, "/aria.bin") if '" 206 ' in line]
    assert len(parts) >= 8 - 1, f"only {len(parts)} parts were asked for"  # the first request is for the whole file


def check_many_files(at):
    """forty files from a list, eight at once, each with the expected digest"""
    folder, url = at.served("aria2-many")
    paths = [make(folder / f"{number}.bin", noise(50_000 + number, number)) for number in range(40)]
    lines = "".join(f"{url}/{path.name}\n checksum=sha-256={digest(path)}\n" for path in paths)
    copy = at.folder("aria2-many")
    (copy / "list").write_text(lines)
    at.run([*WORDS, *at.trusting("--ca-certificate="), "-j8", "-i", copy / "list", "-d", copy / "got"]).good()
    same(len(list((copy / "got").iterdir())), 40, "files")


def check_resume(at):
    """-c: the rest of a file that another client has begun"""
    whole = at.root / "aria.bin"
    half = make(at.folder("aria2-resume") / "aria.bin", whole.read_bytes()[: 5 << 20])
    mark = at.site.mark()
    at.run([*WORDS, *at.trusting("--ca-certificate="), "-c", "-d", half.parent, f"{at.site.url}/aria.bin"]).good()
    same(digest(half), digest(whole), "the file")
    at.site.logged(mark, '" 206 ')
