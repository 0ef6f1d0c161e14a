"""Every signal in every state of a connection: no request is lost. LONG=1 adds the signals that are handled in the same way as one of the others."""

import os
import re
import signal
import socket
import sys
import threading
import time

import pytest
from conftest import DEADLINE, HERE, Answer, answers, read_all, until
from test_processes import children

SINGLE, PARENT = (), ("--processes", "2")
LONG = pytest.mark.skipif(not os.environ.get("LONG"), reason="LONG=1 runs it")


def ask(target, close=False, method="GET", more=b""):
    return f"{method} {target} HTTP/1.1\r\nHost: a\r\n".encode() + more + (b"Connection: close\r\n\r\n" if close else b"\r\n")


class Client:
    """A connection in one of the states, before and after the signal."""

    sends, then = b"", b""  # before the signal, after it
    waits = False  # until the server has sent something

    def __init__(self, server):
        self.socket = server.connect()
        self.socket.sendall(self.sends)
        self.received = self.socket.recv(65536) if self.waits else b""

    def end(self):
        try:
            self.socket.sendall(self.then)
        except OSError:
            pass  # the server has closed the connection, which is judged by what was received
        self.received += read_all(self.socket)
        return answers(self.received)


class Handled(Client):
    sends = ask("/sleep?0.7")

    def check(self, found):
        assert [answer.body for answer in found] == [b"slept"], self.received


class Pipelined(Client):
    """The second request is answered, or the first response has announced the close."""

    sends = ask("/sleep?0.7") + ask("/tuple", close=True)

    def check(self, found):
        assert found[0].body == b"slept", self.received
        assert found[-1].body == b"abc" or found[0].field("connection") == "close", self.received


class Uploading(Client):
    sends = ask("/echo", method="POST", more=b"Content-Length: 6\r\n") + b"abc"
    then = b"def"

    def check(self, found):
        assert [answer.body for answer in found] == [b"abcdef"], self.received


class UploadingChunks(Client):
    sends = ask("/echo", method="POST", more=b"Transfer-Encoding: chunked\r\n") + b"3\r\nabc\r\n"
    then = b"3\r\ndef\r\n0\r\n\r\n"

    def check(self, found):
        assert [answer.body for answer in found] == [b"abcdef"], self.received


class Downloading(Client):
    """Reads what the sockets hold, and the rest after the signal."""

    sends = ask("/large?20")
    waits = True

    def check(self, found):
        assert len(found) == 1 and len(found[0].body) == 20 << 20, len(self.received)


class DownloadingAFile(Downloading):
    sends = ask("/file-raw?0")

    def check(self, found):
        assert len(found[0].body) == 100_000, len(self.received)


class Kept(Client):
    """A connection without a request ends, without a response."""

    sends = ask("/tuple-raw")
    waits = True

    def check(self, found):
        assert [answer.body for answer in found] == [b"abc"], self.received


class Fresh(Client):
    def check(self, found):
        assert self.received in (b"", b"<reset>"), self.received


class HalfAHead(Client):
    """It is answered if the rest comes within half a second. Otherwise it was not handled."""

    sends = b"GET /tuple HTTP/1.1\r\nHo"
    then = b"st: a\r\nConnection: close\r\n\r\n"

    def check(self, found):
        assert [(answer.status, answer.body) for answer in found] in ([], [(200, b"abc")]) or found[0].status == 408, self.received


STATES = [Handled, Pipelined, Uploading, UploadingChunks, Downloading, DownloadingAFile, Kept, Fresh, HalfAHead]
ENDS = [
    pytest.param(SINGLE, signal.SIGTERM),
    pytest.param(PARENT, signal.SIGTERM),
    pytest.param(SINGLE, signal.SIGINT, marks=LONG),
    pytest.param(PARENT, signal.SIGINT, marks=LONG),
    pytest.param(PARENT, signal.SIGQUIT, marks=LONG),
]


