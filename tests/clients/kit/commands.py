"""Runs a command in a separate process group, with a timeout, and without this machine's proxies and mirrors.

At the timeout, or if its check is given up, the group of the command is ended, and nothing else.
"""

import os
import signal
import subprocess
from dataclasses import dataclass

# Variables of all clients.
EVERYWHERE = {"LC_ALL": "C.UTF-8", "TZ": "UTC"}
# Variables that could send a client to another server.
ELSEWHERE = ("_proxy", "_PROXY", "PIP_", "npm_config_", "RCLONE_", "GIT_")


class TookTooLong(Exception):
    """A command or a check has reached its timeout."""


@dataclass
class Done:
    """The result of a command."""

    words: list
    status: int
    out: bytes
    err: bytes

    @property
    def text(self):
        return self.out.decode("utf-8", "replace")

    def good(self):
        """Asserts that the command ended successfully."""
        if self.status != 0:
            raise AssertionError(f"{self} ended with {self.status}: {last_lines(self.err) or last_lines(self.out)}")
        return self

    def __str__(self):
        return " ".join(str(word) for word in self.words)[:160]


def plain_environment(**more):
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(ELSEWHERE) and not name.endswith(ELSEWHERE)
    }
    return kept | EVERYWHERE | more


def start(words, **more):
    """Starts a process whose group `end` ends."""
    more.setdefault("env", plain_environment())
    words = [str(word) for word in words]
    return subprocess.Popen(words, start_new_session=True, **more)


def end(process, with_signal=signal.SIGKILL):
    """Ends a process that `start` has started, and its children. Returns its exit status."""
    try:
        # Until `wait`, no other process can have its number.
        if process.returncode is None:
            os.killpg(process.pid, with_signal)
    except ProcessLookupError:
        pass
    try:
        return process.wait(15)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return process.wait()


def run(words, within=30, stdin=b"", **more):
    """Runs a command to its end. Returns its status and its output, even if it fails."""
    process = start(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **more)
    try:
        out, err = process.communicate(stdin, timeout=within)
        return Done(list(words), process.returncode, out, err)
    except subprocess.TimeoutExpired:
        raise TookTooLong(f"{words[0]} took longer than {within} s") from None
    finally:
        end(process)
        for pipe in (process.stdin, process.stdout, process.stderr):
            pipe.close()


def last_lines(said, count=3):
    return " / ".join(said.decode("utf-8", "replace").strip().splitlines()[-count:])[:500]
