"""Runs the checks of a client one by one. Each has a timeout, and none prevents the next one."""

import contextlib
import inspect
import json
import signal
import subprocess
import time
import traceback
from dataclasses import dataclass, field

from . import packages
from .commands import TookTooLong, end, start

LIMIT = 60  # seconds for a check without its own limit


class Skipped(Exception):
    """Raised with the reason if something can't be checked here."""


@dataclass
class Row:
    """The results of a client."""

    name: str
    version: str = ""
    passed: int = 0
    failed: list = field(default_factory=list)
    skipped: list = field(default_factory=list)
    took: float = 0.0

    def note(self, name, why=None, skip=False):
        """The result of one check: without a `why` it passed."""
        mark = "skip" if skip else "FAIL" if why else "ok"
        print(f"  {mark:4} {name}" + (f"\n         {why}" if why else ""), flush=True)
        if skip:
            self.skipped.append((name, why))
        elif why:
            self.failed.append((name, why))
        else:
            self.passed += 1


def every(client, bench):
    """All checks of one client's module."""
    row = Row(client.NAME)
    begun = time.monotonic()
    print(f"\n== {client.NAME}", flush=True)
    missing = packages.missing(client)
    if missing:
        row.version = "skipped: not available"
        row.note("all of its checks", f"not available: {', '.join(missing)}", skip=True)
        return row
    row.version = version(client, bench)
    if bench.tls and hasattr(client, "PLAIN"):
        row.note("all of its checks", client.PLAIN, skip=True)
        return row
    for name, check in functions(client):
        limit = getattr(client, "LIMITS", {}).get(name, LIMIT)
        title = inspect.getdoc(check).splitlines()[0]
        try:
            with at_most(limit):
                check(bench)
            row.note(title)
        except Skipped as why:
            row.note(title, str(why), skip=True)
        except Exception as error:  # after any error the next check runs
            row.note(title, what_went_wrong(error))
    if hasattr(client, "script"):
        follow(row, client.script(bench), getattr(client, "LIMITS", {}).get("script", 120))
    row.took = time.monotonic() - begun
    return row


def version(client, bench):
    try:
        return client.version(bench)
    except Exception:  # a client without a version may still pass its checks
        return "?"


def functions(client):
    """The checks of a module, in the order of their definition."""
    return [(name[6:], value) for name, value in vars(client).items() if name.startswith("check_")]


def follow(row, words, limit):
    """Checks that a script runs in its own language. It reports each one in a line of JSON: the name, and the reason if it failed."""
    process = start(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    ended = False
    try:
        with at_most(limit):
            for line in process.stdout:
                told = json.loads(line)
                ended = ended or told.get("end", False)
                if "name" in told:
                    row.note(told["name"], told.get("why"))
        if not ended:
            row.note(
                "its script runs to its end",
                process.stderr.read().decode("utf-8", "replace")[-800:] or "it said nothing",
            )
    except Exception as error:
        row.note("its script runs to its end", what_went_wrong(error))
    finally:
        end(process)
        process.stdout.close()
        process.stderr.close()


@contextlib.contextmanager
def at_most(seconds):
    def late(*_):
        raise TookTooLong(f"took longer than {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def what_went_wrong(error):
    """The message, and the line unless it is a plain assertion."""
    if isinstance(error, (AssertionError, TookTooLong)) and str(error):
        return str(error)
    where = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({where.name}, line {where.lineno}: {where.line})"


def same(got, wanted, what):
    """Asserts that two values are equal. Long ones are shown by their beginnings."""
    if got != wanted:
        raise AssertionError(f"{what}: got {shortly(got)}, not {shortly(wanted)}")


def shortly(thing):
    text = repr(thing)
    return text if len(text) <= 200 else f"{text[:200]}.. ({len(thing)} long)"
