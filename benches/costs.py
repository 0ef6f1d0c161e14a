#!/usr/bin/env python3
"""The costs besides CPU time: memory per idle connection, time to the first response, sizes of programs, and time to build.

    benches/costs.py [--cached] [memory] [start] [size] [build]

All of them by default, which takes about ten minutes, most of it for builds. `--cached`: the program is built. It prints a table. Memory is `RssAnon` of all processes of a
server, which does not include buffers of the kernel: the difference after so many clients have had one response each and stay connected, divided by their number.

Needs cargo; installs nginx and Caddy from Debian where they are missing.
"""

import os
import re
import resource
import shutil
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from builds import HERE, INSTALLED, Programs, build, install, make_certificate
from peers import Server, Servers

CLIENTS = 4000
STARTS = 31


def main():
    chosen = [word for word in sys.argv[1:] if word != "--cached"] or list(COSTS)
    if unknown := set(chosen) - set(COSTS):
        sys.exit(f"no such cost: {', '.join(unknown)}; there are {', '.join(COSTS)}")
    install(["nginx", "caddy"])
    if "--cached" not in sys.argv:
        build(["modest", "nginx", "caddy"], ["files"])
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    print("| cost | modest | beside |\n| --- | --- | --- |")
    with tempfile.TemporaryDirectory(prefix="modest-costs-") as folder:
        folder = Path(folder)
        folder.chmod(0o777)
        www = folder / "www"
        www.mkdir()
        (www / "1k.txt").write_text("x" * 1023 + "\n")
        for name in chosen:
            for what, own, beside in COSTS[name](folder, www):
                print(f"| {what} | {own} | {beside} |", flush=True)


def memory(folder, www):
    servers = Servers(folder, www, ["modest", "nginx"], {}, ["files", "tls"], True)
    try:
        for site, what in (("files", "memory per idle connection"), ("tls", "memory per idle connection with TLS")):
            own, nginx = (f"{memory_per_client(server, site) / 1024:.2f} KiB" for server in servers.all)
            yield f"{what}, of {CLIENTS:,}", own, f"nginx {nginx}"
    finally:
        servers.stop()


def memory_per_client(server, site):
    clients = [connected(server.ports[site], site) for _ in range(100)]  # what is allocated once
    before = anonymous(server, site)
    clients += [connected(server.ports[site], site) for _ in range(CLIENTS)]
    grown = anonymous(server, site) - before
    for client in clients:
        client.close()
    return grown / CLIENTS


def connected(port, site):
    client = socket.create_connection(("127.0.0.1", port), timeout=10)
    if site == "tls":
        client = CONTEXT.wrap_socket(client, server_hostname="localhost")
    ask(client)
    return client


CONTEXT = ssl._create_unverified_context()


def ask(client):
    client.sendall(b"GET /1k.txt HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    response = b""
    while not response.endswith(b"x\n"):
        part = client.recv(65536)
        if not part:
            sys.exit(f"a response was cut: {response[:100]}")
        response += part


def anonymous(server, site):
    texts = (Path(f"/proc/{process}/status").read_text() for process in server.processes(site))
    return 1024 * sum(int(re.search(r"RssAnon:\s*(\d+)", text).group(1)) for text in texts)


def start(folder, www):
    """From the start of the process to the end of the first response."""
    times = {"modest": [], "nginx": [], "caddy": []}
    certificate = make_certificate(folder)
    for turn in range(STARTS):
        for name, found in times.items():
            inner = folder / f"start-{name}-{turn}"
            inner.mkdir()
            inner.chmod(0o777)
            found.append(first_response(inner, www, name, certificate))
    own, *others = (f"{name} {statistics.median(found) * 1000:.1f} ms" for name, found in times.items())
    yield f"start to first response, median of {STARTS}", own.split(" ", 1)[1], ", ".join(others)


class Started(Servers):
    """One server, which gets a request as soon as it accepts."""

    def __init__(self, folder, www, name, certificate):
        self.folder, self.www, self.sites, self.own_session = folder, www, ["files", "listing"], True
        self.certificate, self.key = certificate
        self.database, self.backend, self.started, self.took = "", 0, [], 0
        self.server = Server(name)

    def listens(self, server, process, ports):
        port, until = ports.get("files", ports.get("listing")), time.monotonic() + 10
        while time.monotonic() < until:
            try:
                with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
                    ask(client)
                    self.took = time.perf_counter() - self.began
                    return
            except ConnectionRefusedError:
                time.sleep(0.0001)
        sys.exit(f"{server.name} does not listen")

    def start(self, command, **settings):
        self.began = time.perf_counter()
        return super().start(command, **settings)


def first_response(folder, www, name, certificate):
    servers = Started(folder, www, name, certificate)
    try:
        servers.start_modest(servers.server, Programs()) if name == "modest" else servers.start_peer(servers.server)
        return servers.took
    finally:
        servers.stop()


def size(folder, www):
    """Of the program in the profile `dist`, which `packaging/` uses."""
    target = INSTALLED / "dist"
    for what, words in (("with TLS, as by default", []), ("without default features", ["--no-default-features"])):
        run(["cargo", "build", "--quiet", "--locked", "--profile", "dist", "-p", "modest-cli", "--target-dir", target, *words], HERE)
        yield f"program, profile `dist`, {what}", megabytes(target / "dist/modest"), ""
    nginx, caddy = (megabytes(shutil.which(name)) for name in ("nginx", "caddy"))
    yield "the same, beside others of Debian", "", f"nginx {nginx} with libraries of its own, Caddy {caddy}"


def megabytes(path):
    return f"{os.path.getsize(path) / 1e6:.1f} MB"


HELLO = """
[package]
name = "hello"
edition = "2024"
[dependencies]
modest = {{ path = "{here}"{features} }}
[workspace]
"""


def build_hello(folder, www):
    """README's first program in an empty folder. Crates are downloaded before."""
    crate = folder / "hello"
    (crate / "src").mkdir(parents=True)
    shutil.copy(HERE / "examples/hello.rs", crate / "src/main.rs")
    for features, name in (("", "default features"), (", default-features = false", "no features")):
        (crate / "Cargo.toml").write_text(HELLO.format(here=HERE, features=features))
        run(["cargo", "fetch", "--quiet"], crate)
        for profile in ([], ["--release"]):
            shutil.rmtree(crate / "target", ignore_errors=True)
            began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
            run(["cargo", "build", "--quiet", *profile], crate)
            took, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
            cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            crates = (crate / "Cargo.lock").read_text().count("[[package]]") - 1
            yield f"clean build of hello, {' '.join(profile) or 'debug'}, {name}", f"{took:.0f} s, {cpu:.0f} s of CPU time", f"up to {crates} crates in its lock file"


def run(command, folder):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CARGO_") or name == "CARGO_HOME"}
    subprocess.run(list(map(str, command)), cwd=folder, check=True, env=environment)


COSTS = {"memory": memory, "start": start, "size": size, "build": build_hello}

if __name__ == "__main__":
    main()
