"""The rows of the comparison: the request, the site of the servers that gets it, and the correct response.

Used by `compare.py`.
"""

import gzip
import io
import json
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field

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
    site: str = "files"  # see `SITES` in configs.py, or `log`: with an access log
    table: str = "files"  # that the row is in: `files` or `programs`
    unit: str = "request"  # or "MiB"
    method: str = "GET"
    body: bytes = b""
    headers: dict = field(default_factory=dict)
    paths: dict = field(default_factory=dict)  # of servers with another path
    without: tuple = ()  # servers that can't do it, or not within a round
    check: Callable[[bytes], bool] = lambda body: True  # whether the body of a response is right
    load: str = "wrk"  # see `LOADS` in loads.py
    pipeline: int = 1  # requests that wrk sends at once
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


MIDDLE = {"Range": f"bytes={LARGE // 2}-{LARGE // 2 + MIB - 1}"}
FILE_ROWS = [
    Row("many", "1,000 files of 0.5 to 256 KiB at random, 64 connections", 64, many=True, latency=True,
        with_client=True),
    Row("large", "100 MiB file, 4 connections, per MiB", 4, path="/large.bin", unit="MiB", seconds=2, with_client=True),
    Row("range", "1 MiB range of it, 16 connections", 16, path="/large.bin", status=206, headers=MIDDLE,
        with_client=True, check=lambda body: len(body) == MIB),
    Row("404", "404, 64 connections", 64, path="/nothing", status=404),
    small(1, latency=True),
    small(64, latency=True),
    small(1000, latency=True),
    Row("304", "304, 64 connections", 64, status=304, tagged=True),
    Row("close", "connection per request, 64 at once", 64, headers={"Connection": "close"}),
    Row("log", "1 KiB file, 64 connections, access log to a file", 64, site="log"),
    Row("listing", "listing of 10,000 names, 1 connection", 1, path="/names-10000/", seconds=2),
    small(8),
    small(512),
    *map(hello, [1, 8, 64, 512]),
]
for row in FILE_ROWS:
    row.optional |= row.name in ("file-8", "file-512")


def programs(name, what, connections, path, **more):
    return Row(name, what, connections, path=path, table="programs", **more)


def is_hello(body):
    return body == b"Hello, World!"


ORDER = {"id": 4711, "customer": "Ada Lovelace", "lines": [
    {"name": f"part number {number}", "count": number, "cents": 250 * number} for number in range(1, 11)]}
BILL = {"id": 4711, "customer": "Ada Lovelace", "total": sum(250 * n * n for n in range(1, 11)),
        "names": [f"part number {number}" for number in range(1, 11)]}
AS_JSON = {"Content-Type": "application/json"}


def is_world(world):
    return set(world) == {"id", "randomNumber"}


HANDLER_ROWS = [
    programs("json-order", "an order in JSON of 600 bytes, its bill in JSON, 64 connections", 64, "/order", site="app", method="POST",
             body=json.dumps(ORDER).encode(), headers=AS_JSON, check=lambda body: json.loads(body) == BILL),
    programs("te-plaintext", "`Hello, World!`, 64 connections, 16 requests at once", 64, "/plaintext", site="plaintext", pipeline=16, paths={"hyper": "/"},
             check=is_hello),
    programs("te-json", "a JSON object, 64 connections", 64, "/json", site="app",
             check=lambda body: json.loads(body) == {"message": "Hello, World!"}),
    programs("te-query", "a row of SQLite as JSON, 64 connections", 64, "/query", site="app", check=lambda body: is_world(json.loads(body))),
    programs("te-queries", "20 rows of SQLite as JSON, 64 connections", 64, "/queries?n=20", site="app",
             check=lambda body: len(json.loads(body)) == 20 and all(map(is_world, json.loads(body)))),
]


def encrypted(name, what, connections, path="/1k.txt", **more):
    return programs(f"tls-{name}", f"TLS: {what}", connections, path, site="tls", **more)


TLS_ROWS = [
    encrypted("1", "1 KiB file, 1 connection", 1),
    encrypted("64", "1 KiB file, 64 connections", 64),
    encrypted("large", "100 MiB file, 4 connections, per MiB", 4, path="/large.bin", unit="MiB", seconds=2),
    encrypted("new", "a handshake (ECDSA, P-256) and a 1 KiB file", 1, load="handshakes"),
    encrypted("resumed", "a resumed handshake and a 1 KiB file", 1, load="resumed"),
]


