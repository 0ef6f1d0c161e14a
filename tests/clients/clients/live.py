"""Chromium across a restart of the server: the dashboard's events and the chat. The checks are in scripts/live.mjs."""

import shutil

from kit import packages, script as scripts

from . import chromium

NAME = "chromium, live"
DEBIAN = {"chromium": "chromium", "node": "nodejs", "npm": "npm"}
NPM = chromium.NPM
PLAIN = "these programs are served without TLS"
LIMITS = {"script": 600}

version = chromium.version


def script(at):
    given = scripts.given(
        at,
        playwright=str(packages.node_modules() / "playwright-core" / "index.js"),
        chromium=shutil.which("chromium"),
        shots=str(at.shots),
        dashboard=str(at.built["dashboard"]),
        readings=str(at.folder("readings") / "readings.txt"),
        chat=str(at.built["chat"]),
    )
    return ["node", scripts.SCRIPTS / "live.mjs", given]
