"""Creates everything that the measured servers need before they start: programs, a certificate, a database, free ports.

Used by `peers.py` and `compare.py`.
"""

import os
import random
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

from configs import APP, SITES

HERE = Path(__file__).resolve().parent.parent
HYPER = HERE / "benches/hyper"
RUST = HERE / "benches/peers-rust"
INSTALLED = HERE / "target/peers"
# The program that a server needs, and its package in Debian.
PACKAGES = {"nginx": "nginx-light", "h2o": "h2o", "lighttpd": "lighttpd", "caddy": "caddy", "redis-server": "redis-server",
            "redis-benchmark": "redis-tools", "wrk": "wrk"}


class Programs:
    """A build of modest: that of this folder, another program `modest`, or a folder with all programs."""

    def __init__(self, other=None):
        other = Path(other) if other else None
        release, rust = HERE / "target/release", RUST / "target/release"
        is_folder = other and other.is_dir()
        self.modest = other / "modest" if is_folder else other or release / "modest"
        self.hello = (other if is_folder else release / "examples") / "hello"
        self.lines = (other if is_folder else release / "examples") / "miniredis"
        self.app = (other if is_folder else rust) / "bench-modest"


def build(names, sites):
    """Builds and installs what the rows with these sites need. Peers in Rust are built without link-time optimization, as fast as that."""
    def cargo(*words, **settings):
        subprocess.run(["cargo", *words], check=True, **settings)

    cargo("build", "--release", "--bins", "--example", "hello", "--example", "miniredis", cwd=HERE)
    wanted = [name for name in names if name not in SITES or set(SITES[name]) & set(sites)]
    if "hyper" in wanted:
        cargo("build", "--quiet", "--release", "--locked", "--target-dir", "target", cwd=HYPER)
    rust = {"axum": "axum", "actix": "actix", "may": "may", "tokio": "tokio", "std": "udp"}
    packages = [rust[name] for name in wanted if name in rust] + ["load"] * bool({"sockets", "events", "datagrams"} & set(sites))
    if {*APP, "page", "sockets", "events", "datagrams"} & set(sites):
        packages.append("modest")
    for package in packages:
        cargo("build", "--release", "--locked", "--target-dir", "target", "-p", f"bench-{package}", cwd=RUST)
    quick = os.environ | {"CARGO_PROFILE_RELEASE_LTO": "off", "CARGO_PROFILE_RELEASE_CODEGEN_UNITS": "16"}
    for name in {"dufs", "miniserve"} & set(wanted):
        if not (INSTALLED / "bin" / name).exists():
            cargo("install", "--locked", "--root", INSTALLED, "--target-dir", INSTALLED / "build", name, env=quick)


def install(programs):
    missing = [PACKAGES[program] for program in programs if not shutil.which(program)]
    if missing:
        subprocess.run(["apt-get", "update", "-qq"], check=True, stdout=subprocess.DEVNULL)
        subprocess.run(["apt-get", "install", "-y", "-qq", *missing], check=True, stdout=subprocess.DEVNULL)


def make_certificate(folder):
    """One certificate for all servers, with a key on P-256."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key,
                    "-out", certificate, "-days", "30", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"],
                   check=True, capture_output=True)
    return certificate, key


def make_database(folder):
    """SQLite with 10,000 rows of a number each."""
    path, chance = folder / "world.db", random.Random(9)
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE world (id INTEGER PRIMARY KEY, number INTEGER NOT NULL)")
    database.executemany("INSERT INTO world VALUES (?, ?)", ((id_, chance.randint(1, 10_000)) for id_ in range(1, 10_001)))
    database.commit()
    database.close()
    return path


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def wait_for(name, process, port, kind):
    """Waits until a connection is accepted, or a datagram is answered."""
    for _ in range(500):
        if process.poll() is not None:
            sys.exit(f"{name} has ended with {process.returncode}")
        try:
            with socket.socket(socket.AF_INET, kind) as client:
                client.settimeout(1)
                client.connect(("127.0.0.1", port))
                if kind == socket.SOCK_DGRAM:
                    client.send(b"ready?")
                    client.recv(100)
            return
        except OSError:
            time.sleep(0.01)
    sys.exit(f"{name} does not listen on port {port}")
