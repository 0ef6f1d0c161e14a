"""Chromium with the programs of `apps`: a login, an inbox, a single-page app. The checks are in scripts/apps.mjs."""

import shutil

from kit import building, packages, script as scripts

from . import chromium

NAME = "chromium, apps"
DEBIAN = {"chromium": "chromium", "node": "nodejs", "npm": "npm"}
NPM = chromium.NPM
PLAIN = "these programs are served without TLS"
LIMITS = {"script": 600}

version = chromium.version


def script(at):
    at.built.update(building.build_apps(at.project))
    inbox = at.folder("inbox")
    users = at.folder("login users") / "users"
    users.write_bytes(at.run([at.built["modest"], "--hash-password", "ada"], stdin=b"correct horse\n").good().out)
    given = scripts.given(
        at,
        playwright=str(packages.node_modules() / "playwright-core" / "index.js"),
        chromium=shutil.which("chromium"),
        shots=str(at.shots),
        login=at.serve("login", "127.0.0.1:0", str(users)).url,
        inbox=at.serve("inbox", "127.0.0.1:0", str(inbox)).url,
        folder=str(inbox),
        photos=str(at.folder("photos")),
        spa=at.serve("spa", "127.0.0.1:0", str(at.project / "apps/spa/dist")).url,
    )
    return ["node", scripts.SCRIPTS / "apps.mjs", given]
