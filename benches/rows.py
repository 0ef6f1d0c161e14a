"""The load of the comparison: the folder that the servers serve, the rows, and one round of load by wrk.

Used by `compare.py`.
"""

import http.client
import random
import re
import resource
import ssl
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

KIB, MIB = 1024, 1024 * 1024
FILES = 1000
LARGE = 100 * MIB


@dataclass
class Row:
    name: str
    what: str
    connections: int
    path: str = "/1k.txt"
    status: int = 200
    site: str = "files"  # the site of a server: `files`, `files` with an access log (`log`) or TLS (`tls`), or `hello`
    unit: str = "request"  # or "MiB"
    headers: dict = field(default_factory=dict)
    tagged: bool = False  # with If-None-Match and the tag that this server has sent
    many: bool = False  # random files of the many ones
    seconds: int = 0  # the minimum time of a round
    optional: bool = False  # only if it is named
    latency: bool = False  # percentiles are reported
    with_client: bool = False  # the CPU time of server and client together is also reported


def small(connections, latency=False):
    return Row(f"file-{connections}", f"1 KiB file, {connections:,} connection{'s' * (connections > 1)}", connections,
               latency=latency)


def hello(connections):
    return Row(f"hello-{connections}", f"`Hello, World!` from memory, {connections:,} connection{'s' * (connections > 1)}",
               connections, path="/", site="hello", optional=True)


def encrypted(name, what, connections, **more):
    return Row(f"tls-{name}", f"TLS: {what}", connections, site="tls", optional=True, **more)


MIDDLE = {"Range": f"bytes={LARGE // 2}-{LARGE // 2 + MIB - 1}"}
ROWS = [
    Row("many", "1,000 files of 0.5 to 256 KiB at random, 64 connections", 64, many=True, latency=True,
        with_client=True),
    Row("large", "100 MiB file, 4 connections, per MiB", 4, path="/large.bin", unit="MiB", seconds=2, with_client=True),
    Row("range", "1 MiB range of it, 16 connections", 16, path="/large.bin", status=206, headers=MIDDLE,
        with_client=True),
    Row("404", "404, 64 connections", 64, path="/nothing", status=404),
    small(1, latency=True),
    small(64, latency=True),
    small(1000, latency=True),
    Row("304", "304, 64 connections", 64, status=304, tagged=True),
    Row("close", "connection per request, 64 at once", 64, headers={"Connection": "close"}),
    Row("log", "1 KiB file, 64 connections, access log to a file", 64, site="log"),
    Row("listing", "listing of 10,000 names, 1 connection", 1, path="/names-10000/", seconds=2),
    Row("listing-100k", "listing of 100,000 names, 1 connection", 1, path="/names-100000/", seconds=6, optional=True),
    small(8),
    small(512),
    *map(hello, [1, 8, 64, 512]),
    encrypted("1", "1 KiB file, 1 connection", 1),
    encrypted("64", "1 KiB file, 64 connections", 64),
    encrypted("large", "100 MiB file, 4 connections, per MiB", 4, path="/large.bin", unit="MiB", seconds=2),
    encrypted("close", "a handshake and a 1 KiB file, 64 at once", 64, headers={"Connection": "close"}),
]
for row in ROWS:
    row.optional |= row.name in ("file-8", "file-512")

# The requests of one thread of wrk. All threads have the list `{paths}`; each has its own seed.
MANY = """
local paths = {{ {paths} }}
local requests, threads = {{}}, 0
function setup(thread) thread:set("number", threads); threads = threads + 1 end
function init(args)
  math.randomseed(9 + number)
  for i, path in ipairs(paths) do requests[i] = wrk.format("GET", path) end
end
function request() return requests[math.random(#requests)] end
"""
DONE = """
function done(summary, latency, requests)
  io.write(string.format("DONE %d %d %d %d %d %d %d\\n", summary.requests, summary.bytes, summary.duration,
    latency:percentile(50), latency:percentile(99), latency:percentile(99.9), summary.errors.status))
end
"""


