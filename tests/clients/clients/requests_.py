"""requests, from PyPI: its checks are in scripts/requests_client.py."""

from kit import packages, script as scripts

NAME = "requests"
PYPI = ["requests"]


def version(at):
    return packages.python_version("requests")


def script(at):
    return scripts.python(at, "requests_client.py", guarded=at.guarded().url)
