"""`--processes`, `--process-requests`, `--process-age`, `--reload`, SIGHUP and SIGTERM: no connection fails meanwhile."""

import os
import re
import signal
import socket
import threading
import time

import pytest
from conftest import DEADLINE, Answer, read_all, until


def pids(server, count=60):
    return {int(server.get("/pid").body) for _ in range(count)}


def children(server):
    """The processes that serve: the parent's children, from the kernel."""
    pid = server.process.pid
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return {int(child) for child in file.read().split()}


def threads(pid):
    return len(os.listdir(f"/proc/{pid}/task"))


class Load:
    """Requests without a pause, on new and on kept connections. Collects all failures."""

    def __init__(self, server):
        self.server, self.failures, self.answers, self.is_over = server, [], [], False
        self.threads = [threading.Thread(target=work) for work in (self.on_new, self.on_new, self.on_kept)]
        [thread.start() for thread in self.threads]

    def on_new(self):
        while not self.is_over:
            self.note(lambda: self.server.get("/pid"))

    def on_kept(self):
        """The client connects again after a `close`, and if its idle connection ended before the response."""
        client = None
        while not self.is_over:
            client = client or self.server.connect()
            try:
                client.sendall(b"GET /pid HTTP/1.1\r\nHost: a\r\n\r\n")
                received = b""
                while b"\r\n\r\n" not in received or not received.endswith(b"0\r\n\r\n"):
                    piece = client.recv(4096)
                    if not piece:
                        break
                    received += piece
            except OSError as error:
                received = b""
                self.failures.append(("kept", error)) if not isinstance(error, (ConnectionResetError, BrokenPipeError)) else None
            if received:
                self.note(lambda: Answer(received))
            if not received or b"Connection: close" in received:
                client.close()
                client = None

    def note(self, ask):
        try:
            answer = ask()
            self.answers.append(answer)
            if answer.status != 200 or not answer.is_whole or not answer.body:
                self.failures.append(answer)
        except Exception as error:
            self.failures.append(error)

    def end(self):
        self.is_over = True
        [thread.join(DEADLINE) for thread in self.threads]
        assert self.answers and not self.failures, self.failures[:5]


def test_processes_share_a_listener(serve):
    server = serve("apps", "--processes", "2", "-q")
    until(lambda: len(pids(server)) == 2, "both serve")
    assert pids(server) == children(server) and server.process.pid not in pids(server)
    assert threads(server.process.pid) == 1, "a parent that forks has one thread"
    assert b'"wsgi.multiprocess": true' in server.get("/environ").body
    assert server.stop() == 0


def test_a_process_that_dies_is_replaced(serve):
    server = serve("apps", "--processes", "2", "-q")
    until(lambda: len(pids(server)) == 2, "both serve")
    before = children(server)
    victim = min(before)
    os.kill(victim, signal.SIGKILL)
    until(lambda: len(children(server)) == 2 and victim not in children(server), "another one")
    until(lambda: pids(server) == children(server), "it serves")
    server.logged(f"process {victim} ended by signal 9")
    assert server.stop() == 0


def test_sighup_loses_nothing(serve, tmp_path):
    code = "import apps\napp, VERSION = apps.app, '{}'\ndef app(environ, start_response):\n" \
           "    if environ['PATH_INFO'] == '/version':\n        start_response('200 OK', [('Content-Type', 'text/plain')])\n" \
           "        return [VERSION.encode()]\n    return apps.app(environ, start_response)\n"
    (tmp_path / "versioned.py").write_text(code.format(1))
    from conftest import HERE

    env = {"PYTHONPATH": HERE, "PYTHONDONTWRITEBYTECODE": "1"}
    server = serve("--chdir", str(tmp_path), "versioned", "--processes", "2", "-q", env=env)
    until(lambda: len(pids(server)) == 2, "both serve")
    load = Load(server)
    for version in "23":
        before = children(server)
        (tmp_path / "versioned.py").write_text(code.format(version))
        server.process.send_signal(signal.SIGHUP)
        until(lambda: len(children(server)) == 2 and not children(server) & before, f"version {version}")
        assert server.get("/version").body.decode() == version
    # An application that can't be loaded changes nothing.
    before = children(server)
    (tmp_path / "versioned.py").write_text("raise RuntimeError('broken')\n")
    server.process.send_signal(signal.SIGHUP)
    server.logged("goes on: its successor does not start", count=2)
    assert children(server) == before and server.get("/version").body == b"3"
    load.end()
    assert server.stop() == 0


def test_processes_are_recycled_by_requests(serve):
    server = serve("apps", "--processes", "1", "--process-requests", "50", "-q")
    first = children(server)
    load = Load(server)
    until(lambda: len({answer.body for answer in load.answers}) > 3, "several processes")
    load.end()
    assert not children(server) & first
    assert server.stop() == 0


