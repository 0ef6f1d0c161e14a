"""Chromium and the page of a folder: every control, by width, by colours, with and without script. In scripts/listing.mjs."""

import os
import shutil

from kit import packages, script as scripts
from kit.bench import make

from . import chromium

NAME = "chromium, listing"
DEBIAN = {"chromium": "chromium", "node": "nodejs", "npm": "npm"}
NPM = ["playwright-core", "axe-core"]
LIMITS = {"script": 1800}  # on a busy machine

# 2026-01-02 23:30 in UTC: the next day in zones to the east.
LATE = 1_767_396_600

version = chromium.version


def shelf(at):
    """A folder with a name of each kind. Each file is larger and older than the previous one."""
    folder, _ = at.served("shelf of all kinds")
    names = ["Annual report 2024.txt", "annual report 2025.txt", "film.mp4", "packed.tar.gz", "picture.PNG"]
    names += ["photo\u202egpj.exe", "Grüße 你好 שלום.txt", "x" * 200 + ".txt"]
    for number, name in enumerate(names):
        make(folder / name, bytes(7 ** (number + 1)))
        os.utime(folder / name, (LATE - 86_400 * number,) * 2)
    for name in ("deeper/page.txt", "other/x/page.txt"):
        make(folder / name, b"the page")
    (folder / "other" / "nothing").mkdir()
    shown, _ = at.served("holidays")
    sizes = {"Café menu.pdf": 182_311, "film.mp4": 48_300_112, "lake at dawn.jpg": 3_481_002, "lake at dusk.jpg": 2_904_551}
    sizes |= {"packing list.txt": 812, "route 2.gpx": 15_904, "route 10.gpx": 22_317, "tickets.zip": 961_204}
    for name in ("maps", "photos"):
        (shown / name).mkdir()
        os.utime(shown / name, (LATE, LATE))
    for number, (name, size) in enumerate(sizes.items()):
        with open(shown / name, "wb") as file:
            file.truncate(size)
        os.utime(shown / name, (LATE - 5 * 86_400 - 98_765 * number,) * 2)
    kinds, _ = at.served("kinds")
    readme = "# Read <b>me</b>\n\nThis is *one* and **two** and `three`: [a link](a.txt), [no link](javascript:document.title=1).\n\n"
    readme += "<script>document.title='evil'</script><img src=x onerror=\"document.title='evil'\">\n\n"
    readme += "|" + "wide column|" * 12 + "\n" + "|-" * 12 + "|\n|four|5|\n\n![a picture](picture%200.svg) ![of another folder](../pictures/picture%200.svg)\n"
    described, _ = at.served("read me")
    make(described / "README.md", readme.encode())
    make(described / "a.txt", b"x")
    wide, _ = at.served("wide readme")
    table = "|heading" * 30 + "|\n" + "|-" * 30 + "|\n" + "|cell" * 30 + "|\n\n"
    make(wide / "README.md", (table + "A line.\n\n" * 60 + "```\n" + "a long line of code " * 12 + "\n```\n\n# The end\n").encode())
    make(kinds / "README.md", b"# Read <b>me</b>")
    plain, _ = at.served("plain readme")
    make(plain / "README", b"# Read <b>me</b>")
    for end in "png jpg jpeg gif webp avif svg mp3 mp4 m4a mkv mov webm flac ogg wav zip gz 7z xz zst bz2 txt pdf".split():
        make(kinds / f"a.{end}", b"x")
    for name in ("needle <i>.txt", "deep/second needle.txt"):
        make(kinds / "sub" / name, b"12345")
    pictures, _ = at.served("pictures")
    make(pictures / "notes.txt", b"notes")
    for number, colour in enumerate(("#567", "#a65", "#796")):
        text = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 4 3"><path fill="{colour}" d="M0 0h4v3H0z"/></svg>'
        make(pictures / f"picture {number}.svg", text.encode())
        make(described / f"picture {number}.svg", text.encode())
    many, _ = at.served("many")
    for number in range(10_050):
        (many / f"number {number}.txt").touch()


def script(at):
    shelf(at)
    modules = packages.node_modules()
    given = scripts.given(
        at,
        playwright=str(modules / "playwright-core" / "index.js"),
        axe=str(modules / "axe-core" / "axe.min.js"),
        chromium=shutil.which("chromium"),
        shots=str(at.shots),
        modest=str(at.built["modest"]),
        root=str(at.root),
    )
    return ["node", scripts.SCRIPTS / "listing.mjs", given]
