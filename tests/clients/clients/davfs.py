"""davfs2: a folder that accepts uploads, mounted as a file system, with locks."""

import os
import sys

from kit.bench import make, noise, tree
from kit.checks import Skipped, same

from . import webdav

NAME = "davfs2"
DEBIAN = {"mount.davfs": "davfs2"}
# Names, by reads of 4 KiB: davfs2 1.6.1 can't answer reads of more than 16 KiB, which Python's and coreutils' are.
NAMES = """
import ctypes, os, struct, sys
libc, folder, read = ctypes.CDLL(None), os.open(sys.argv[1], os.O_RDONLY), ctypes.create_string_buffer(4096)
while (length := libc.getdents64(folder, read, ctypes.c_size_t(4096))) > 0:
    at = 0
    while at < length:
        size = struct.unpack_from("H", read, at + 16)[0]
        print(read.raw[at + 19 : at + size].split(b"\\0")[0].decode())
        at += size
"""


def version(at):
    return at.run(["dpkg-query", "-W", "-f", "${Version}", "davfs2"]).text


def check_mounted(at):
    """mount, list, write, edit, rename, copy and delete; a large file; all of it is stored after umount"""
    if os.geteuid() != 0 or not os.access("/dev/fuse", os.W_OK):
        raise Skipped("only root can mount, with /dev/fuse")
    server, folder = webdav.inbox(at, "davfs inbox", "--allow-delete", "--overwrite", "replace", "--webdav")
    make(folder / "there.txt", b"was there\n")
    make(folder / "sub" / "deep.txt", b"deep\n")
    mounted = at.folder("davfs-mounted")
    at.made.chmod(0o711)  # mount.davfs reads the authority's certificate as its own user
    large = make(at.folder("davfs away") / "large", noise(3_000_000, 5))
    lines = ["use_locks 1", "ask_auth 0", *at.trusting("trust_ca_cert ")]
    settings = make(at.made / "davfs2.conf", "\n".join([*lines, ""]).encode())
    at.run(["mount.davfs", "-o", f"conf={settings},uid=0", f"{server.url}/", mounted], within=20).good()
    try:
        names = at.run([sys.executable, "-c", NAMES, mounted]).good().text.split("\n")
        same(sorted(set(names) - {"", ".", "..", "lost+found"}), ["sub", "there.txt"], "names")
        steps = [
            "test \"$(cat there.txt)\" = 'was there'", "echo hello > a.txt", "mkdir 'new folder'", "cp a.txt 'new folder/b ü#%.txt'",
            "mv a.txt c.txt", "echo more >> c.txt", f"cp '{large}' large", "rm there.txt", "rm sub/deep.txt", "rmdir sub",
        ]
        at.run(["sh", "-ec", "; ".join(steps)], cwd=mounted, within=40).good()
    finally:
        at.run(["umount", mounted], within=50)
    same(sorted(tree(folder)), ["c.txt", "large", "new folder/b ü#%.txt"], "what is stored")
    same((folder / "c.txt").read_text(), "hello\nmore\n", "the edited file")
    same((folder / "large").read_bytes() == large.read_bytes(), True, "the large file")
