"""Servers for tests: the command `modest-wsgi` in a separate process, and a client that returns all bytes."""

import os
import re
import select
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
DEADLINE = float(os.environ.get("DEADLINE", 20))
# A shell without job control starts background commands with these signals ignored, and the servers would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGQUIT, signal.SIG_DFL)
# The command of another server, with {port} and {app}: see benches/peers.py.
PEER = os.environ.get("PEER")


class Running:
    """A running server, its log, and its address."""

    def __init__(self, *args, cwd=HERE, env=None, port=True, stderr=subprocess.PIPE, command=None):
        command = command or [sys.executable, "-m", "modest.wsgi", *([] if not port else ["-p", "0"]), *args]
        self.process = subprocess.Popen(
            command, cwd=cwd, stdout=subprocess.PIPE, stderr=stderr, start_new_session=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **(env or {})},
        )
        self.out, self.log = [], []
        self.changed = threading.Condition()
        for stream, lines in ((self.process.stdout, self.out), (self.process.stderr, self.log)):
            if stream is not None:
                threading.Thread(target=self._read, args=(stream, lines), daemon=True).start()
        self.port = None
        if port:
            line = self.wait_for(self.out, r"port (\d+)")
            self.port = int(re.search(r"port (\d+)", line).group(1))

    def _read(self, stream, lines):
        for line in stream:
            with self.changed:
                lines.append(line.decode("utf-8", "replace").rstrip("\n"))
                self.changed.notify_all()
        with self.changed:
            lines.append(None)
            self.changed.notify_all()

    def wait_for(self, lines, pattern, count=1):
        """Waits until `count` lines match this pattern, and returns the last of them."""
        deadline = time.monotonic() + DEADLINE
        with self.changed:
            while True:
                found = [line for line in lines if line is not None and re.search(pattern, line)]
                if len(found) >= count:
                    return found[-1]
                if lines and lines[-1] is None or time.monotonic() > deadline:
                    raise AssertionError(f"no {pattern!r} in {lines}; stderr: {self.log}")
                self.changed.wait(0.5)

    def logged(self, pattern, count=1):
        if PEER:
            return None  # each server has words of its own
        return self.wait_for(self.log, pattern, count)

    def stop(self, number=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(DEADLINE)

    def connect(self):
        client = socket.create_connection(("127.0.0.1", self.port), DEADLINE)
        client.settimeout(DEADLINE)
        return client

    def send(self, *pieces):
        """Sends these bytes on a connection, and returns all bytes until its end or a reset."""
        with self.connect() as client:
            for piece in pieces:
                client.sendall(piece)
            return read_all(client)

    def get(self, target="/", method="GET", fields=(), body=b"", version="1.1"):
        """Sends one request on a new connection."""
        head = [f"{method} {target} HTTP/{version}", "Host: test", "Connection: close", *fields]
        if body and not any(field.lower().startswith(("content-length", "transfer-encoding")) for field in fields):
            head.append(f"Content-Length: {len(body)}")
        text = "\r\n".join(head).encode("latin-1") + b"\r\n\r\n" + body
        return Answer(self.send(text), method)


def read_all(client):
    received = bytearray()
    try:
        while True:
            piece = client.recv(65536)
            if not piece:
                return bytes(received)
            received += piece
    except ConnectionResetError:
        return bytes(received) + b"<reset>"


class Answer:
    """A response."""

    def __init__(self, raw, method="GET"):
        self.raw = raw
        head, _, rest = raw.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        self.line = lines[0]
        self.status = int(self.line.split(" ")[1]) if self.line.startswith("HTTP/") else None
        self.fields = [tuple(part.strip() for part in line.split(":", 1)) for line in lines[1:]]
        self.was_reset = rest.endswith(b"<reset>")
        rest = rest[: -len(b"<reset>")] if self.was_reset else rest
        self.is_whole = True
        self.body = self._dechunk(rest) if self.field("transfer-encoding") == "chunked" and method != "HEAD" else rest

    def field(self, name):
        found = self.all(name)
        return found[0] if found else None

    def all(self, name):
        return [value for found, value in self.fields if found.lower() == name.lower()]

    def _dechunk(self, rest):
        body = b""
        while True:
            size, separator, rest = rest.partition(b"\r\n")
            if not separator:
                self.is_whole = False
                return body
            length = int(size, 16)
            if length == 0:
                return body
            body += rest[:length]
            if len(rest) < length + 2:
                self.is_whole = False
                return body
            rest = rest[length + 2 :]

    def __repr__(self):
        return repr(self.raw[:2000])


def answers(raw, methods=()):
    """All responses in these bytes. `methods`: the methods of the first requests; all others are GET."""
    found, methods = [], [*methods]
    while raw and raw != b"<reset>":
        method = methods.pop(0) if methods else "GET"
        answer = Answer(raw, method)
        if answer.status is None or answer.status == 100:
            raw = raw.partition(b"\r\n\r\n")[2] if answer.status else b""
            methods.insert(0, method)
            continue
        head, _, rest = raw.partition(b"\r\n\r\n")
        if method == "HEAD" or answer.status in (204, 304):
            length = 0
        elif answer.field("transfer-encoding") == "chunked":
            length = chunks_length(rest)
        else:
            length = int(answer.field("content-length") or len(rest))
        found.append(Answer(raw[: len(head) + 4 + length], method))
        raw = rest[length:]
    return found


def chunks_length(rest):
    """The length of a chunked body, up to the end of its last chunk."""
    at = 0
    while True:
        end = rest.find(b"\r\n", at)
        if end < 0:
            return len(rest)
        size = int(rest[at:end], 16)
        at = end + 2 + size + 2
        if size == 0 or at > len(rest):
            return at


@pytest.fixture
def serve():
    """Starts servers that are stopped at the end of the test."""
    running = []

    def start(*args, **options):
        running.append(Running(*args, **options))
        return running[-1]

    yield start
    for server in running:
        if server.process.poll() is None:
            os.killpg(server.process.pid, signal.SIGKILL)
        server.process.wait(DEADLINE)


@pytest.fixture(scope="module")
def server(request):
    """The applications of `apps.py`, or of the module's `APP`, in one server for a file of tests."""
    app = getattr(request.module, "APP", "apps:app")
    running = Running(app, "--threads", "4") if PEER is None else of_a_peer(app)
    yield running
    if PEER:
        os.killpg(running.process.pid, signal.SIGKILL)
    else:
        assert running.stop() == 0, running.log


def of_a_peer(app, running=None):
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    running = running or Running.__new__(Running)
    running.__init__(port=False, command=[word.format(port=port, app=app) for word in PEER.split()])
    running.port = port
    until(lambda: answers_one(running), running.log)
    return running


def answers_one(server):
    try:
        return server.get("/tuple").status == 200
    except OSError:
        return False


@pytest.fixture(autouse=True)
def alive(request):
    """Some servers do not survive every case."""
    if PEER and "server" in request.fixturenames:
        server = request.getfixturevalue("server")
        if not answers_one(server):
            os.killpg(server.process.pid, signal.SIGKILL)
            of_a_peer(getattr(request.module, "APP", "apps:app"), server)


def pytest_configure(config):
    config.addinivalue_line("markers", "own: a choice of this server; benches/peers.py leaves it out")


def until(condition, what):
    """Waits until `condition` returns true."""
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)
