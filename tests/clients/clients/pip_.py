"""pip, with a simple index that consists only of folders and their listings."""

import sys
import zipfile

from kit.bench import digest, new
from kit.checks import same

NAME = "pip"


def version(at):
    return at.run([sys.executable, "-m", "pip", "--version"]).text.split()[1]


def wheel(folder, number):
    """A wheel of a package that contains only its version."""
    info = f"modest_sample-{number}.dist-info"
    path = folder / f"modest_sample-{number}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr("modest_sample.py", f"version = {number!r}\n")
        packed.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: modest-sample\nVersion: {number}\n")
        packed.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: by-hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        packed.writestr(f"{info}/RECORD", f"modest_sample.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")
    return path


def pip(at, *words):
    index = ["--index-url", f"{at.site.url}/simple/", "--no-cache-dir", "--disable-pip-version-check", "--retries", "0", *at.trusting("--cert", "")]
    return at.run([sys.executable, "-m", "pip", "--isolated", *words, *index], within=60).good()


def check_download(at):
    """download: the newest of two wheels in a listing, with equal bytes"""
    folder = new(at.root / "simple" / "modest-sample")
    wheel(folder, "1.0")
    newest = wheel(folder, "1.1")
    got = at.folder("pip-download")
    pip(at, "download", "-q", "-d", got, "modest-sample")
    same({path.name: digest(path) for path in got.iterdir()}, {newest.name: digest(newest)}, "what came")


def check_install(at):
    """install of one version into a folder, and it runs"""
    target = at.folder("pip-install")
    pip(at, "install", "-q", "--target", target, "modest-sample==1.0")
    said = at.run([sys.executable, "-c", "import modest_sample; print(modest_sample.version)"], cwd=target).good().text
    same(said, "1.0\n", "the version")
