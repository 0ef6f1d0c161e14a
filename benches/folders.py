"""The folder that the servers serve, with the same bytes on each machine. Used by `compare.py` and `loads.py`."""

import gzip
import random

from rows import FILES, KIB, LARGE

# 64 KiB of HTML that compresses as listings do.
PAGE = "".join(f"<tr><td>name-{n:05}<td>{n * 7919}<td>{n * 2654435761 % 2**32:x}\n" for n in range(2000))[:64 * KIB - 30]


def make_site(www, rows):
    """The files that these rows need."""
    www.mkdir()
    (www / "1k.txt").write_text("x" * 1023 + "\n")
    paths = " ".join(row.path for row in rows)
    if "/large.bin" in paths:
        (www / "large.bin").write_bytes(b"0123456789abcdef" * (LARGE // 16))
    for count in (20, 1000, 10_000, 100_000):
        if f"/names-{count}/" in paths:
            make_files(www / f"names-{count}", count, b"")
    if "/files-1000/" in paths:
        make_files(www / "files-1000", 1000, b"0123456789abcdef" * 256)
    if "/page.html" in paths:
        compressed = www.with_name(f"{www.name}-gz")
        compressed.mkdir()
        for folder in (www, compressed):
            (folder / "page.html").write_text(PAGE)
        (compressed / "page.html.gz").write_bytes(gzip.compress(PAGE.encode(), 6))
    if any(row.many for row in rows):
        make_many(www / "many")


def make_files(folder, count, content):
    folder.mkdir()
    for number in range(count):
        (folder / f"file-{number:06}.txt").write_bytes(content)


def make_many(folder):
    """Sizes from 0.5 to 256 KiB, each power of two as likely as the others."""
    folder.mkdir()
    chance = random.Random(9)
    for number in range(FILES):
        size = int(512 * 2 ** chance.uniform(0, 9))
        (folder / f"{number}.txt").write_bytes((b"%08d " % number * (size // 9 + 1))[:size])
