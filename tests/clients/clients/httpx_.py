"""httpx, from PyPI: its checks are in scripts/httpx_client.py."""

from kit import packages, script as scripts

NAME = "httpx"
PYPI = ["httpx"]


def version(at):
    return packages.python_version("httpx")


def script(at):
    return scripts.python(at, "httpx_client.py", authority=at.trusting(""))
