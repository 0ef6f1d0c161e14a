#!/usr/bin/env python3
"""Compare modest with nginx on this machine: CPU time and context switches a request, side by side.

    benches/compare.py [--rounds 5] [--seconds 2] [--connections 1,8,64,512] [--only NAME,NAME] [--busy N]

Starts the example `hello` and the program `modest`, and an nginx with `return 200`, with a 1 KiB file, and with that
file, `open_file_cache` and sendfile off. They take turns under the same load (wrk), round by round, so that a noisy
machine is noisy for all; `--busy` makes it noisy, by so many loops that do nothing else. Medians are printed, and the ratio to nginx's counterpart. CPU time is user and system time
of all threads, read from /proc before and after, over the requests that were answered.

Needs cargo; installs nginx and wrk from Debian where they are missing. Loads go to loopback only.
"""

import argparse
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
# name: (path of the request, the server it belongs to, what it is compared with)
CASES = {
    "nginx-200": ("/", "nginx-200", None),
    "hello": ("/", "hello", "nginx-200"),
    "nginx-file": ("/1k.txt", "nginx-file", None),
    "nginx-cached": ("/1k.txt", "nginx-cached", None),
    "modest-file": ("/1k.txt", "modest", "nginx-file"),
}
NGINX = """
worker_processes auto; daemon off; pid {folder}/nginx.pid; error_log stderr crit;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 1000000000; default_type text/plain;
  client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
  uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
  server {{ listen 127.0.0.1:{port0}; location / {{ return 200 "Hello, World!"; }} }}
  server {{ listen 127.0.0.1:{port1}; root {folder}/www; sendfile on; }}
  server {{ listen 127.0.0.1:{port2}; root {folder}/www; sendfile off; open_file_cache max=1000; }}
}}
"""


def main():
    args = arguments()
    install({"nginx": "nginx-light", "wrk": "wrk"})
    subprocess.run(["cargo", "build", "--release", "--bins", "--example", "hello"], cwd=HERE, check=True)
    with tempfile.TemporaryDirectory(prefix="modest-bench-") as folder:
        folder = Path(folder)
        os.chmod(folder, 0o755)  # nginx's workers are somebody else
        (folder / "www").mkdir()
        (folder / "www/1k.txt").write_text("x" * 1023 + "\n")
        servers = Servers(folder)
        loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(args.busy)]
        try:
            compare(args, servers)
        finally:
            for loop in loops:
                loop.kill()
            servers.stop()


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=2, help="of load a round and server")
    parser.add_argument("--connections", default="1,8,64,512")
    parser.add_argument("--only", default=",".join(CASES), help="which of " + ", ".join(CASES))
    parser.add_argument("--busy", type=int, default=0, help="processes that only take CPU time meanwhile")
    return parser.parse_args()


def install(programs):
    missing = [package for program, package in programs.items() if not shutil.which(program)]
    if missing:
        subprocess.run(["apt-get", "update", "-qq"], check=True, stdout=subprocess.DEVNULL)
        subprocess.run(["apt-get", "install", "-y", "-qq", *missing], check=True, stdout=subprocess.DEVNULL)


class Servers:
    """The servers under test: what they listen on, and their processes."""

    def __init__(self, folder):
        self.started = []
        self.ports = {}
        self.roots = {}
        self.start_modest("hello", [HERE / "target/release/examples/hello", "127.0.0.1:0"])
        self.start_modest("modest", [HERE / "target/release/modest", folder / "www", "-p", "0", "--quiet"])
        self.start_nginx(folder)

    def start_modest(self, name, command):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.started.append(process)
        self.ports[name] = int(re.search(r"http://[^/]*:(\d+)/", process.stdout.readline()).group(1))
        self.roots[name] = process.pid

    def start_nginx(self, folder):
        ports = free_ports(3)
        conf = folder / "nginx.conf"
        conf.write_text(NGINX.format(folder=folder, port0=ports[0], port1=ports[1], port2=ports[2]))
        process = subprocess.Popen(["nginx", "-p", str(folder), "-c", str(conf)], stderr=subprocess.DEVNULL)
        self.started.append(process)
        for name, port in zip(("nginx-200", "nginx-file", "nginx-cached"), ports):
            wait_for(port)
            self.ports[name], self.roots[name] = port, process.pid

    def processes(self, name):
        """All that serve under this name: the process, or its children where it only watches them."""
        root = self.roots[name]
        children = Path(f"/proc/{root}/task/{root}/children").read_text().split()
        return [int(child) for child in children] or [root]

    def stop(self):
        for process in self.started:
            process.terminate()
        for process in self.started:
            process.wait()


def free_ports(count):
    import socket

    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def wait_for(port):
    import socket

    for _ in range(500):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            time.sleep(0.01)
    sys.exit(f"nothing listens on port {port}")


def spent(processes):
    """CPU time in µs and context switches of these processes so far."""
    cpu = switches = 0
    for process in processes:
        for task in Path(f"/proc/{process}/task").iterdir():
            cpu += int((task / "schedstat").read_text().split()[0]) / 1000
            for line in (task / "status").read_text().splitlines():
                if "ctxt_switches" in line:
                    switches += int(line.split()[1])
    return cpu, switches


def load(servers, name, connections, seconds):
    """One round: CPU µs and switches a request, requests a second, p99 as wrk prints it."""
    path, server, _ = CASES[name]
    processes = servers.processes(server)
    threads = "1" if connections == 1 else "2"
    url = f"http://127.0.0.1:{servers.ports[server]}{path}"
    command = ["wrk", "-t", threads, "-c", str(connections), "-d", f"{seconds}s", "--latency", url]
    before = spent(processes)
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    after = spent(processes)
    if trouble := re.search(r"Non-2xx.*|Socket errors.*", out):
        print(f"  {name}: {trouble.group(0)}")
    requests = int(re.search(r"(\d+) requests in", out).group(1))
    p99 = re.search(r"99%\s+(\S+)", out).group(1)
    return (after[0] - before[0]) / requests, (after[1] - before[1]) / requests, requests / seconds, p99


def compare(args, servers):
    names = [name for name in CASES if name in args.only.split(",")]
    print(f"{args.rounds} rounds of {args.seconds} s each, medians; CPU µs and context switches a request")
    for connections in map(int, args.connections.split(",")):
        rounds = {name: [] for name in names}
        for turn in range(args.rounds):
            for name in names if turn % 2 == 0 else reversed(names):
                rounds[name].append(load(servers, name, connections, args.seconds))
        print(f"\n{connections} connections")
        medians = {name: [statistics.median(row[i] for row in rows) for i in range(3)] for name, rows in rounds.items()}
        for name, (cpu, switches, rate) in medians.items():
            p99 = sorted(rounds[name], key=lambda row: row[2])[len(rounds[name]) // 2][3]
            peer = CASES[name][2]
            # Of each round its own ratio, then the median: what disturbed one disturbed its neighbour.
            ratio = ""
            if peer in rounds:
                pairs = zip(rounds[name], rounds[peer])
                ratio = f"  {statistics.median(a[0] / b[0] for a, b in pairs):.2f} x {peer}"
            print(f"  {name:13} {cpu:6.2f} µs  {switches:6.3f} switches  {rate:8.0f}/s  p99 {p99}{ratio}", flush=True)


if __name__ == "__main__":
    main()
