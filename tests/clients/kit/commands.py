"""Run a command: in a group of its own, with a time limit, and without this machine's proxies and mirrors.

When the limit passes, or the check that waits for it is given up, the group that was started is ended, and nothing else.
"""

import os
import signal
import subprocess
from dataclasses import dataclass

# What would send a client elsewhere than to the server it is given.
ELSEWHERE = ("_proxy", "_PROXY", "PIP_", "npm_config_", "RCLONE_", "GIT_")


class TookTooLong(Exception):
    """The time of a command or of a check is up."""


@dataclass
class Done:
    """What came of a command."""

    words: list
    status: int
    out: bytes
    err: bytes

    @property
    def text(self):
        return self.out.decode("utf-8", "replace")

    def good(self):
        """Insist that it ended well."""
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
    return kept | {"LC_ALL": "C.UTF-8", "TZ": "UTC"} | more


def start(words, **more):
    """Start a process whose group `end` ends."""
    more.setdefault("env", plain_environment())
    words = [str(word) for word in words]
    return subprocess.Popen(words, start_new_session=True, **more)


def end(process, with_signal=signal.SIGKILL):
    """End a process that `start` started, and its children; gives its exit status."""
    try:
        # Until it is waited for, its number is nobody else's.
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
    """Run a command to its end; what it was and said comes back whatever its status."""
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
