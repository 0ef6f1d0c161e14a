"""Chromium and every page of the program: without a violation in any colours and widths, by keys alone, and how soon it shows. In scripts/pages.mjs."""

import shutil

from kit import commands, packages, script as scripts
from kit.bench import make

from . import chromium

NAME = "chromium, pages"
DEBIAN = {"chromium": "chromium", "node": "nodejs", "npm": "npm"}
NPM = ["playwright-core", "axe-core"]
LIMITS = {"script": 1800}  # on a busy machine

version = chromium.version


def folder(at):
    """A folder that has something for each control: pictures, folders, a README."""
    shown = at.folder("pages shown")
    for number in range(30):
        make(shown / f"file {number}.txt", b"text")
    for number, colour in enumerate(("#567", "#a65", "#796")):
        text = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 4 3"><path fill="{colour}" d="M0 0h4v3H0z"/></svg>'
        make(shown / f"picture {number}.svg", text.encode())
    make(shown / "README.md", b"# The title\n\nSome *text*, and [a link](file%200.txt).\n\n|a|b|\n|-|-|\n|1|2|\n\n```\ncode\n```\n")
    make(shown / "sub" / "deep" / "file 99.txt", b"text")
    make(shown / "box" / "secret.txt", b"text")
    make(shown / "hers" / "secret.txt", b"text")
    make(shown / "his" / "secret.txt", b"text")
    return shown


def many(at, count):
    """A folder with so many names."""
    names = at.folder(f"{count} names")
    for number in range(count):
        (names / f"number {number}.txt").touch()
    return str(names)


def script(at):
    lines = [commands.run([at.built["modest"], "--hash-password", user], stdin=b"a long secret\n").good() for user in ("ada", "bob")]
    users = at.made / "pages-users"
    users.write_bytes(b"".join(line.out for line in lines))
    modules = packages.node_modules()
    given = scripts.given(
        at,
        modest=str(at.built["modest"]),
        users=str(users),
        shown=str(folder(at)),
        inbox=str(at.folder("pages inbox")),
        many={10_000: many(at, 10_000), 100_000: many(at, 100_000)},
        playwright=str(modules / "playwright-core" / "index.js"),
        axe=str(modules / "axe-core" / "axe.min.js"),
        chromium=shutil.which("chromium"),
        shots=str(at.shots),
    )
    return ["node", scripts.SCRIPTS / "pages.mjs", given]
