"""rclone: a folder as a remote, through its listings."""

import json
from datetime import datetime, timezone

from kit.bench import make, noise, tree
from kit.checks import same

NAME = "rclone"
DEBIAN = {"rclone": "rclone"}
NAMES = [
    "one.txt",
    "with space.txt",
    "Grüße 你好.txt",
    "100%25.txt",
    "a&b <c>.txt",
    "q?#.txt",
    "colon:here.txt",
    "deep/er/file.bin",
    "deep/x.txt",
    "+plus.txt",
    "'single'.txt",
    '"double".txt',
]


def version(at):
    return at.run(["rclone", "version"]).text.split()[1]


def rclone(at, *words):
    return at.run(["rclone", "--config", "/dev/null", "--retries=1", "--contimeout=5s", *words], within=50)


def remote(at):
    """The remote, and its folder."""
    folder = at.root / "rclone"
    if not folder.exists():
        for number, name in enumerate(NAMES):
            make(folder / name, noise(5000 + number, number))
        at.settle("/rclone/one.txt")
    return f":http,url='{at.site.url}/rclone/':", folder


def check_ls(at):
    """lsjson: each name with its size and time"""
    there, folder = remote(at)
    listed = json.loads(rclone(at, "lsjson", "-R", "--files-only", there).good().out)
    got = {entry["Path"]: (entry["Size"], entry["ModTime"][:19]) for entry in listed}

    def told(path):
        about = path.stat()
        return about.st_size, datetime.fromtimestamp(about.st_mtime, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S")

    same(got, {name: told(folder / name) for name in NAMES}, "the names")


def check_copy(at):
    """copy: everything, and nothing the second time"""
    there, folder = remote(at)
    copy = at.folder("rclone-copy")
    rclone(at, "copy", there, copy).good()
    same(tree(copy), tree(folder), "the copy")
    mark = at.site.mark()
    rclone(at, "copy", there, copy).good()
    fetched = [line for line in at.site.logged(mark, "/rclone/one.txt") if '"GET' in line and '/ HTTP/1.1"' not in line]
    same(fetched, [], "what was fetched again")


def check_check(at):
    """check --download: equal bytes; a difference is found"""
    there, folder = remote(at)
    copy = at.folder("rclone-check")
    rclone(at, "copy", there, copy).good()
    rclone(at, "check", "--download", there, copy).good()
    (copy / "one.txt").write_bytes(noise(5000, 99))
    assert rclone(at, "check", "--download", there, copy).status != 0


def check_cat_with_offset(at):
    """cat --offset --count: a range"""
    there, folder = remote(at)
    got = rclone(at, "cat", "--offset", "1000", "--count", "50", f"{there}one.txt").good().out
    same(got, (folder / "one.txt").read_bytes()[1000:1050], "the range")
