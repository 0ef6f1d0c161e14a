"""cargo, from a sparse registry: an index of small files with tags, and packages beside it."""

import json
import tarfile

from kit.bench import DAY, digest, make
from kit.checks import same
from kit.commands import plain_environment

NAME = "cargo"
DEBIAN = {"cargo": "cargo"}


def version(at):
    return at.run(["cargo", "--version"]).text.split()[1]


def publish(at, *numbers):
    """A registry with these versions of one package."""
    folder = at.root / "registry"
    make(
        folder / "config.json",
        json.dumps({"dl": f"{at.site.url}/registry/crates/{{crate}}-{{version}}.crate"}).encode(),
    )
    lines = []
    for number in numbers:
        packed = folder / "crates" / f"modest-sample-{number}.crate"
        if not packed.exists():
            source = at.folder(f"cargo-source-{number}") / f"modest-sample-{number}"
            make(
                source / "Cargo.toml",
                f'[package]\nname = "modest-sample"\nversion = "{number}"\nedition = "2021"\n'.encode(),
            )
            make(source / "src/lib.rs", b"")
            packed.parent.mkdir(exist_ok=True)
            with tarfile.open(packed, "w:gz") as tar:
                tar.add(source, arcname=source.name)
        entry = {
            "name": "modest-sample",
            "vers": number,
            "deps": [],
            "cksum": digest(packed),
            "features": {},
            "yanked": False,
        }
        lines.append(json.dumps(entry))
    make(folder / "mo/de/modest-sample", ("\n".join(lines) + "\n").encode(), age=DAY - len(numbers))
    at.settle("/registry/mo/de/modest-sample")


def check_sparse_registry(at):
    """fetch: the index and a package; 304 without a change; a new version is found"""
    publish(at, "1.0.0")
    home, work = at.folder("cargo-home"), at.folder("cargo-work")
    make(home / "config.toml", f'[registries.ours]\nindex = "sparse+{at.site.url}/registry/"\n'.encode())
    make(
        work / "Cargo.toml",
        b'[package]\nname = "work"\nversion = "0.1.0"\nedition = "2021"\n[dependencies]\nmodest-sample = { version = "1", registry = "ours" }\n',
    )
    make(work / "src/lib.rs", b"")
    environment = plain_environment(CARGO_HOME=str(home))

    def cargo(*words):
        mark = at.site.mark()
        at.run(["cargo", *words], cwd=work, env=environment).good()
        return at.site.logged(mark, "/registry/mo/de/modest-sample")

    cargo("fetch")
    got = next(home.rglob("modest-sample-1.0.0.crate"))
    same(digest(got), digest(at.root / "registry/crates/modest-sample-1.0.0.crate"), "the package")
    again = cargo("update")
    assert any('modest-sample HTTP/1.1" 304' in line or 'modest-sample HTTP/2" 304' in line for line in again), again
    publish(at, "1.0.0", "1.1.0")
    cargo("update")
    assert 'version = "1.1.0"' in (work / "Cargo.lock").read_text()
