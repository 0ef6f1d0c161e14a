"""One round of load, by wrk, redis-benchmark, `peers-rust/load` or a client of our own; and the check of a response before a round.

Used by `compare.py`.
"""

import gzip
import http.client
import itertools
import re
import resource
import socket
import ssl
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass

from builds import RUST
from folders import PAGE
from rows import FILES, MIB

# Requests of one thread of wrk at random. Each thread has its own seed.
MANY = """
function init(args)
  math.randomseed(9 + number)
  for i = 0, {files} - 1 do requests[i + 1] = wrk.format("GET", "/many/" .. i .. ".txt") end
end
function request() return requests[math.random(#requests)] end
"""
# Requests in turn: `{{n}}` in a path is the number of one of 50 names of this thread.
TURNS = """
function init(args)
  local file = io.open("{body}", "rb")
  local body = file:read("*a")
  file:close()
  if #body == 0 then body = nil end
  for i = 1, {names} do
    local path = string.gsub("{path}", "{{n}}", number .. "-" .. i)
    requests[i] = string.rep(wrk.format("{method}", path, nil, body), {pipeline})
  end
end
local turn = 0
function request()
  turn = turn % #requests + 1
  return requests[turn]
end
"""
SETUP = """
local requests, threads = {}, 0
function setup(thread) thread:set("number", threads); threads = threads + 1 end
"""
DONE = """
function done(summary, latency, requests)
  io.write(string.format("DONE %d %d %d %d %d %d %d\\n", summary.requests, summary.bytes, summary.duration,
    latency:percentile(50), latency:percentile(99), latency:percentile(99.9), summary.errors.status))
end
"""


@dataclass
class Round:
    """The result of one round of load, all times in µs. `cpu`: of the server, per request or MiB; `client`: of the load."""

    cpu: float
    client: float
    switches: float
    rate: float
    p50: float
    p99: float
    p999: float


class Target:
    """One server in one row: where its requests go, and what it has spent so far. Made once; a wrong response ends the comparison."""

    def __init__(self, row, server, folder, www):
        self.row, self.server, self.www = row, server, www
        self.port = server.ports[row.site]
        self.path = row.paths.get(server.name, row.path)
        self.headers = dict(row.headers)
        self.lua = folder / f"{row.name}-{server.name}.lua"
        self.lua.write_text(self.script(folder))
        if row.load in ("wrk", "changed", "handshakes", "resumed"):
            self.check()

    def script(self, folder):
        row = self.row
        if row.many:
            return SETUP + MANY.format(files=FILES) + DONE
        if row.method == "GET" and row.pipeline == 1:
            return DONE
        body = folder / f"{row.name}.body"
        body.write_bytes(row.body)
        names = 1 if "{n}" not in self.path else 50 if len(row.body) < MIB else 4  # each is a copy of the body
        return SETUP + TURNS.format(body=body, path=self.path, method=row.method, pipeline=row.pipeline, names=names) + DONE

    def check(self):
        """Tries the request: the response must be the one to compare."""
        row = self.row
        if row.tagged:
            self.headers["If-None-Match"] = self.ask()[1] or "none was sent"
        status, _, body = self.ask()
        if status not in {201: (200, 201, 204), 303: (200, 303)}.get(row.status, (row.status,)):
            sys.exit(f"{self.server.name} answers {row.name} with {status}, not {row.status}: {body[:200]}")
        if not row.check(body):
            sys.exit(f"{self.server.name} answers {row.name} with {len(body)} bytes: {body[:200]}")

    def ask(self):
        anybody = ssl._create_unverified_context()  # the certificate was made for this
        secure = {"context": anybody} if self.row.site == "tls" else {}
        connection = (http.client.HTTPSConnection if secure else http.client.HTTPConnection)("127.0.0.1", self.port, timeout=60, **secure)
        path = "/many/0.txt" if self.row.many else self.path.replace("{n}", "0-1")
        connection.request(self.row.method, path, body=self.row.body or None, headers=self.headers)
        response = connection.getresponse()
        body = response.read()
        connection.close()
        return response.status, response.headers.get("ETag"), body

    def spent(self):
        return self.server.spent(self.row.site)

    def load(self, seconds):
        return LOADS[self.row.load](self, max(seconds, self.row.seconds))

    def round(self, before, children, after, count, duration, p50=0, p99=0, p999=0):
        client = children_time() - children
        return Round((after[0] - before[0]) / count, client / count, (after[1] - before[1]) / count, count / duration * 1e6, p50, p99, p999)


