"""rclone: a folder as a remote, through its listings."""

import json
import os
from datetime import datetime, timezone

from kit.bench import make, noise, tree
from kit.checks import Skipped, same

from . import webdav

NAME = "rclone"
DEBIAN = {"rclone": "rclone", "fusermount3": "fuse3"}
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


def check_uploads_to_a_mount(at):
    """mount: a server stores, replaces and moves files there, although it has neither links nor a number of free inodes"""
    if os.geteuid() != 0 or not os.access("/dev/fuse", os.W_OK):
        raise Skipped("only root can mount, with /dev/fuse")
    behind, mounted = at.folder("rclone-behind"), at.folder("rclone-mounted")
    rclone(at, "mount", "--daemon", "--vfs-cache-mode=writes", "--vfs-write-back=0", behind, mounted).good()
    try:
        words = ["-b", "127.0.0.1", "-p", "0", "--upload", "--overwrite=replace", "--allow-delete", "--webdav"]
        server = at.serve("modest", mounted, *words)
        away = at.folder("rclone-away")
        files = [make(away / name, noise(100_000, number)) for number, name in enumerate(["a", "b"])]
        put = [webdav.status(at, "-T", file, f"{server.url}/put") for file in files]
        form = webdav.status(at, "-F", f"f=@{files[0]};filename=form", f"{server.url}/")
        move = webdav.status(at, "-X", "MOVE", "-H", "Destination: /moved", f"{server.url}/form")
        same([*put, form, move], ["201", "204", "303", "201"], "PUT twice, a form and MOVE")
    finally:
        at.run(["umount", "--lazy", mounted], within=50).good()  # the server has it open
    same(sorted(tree(behind)), ["moved", "put"], "what is stored")
    same((behind / "put").read_bytes() == files[1].read_bytes(), True, "its content")