def in_all_states(server):
    clients = [state(server) for state in STATES]
    until(lambda: server.get("/tuple").status == 200, "all are read")
    time.sleep(0.1)  # the sleeping calls have begun, which can't be seen from outside
    return clients


@pytest.mark.parametrize("args, number", ENDS)
def test_an_end_loses_no_request(serve, args, number):
    server = serve("apps", "--threads", "4", *args)
    clients = in_all_states(server)
    server.process.send_signal(number)
    for client in clients:
        client.check(client.end())
    assert server.process.wait(DEADLINE) == 0
    with pytest.raises(ConnectionRefusedError):
        server.connect()


@pytest.mark.parametrize("args, numbers", [
    pytest.param(PARENT, [signal.SIGHUP]),
    # The files of options are read again, and nothing else happens.
    pytest.param(SINGLE, [signal.SIGHUP, signal.SIGPIPE, signal.SIGWINCH, signal.SIGCHLD, signal.SIGCONT, signal.SIGURG], marks=LONG),
    pytest.param(PARENT, [signal.SIGPIPE, signal.SIGWINCH, signal.SIGCHLD, signal.SIGCONT, signal.SIGURG], marks=LONG),
])
def test_other_signals_lose_no_request(serve, args, numbers):
    server = serve("apps", "--threads", "4", *args)
    clients = in_all_states(server)
    for client in clients:
        client.socket.settimeout(DEADLINE)
    before = children(server)
    for number in numbers:
        server.process.send_signal(number)
    if args and signal.SIGHUP in numbers:
        until(lambda: len(children(server) - before) == 2, "successors")
    assert server.get("/tuple").status == 200
    for client in clients:
        client.socket.sendall(client.then)
        client.then = b""
        if not (args and signal.SIGHUP in numbers):
            client.socket.shutdown(socket.SHUT_WR)  # these connections are kept
        client.check(client.end())
    assert server.get("/tuple").status == 200 and server.stop() == 0


@pytest.mark.parametrize("args", [
    SINGLE,
    PARENT,
    pytest.param((*PARENT, "--shutdown-delay", "500ms"), marks=LONG),
    pytest.param((*SINGLE, "--shutdown-delay", "500ms"), marks=LONG),
])
def test_an_end_in_the_middle_of_a_load(serve, args):
    """Clients connect without a pause. Each connection that was accepted gets a response."""
    server = serve("apps", "--threads", "4", "-q", *args)
    lost, answered, is_over = [], [], threading.Event()

    def ask_on():
        while not is_over.is_set():
            try:
                client = server.connect()
            except (ConnectionRefusedError, ConnectionResetError):
                return
            with client:
                try:
                    client.sendall(ask("/pid", close=True))
                    received = read_all(client)
                except OSError as error:
                    received = repr(error).encode()
                (answered if Answer(received).status == 200 and Answer(received).is_whole else lost).append(received)

    threads = [threading.Thread(target=ask_on) for _ in range(8)]
    [thread.start() for thread in threads]
    until(lambda: len(answered) > 100, "a load")
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(DEADLINE) == 0
    is_over.set()
    [thread.join(DEADLINE) for thread in threads]
    assert not lost, (len(answered), lost[:5])


HANDLES = """
import signal

seen = []
signal.signal(signal.SIGUSR1, lambda number, _: seen.append(number))

def app(environ, start_response):
    start_response("200 OK", [])
    return [str(len(seen)).encode()]
"""


@pytest.mark.parametrize("more", [(), ("--processes", "1")])
def test_handlers_of_the_application_are_called_while_it_serves(serve, tmp_path, more):
    (tmp_path / "handles.py").write_text(HANDLES)
    server = serve("handles", "--chdir", str(tmp_path), *more)
    assert server.get("/").body == b"0"
    for number in (1, 2):
        os.kill(min(children(server)) if more else server.process.pid, signal.SIGUSR1)
        until(lambda: server.get("/").body == str(number).encode(), "the handler was called")
    server.stop()
    assert server.process.returncode == 0


