"""node: its own fetch, its own http, and undici from npm. The checks are in scripts/fetch.mjs."""

from kit import packages, script as scripts

NAME = "node, undici"
DEBIAN = {"node": "nodejs", "npm": "npm"}
NPM = ["undici@6"]


def version(at):
    return f"{at.run(['node', '--version']).text.strip()}, {packages.node_version('undici')}"


def script(at):
    modules = packages.node_modules()
    return ["node", scripts.SCRIPTS / "fetch.mjs", scripts.given(at, undici=str(modules / "undici" / "index.js"))]
