"""Chromium and the page of a folder that accepts uploads: every button, conflicts, interruptions, rights, with and without script. In scripts/uploads.mjs."""

import shutil

from kit import commands, packages, script as scripts

from . import chromium

NAME = "chromium, uploads"
DEBIAN = {"chromium": "chromium", "node": "nodejs", "npm": "npm"}
NPM = ["playwright-core", "axe-core"]
LIMITS = {"script": 1800}  # on a busy machine

version = chromium.version


def script(at):
    line = commands.run([at.built["modest"], "--hash-password", "ada"], stdin=b"a long secret\n").good()
    users = at.made / "upload-users"
    users.write_bytes(line.out)
    modules = packages.node_modules()
    given = scripts.given(
        at,
        modest=str(at.built["modest"]),
        users=str(users),
        inbox=str(at.folder("uploads-inbox")),
        away=str(at.folder("to send")),
        playwright=str(modules / "playwright-core" / "index.js"),
        axe=str(modules / "axe-core" / "axe.min.js"),
        chromium=shutil.which("chromium"),
        shots=str(at.shots),
    )
    return ["node", scripts.SCRIPTS / "uploads.mjs", given]