def test_an_exception_of_a_handler_shuts_the_server_down(serve, tmp_path):
    (tmp_path / "raises.py").write_text(HANDLES.replace("seen.append(number)", "1 / 0").replace("return", "import time; time.sleep(0.3); return"))
    server = serve("raises", "--chdir", str(tmp_path))
    with server.connect() as client:
        client.sendall(ask("/", close=True))
        until(lambda: server.get("/").status == 200, "it serves")
        os.kill(server.process.pid, signal.SIGUSR1)
        assert b"200 OK" in read_all(client)
    assert server.process.wait(DEADLINE) == 1
    server.logged("ZeroDivisionError")


EXITS = """
import os, signal, sys, time

signal.signal(signal.{name}, lambda *_: sys.exit({code!r}))

def app(environ, start_response):
    time.sleep(environ["PATH_INFO"] == "/slow" and 0.7)
    start_response("200 OK", [])
    return [b"%d" % os.getpid()]
"""


@pytest.mark.parametrize("more", [(), ("--processes", "1"), ("--processes", "2")])
@pytest.mark.parametrize("name, code, status", [("SIGTERM", 0, 0), ("SIGTERM", 3, 3), ("SIGTERM", None, 0), ("SIGTERM", "a text", 1), ("SIGINT", 4, 4)])
def test_a_handler_can_exit(serve, tmp_path, name, code, status, more):
    """As in many containers: requests in progress are finished, and then the program ends with this status."""
    (tmp_path / "exits.py").write_text(EXITS.format(name=name, code=code))
    server = serve("exits", "--chdir", str(tmp_path), "--threads", "2", *more)
    serving = set()
    until(lambda: serving.add(server.get("/").body) or len(serving) == int((more or "1")[-1]), "all serve")
    with server.connect() as client:
        client.sendall(ask("/slow", close=True))
        if name == "SIGINT" and more:  # a terminal signals all processes
            for pid in children(server):
                os.kill(pid, signal.SIGINT)
        server.process.send_signal(getattr(signal, name))
        assert answers(read_all(client))[0].body in serving
    assert server.process.wait(DEADLINE) == status, server.log
    server.wait_for(server.log, "^a text$") if code == "a text" else None
    assert not any(line and ("Traceback" in line or "Exit" in line) for line in server.log), server.log


def test_a_handler_can_exit_at_another_signal(serve, tmp_path):
    (tmp_path / "exits.py").write_text(EXITS.format(name="SIGALRM", code=5))
    server = serve("exits", "--chdir", str(tmp_path))
    with server.connect() as client:
        client.sendall(ask("/slow", close=True))
        until(lambda: server.get("/").status == 200, "it serves")
        server.process.send_signal(signal.SIGALRM)
        assert b"200 OK" in read_all(client)
    assert server.process.wait(DEADLINE) == 5, server.log


@pytest.mark.parametrize("more", [(), ("--processes", "1")])
def test_an_iterable_that_the_timeout_cuts_off_is_closed(serve, tmp_path, more):
    (tmp_path / "endless.py").write_text(
        "import time\n"
        "def app(environ, start_response):\n"
        "    start_response('200 OK', [])\n"
        "    try:\n"
        "        while True:\n"
        "            yield b'piece'\n"
        "            time.sleep(0.2)\n"
        "    finally:\n"
        "        open('closed', 'a').write('closed ')\n")
    server = serve("endless", "--chdir", str(tmp_path), "--shutdown-timeout", "300ms", *more)
    with server.connect() as client:
        client.sendall(ask("/"))
        client.recv(100)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(DEADLINE) == 0
    assert (tmp_path / "closed").read_text() == "closed "


