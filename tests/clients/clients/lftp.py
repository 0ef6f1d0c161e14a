"""lftp: a tree through its listings, and its new files."""

from kit.bench import make, noise, tree
from kit.checks import same

NAME = "lftp"
DEBIAN = {"lftp": "lftp"}
NAMES = ["plain.txt", "with space.txt", "Grüße 你好.txt", "100%.txt", "a&b;c=d+e.txt", "deep/er/file.bin", "deep/other.txt"]


def version(at):
    return at.run(["lftp", "--version"]).text.split()[3]


def mirror(at, folder, copy):
    words = "set net:max-retries 1; set net:timeout 10; set xfer:log no; set cmd:fail-exit yes; "
    words += " ".join(at.trusting("set", "ssl:ca-file", ""))
    return at.run(["lftp", "--norc", "-c", f"{words}; open {at.site.url}; mirror --no-perms /{folder}/ {copy}"])


def check_mirror(at):
    """mirror: a whole tree through its listings, names in any script, equal bytes"""
    folder, _ = at.served("lftp")
    for number, name in enumerate(NAMES):
        make(folder / name, noise(1000 * number + 1, number))
    at.settle("/lftp/plain.txt")
    copy = at.folder("lftp-mirror") / "copy"
    mirror(at, "lftp", copy).good()
    same(tree(copy), tree(folder), "the copy")


def check_again(at):
    """mirror again: only changed files are downloaded"""
    folder, copy = at.root / "lftp", at.made / "away" / "lftp-mirror" / "copy"
    make(folder / "plain.txt", noise(5000, 99), age=0)
    at.settle("/lftp/plain.txt")
    mark = at.site.mark()
    mirror(at, "lftp", copy).good()
    same(tree(copy), tree(folder), "the copy")
    fetched = [line for line in at.site.logged(mark, "plain.txt") if '"GET ' in line and '/ HTTP/1.1"' not in line]
    same(len(fetched), 1, f"files fetched the second time: {fetched}")
