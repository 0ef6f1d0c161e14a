"""aiohttp, from PyPI: its checks are in scripts/aiohttp_client.py."""

from kit import packages, script as scripts

NAME = "aiohttp"
PYPI = ["aiohttp"]


def version(at):
    return packages.python_version("aiohttp")


def script(at):
    return scripts.python(at, "aiohttp_client.py")