def test_processes_are_recycled_by_age(serve):
    server = serve("apps", "--process-age", "1s", "-q")
    first = children(server)
    load = Load(server)
    until(lambda: children(server) and not children(server) & first, "another process")
    load.end()
    assert server.stop() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_shutdown_drains_all_processes(serve, number):
    server = serve("apps", "--processes", "2", "--threads", "2")
    until(lambda: len(pids(server)) == 2, "both serve")
    clients = [server.connect() for _ in range(4)]
    for client in clients:
        client.sendall(b"GET /sleep?1 HTTP/1.1\r\nHost: a\r\n\r\n")
    time.sleep(0.3)  # time until they are handled, which can't be seen from outside
    served_by = children(server)
    server.process.send_signal(number)
    for client in clients:
        assert b"slept" in read_all(client)
    assert server.process.wait(DEADLINE) == 0
    for pid in served_by:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_control_c_drains_too(serve):
    """A terminal sends SIGINT to the parent and its children."""
    server = serve("apps", "--processes", "2", "--threads", "2", "-q")
    until(lambda: len(pids(server)) == 2, "both serve")
    client = server.connect()
    client.sendall(b"GET /sleep?1 HTTP/1.1\r\nHost: a\r\n\r\n")
    time.sleep(0.3)
    os.killpg(server.process.pid, signal.SIGINT)
    assert b"slept" in read_all(client)
    assert server.process.wait(DEADLINE) == 0


def test_systemd_is_notified(serve, tmp_path):
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(path)
        systemd.settimeout(DEADLINE)
        server = serve("apps", "--processes", "2", "-q", env={"NOTIFY_SOCKET": path})
        assert systemd.recv(1000).decode() == f"MAINPID={server.process.pid}\nREADY=1"
        assert server.stop() == 0
        assert systemd.recv(1000).decode().endswith("STOPPING=1")


def test_what_was_registered_is_done_at_the_end(serve, tmp_path):
    (tmp_path / "ends.py").write_text("import atexit\nfrom apps import app\natexit.register(lambda: open('ended', 'w').close())\n")
    for args in ((), ("--processes", "1")):
        server = serve("--chdir", str(tmp_path), "ends", *args, env={"PYTHONPATH": os.path.dirname(os.path.abspath(__file__))})
        assert server.get("/tuple").status == 200 and server.stop() == 0
        (tmp_path / "ended").unlink()


def test_a_call_that_does_not_end(serve):
    """The shutdown timeout ends the call, and the process ends normally."""
    for args in ((), ("--processes", "1")):
        server = serve("apps", "--shutdown-timeout", "500ms", "-q", *args)
        client = server.connect()
        client.sendall(b"GET /sleep?30 HTTP/1.1\r\nHost: a\r\n\r\n")
        time.sleep(0.3)
        assert server.stop() == 0


def test_a_second_signal_ends_at_once(serve):
    server = serve("apps", "--processes", "1", "-q")
    client = server.connect()
    client.sendall(b"GET /sleep?30 HTTP/1.1\r\nHost: a\r\n\r\n")
    time.sleep(0.3)
    server.process.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(5) is not None


def test_children_end_with_their_parent(serve):
    server = serve("apps", "--processes", "2", "-q")
    until(lambda: len(pids(server)) == 2, "both serve")
    left = children(server)
    server.process.kill()
    server.process.wait()

    def ended(pid):
        try:
            with open(f"/proc/{pid}/stat") as file:
                return file.read().rpartition(")")[2].split()[0] == "Z"
        except FileNotFoundError:
            return True

    until(lambda: all(ended(pid) for pid in left), "no child is left")


def test_an_application_that_does_not_load(serve):
    server = serve("missing:app", "--processes", "2", port=False)
    assert server.process.wait(DEADLINE) == 3
    server.logged("No module named 'missing'")


def test_an_address_in_use(serve):
    server = serve("apps")
    other = serve("-p", str(server.port), "apps", "--processes", "2", port=False)
    assert other.process.wait(DEADLINE) == 1
    other.logged("already in use")


def test_unix_socket_of_processes(serve, tmp_path):
    path = tmp_path / "app.sock"
    server = serve("-b", f"unix:{path}", "apps", "--processes", "2", port=False)
    server.wait_for(server.out, "Serving HTTP")

    def ask():
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            client.sendall(b"GET /pid HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            return int(Answer(read_all(client)).body)

    before = ask()
    server.process.send_signal(signal.SIGHUP)
    until(lambda: ask() != before and before not in children(server), "a new process")
    assert ask() in children(server) and path.exists()
    assert server.stop() == 0 and not path.exists()


def test_reload_for_development(serve, tmp_path):
    code = "def app(environ, start_response):\n    start_response('200 OK', [('Content-Type', 'text/plain')])\n    return [b'{}']\n"
    file = tmp_path / "site.d" / "shown.py"
    file.parent.mkdir()
    file.write_text(code.format("one"))
    server = serve("--chdir", str(file.parent), "shown", "--reload", env={"PYTHONDONTWRITEBYTECODE": "1"})
    assert server.get("/").body == b"one"
    file.write_text(code.format("two"))
    until(lambda: server.get("/").body == b"two", "the second version")
    file.write_text("this is no Python\n")
    server.logged("SyntaxError")
    assert server.get("/").body == b"two"
    file.write_text(code.format("three"))
    until(lambda: server.get("/").body == b"three", "the third version")
    assert server.stop() == 0


def test_reload_begins_with_a_mistake(serve, tmp_path):
    (tmp_path / "broken.py").write_text("raise RuntimeError('still broken')\n")
    server = serve("--chdir", str(tmp_path), "broken:app", "-p", "0", "--reload", port=False)
    server.logged("still broken")
    (tmp_path / "broken.py").write_text(
        "def app(environ, start_response):\n    start_response('200 OK', [])\n    return [b'mended']\n")
    line = server.wait_for(server.out, r"port (\d+)")
    server.port = int(re.search(r"port (\d+)", line).group(1))
    assert server.get("/").body == b"mended"
    assert server.stop() == 0
