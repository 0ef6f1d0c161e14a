"""apt, with a small repository and a separate root: nothing of this machine is changed."""

import os
import time

from kit.bench import DAY, digest, make, new
from kit.checks import same
from kit.commands import plain_environment

NAME = "apt"
DEBIAN = {"apt-get": "apt", "dpkg-deb": "dpkg", "apt-ftparchive": "apt-utils"}


def version(at):
    return at.run(["apt-get", "--version"]).text.split()[1]


def package(at, number):
    """A package that contains one file."""
    tree = at.folder(f"apt-package-{number}")
    make(tree / "usr/share/modest-sample/text", f"version {number}\n".encode())
    make(
        tree / "DEBIAN/control",
        f"Package: modest-sample\nVersion: {number}\nArchitecture: all\nMaintainer: A <a@example>\nDescription: a sample\n".encode(),
    )
    pool = at.root / "debian" / "pool"
    pool.mkdir(parents=True, exist_ok=True)
    path = pool / f"modest-sample_{number}_all.deb"
    at.run(["dpkg-deb", "--root-owner-group", "-b", tree, path]).good()
    return path


def publish(at):
    """Writes the lists of the repository again."""
    top = at.root / "debian"
    lists = top / "dists/stable/main/binary-all"
    lists.mkdir(parents=True, exist_ok=True)
    (lists / "Packages").write_bytes(at.run(["apt-ftparchive", "packages", "pool"], cwd=top).good().out)
    names = [
        "-o",
        "APT::FTPArchive::Release::Suite=stable",
        "-o",
        "APT::FTPArchive::Release::Components=main",
        "-o",
        "APT::FTPArchive::Release::Architectures=all",
    ]
    release = at.run(["apt-ftparchive", *names, "release", "dists/stable"], cwd=top).good().out
    # The server dates no file that was changed within the current second, and apt needs the date.
    path = top / "dists/stable/Release"
    while path.exists() and int(path.stat().st_mtime) == int(time.time()):
        time.sleep(0.02)  # waits for the clock
    path.write_bytes(release)


def root(at):
    """A root for apt: its lists, its cache, and its record of installed packages."""
    top = new(at.made / "away/apt-root")
    for folder in (
        "etc/apt/apt.conf.d",
        "etc/apt/preferences.d",
        "etc/apt/trusted.gpg.d",
        "state/lists/partial",
        "cache/archives/partial",
        "log",
    ):
        (top / folder).mkdir(parents=True)
    make(top / "etc/apt/sources.list", f"deb [trusted=yes] {at.site.url}/debian stable main\n".encode())
    make(top / "status", b"")
    make(
        top / "apt.conf",
        f'Dir "{top}"; Dir::Etc "etc/apt"; Dir::State "state"; Dir::State::status "{top}/status"; Dir::Cache "cache"; Dir::Log "log";\n'
        f'APT::Architecture "amd64"; APT::Architectures {{ "amd64"; }}; APT::Sandbox::User ""; APT::Get::AllowUnauthenticated "true";\n'
        f'Acquire::Languages "none"; Acquire::Retries "0"; Acquire::http::Proxy "DIRECT"; Dir::Bin::methods "/usr/lib/apt/methods";\n'.encode()
        + "".join(f'Acquire::https::CaInfo "{file}";\n' for file in at.trusting("")).encode(),
    )
    return top


def apt(at, top, *words):
    return at.run(
        ["apt-get", *words], cwd=top / "cache", env=plain_environment(APT_CONFIG=str(top / "apt.conf"))
    ).good()


def check_update_and_download(at):
    """update and download; nothing is downloaded again without a change, and a new version is found"""
    first = package(at, "1.0")
    publish(at)
    at.settle("/debian/dists/stable/Release")
    top = root(at)
    said = apt(at, top, "update")
    assert b"W:" not in said.err and b"E:" not in said.err, said.err
    apt(at, top, "download", "modest-sample")
    same(digest(top / "cache" / first.name), digest(first), "the package")
    mark = at.site.mark()
    apt(at, top, "update")
    new_lines = at.site.logged(mark, "/Release")
    same([line for line in new_lines if "Packages" in line], [], "lists that were fetched again")
    assert any('Release HTTP/1.1" 304' in line for line in new_lines), new_lines
    second = package(at, "1.1")
    publish(at)
    at.settle("/debian/dists/stable/Release")
    apt(at, top, "update")
    apt(at, top, "download", "modest-sample")
    same(digest(top / "cache" / second.name), digest(second), "the package after an update")


def check_resume(at):
    """a broken download continues"""
    top = at.made / "away/apt-root"
    whole = at.root / "debian/pool/modest-sample_1.1_all.deb"
    content = whole.read_bytes()
    (top / "cache" / whole.name).unlink(missing_ok=True)
    # apt gives a partial file the server's date, and requests the rest only if the date still holds (If-Range).
    part = make(top / "cache/archives/partial" / whole.name, content[: len(content) // 2])
    stamp = int(time.time()) - DAY
    for path in (whole, part):
        os.utime(path, (stamp, stamp))
    at.settle(f"/debian/pool/{whole.name}")
    mark = at.site.mark()
    apt(at, top, "install", "-y", "--download-only", "modest-sample")
    got = top / "cache/archives" / whole.name
    same(digest(got), digest(whole), "the package")
    at.site.logged(mark, '.deb HTTP/1.1" 206')
