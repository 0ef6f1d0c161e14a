"""node: npm itself; and fetch, http and undici, whose checks are in scripts/fetch.mjs."""

import json
import tarfile

from kit import packages, script as scripts
from kit.bench import make
from kit.checks import same

NAME = "node, npm, undici"
DEBIAN = {"node": "nodejs", "npm": "npm"}
NPM = ["undici@6"]


def version(at):
    return f"{at.run(['node', '--version']).text.strip()}, {packages.node_version('undici')}"


def check_install(at):
    """npm install of a package by its address"""
    source = at.folder("npm-source") / "package"
    make(source / "package.json", json.dumps({"name": "modest-sample", "version": "1.0.0"}).encode())
    make(source / "index.js", b"module.exports = 42;\n")
    with tarfile.open(at.root / "modest-sample-1.0.0.tgz", "w:gz") as tar:
        tar.add(source, arcname="package")
    work = at.folder("npm-work")
    make(work / "package.json", b"{}")
    words = [
        "npm",
        "install",
        "--no-audit",
        "--no-fund",
        "--cache",
        at.folder("npm-cache"),
        *at.trusting("--cafile="),  # a user's npmrc may have another one, and then NODE_EXTRA_CA_CERTS is not used
        f"{at.site.url}/modest-sample-1.0.0.tgz",
    ]
    at.run(words, cwd=work, within=30).good()
    same(at.run(["node", "-p", "require('modest-sample')"], cwd=work).good().text, "42\n", "what it says")


def script(at):
    modules = packages.node_modules()
    return ["node", scripts.SCRIPTS / "fetch.mjs", scripts.given(at, undici=str(modules / "undici" / "index.js"))]
