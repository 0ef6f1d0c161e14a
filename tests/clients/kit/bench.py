"""The environment of a check: servers, a served folder, other folders, and functions that make files and wait for events.

All files are in one temporary folder, which is removed after the run. All started processes end with the run.
"""

import functools
import hashlib
import os
import random
import shutil
import tempfile
import time
from pathlib import Path

from . import authority, commands
from .checks import Row
from .server import Server

DAY = 86_400


class Bench:
    """The servers and the folders of one run."""

    def __init__(self, project, built, shots=None, tls=False):
        self.project = project
        self.built = built
        self.made = Path(tempfile.mkdtemp(prefix="modest-clients-"))
        self.root = self.made / "root"
        self.shots = shots or self.made / "shots"
        self.servers = []
        self.tls = tls  # whether the program serves HTTPS

    def __enter__(self):
        try:
            self.root.mkdir()
            self.shots.mkdir(parents=True, exist_ok=True)
            if self.tls:
                authority.trust(self.authority.certificate)
            self.site = self.serve("modest", self.root, "-b", "127.0.0.1", "-p", "0")
            self.hello = self.serve("hello", "127.0.0.1:0")
            self.download = self.serve("download", "127.0.0.1:0")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for server in self.servers:
            server.stop()
        shutil.rmtree(self.made, ignore_errors=True)

    @functools.cached_property
    def authority(self):
        """The authority of this run."""
        return authority.Authority(self.folder("authority"))

    def trusting(self, *words):
        """An option that ends with the authority's file, if the program serves HTTPS."""
        return [*words[:-1], f"{words[-1]}{self.authority.certificate}"] if self.tls else []

    def secure(self, program, words):
        """The words with which a program is started."""
        return [*words, *self.authority.words] if self.tls and program == "modest" and "--tls-cert" not in words else words

    def serve(self, program, *words):
        """Starts another server."""
        words = self.secure(program, words)
        logs = self.made / f"log-{len(self.servers)}"
        logs.mkdir()
        server = Server([self.built[program], *words], logs)
        self.servers.append(server)
        return server

    def guarded(self):
        """A server with users: `ada` has `a long secret`, and only she may read `private`."""
        if not hasattr(self, "_guarded"):
            folder, users = self.folder("guarded"), self.made / "users"
            make(folder / "open.txt", b"open")
            make(folder / "private" / "key.txt", b"key")
            line = commands.run([self.built["modest"], "--hash-password", "ada"], stdin=b"a long secret\n").good()
            users.write_bytes(line.out)
            rules = ["--allow", "/=*:read,list", "--allow", "/private=ada:read,list"]
            self._guarded = self.serve("modest", folder, "-p", "0", "--auth", users, *rules)
        return self._guarded

    def farewell(self):
        """The reports of the servers after all clients: no leak, no error, a clean end."""
        row = Row("the servers")
        print("\n== the servers")
        for server in self.servers:
            name = server.log.stem
            row.note(
                f"{name}: no panic and no error in its log",
                "\n".join(line for line in server.lines() if is_trouble(line)) or None,
            )
            # The program keeps files open by design. The examples have the system's default handling of signals.
            if name != "modest":
                row.note(f"{name}: no descriptor is left", left(server))
                continue
            status = server.stop()
            row.note(f"{name}: SIGTERM ends it with 0", None if status == 0 else f"it ended with {status}")
        return row

    # Folders and files.

    def folder(self, name):
        """A new folder that is not served."""
        return new(self.made / "away" / name)

    def served(self, name):
        """A new folder that is served, and its address."""
        return new(self.root / name), f"{self.site.url}/{name}"

    def settle(self, url_path, coding=None):
        """Waits until a new file has validators, and its sidecar in this coding is accepted. The validators of younger files could
        belong to two edits, and younger sidecars might be incomplete. A sidecar has no date."""
        until = time.monotonic() + 10
        while time.monotonic() < until:
            fields = self.head(url_path, {"Accept-Encoding": coding} if coding else {})
            if fields.get("etag") and (coding or fields.get("last-modified")) and fields.get("content-encoding") == coding:
                return fields
            time.sleep(0.02)  # there is no notification
        raise AssertionError(f"{url_path} has no validators, or is not sent as {coding}: {fields}")

    @staticmethod
    def until(condition, what):
        """Waits until the condition holds."""
        end = time.monotonic() + 20
        while not condition():
            if time.monotonic() > end:
                raise AssertionError(f"not within 20 s: {what}")
            time.sleep(0.02)  # there is no notification

    def head(self, url_path, fields=None):
        """The fields of the response to HEAD, by Python's own client."""
        asked = self.site.connection()
        try:
            asked.request("HEAD", url_path, headers=fields or {})
            return {name.lower(): value for name, value in asked.getresponse().getheaders()}
        finally:
            asked.close()

    run = staticmethod(commands.run)


def left(server):
    """The error in the descriptors of a server without clients."""
    until = time.monotonic() + 10
    while server.descriptors() > server.at_rest:
        if time.monotonic() > until:
            return f"{server.descriptors()} descriptors are open, {server.at_rest} at rest"
        time.sleep(0.05)  # there is no notification
    return None


def is_trouble(line):
    return "panicked" in line or "ERROR" in line


def new(path):
    path.mkdir(parents=True)
    return path


def noise(length, seed=7):
    """Bytes without a pattern, equal in each run."""
    return random.Random(seed).randbytes(length)


def make(path, content, age=DAY):
    """A file with this age in seconds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    when = int(time.time()) - age
    os.utime(path, (when, when))
    return path


def digest(thing):
    """SHA-256 of bytes, or of a file."""
    if isinstance(thing, bytes):
        return hashlib.sha256(thing).hexdigest()
    with open(thing, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def tree(folder):
    """The content of a folder: the digest of each file by its path."""
    return {str(path.relative_to(folder)): digest(path) for path in sorted(folder.rglob("*")) if path.is_file()}
