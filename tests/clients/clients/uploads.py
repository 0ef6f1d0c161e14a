"""Chromium and the page of a folder that takes files: choose, drop, cancel, delete, with and without script. In scripts/uploads.mjs."""

import shutil

from kit import packages, script as scripts

from . import chromium

NAME = "chromium, uploads"
DEBIAN = {"chromium": "chromium", "node": "nodejs", "npm": "npm"}
NPM = ["playwright-core", "axe-core"]
LIMITS = {"script": 240}

version = chromium.version


def script(at):
    inbox = at.folder("uploads-inbox")
    server = at.serve("modest", inbox, "-b", "127.0.0.1", "-p", "0", "--upload", "--allow-delete")
    modules = packages.node_modules()
    given = scripts.given(
        at,
        inbox=str(inbox),
        away=str(at.folder("to send")),
        taking=server.url,
        playwright=str(modules / "playwright-core" / "index.js"),
        axe=str(modules / "axe-core" / "axe.min.js"),
        chromium=shutil.which("chromium"),
        shots=str(at.shots),
    )
    return ["node", scripts.SCRIPTS / "uploads.mjs", given]
