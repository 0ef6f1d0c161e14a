"""For scripts that run checks in the venv: each check reports its result in a line of JSON, which the conductor reads.

The argument of a script is JSON with addresses and digests of files.
"""

import asyncio
import hashlib
import inspect
import json
import sys

CHECKS = []
GIVEN = json.loads(sys.argv[1])
SITE, HELLO, DOWNLOAD = GIVEN["site"], GIVEN["hello"], GIVEN["download"]


def check(function):
    CHECKS.append(function)
    return function


def tell_all():
    for function in CHECKS:
        told = {"name": inspect.getdoc(function).splitlines()[0]}
        try:
            outcome = function()
            if inspect.iscoroutine(outcome):
                asyncio.run(asyncio.wait_for(outcome, 30))
        except Exception as error:
            told["why"] = f"{type(error).__name__}: {error}"[:800]
        print(json.dumps(told), flush=True)
    print(json.dumps({"end": True}), flush=True)


def digest(content):
    return hashlib.sha256(content).hexdigest()


def numbers(last):
    """The content of `/lines/N` of the download example."""
    return b"".join(b"%d\n" % number for number in range(1, last + 1))
