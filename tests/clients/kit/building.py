"""The programs under test, built by cargo. Called by `run`, once."""

import json
import subprocess


def build(project):
    """Builds the programs; returns the path of each by its name."""
    examples = ["hello", "download", "dashboard", "chat"]
    return cargo_build(project, "--bin", "modest", *(word for name in examples for word in ("--example", name)))


def build_apps(project):
    """Builds the programs in `apps` that the browser checks use."""
    return cargo_build(project / "apps", "--bin", "login", "--bin", "inbox", "--bin", "spa")


def cargo_build(folder, *words):
    words = ["cargo", "build", "--release", *words, "--message-format=json-render-diagnostics"]
    done = subprocess.run(words, cwd=folder, stdout=subprocess.PIPE, check=True)
    programs = {}
    for line in done.stdout.splitlines():
        message = json.loads(line)
        if message.get("executable"):
            programs[message["target"]["name"]] = message["executable"]
    return programs