def make_site(www, rows):
    """The files that these rows need, with the same bytes on each machine."""
    www.mkdir()
    (www / "1k.txt").write_text("x" * 1023 + "\n")
    paths = [row.path for row in rows]
    if "/large.bin" in paths:
        (www / "large.bin").write_bytes(b"0123456789abcdef" * (LARGE // 16))
    for count in (10_000, 100_000):
        if f"/names-{count}/" in paths:
            folder = www / f"names-{count}"
            folder.mkdir()
            for number in range(count):
                (folder / f"file-{number:06}.txt").touch()
    if any(row.many for row in rows):
        make_many(www / "many")


def make_many(folder):
    """Sizes from 0.5 to 256 KiB, each power of two as likely as the others."""
    folder.mkdir()
    chance = random.Random(9)
    for number in range(FILES):
        size = int(512 * 2 ** chance.uniform(0, 9))
        (folder / f"{number}.txt").write_bytes((b"%08d " % number * (size // 9 + 1))[:size])


def script(folder, row):
    """The file for `wrk -s`."""
    paths = ", ".join(f'"/many/{number}.txt"' for number in range(FILES))
    path = folder / f"{row.name}.lua"
    path.write_text((MANY.format(paths=paths) if row.many else "") + DONE)
    return path


def headers_for(row, port):
    """The header fields of this row's requests to this server, tried once: the response must be the one to compare."""
    headers = dict(row.headers)
    if row.tagged:
        _, tag, _ = ask(port, row, headers)
        headers["If-None-Match"] = tag or "none was sent"
    status, _, length = ask(port, row, headers)
    if status != row.status:
        raise ValueError(f"port {port} answers {row.name} with {status}, not {row.status}")
    if row.status == 206 and length != MIB:
        raise ValueError(f"port {port} sends {length} bytes for a range of 1 MiB")
    return headers


def ask(port, row, headers):
    if row.site == "tls":
        anybody = ssl._create_unverified_context()  # its certificate was made for this
        connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=60, context=anybody)
    else:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", "/many/0.txt" if row.many else row.path, headers=headers)
    response = connection.getresponse()
    length = len(response.read())
    connection.close()
    return response.status, response.headers.get("ETag"), length


@dataclass
class Round:
    """The result of one round of load, all times in µs. `cpu`: of the server, per request or MiB; `client`: of wrk."""

    cpu: float
    client: float
    switches: float
    rate: float
    p50: float
    p99: float
    p999: float


def children_time():
    """CPU time, in µs, of the programs that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (used.ru_utime + used.ru_stime) * 1e6


def load(row, lua, port, headers, spent, seconds):
    """One round. `spent` returns the CPU time in µs and the context switches of the server so far."""
    threads = "1" if row.connections == 1 else "2"
    fields = [word for name, value in headers.items() for word in ("-H", f"{name}: {value}")]
    command = ["wrk", "-t", threads, "-c", str(row.connections), "-d", f"{max(seconds, row.seconds)}s", "--timeout", "10s",
               "-s", lua, *fields, f"http{'s' * (row.site == 'tls')}://127.0.0.1:{port}{row.path}"]
    before, children = spent(), children_time()
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    after = spent()
    if trouble := re.search(r"Socket errors.*", out):
        print(f"  {row.name}, port {port}: {trouble.group(0)}", flush=True)
    found = re.search(r"^DONE (.*)$", out, re.MULTILINE)
    requests, size, duration, p50, p99, p999, refused = map(int, found.group(1).split())
    if row.status < 400 and refused:
        print(f"  {row.name}, port {port}: {refused} answers were errors", flush=True)
    count = size / MIB if row.unit == "MiB" else requests
    client = children_time() - children
    return Round((after[0] - before[0]) / count, client / count, (after[1] - before[1]) / count, count / duration * 1e6, p50, p99, p999)