def form(name, size):
    """A form with one file. Its parts have the name that miniserve requires; modest stores all files of a form."""
    head = f'--bound\r\nContent-Disposition: form-data; name="path"; filename="{name}"\r\nContent-Type: text/plain\r\n\r\n'
    return head.encode() + b"x" * size + b"\r\n--bound--\r\n"


def upload(name, what, connections, size, **more):
    return programs(f"put-{name}", f"PUT of {what}, {connections} connections", connections, "/up{n}.bin", site="uploads", status=201,
                    method="PUT", body=b"x" * size, **more)


UPLOAD_ROWS = [
    upload("1k", "1 KiB", 64, KIB),
    upload("1m", "1 MiB", 16, MIB),
    upload("large", "64 MiB", 4, 64 * MIB, seconds=3),
    programs("form", "a form with a file of 16 KiB, 16 connections", 16, "/", site="forms", status=303, method="POST",
             body=form("up.bin", 16 * KIB), headers={"Content-Type": "multipart/form-data; boundary=bound"},
             paths={"miniserve": "/upload?path=/"}),
]
GZIP = {"Accept-Encoding": "gzip"}


def is_page(body):
    return len(gzip.decompress(body)) in range(64 * KIB - 100, 64 * KIB + 1)


def names_in(archive):
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        return sum(entry.isfile() for entry in tar)


def names_in_zip(archive):
    with zipfile.ZipFile(io.BytesIO(archive)) as zipped:
        return sum(not entry.is_dir() for entry in zipped.infolist())


def listing(count, connections, **more):
    return programs(f"names-{count}", f"listing of {count:,} names, {connections} connection{'s' * (connections > 1)}", connections,
                    f"/names-{count}/", site="listing", check=lambda body: len(body) > 20 * count, **more)


SERVICE_ROWS = [
    programs("gzip-first", "64 KiB of HTML with gzip, changed since the last request", 1, "/page.html", site="gzip", headers=GZIP,
             check=is_page, load="changed"),
    programs("gzip-again", "the same again, 64 connections (nginx: `gzip_static`)", 64, "/page.html", site="precompressed", headers=GZIP,
             check=is_page),
    programs("gzip-page", "64 KiB of HTML of a handler with gzip, 16 connections", 16, "/page", site="page", headers=GZIP, check=is_page),
    programs("proxy", "1 KiB file of a backend, 32 connections", 32, "/1k.txt", site="proxy", check=lambda body: len(body) == KIB),
    listing(20, 16),
    listing(1000, 4, seconds=2),
    listing(100_000, 1, seconds=4, without=("caddy", "dufs")),
    programs("tar", "1,000 files of 4 KiB as a tar, 1 connection", 1, "/files-1000/?archive=tar", site="archive", without=("dufs",),
             paths={"miniserve": "/files-1000/?download=tar"}, check=lambda body: names_in(body) == 1000),
    programs("zip", "1,000 files of 4 KiB as a zip, 1 connection", 1, "/files-1000/?archive=zip", site="archive", seconds=5,
             paths={"dufs": "/files-1000/?zip", "miniserve": "/files-1000/?download=zip"}, check=lambda body: names_in_zip(body) == 1000),
]


def live(name, what, connections, site, load, **more):
    return programs(name, what, connections, "/", site=site, load=load, **more)


LIVE_ROWS = [
    live("ws-echo", "WebSocket: a text of 64 bytes and back, 64 connections", 64, "sockets", "echo"),
    live("ws-all", "WebSocket: a text of 64 bytes to each of 1,000", 1000, "sockets", "all"),
    live("events", "an event of 64 bytes to each of 1,000 listeners", 1000, "events", "all"),
    live("events-10k", "an event of 64 bytes to each of 9,000 listeners", 9000, "events", "all"),
    live("lines", "PING of Redis, 50 connections", 50, "lines", "redis"),
    live("lines-16", "PING of Redis, 50 connections, 16 at once", 50, "lines", "redis", pipeline=16),
    live("udp", "a datagram of 64 bytes and back, 64 clients", 64, "datagrams", "echo"),
]
ROWS = FILE_ROWS + HANDLER_ROWS + TLS_ROWS + UPLOAD_ROWS + SERVICE_ROWS + LIVE_ROWS
