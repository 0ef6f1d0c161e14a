"""Chromium, driven by playwright from npm. The checks are in scripts/chromium.mjs; this file makes their content."""

import shutil
from pathlib import Path

from kit import packages, script as scripts
from kit.bench import make

from . import ffmpeg

NAME = "chromium"
DEBIAN = {"chromium": "chromium", "ffmpeg": "ffmpeg", "node": "nodejs", "npm": "npm"}
NPM = ["playwright-core"]
LIMITS = {"script": 1800}  # on a busy machine

# Names that are valid on Linux and that a browser could change. The content of each file is its number.
ODD_NAMES = [
    b"plain.txt",
    b"with space.txt",
    b"100%.txt",
    b"%41.txt",
    b"q?uestion.txt",
    b"#hash.txt",
    b"colon:here.txt",
    b"javascript:alert(1).txt",
    b"<b>bold.txt",
    b'"double".txt',
    b"'single'.txt",
    b"&amp;.txt",
    b"back\\slash.txt",
    b"+plus.txt",
    b"semi;colon.txt",
    b"tab\there.txt",
    b"new\nline.txt",
    b" leading.txt",
    b"trailing .txt",
    b"[brackets].txt",
    b"{braces}.txt",
    b"a|b^c`d.txt",
    b"~tilde.txt",
    "Grüße.txt".encode(),
    "你好.txt".encode(),
    "🦀.txt".encode(),
    "עברית.txt".encode(),
    b"not-utf-8-\xff\xfe.txt",
    b"http:..x.txt",
    b"x" * 240 + b".txt",
]

# `(module (func (export "sum") (param i32 i32) (result i32) local.get 0 local.get 1 i32.add))`
WASM = bytes.fromhex("0061736d0100000001070160027f7f017f030201000707010373756d00000a09010700200020016a0b")


def version(at):
    return at.run(["chromium", "--version"]).text.split()[1]


def odd_names(at):
    """A folder of odd names. Returns the content of each file by its name, as a browser should show it."""
    folder, _ = at.served("odd")
    for number, name in enumerate(ODD_NAMES):
        path = bytes(folder) + b"/" + name
        with open(path, "wb") as file:
            file.write(b"this is file %d" % number)
    make(folder / "fold er%" / "deep.txt", b"deep")


def page(at):
    """A page of content that needs the right type: modules, wasm, a font, a worker, many pictures."""
    folder, _ = at.served("page")
    make(folder / "sum.mjs", b"export const sum = (a, b) => a + b;\n")
    make(folder / "main.mjs", b"import { sum } from './sum.mjs';\nwindow.summed = sum(1, 2);\n")
    make(folder / "sum.wasm", WASM)
    make(
        folder / "style.css",
        b"@font-face { font-family: Ours; src: url(font.ttf) } body { font-family: Ours; color: rgb(1, 2, 3) }\n",
    )
    make(folder / "app.webmanifest", b'{ "name": "Page", "start_url": "." }\n')
    make(
        folder / "worker.js",
        b"self.addEventListener('fetch', (e) => { if (e.request.url.endsWith('/made-up')) e.respondWith(new Response('by the worker')); });\n"
        b"self.addEventListener('install', () => self.skipWaiting());\nself.addEventListener('activate', (e) => e.waitUntil(self.clients.claim()));\n",
    )
    pictures = "".join(f'<img src="{number}.svg" alt="">' for number in range(60))
    for number in range(60):
        make(
            folder / f"{number}.svg",
            f'<svg xmlns="http://www.w3.org/2000/svg" width="8" height="8"><path d="M0 0h{number % 8}v8z"/></svg>'.encode(),
        )
    head = '<!doctype html><meta charset="utf-8"><title>Page</title><link rel="icon" href="0.svg"><link rel="stylesheet" href="style.css"><link rel="manifest" href="app.webmanifest">'
    make(folder / "index.html", f'{head}<script type="module" src="main.mjs"></script><p>Text</p>{pictures}'.encode())
    font = next(iter(sorted(Path("/usr/share/fonts").rglob("*.ttf"))), None)
    if font:
        make(folder / "font.ttf", font.read_bytes())
    else:
        make(folder / "style.css", b"body { color: rgb(1, 2, 3) }\n")
    make(
        folder / "film.html",
        b'<!doctype html><title>Film</title><link rel="icon" href="0.svg"><video src="/film.mp4" muted controls></video>',
    )
    return bool(font)


def script(at):
    ffmpeg.film(at)
    odd_names(at)
    www = at.serve("modest", at.project / "www", "-b", "127.0.0.1", "-p", "0")
    given = scripts.given(
        at,
        playwright=str(packages.node_modules() / "playwright-core" / "index.js"),
        chromium=shutil.which("chromium"),
        root=str(at.root),
        www=www.url,
        shots=str(at.shots),
        font=page(at),
        odd=len(ODD_NAMES),
    )
    return ["node", scripts.SCRIPTS / "chromium.mjs", given]
