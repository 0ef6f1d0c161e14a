"""For scripts that make their checks in the venv: each check tells how it went in a line of JSON, which the conductor reads.

A script's arguments are the JSON of what it is given: addresses, and the digests of what is there.
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
    """What `/lines/N` of the download example is."""
    return b"".join(b"%d\n" % number for number in range(1, last + 1))
