"""The command that starts a script in a client's own language, and its folder."""

import json
from pathlib import Path

from . import packages
from .bench import make, noise

SCRIPTS = Path(__file__).resolve().parent.parent / "scripts"
LENGTH = 3_000_000


def given(at, **more):
    """The arguments of a script, as JSON."""
    whole = at.root / "script" / "whole.bin"
    if not whole.exists():
        make(whole, noise(LENGTH, 21))
        for number in range(20):
            make(whole.with_name(f"{number}.txt"), b"number %d\n" % number)
        make(whole.with_name("Grüße 你好.txt"), "Grüße\n".encode())
        at.settle("/script/whole.bin")
    return json.dumps(
        {"tls": [str(word) for word in at.secure("modest", [])], "site": at.site.url, "hello": at.hello.url, "download": at.download.url, "whole": str(whole)} | more
    )


def python(at, name, **more):
    return [packages.python(), SCRIPTS / name, given(at, **more)]
