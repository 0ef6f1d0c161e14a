"""A folder that accepts uploads: curl, rclone, cadaver and GNOME's gio store files in it, by PUT, by forms and by WebDAV."""

import shutil
import time

from kit.bench import make, noise, tree
from kit.checks import Skipped, same

NAME = "PUT and WebDAV"
DEBIAN = {"curl": "curl", "rclone": "rclone", "cadaver": "cadaver", "gio": "libglib2.0-bin", "dbus-run-session": "dbus"}
DEBIAN["/usr/lib/gvfs/gvfsd-dav"] = "gvfs-backends"  # gio's WebDAV
LARGE = 20_000_000


def version(at):
    return at.run(["curl", "--version"]).text.split()[1]


def inbox(at, name, *more):
    """A server with a separate folder, and that folder."""
    folder = at.folder(name)
    return at.serve("modest", folder, "-b", "127.0.0.1", "-p", "0", "--upload", *more), folder


def curl(at, *words):
    return at.run(["curl", "-sS", "-m", "40", *words])


def status(at, *words):
    return curl(at, "-o", "/dev/null", "-w", "%{http_code}", *words).text


def check_curl(at):
    """-T, -F, MKCOL and DELETE; rejections come from the head"""
    server, folder = inbox(at, "curl inbox", "--allow-delete", "--upload-limit", "50m")
    file = make(at.folder("curl away") / "one file.bin", noise(LARGE, 3))
    same(status(at, "-T", file, f"{server.url}/"), "201", "-T")
    same((folder / "one file.bin").read_bytes() == file.read_bytes(), True, "its content")
    same(status(at, "-T", file, f"{server.url}/"), "409", "-T once more")
    same(status(at, "-X", "MKCOL", f"{server.url}/new"), "201", "MKCOL")
    same(status(at, "-F", f"f=@{file}", "-F", f"f=@{file};filename=deep/two", f"{server.url}/new/"), "303", "-F")
    same(sorted(tree(folder)), ["new/deep/two", "new/one file.bin", "one file.bin"], "what is there")
    same(status(at, "-X", "DELETE", f"{server.url}/new/deep/two"), "204", "DELETE")
    huge = at.folder("curl huge") / "huge"
    huge.touch()
    with huge.open("r+b") as sparse:
        sparse.truncate(10 << 30)
    said = curl(at, "-o", "/dev/null", "-w", "%{http_code} %{size_upload}", "-T", huge, f"{server.url}/")
    same(said.text, "413 0", "ten gigabytes, and how many of them were sent")


def check_curl_goes_on(at):
    """-C: a broken upload continues"""
    server, folder = inbox(at, "curl resumes", "--resumable")
    file = make(at.folder("curl breaks") / "big", noise(LARGE, 4))
    url, all_of = f"{server.url}/big?upload=0123456789abcdef", f"bytes 0-{LARGE - 1}/{LARGE}"
    at.run(["curl", "-sS", "-m", "1", "--limit-rate", "4M", "-T", file, "-H", f"Content-Range: {all_of}", url])
    same(list(folder.iterdir()), [], "what is seen of it")
    ask = ["-i", "-X", "PUT", "-H", f"Content-Range: bytes */{LARGE}", "-H", "Content-Length: 0", url]
    told = [line for line in curl(at, *ask).text.splitlines() if line.lower().startswith("range: bytes=0-")]
    come = int(told[0].split("-")[1]) + 1
    same(0 < come < LARGE, True, f"{come} bytes have come")
    same(status(at, "-C", str(come), "-T", file, url), "201", "the rest")
    same((folder / "big").read_bytes() == file.read_bytes(), True, "its content")


def check_rclone(at):
    """copy, check, moveto, rcat, sync and delete over WebDAV"""
    server, folder = inbox(at, "rclone inbox", "--allow-delete", "--overwrite", "replace", "--webdav")
    away = at.folder("rclone away")
    for number, name in enumerate(["a.txt", "with space & <b>.txt", "Grüße 你好.txt", "deep/er/file.bin"]):
        make(away / name, noise(5000 + number, number))
    there = f":webdav,url='{server.url}',vendor=other:"
    rclone = lambda *words: at.run(["rclone", "--config", "/dev/null", "--retries=1", *words], within=50).good()  # noqa: E731
    rclone("copy", str(away), there)
    same(tree(folder), tree(away), "what was copied")
    rclone("check", "--download", str(away), there)
    rclone("moveto", f"{there}a.txt", f"{there}deep/b.txt")
    same("deep/b.txt" in tree(folder) and "a.txt" not in tree(folder), True, "what was moved")
    make(away / "deep/er/file.bin", noise(7000, 9))
    rclone("sync", str(away), there)
    same(tree(folder), tree(away), "what was synced")
    rclone("delete", "--rmdirs", there)
    same(tree(folder), {}, "what was deleted")


def check_cadaver(at):
    """ls, put, mkcol, move, get and delete"""
    if not shutil.which("cadaver"):
        raise Skipped("not to be had")
    server, folder = inbox(at, "cadaver inbox", "--allow-delete", "--webdav")
    away = at.folder("cadaver away")
    make(away / "file", b"letters")
    words = ["put file", "mkcol new", "cd new", "put file", "move file other", "ls", "get other back", "delete other", "cd ..", "rmcol new", "quit"]
    command = ["cadaver", f"{server.url}/"]
    if at.tls:  # cadaver asks whether to trust the authority, but only in a terminal
        command, words = ["script", "-qec", " ".join(command), "/dev/null"], ["y", *words]
    said = at.run(command, cwd=away, stdin="\n".join(words).encode() + b"\n")
    same((away / "back").read_bytes(), b"letters", said.text)
    same(sorted(tree(folder)), ["file"], said.text)


def check_gio(at):
    """GNOME's files: mount, list, copy, rename, remove"""
    missing = [name for name in ["gio", "dbus-run-session", "/usr/lib/gvfs/gvfsd-dav"] if not shutil.which(name)]
    if missing:
        raise Skipped(f"{missing[0]} is missing")
    server, folder = inbox(at, "gio inbox", "--allow-delete", "--webdav")
    file = make(at.folder("gio away") / "file", b"letters")
    there = server.url.replace("http", "dav", 1) + "/"
    steps = [f"gio mount {there}", f"gio copy '{file}' {there}a", f"gio rename {there}a b", f"gio mkdir {there}new", f"gio list {there}", f"gio cat {there}b"]
    said = at.run(["dbus-run-session", "--", "sh", "-c", " && ".join(steps)], within=50)
    said.good()
    until = time.monotonic() + 5
    while not (folder / "new").exists() and time.monotonic() < until:
        time.sleep(0.02)  # gio's daemon finishes after gio, without a notification
    same(sorted(path.name for path in folder.iterdir()), ["b", "new"], said.text)
    same(said.text.strip().endswith("letters"), True, said.text)
