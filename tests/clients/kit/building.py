"""The programs under test, built by cargo. Called by `run`, once."""

import json
import subprocess


def build(project):
    """Build what is driven; gives the path of each program by its name."""
    words = ["cargo", "build", "--release", "--bin", "modest", "--example", "hello", "--example", "download"]
    done = subprocess.run(
        [*words, "--message-format=json-render-diagnostics"], cwd=project, stdout=subprocess.PIPE, check=True
    )
    programs = {}
    for line in done.stdout.splitlines():
        message = json.loads(line)
        if message.get("executable"):
            programs[message["target"]["name"]] = message["executable"]
    return programs
