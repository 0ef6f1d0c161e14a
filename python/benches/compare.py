#!/usr/bin/env python3
"""Microseconds of CPU per request, of modest-wsgi and its peers: the median of interleaved rounds.

    pip install gunicorn waitress granian flask; apt-get install wrk
    python benches/compare.py [--rounds 3] [--seconds 3] [--only modest,granian] [--kind bare,post,flask]

Load goes to loopback. Each server has 4 threads and 1 process, in a separate session.
"""

import argparse
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
APPS = {"bare": "hello:app", "post": "hello:post", "flask": "hello:flask()"}
PEERS = {
    "modest": lambda app, port: [sys.executable, "-m", "modest.wsgi", "-q", "-p", port, "--threads", "4", app],
    "gunicorn": lambda app, port: ["gunicorn", "-k", "gthread", "--threads", "4", "-w", "1", "--log-level", "error", "-b", f"127.0.0.1:{port}", app],
    "waitress": lambda app, port: ["waitress-serve", "--threads=4", f"--listen=127.0.0.1:{port}",
                                   *(["--call", app.removesuffix("()")] if app.endswith("()") else [app])],
    "granian": lambda app, port: ["granian", "--interface", "wsgi", "--blocking-threads", "4", "--workers", "1", "--no-access-log", "--log-level",
                                  "error", "--port", port, *(["--factory", app.removesuffix("()")] if app.endswith("()") else [app])],
}


def ticks(session):
    """CPU time of all processes of a session, in seconds."""
    total = 0
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/stat") as file:
                fields = file.read().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session:
            total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return str(found.getsockname()[1])


def measure(peer, kind, connections, seconds, script):
    port = free_port()
    server = subprocess.Popen(PEERS[peer](APPS[kind], port), cwd=HERE, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(200):
            try:
                socket.create_connection(("127.0.0.1", int(port))).close()
                break
            except OSError:
                time.sleep(0.05)
        load = ["wrk", "-t1", f"-c{connections}", *(["-s", script] if kind == "post" else []), f"http://127.0.0.1:{port}/"]
        subprocess.run([*load, "-d1s"], capture_output=True)
        before = ticks(server.pid)
        out = subprocess.run([*load, f"-d{seconds}s", "--latency"], capture_output=True, text=True).stdout
        used = ticks(server.pid) - before
        count = int(re.search(r"(\d+) requests in", out).group(1))
        rate = float(re.search(r"Requests/sec:\s+([\d.]+)", out).group(1))
        if "Non-2xx" in out or count == 0:
            raise SystemExit(f"{peer} {kind} {connections}: {out}")
        return used / count * 1e6, rate
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(15)


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--seconds", type=int, default=3)
    options.add_argument("--only", default=",".join(PEERS))
    options.add_argument("--kind", default=",".join(APPS))
    options.add_argument("--connections", default="1,16,64")
    options = options.parse_args()
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write('wrk.method = "POST"\nwrk.body = string.rep("x", 1024)\n')
        script.flush()
        for kind in options.kind.split(","):
            for connections in map(int, options.connections.split(",")):
                found = {peer: [] for peer in options.only.split(",")}
                for _ in range(options.rounds):
                    for peer in found:
                        found[peer].append(measure(peer, kind, connections, options.seconds, script.name))
                for peer, results in found.items():
                    cpu = statistics.median(cpu for cpu, _ in results)
                    rate = statistics.median(rate for _, rate in results)
                    print(f"{kind:6} {connections:3} connections  {peer:9} {cpu:7.1f} µs  {rate:8.0f}/s", flush=True)


if __name__ == "__main__":
    main()