@pytest.mark.parametrize("words", [["modest", "."], ["modest.wsgi", "apps"], ["modest.wsgi", "apps", "--processes", "1"]])
def test_ctrl_c_ends_the_programs_without_an_error(serve, words):
    server = serve(command=[sys.executable, "-m", *words, "-p", "0"])
    server.process.send_signal(signal.SIGINT)
    assert server.process.wait(DEADLINE) == 0
    assert not any("Traceback" in line for line in server.log if line)


@pytest.mark.parametrize("more", [(), ("--processes", "2"), ("--reload",)])
@pytest.mark.parametrize("quiet", [(), ("-q",)])
def test_ctrl_c_is_answered(serve, tmp_path, more, quiet):
    """A wait for a request in progress is explained after a second. A second signal ends the program."""
    (tmp_path / "slow.py").write_text("import apps\napp = apps.app\n")
    server = serve("slow", "--chdir", str(tmp_path), "--shutdown-timeout", "15s", *more, *quiet, env={"PYTHONPATH": HERE})
    with server.connect() as client:
        client.sendall(ask("/sleep?" + ("1.5" if quiet else "30")))
        until(lambda: server.get("/tuple").status == 200, "it serves")
        server.process.send_signal(signal.SIGINT)
        if not quiet:
            server.wait_for(server.out, "^Keyboard interrupt received, exiting.$")
            server.wait_for(server.out, "^Waiting, for up to 15s, for requests in progress; press Ctrl-C again to end now.$")
            server.process.send_signal(signal.SIGINT)
        assert server.process.wait(5) == 0
    said = [line for line in server.out if line and re.search("Keyboard|Waiting", line)]
    assert len(said) == (0 if quiet else 2), server.out


@pytest.mark.parametrize("more", [(), ("--processes", "2")])
def test_ctrl_c_without_requests_is_not_explained(serve, more):
    server = serve("apps", *more, "--log-format", "json")
    assert server.get("/tuple").status == 200
    server.process.send_signal(signal.SIGINT)
    server.wait_for(server.out, '"level":"INFO",.*"message":"Keyboard interrupt received, exiting."')
    assert server.process.wait(DEADLINE) == 0
    until(lambda: server.out[-1] is None, server.out)
    assert not any("Waiting" in line for line in server.out if line), server.out


def until_they_are_fast(attempt):
    """A machine that is busy can send the second signal too late."""
    assert any(attempt() for _ in range(4))


@pytest.mark.parametrize("numbers", [(signal.SIGTERM, signal.SIGTERM), (signal.SIGINT, signal.SIGTERM)])
@pytest.mark.parametrize("processes", [SINGLE, PARENT])
def test_a_repeated_signal_is_one(serve, processes, numbers):
    """Launchers such as `timeout` send two."""

    def attempt():
        server = serve("apps:app", "-q", *processes)
        client = Handled(server)
        assert server.get("/tuple").body == b"abc"
        for number in numbers:
            server.process.send_signal(number)
        found = client.end()
        return server.process.wait(DEADLINE) == 0 and [answer.body for answer in found] == [b"slept"]

    until_they_are_fast(attempt)


def test_a_repeated_signal_of_serve_is_one(serve, tmp_path):
    (tmp_path / "program.py").write_text(
        "import time\nfrom modest.wsgi import serve\ndef app(environ, start_response):\n    time.sleep(0.7)\n    start_response('200 OK', [])\n    return [b'slept']\n"
        "serve(app, port=0)\nprint('after serve', flush=True)\n"
    )

    def attempt():
        server = serve(command=[sys.executable, str(tmp_path / "program.py")], port=True)
        client = server.connect()
        client.sendall(ask("/", close=True))
        time.sleep(0.1)  # it is handled
        for _ in range(2):
            server.process.send_signal(signal.SIGTERM)
        found = answers(read_all(client))
        return server.process.wait(DEADLINE) == 0 and found[0].body == b"slept" and "after serve" in server.out

    until_they_are_fast(attempt)
