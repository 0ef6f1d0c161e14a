"""Threads, processes and clients that disappear, with iterables that are still running."""

import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from conftest import DEADLINE, HERE, Answer, read_all, until

KINDS = ["plain", "chunked", "sized", "short", "write", "raise", "empty", "pause", "nobody"]
COUNTS = [1, 2, 50, 1000, 6000]


def ask(server, kind, count, number, client, method):
    """One request, by a client that reads all, reads slowly, or disconnects."""
    target = "/plain" if kind == "plain" else f"/{kind}/{count}/{number}"
    with server.connect() as connection:
        connection.sendall(f"{method} {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
        received = b""
        try:
            while piece := connection.recv(65536):
                received += piece
                if client == "leaves":
                    return None
                if client == "slow":
                    time.sleep(0.002)
        except ConnectionResetError:
            received += b"<reset>"
    return Answer(received, method)


def expected(kind, count, method, answer):
    if method == "HEAD" or kind == "nobody":
        return answer.body == b""
    length = {"plain": 5, "write": 1000 + 1000 * count, "short": 1000 * count // 2 + 1, "empty": 1000 * ((count + 1) // 2)}.get(kind, 1000 * count)
    if kind == "raise":
        return answer.was_reset or answer.status == 500
    return answer.status == 200 and answer.is_whole and len(answer.body) == length


@pytest.mark.parametrize("threads, seed", [(1, 1), (1, 2), (4, 3), (4, 4)])
def test_a_response_keeps_its_thread(serve, threads, seed):
    """All code of a request runs on one thread, from the call to `close()`, and no other request runs there in the meantime."""
    server = serve("thread_app:app", "--threads", str(threads), "-q")
    dice = random.Random(seed)
    rows = [
        (dice.choice(KINDS), dice.choice(COUNTS), number, dice.choice(["reads", "reads", "slow", "leaves"]), dice.choice(["GET", "GET", "GET", "HEAD", "POST"]))
        for number in range(150)
    ]
    with ThreadPoolExecutor(8) as clients:
        answers = list(clients.map(lambda row: ask(server, *row), rows))
    for (kind, count, number, client, method), answer in zip(rows, answers):
        assert answer is None or expected(kind, count, method, answer), (seed, kind, count, number, client, method, answer)
    until(lambda: len(set(server.get("/counts").body.split(b" ")[:2])) == 1, "all are closed")
    begun, _, wrong, what = server.get("/counts").body.decode().split(" ", 3)
    assert wrong == "0", what
    assert int(begun) == sum(row[0] != "plain" for row in rows)


def test_slow_clients_delay_nobody(serve):
    """Iterables whose clients read nothing hold no thread that handles requests. At their limit, further ones get a 503."""
    server = serve("thread_app:app", "--threads", "2")
    clients = [server.connect() for _ in range(256)]
    for number, client in enumerate(clients):
        client.sendall(f"GET /chunked/100000/{number} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        assert client.recv(12) == b"HTTP/1.1 200"
    begun = time.monotonic()
    for _ in range(20):
        assert server.get("/plain").body == b"plain"
    assert time.monotonic() - begun < 5
    refused = server.get("/chunked/100000/0")
    assert refused.status == 503, refused
    assert server.get("/chunked/100000/0", method="POST").status == 500  # it has run, so it must not be repeated
    server.logged("the iterable can't be sent: .*max_streams")
    [client.close() for client in clients]
    until(lambda: server.get("/counts").body.decode().split(" ")[:2] == ["258", "258"], server.get("/counts"))
    assert server.get("/chunked/10/0").is_whole
    assert int(server.get("/counts").body.decode().split(" ")[2]) == 0, server.get("/counts")


@pytest.mark.parametrize("way", ["exit", "text", "raise", "_exit", "return"])
@pytest.mark.parametrize("place", ["call", "iter", "next", "close"])
def test_a_forked_process_ends_with_its_call(serve, place, way):
    # The children write at once. With a buffer each line is one write.
    server = serve("thread_app:forks", "-q", env={"PYTHONUNBUFFERED": ""})
    for _ in range(3):
        with server.connect() as client:
            target = f"/{place}/{way}"
            client.sendall(f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\nGET /none/none HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
            received = b""
            while piece := client.recv(65536):
                received += piece
        assert received.count(b"HTTP/1.1 ") == 2, received[:1000]
        assert {int(pid) for pid in re.findall(rb"\d+(?=  |$)", received)} <= {server.process.pid}
    server.logged(f"child {place} {way}", 3)
    if way == "raise":
        server.logged("ValueError: of the child", 3)
    if way == "text":
        server.logged("a text", 3)
    until(lambda: not running_children(server.process.pid), running_children(server.process.pid))
    assert server.stop() == 0
    with socket.create_server(("127.0.0.1", server.port)):
        pass  # no process has the port


def running_children(pid):
    """Children that have not ended. (Their parent does not wait for them.)"""
    shown = subprocess.run(["ps", "-o", "pid=,stat=", "--ppid", str(pid)], capture_output=True, text=True, timeout=DEADLINE).stdout
    return [line for line in shown.splitlines() if "Z" not in line]


@pytest.mark.parametrize("path", ["/none", "/begun"])
def test_an_iterable_without_pieces_learns_that_its_client_has_gone(serve, path):
    server = serve("thread_app:empty", "--threads", "4")
    clients = [server.connect() for _ in range(3)]
    for client in clients:
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    until(lambda: server.get("/counts").body == b"3 0", "all run")
    [client.close() for client in clients]
    until(lambda: server.get("/counts").body == b"3 3", server.get("/counts"))
    server.logged("the client has gone", 3)
    begun = time.monotonic()
    assert server.stop() == 0 and time.monotonic() - begun < 5


def test_an_end_without_a_client_is_no_end_for_one_that_still_reads(serve):
    """A client that has closed its sending side can't be told from one that has gone, so its response is reset."""
    server = serve("thread_app:empty", "-q")
    with server.connect() as client:
        client.sendall(b"GET /begun HTTP/1.1\r\nHost: a\r\n\r\n")
        client.shutdown(socket.SHUT_WR)
        received = read_all(client)
    assert b"begun" in received and received.endswith(b"<reset>"), received


def test_a_client_that_has_only_ended_its_side_gets_later_pieces(server):
    """A client that has closed its sending side may still be reading."""
    with server.connect() as client:
        client.sendall(b"GET /slow-pieces HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        client.shutdown(socket.SHUT_WR)
        received = client.recv(1000)
        time.sleep(0.1)
        assert server.get("/go-on").body == b"gone on"
        while piece := client.recv(1000):
            received += piece
    assert b"second" in received


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_shutdown_ends_with_iterables(serve, number):
    """An iterable that ends is sent completely, and one that does not is closed at the timeout."""
    server = serve("thread_app:app", "--threads", "2", "--shutdown-timeout", "2s", "-q")
    whole, endless = server.connect(), server.connect()
    endless.sendall(b"GET /chunked/10000000/1 HTTP/1.1\r\nHost: a\r\n\r\n")
    whole.sendall(b"GET /pause/2000/2 HTTP/1.1\r\nHost: a\r\n\r\n")
    assert endless.recv(12) and whole.recv(12)
    os.kill(server.process.pid, number)
    received = b""
    while piece := whole.recv(65536):
        received += piece
    assert received.endswith(b"0\r\n\r\n")
    assert server.process.wait(DEADLINE) == 0
    endless.close(), whole.close()


@pytest.mark.parametrize("threads", ["1", "4"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("kind, ends", [("one", "went on"), ("two", "went on"), ("empty", "went on"), ("more", "closed"), ("later", "closed"), ("endless", "closed")])
def test_work_after_the_last_byte_runs_and_delays_nobody(serve, kind, ends, method, threads):
    server = serve("thread_app:after", "--threads", threads, "-q")
    answer = server.get(f"/{kind}", method=method)  # complete while the work waits
    assert answer.is_whole and answer.body == (b"abc" if method == "GET" else b""), answer
    assert server.get("/after").body in (b"", f"{kind} closed,{kind} ended".encode())
    server.get("/go")
    begun = time.monotonic()
    until(lambda: b"ended" in server.get("/after").body, "it ends")
    assert server.get("/after").body.startswith(f"{kind} {ends},{kind} ended".encode()), server.get("/after")
    assert time.monotonic() - begun < (8 if kind == "endless" else 3)


@pytest.mark.parametrize("kind", ["one", "two"])
def test_work_after_the_last_byte_runs_without_its_client(serve, kind):
    server = serve("thread_app:after", "-q")
    with server.connect() as client:
        client.sendall(f"GET /{kind} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        received = b""
        while not received.endswith(b"abc"):
            received += client.recv(1000)
    server.get("/go")
    until(lambda: b"ended" in server.get("/after").body, "it ends")
    assert server.get("/after").body == f"{kind} went on,{kind} ended".encode()


def test_a_stop_waits_for_work_after_the_last_byte(serve):
    server = serve("thread_app:after", "-q", "--shutdown-timeout", "20s")
    assert server.get("/one").body == b"abc"
    server.process.send_signal(signal.SIGTERM)
    with pytest.raises(subprocess.TimeoutExpired):
        server.process.wait(1.5)  # it waits for longer than a second
    assert server.process.wait(DEADLINE) == 0


@pytest.mark.parametrize("processes", [(), ("--processes", "1")])
@pytest.mark.parametrize("way, said", [("SIGTERM", 15), ("SIGINT", 2), ("SIGHUP", 1), ("SIGQUIT", 3), ("SIGUSR1", 10), ("SIGUSR2", 12), ("terminate", 15), ("pool", "ended")])
def test_processes_of_the_application_can_be_ended(serve, way, said, processes):
    if way == "SIGHUP" and signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
        pytest.skip("nohup")  # inherited by all processes
    server = serve("thread_app:processes", "-q", *processes)
    begun = time.monotonic()
    assert server.get(f"/{way}").body == str(said).encode()
    assert time.monotonic() - begun < 10
    assert server.stop() == 0


@pytest.mark.parametrize("processes", [(), ("--processes", "1")])
@pytest.mark.parametrize("way", ["fork", "daemon"])
def test_processes_of_the_application_hold_no_port(serve, way, processes):
    server = serve("thread_app:processes", "-q", "--shutdown-timeout", "2s", *processes)
    said = server.get(f"/{way}").body
    try:
        begun = time.monotonic()
        assert server.stop() == 0 and time.monotonic() - begun < 10
        with socket.create_server(("127.0.0.1", server.port)):
            pass
    finally:
        if way == "fork":
            os.kill(int(said), signal.SIGKILL)


@pytest.mark.parametrize("processes", [(), ("--processes", "1")])
@pytest.mark.parametrize("way", ["process", "pool", "fork"])
def test_jobs_in_processes_end_normally(serve, way, processes):
    """Their main thread is a proper one, also if `current_thread()` was called before, as each call of `logging` does."""
    server = serve("thread_app:jobs", "-q", *processes, env={"PYTHONUNBUFFERED": ""})
    for count in (1, 2):
        answer = server.get(f"/{way}")
        assert answer.body == b"0 True", (answer, server.log)
        server.wait_for(server.out, "^a job in MainThread True True False$", count)
    assert server.stop() == 0


TRACED = """import sys, threading, urllib.request
from modest.wsgi import Server, serve
import thread_app
seen = {"trace": set(), "profile": set()}
def note(kind):
    def noted(frame, event, _):
        if frame.f_code.co_filename == thread_app.__file__:
            seen[kind].add((frame.f_code.co_name, event))
        return noted
    return noted
threading.settrace(note("trace")), threading.setprofile(note("profile"))
server = Server()
thread = threading.Thread(target=serve, args=(thread_app.app,), kwargs=dict(server=server, port=0, threads=2, quiet=True))
thread.start()
while not server.addresses: pass
for path in ("/plain", "/chunked/500/1"):
    urllib.request.urlopen("http://" + server.addresses[0] + path).read()
server.shutdown()
thread.join()
for kind, event in (("trace", "line"), ("profile", "return")):
    print(kind, sorted({"app", "__iter__", "__next__", "close"} - {name for name, found in seen[kind] if found == event}))
"""


def test_tools_of_threading_trace_the_application():
    """Coverage and debuggers use `threading.settrace`, and profilers `threading.setprofile`."""
    done = subprocess.run([sys.executable, "-c", TRACED], cwd=HERE, capture_output=True, text=True, timeout=DEADLINE)
    assert done.stdout.endswith("\ntrace []\nprofile []\n"), done