def children_time():
    """CPU time, in µs, of the programs that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (used.ru_utime + used.ru_stime) * 1e6


def wrk(target, seconds):
    row = target.row
    fields = [word for name, value in target.headers.items() for word in ("-H", f"{name}: {value}")]
    command = ["wrk", "-t", "1" if row.connections == 1 else "2", "-c", str(row.connections), "-d", f"{seconds}s", "--timeout", "10s",
               "-s", target.lua, *fields, f"http{'s' * (row.site == 'tls')}://127.0.0.1:{target.port}{target.path}"]
    before, children = target.spent(), children_time()
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    after = target.spent()
    name = f"{row.name}, {target.server.name}"
    if trouble := re.search(r"Socket errors.*", out):
        print(f"  {name}: {trouble.group(0)}", flush=True)
    requests, size, duration, p50, p99, p999, refused = map(int, re.search(r"^DONE (.*)$", out, re.MULTILINE).group(1).split())
    if not requests or row.status < 400 and refused:
        raise Refused(f"{name}: {refused} of {requests} responses were errors")
    count = size / MIB if row.unit == "MiB" else requests
    return target.round(before, children, after, count, duration, p50, p99, p999)


class Refused(Exception):
    """A server can't serve a row."""


def from_load(target, seconds):
    """`peers-rust/load`. Connecting its clients is not measured."""
    row = target.row
    kind = {"sockets": "ws", "events": "events", "datagrams": "udp"}[row.site]
    command = [RUST / "target/release/bench-load", row.load, kind, f"127.0.0.1:{target.port}", str(row.connections), str(seconds)]
    children = children_time()
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as load:
        if load.stdout.readline() != "READY\n":
            sys.exit(f"{row.name}, {target.server.name}: no clients")
        time.sleep(0.2)  # until the server is done with the new clients
        before = target.spent()
        print(file=load.stdin, flush=True)
        done = load.stdout.readline().split()
        after = target.spent()
        print(file=load.stdin, flush=True)
    if not done:
        sys.exit(f"{row.name}, {target.server.name}: the load has ended")
    count, duration, *times = map(int, done[1:])
    return target.round(before, children, after, count, duration, *times)


def redis(target, seconds):
    """redis-benchmark ends after a number of requests, which here is chosen for about this time."""
    row = target.row
    count = 60_000 * seconds * (8 if row.pipeline > 1 else 1)
    command = ["redis-benchmark", "-h", "127.0.0.1", "-p", str(target.port), "-c", str(row.connections), "-n", str(count),
               "-P", str(row.pipeline), "-t", "ping_mbulk", "--csv"]
    before, children, began = target.spent(), children_time(), time.monotonic()
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    duration, after = time.monotonic() - began, target.spent()
    if not (values := re.search(r'^"PING_MBULK",(.*)$', out, re.MULTILINE)):
        sys.exit(f"{row.name}, {target.server.name}: {out}")
    _, _, _, p50, _, p99, most = (float(value.strip('"')) * 1000 for value in values.group(1).split(","))
    return target.round(before, children, after, count, duration * 1e6, p50, p99, most)


def own_client(target, seconds, request):
    """`request` makes one after the other, in this process."""
    times, deadline = [], time.monotonic() + seconds
    request()
    before, own = target.spent(), time.process_time()
    while time.monotonic() < deadline:
        began = time.perf_counter()
        request()
        times.append((time.perf_counter() - began) * 1e6)
    after, own = target.spent(), time.process_time() - own
    parts = statistics.quantiles(times, n=1000)
    made = target.round(before, 0, after, len(times), sum(times), parts[499], parts[989], parts[998])
    made.client = own * 1e6 / len(times)
    return made


def handshakes(target, seconds):
    """A connection for each request. With the load `resumed` each resumes the session of the one before."""
    context, session = ssl._create_unverified_context(), None
    request = f"GET {target.path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()

    def connect():
        nonlocal session
        resumed = session if target.row.load == "resumed" else None
        plain = socket.create_connection(("127.0.0.1", target.port), timeout=10)
        with context.wrap_socket(plain, session=resumed, server_hostname="localhost") as encrypted:
            encrypted.sendall(request)
            response = b"".join(iter(lambda: encrypted.recv(65536), b""))
            if not response.endswith(b"x" * 1023 + b"\n") or resumed and not encrypted.session_reused:
                sys.exit(f"{target.row.name}, {target.server.name}: not resumed, or a wrong response: {response[:100]}")
            session = encrypted.session
    return own_client(target, seconds, connect)


def changed(target, seconds):
    """The file is replaced before each request, so that nothing about it can be cached."""
    connection, count = http.client.HTTPConnection("127.0.0.1", target.port, timeout=10), itertools.count()
    page, made = target.www / "page.html", target.www / ".page.html"

    def request():
        text = f"<!-- {next(count):09} -->" + PAGE
        made.write_text(text)
        made.rename(page)
        connection.request("GET", target.path, headers=target.headers)
        body = connection.getresponse().read()
        if gzip.decompress(body) != text.encode():
            sys.exit(f"{target.row.name}, {target.server.name}: an old or a wrong page")
    return own_client(target, seconds, request)


LOADS = {"wrk": wrk, "echo": from_load, "all": from_load, "redis": redis, "handshakes": handshakes, "resumed": handshakes,
         "changed": changed}
