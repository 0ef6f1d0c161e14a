"""`--processes`, `--process-requests`, `--process-age`, `--reload`, SIGHUP and SIGTERM: no connection fails in the meantime."""

import contextlib
import errno
import json
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


def both_pids(server):
    """The ids that responses have, collected until there are two: on an idle machine one process may accept sixty connections in a row."""
    found = set()
    until(lambda: len(found.update(pids(server)) or found) >= 2, "both serve")
    return found


def children(server):
    """The processes that serve: the parent's children, from the kernel."""
    pid = server.process.pid
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return {int(child) for child in file.read().split()}


def threads(pid):
    return len(os.listdir(f"/proc/{pid}/task"))


class Load:
    """Requests without a pause, on new and on keep-alive connections. Collects all failures."""

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
    found = both_pids(server)
    assert found == children(server) and server.process.pid not in found
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


def test_a_stderr_that_is_not_read_delays_no_replacement(serve):
    """The parent starts and ends processes, so it does not wait for the reader of its log."""
    read, write = os.pipe()
    server = serve("apps", "--processes", "2", "-q", stderr=write)
    both_pids(server)  # if a process ends before any has served, the parent ends as well
    os.set_blocking(write, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(write, b"x" * 4096)
    os.set_blocking(write, True)
    before = children(server)
    for child in before:
        os.kill(child, signal.SIGKILL)
    until(lambda: len(children(server)) == 2 and not children(server) & before, "others")
    assert int(server.get("/pid").body) in children(server)
    assert server.stop() == 0
    os.close(write)
    os.close(read)


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
    server.logged("continues: its successor does not start", count=2)
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


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_all_processes_drains_too(serve, number):
    """A terminal sends SIGINT to the parent and its children, and systemd SIGTERM: a child then gets a second one from the parent."""
    server = serve("apps", "--processes", "2", "--threads", "2", "-q")
    until(lambda: len(pids(server)) == 2, "both serve")
    client = server.connect()
    client.sendall(b"GET /sleep?2 HTTP/1.1\r\nHost: a\r\n\r\n")
    time.sleep(0.3)
    before = children(server)
    for pid in before:
        os.kill(pid, number)
    until(lambda: number == signal.SIGINT or children(server) != before, "the process without a request has ended")
    server.process.send_signal(number)
    assert b"slept" in read_all(client)
    assert server.process.wait(DEADLINE) == 0


def test_a_stop_during_a_replacement_finishes_requests(serve):
    server = serve("apps", "--processes", "1", "-q")
    (old,) = children(server)
    client = server.connect()
    client.sendall(b"GET /sleep?2 HTTP/1.1\r\nHost: a\r\n\r\n")
    time.sleep(0.3)  # time until it is handled, which can't be seen from outside
    server.process.send_signal(signal.SIGHUP)
    until(lambda: old not in pids(server, 5) and len(children(server)) == 2, "the successor serves")
    server.process.send_signal(signal.SIGTERM)
    assert b"slept" in read_all(client)
    assert server.process.wait(DEADLINE) == 0


def test_a_replaced_process_does_not_look_unhealthy(serve):
    """Its successor serves, so it ends without the delay, and no health check fails."""
    server = serve("apps", "--processes", "2", "--health", "/healthy", "--shutdown-delay", "1h", "-q")
    until(lambda: len(pids(server)) == 2, "both serve")
    kept = server.connect()
    kept.sendall(b"GET /healthy HTTP/1.1\r\nHost: a\r\n\r\n")
    assert b"200 OK" in kept.recv(1000)
    for _ in range(2):
        before, statuses = children(server), set()

        def are_replaced():
            statuses.add(server.get("/healthy").status)
            return len(children(server)) == 2 and not children(server) & before

        server.process.send_signal(signal.SIGHUP)
        until(are_replaced, "new processes, without the delay")
        assert statuses == {200}
    # When the parent ends, it waits for the delay, and all processes serve on in the meantime.
    server.process.send_signal(signal.SIGTERM)
    until(lambda: server.get("/healthy").status == 503, "health checks fail")
    before = children(server)
    assert server.get("/tuple").status == 200 and len(before) == 2
    server.process.send_signal(signal.SIGTERM)
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


@pytest.mark.parametrize("args", [(), ("--processes", "1")])
def test_jobs_are_done_at_the_end(serve, tmp_path, args):
    """Jobs of an executor are done, as at the end of any Python program."""
    (tmp_path / "jobs.py").write_text(
        "import time\nfrom concurrent.futures import ThreadPoolExecutor\nEXECUTOR = ThreadPoolExecutor(1)\n"
        "def job():\n    time.sleep(1)\n    open('done', 'w').close()\n"
        "def app(environ, start_response):\n    EXECUTOR.submit(job)\n    start_response('200 OK', [])\n    return [b'accepted']\n")
    server = serve("--chdir", str(tmp_path), "jobs", *args)
    assert server.get("/").body == b"accepted" and not (tmp_path / "done").exists()
    assert server.stop() == 0 and (tmp_path / "done").exists()


REFUSING = """import errno, os, sys
from modest import _processes, wsgi
fork, _processes.RETRY = os.fork, 0.5
def refused():
    if os.path.exists(sys.argv[1]):
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    return fork()
os.fork = refused
sys.exit(wsgi.main(sys.argv[2:]))
"""


def test_a_process_that_cannot_be_started(serve, tmp_path):
    """The system's limit of processes: those that serve continue, and another attempt follows."""
    import sys

    flag = tmp_path / "refuse"
    server = serve(port=False, command=[sys.executable, "-c", REFUSING, str(flag), "-p", "0", "apps", "--processes", "1", "-q"])
    server.port = int(re.search(r"port (\d+)", server.wait_for(server.out, r"port (\d+)")).group(1))
    (first,) = pids(server, 1)
    flag.touch()
    server.process.send_signal(signal.SIGHUP)
    server.logged("no process can be started: Resource temporarily unavailable")
    assert pids(server, 5) == {first}
    flag.unlink()
    until(lambda: pids(server, 1) != {first}, "the successor")
    until(lambda: first not in children(server) and len(children(server)) == 1, "a single process")
    flag.touch()
    os.kill(min(children(server)), signal.SIGKILL)
    server.logged("no process can be started", count=2)
    flag.unlink()
    assert server.get("/tuple").status == 200
    assert server.stop() == 0


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


def test_jobs_are_done_after_a_killed_parent(serve, tmp_path):
    """A process whose server has ended finishes the jobs of its executors, even if the parent is killed in the meantime."""
    (tmp_path / "jobs.py").write_text(
        "import os, time\nfrom concurrent.futures import ThreadPoolExecutor, thread\nEXECUTOR = ThreadPoolExecutor(1)\n"
        "def job():\n"
        "    while not thread._shutdown: time.sleep(0.01)\n"
        "    os.kill(os.getppid(), 9)\n"
        "    time.sleep(0.5)\n"  # in which the process would notice that, and end
        "    open('done', 'w').close()\n"
        "def app(environ, start_response):\n    EXECUTOR.submit(job)\n    start_response('200 OK', [])\n    return [b'accepted']\n")
    server = serve("--chdir", str(tmp_path), "jobs", "--processes", "1")
    assert server.get("/").body == b"accepted"
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(DEADLINE) == -signal.SIGKILL
    until((tmp_path / "done").exists, "the job is done")


@pytest.mark.parametrize("args", [(), ("--processes", "1"), ("--reload",)])
def test_an_application_is_loaded_by_the_only_thread(serve, tmp_path, args):
    """gevent's `patch_all()` fails in a module that is imported beside another thread."""
    (tmp_path / "alone.py").write_text(
        "import threading\nTHREADS = [str(thread) for thread in threading.enumerate()]\n"
        "def app(environ, start_response):\n    start_response('200 OK', [])\n    return ['\\n'.join(THREADS).encode()]\n")
    server = serve("--chdir", str(tmp_path), "alone", *args)
    threads = server.get("/").body
    assert threads.startswith(b"<_MainThread(MainThread") and b"\n" not in threads


def test_an_application_that_does_not_load(serve):
    server = serve("missing:app", "--processes", "2", port=False)
    assert server.process.wait(DEADLINE) == 3
    server.logged("No module named 'missing'")


def test_an_address_in_use(serve):
    server = serve("apps")
    other = serve("-p", str(server.port), "apps", "--processes", "2", port=False)
    assert other.process.wait(DEADLINE) == 1
    other.logged("already in use")


def test_a_parent_with_too_few_descriptors_names_itself(monkeypatch, capsys):
    """The error of its pipes is one of the system, without the name of the program."""
    from modest import _modest, _processes

    def pipe():
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(os, "pipe", pipe)
    settings = _modest.Settings(["apps", "-p", "0", "--processes", "2"], False)
    assert _processes.supervise(settings) == 1
    assert capsys.readouterr().err == "modest-wsgi: can't serve: Too many open files\n"


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
    server.logged("its successor does not start; the next change of a file starts another one")
    assert server.get("/").body == b"two"
    file.write_text(code.format("three"))
    until(lambda: server.get("/").body == b"three", "the third version")
    assert server.stop() == 0
    assert not any("SIGUSR1" in line for line in server.log if line), "no one has sent a signal"


def test_reload_begins_with_a_mistake(serve, tmp_path):
    (tmp_path / "broken.py").write_text("raise RuntimeError('still broken')\n")
    server = serve("--chdir", str(tmp_path), "broken:app", "-p", "0", "--reload", port=False)
    server.logged("ended with status 3")
    server.logged("--reload: waiting for a change of a file")
    (tmp_path / "broken.py").write_text(
        "def app(environ, start_response):\n    start_response('200 OK', [])\n    return [b'mended']\n")
    line = server.wait_for(server.out, r"port (\d+)")
    server.port = int(re.search(r"port (\d+)", line).group(1))
    assert server.get("/").body == b"mended"
    assert server.stop() == 0


SLOW_TO_LOAD = """import os, time
while os.path.exists("wait"):
    time.sleep(0.02)
from apps import app
"""


@pytest.fixture
def slow_to_load(tmp_path):
    """An application that loads when the file `wait` is gone."""
    (tmp_path / "slow.py").write_text(SLOW_TO_LOAD)
    return tmp_path


def serving(serve, folder, name, *args):
    """A server whose parent knows that its process serves: it has notified systemd."""
    path = str(folder / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(path)
        systemd.settimeout(DEADLINE)
        server = serve("--chdir", str(folder), name, "--processes", "1", "-q", *args, env={**env(), "NOTIFY_SOCKET": path})
        assert b"READY=1" in systemd.recv(1000)
    return server


def env():
    return {"PYTHONPATH": os.path.dirname(os.path.abspath(__file__)), "PYTHONDONTWRITEBYTECODE": "1"}


def test_a_process_that_dies_while_it_is_replaced(serve, slow_to_load):
    """Its successor takes its place, and no third process starts."""
    server = serving(serve, slow_to_load, "slow")
    (old,) = children(server)
    (slow_to_load / "wait").touch()
    server.process.send_signal(signal.SIGHUP)
    until(lambda: len(children(server)) == 2, "the successor loads")
    os.kill(old, signal.SIGKILL)
    server.logged(f"process {old} ended by signal 9")
    (slow_to_load / "wait").unlink()
    until(lambda: pids(server, 1) and old not in children(server), "it serves")
    server.process.send_signal(signal.SIGHUP)  # each process that there is gets a successor
    (served,) = pids(server, 1)
    until(lambda: served not in children(server), "another one")
    until(lambda: len(children(server)) == 1, "a single process")
    assert server.stop() == 0


def test_a_killed_parent_closes_the_sockets(serve, tmp_path):
    """Its children finish their requests, but no client waits for them in a queue that nobody serves."""
    for bind in (
        ("--processes", "2"),
        ("--processes", "1", "-b", f"unix:{tmp_path}/socket", "-b", "127.0.0.1:0"),
        ("--processes", "2", "--shutdown-delay", "60s"),
    ):
        server = serve("apps", *bind, "-q")
        client = server.connect()
        client.sendall(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
        assert client.recv(100).startswith(b"HTTP/1.1 100 ")
        assert "-b" not in bind or (tmp_path / "socket").exists(), "a child removes no file"
        left = children(server)
        server.process.kill()
        server.process.wait()
        until(lambda: is_refused(server), "new clients are refused")
        assert not all(has_ended(pid) for pid in left), "a request is still in progress"
        client.sendall(b"body")
        assert Answer(read_all(client)).body == b"body"
        until(lambda: all(has_ended(pid) for pid in left), "no child is left")


def is_refused(server):
    try:
        server.connect().close()
    except ConnectionRefusedError:
        return True
    return False


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGHUP])
def test_a_log_file_is_opened_again(serve, tmp_path, number):
    """By SIGUSR1, and by a SIGHUP whose new processes do not start: logrotate does not know whether the code can be loaded."""
    (tmp_path / "changes.py").write_text("from apps import app\n")
    log, old = tmp_path / "log", tmp_path / "log.1"
    server = serve("--chdir", str(tmp_path), "changes", "--processes", "2", "--log-file", "log", env=env())
    until(lambda: len(pids(server)) == 2, "both serve")
    before = children(server)
    (tmp_path / "changes.py").write_text("raise RuntimeError('broken')\n")
    log.rename(old)
    server.process.send_signal(number)
    until(lambda: log.exists() and log.read_text().count("SIGUSR1: reloaded: --log-file") == 2, "both have opened it")
    lines = len(old.read_text())
    assert both_pids(server) == before
    assert "GET /pid" in log.read_text() and len(old.read_text()) == lines, "no line goes to the old file"
    if number == signal.SIGHUP:
        server.logged("its successor does not start", count=2)
    assert server.stop() == 0
    assert not any("requests" in line for line in server.out if line), "a process does not count the requests of all"


def test_a_signal_for_a_process_that_loads_is_remembered(serve, slow_to_load):
    """It may have read the files of options before they changed."""
    server = serve("--chdir", str(slow_to_load), "slow", "--processes", "1", "--log-file", "log", env=env())
    until(lambda: pids(server, 1), "it serves")
    (slow_to_load / "wait").touch()
    server.process.send_signal(signal.SIGHUP)
    until(lambda: len(children(server)) == 2, "the successor loads")
    log = slow_to_load / "log"
    log.rename(slow_to_load / "log.1")
    server.process.send_signal(signal.SIGUSR1)
    until(lambda: log.exists() and "SIGUSR1: reloaded" in log.read_text(), "the old process has opened it")
    (slow_to_load / "wait").unlink()
    until(lambda: log.read_text().count("SIGUSR1: reloaded") == 2, "the new process has reloaded its files")
    assert server.stop() == 0


def test_a_parent_that_is_killed_while_a_process_loads(serve, slow_to_load):
    """The process has not served, so it ends at once, and closes the sockets."""
    server = serving(serve, slow_to_load, "slow", "--shutdown-delay", "60s")
    (slow_to_load / "wait").touch()
    server.process.send_signal(signal.SIGHUP)
    until(lambda: len(children(server)) == 2, "the successor loads")
    server.process.kill()
    server.process.wait()
    until(lambda: is_refused(server), "new clients are refused")
    (slow_to_load / "wait").unlink()


def test_signals_for_other_processes_end_nothing(serve, tmp_path):
    for args in (("--processes", "1"), ()):
        log = tmp_path / f"log{len(args)}"
        server = serve("apps", *args, "--log-file", str(log))
        until(lambda: server.get("/tuple").status == 200, "it serves")
        if args:
            server.process.send_signal(signal.SIGUSR2)
        server.process.send_signal(signal.SIGUSR1)
        until(lambda: "SIGUSR1: reloaded: --log-file" in log.read_text(), "it has reloaded its files")
        assert server.get("/tuple").status == 200 and server.stop() == 0


def test_messages_of_a_parent_have_the_format_of_the_log(serve):
    server = serve("apps", "--processes", "1", "--log-format", "json", "-q", port=False)
    until(lambda: children(server), "it has begun")
    server.process.send_signal(signal.SIGHUP)
    line = json.loads(server.logged("SIGHUP"))
    assert line["level"] == "INFO" and line["target"] == "modest-wsgi"
    assert line["message"] == "SIGHUP: new processes replace the old ones"
    assert server.stop() == 0


def test_children_that_load_end_with_their_parent(serve, slow_to_load):
    server = serving(serve, slow_to_load, "slow")
    before = children(server)
    (slow_to_load / "wait").touch()
    server.process.send_signal(signal.SIGHUP)
    until(lambda: len(children(server)) == 2, "a process that loads")
    left = children(server)
    server.process.kill()
    server.process.wait()
    (slow_to_load / "wait").unlink()
    until(lambda: all(has_ended(pid) for pid in left), "no child is left")
    assert before < left


def test_a_process_that_always_dies_is_not_started_all_the_time(serve, tmp_path):
    (tmp_path / "dies.py").write_text("import os\nif os.path.exists('die'):\n    os._exit(7)\nfrom apps import app\n")
    server = serving(serve, tmp_path, "dies")
    (tmp_path / "die").touch()
    os.kill(min(children(server)), signal.SIGKILL)
    begun = time.monotonic()
    server.logged("ended with status 7", count=3)
    assert time.monotonic() - begun > 1.5, "it waits longer each time"
    (tmp_path / "die").unlink()
    assert server.get("/tuple").status == 200  # the socket accepts meanwhile
    assert server.stop() == 0


@pytest.mark.skipif(
    signal.SIG_IGN in map(signal.getsignal, (signal.SIGINT, signal.SIGQUIT)),
    reason="the shell started these tests with ignored signals, which every process inherits",
)
def test_programs_of_the_application_ignore_no_signals(serve):
    for args in ((), ("--processes", "1")):
        server = serve("apps", *args)
        ignored = int(server.get("/signals").body.split()[1], 16)
        assert ignored & (1 << signal.SIGINT - 1 | 1 << signal.SIGHUP - 1 | 1 << signal.SIGQUIT - 1) == 0, hex(ignored)
        assert server.stop() == 0


def test_a_parent_whose_messages_nobody_reads(serve, tmp_path):
    """The parent can't write its messages. Everything else works."""
    with open("/dev/full", "w") as full:
        server = serve("apps", "--processes", "1", stderr=full)
        before = children(server)
        server.process.send_signal(signal.SIGHUP)
        until(lambda: len(children(server)) == 1 and not children(server) & before, "another process")
        assert server.get("/tuple").status == 200 and server.stop() == 0


def test_a_process_that_never_ends_is_killed(serve):
    """Code that holds the interpreter also delays the end of its process."""
    server = serve("apps", "--processes", "1", "--shutdown-timeout", "100ms", "-q")
    client = server.connect()
    client.sendall(b"GET /stuck HTTP/1.1\r\nHost: a\r\n\r\n")
    (child,) = children(server)
    until(lambda: "nanosleep" in wchans(child), "the call holds the interpreter")
    server.process.send_signal(signal.SIGTERM)
    server.logged(f"process {child} does not end: it is killed")
    assert server.process.wait(DEADLINE) == 0


def wchans(pid):
    found = []
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/wchan") as file:
            found.append(file.read())
    return " ".join(found)


def has_ended(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_processes_have_one_self_signed_certificate(serve):
    import ssl

    server = serve("apps", "--processes", "2", "--tls-self-signed")
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE

    def ask():
        with context.wrap_socket(server.connect()) as client:
            client.sendall(b"GET /pid HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            certificate, received = client.getpeercert(True), b""
            while True:
                piece = client.recv(4096)
                if not piece:
                    return certificate, Answer(received).body
                received += piece

    found = set()
    until(lambda: found.add(ask()) or len({pid for _, pid in found}) == 2, "both processes")
    assert len({certificate for certificate, _ in found}) == 1
    assert server.stop() == 0


def test_redirect_to_https_by_all_processes(serve):
    server = serve("apps", "--processes", "2", "--tls-self-signed", "--redirect-to-https=127.0.0.1:0")
    line = server.wait_for(server.out, r"http://127.0.0.1:\d+/ redirects")
    plain = int(re.search(r":(\d+)/", line).group(1))

    def location():
        with socket.create_connection(("127.0.0.1", plain), DEADLINE) as client:
            client.sendall(b"GET /a?b HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
            return Answer(read_all(client)).field("location")

    before = children(server)
    assert {location() for _ in range(20)} == {f"https://test:{server.port}/a?b"}
    server.process.send_signal(signal.SIGHUP)
    until(lambda: len(children(server)) == 2 and not children(server) & before, "new processes")
    assert {location() for _ in range(20)} == {f"https://test:{server.port}/a?b"}
    assert server.stop() == 0


def free_ports(count):
    """The first of this many free ports in a row."""
    while True:
        with socket.create_server(("127.0.0.1", 0)) as first:
            port = first.getsockname()[1]
        try:
            for number in range(count):
                socket.create_server(("127.0.0.1", port + number)).close()
            return port
        except OSError:
            continue


def test_each_process_has_a_page_of_metrics(serve):
    """Prometheus adds them up."""
    first = free_ports(2)
    server = serve("apps", "--processes", "2", "--metrics-bind", f"127.0.0.1:{first}", "-q")
    until(lambda: len(pids(server)) == 2, "both serve")

    def requests(number):
        with socket.create_connection(("127.0.0.1", first + number), DEADLINE) as client:
            client.sendall(b"GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            page = read_all(client).decode()
        return sum(int(float(value)) for value in re.findall(r"^modest_http_requests_total\S* (\S+)", page, re.M)), page

    total = requests(0)[0] + requests(1)[0]
    for _ in range(20):
        server.get("/tuple")
    until(lambda: requests(0)[0] + requests(1)[0] == total + 20, requests(0)[1])
    before = children(server)
    server.process.send_signal(signal.SIGHUP)
    until(lambda: len(children(server)) == 2 and not children(server) & before, "new processes")
    until(lambda: requests(0)[0] + requests(1)[0] < total + 20, "the pages are those of the new processes")
    assert server.stop() == 0


def test_the_pages_of_all_processes_are_printed(serve):
    server = serve("apps", "--processes", "2", "--metrics-bind", "127.0.0.1:0")
    server.wait_for(server.out, "Metrics at", 2)
    pages = re.findall(r"Metrics at http://127\.0\.0\.1:(\d+)/metrics", "".join(map(str, server.out)))
    assert len(set(pages)) == 2, server.out
    for page in pages:
        with socket.create_connection(("127.0.0.1", int(page)), DEADLINE) as client:
            client.sendall(b"GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            assert b"modest_http_requests_total" in read_all(client), page
    assert server.stop() == 0


def others_may_read(path):
    """Whether each user can read this."""
    while path != "/":
        if not os.stat(path).st_mode & 0o005 == 0o005:
            return False
        path = os.path.dirname(path)
    return True


@pytest.mark.skipif(os.getuid() != 0, reason="only root can change the user")
def test_the_application_is_loaded_as_the_user(serve):
    import shutil
    import sys
    import sysconfig
    import tempfile

    import modest

    paths = [sysconfig.get_path("stdlib"), os.path.dirname(modest.__file__), sys.prefix]
    if not all(others_may_read(os.path.realpath(path)) for path in paths):
        pytest.skip("this Python can be read by root only")
    folder = tempfile.mkdtemp()
    try:
        os.chmod(folder, 0o755)
        with open(os.path.join(folder, "who.py"), "w") as file:
            file.write("import os, threading\nLOADED = os.getuid()\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n"
                       "def app(environ, start_response):\n    start_response('200 OK', [])\n"
                       "    return [f'{LOADED} {os.getuid()}'.encode()]\n")
        for args in ((), ("--processes", "2")):
            server = serve("--chdir", folder, "who", "--user", "65534:65534", *args)
            assert server.get("/").body == b"65534 65534"
            assert server.stop() == 0
    finally:
        shutil.rmtree(folder)


def test_reports_of_changed_files(tmp_path, monkeypatch):
    """The kernel reports each change, even in folders that are made later; the comparison finds the changed files."""
    import select

    from modest import _processes

    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.py").write_text("1")
    (tmp_path / ".git").mkdir()
    (tmp_path / "env").mkdir()
    (tmp_path / "env" / "pyvenv.cfg").touch()
    files = _processes.Files(print)
    assert files.watch, "Linux has inotify"

    def changed():
        assert select.select([files.watch], [], [], DEADLINE)[0], "a report"
        files.on_reports()
        files.compared_at = 0.0
        return files.changed if files.have_changed() else None

    def new_folder():
        (tmp_path / "sub").mkdir()
        assert changed() is None
        (tmp_path / "sub" / "b.py").write_text("2")

    for change, expected in [
        (lambda: (tmp_path / "a.py").write_text("2"), "./a.py"),
        (new_folder, "./sub/b.py"),
        (lambda: (tmp_path / "notes.txt").write_text(""), None),
        (lambda: (tmp_path / "a.py").rename(tmp_path / "c.py"), "./a.py"),
        (lambda: (tmp_path / "c.py").unlink(), "./c.py"),
        (lambda: os.utime(tmp_path / "sub" / "b.py", (0, 0)), "./sub/b.py"),
    ]:
        change()
        assert changed() == expected
    (tmp_path / ".git" / "d.py").touch()
    (tmp_path / "env" / "site.py").touch()
    files.compared_at = 0.0
    assert not files.have_changed()


@pytest.mark.parametrize("args", [(), ("--processes", "1")])
@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGHUP])
def test_close_is_called_when_the_server_ends(serve, tmp_path, args, end):
    """A response that its client does not read is cut off by the shutdown timeout. Its iterable is closed once."""
    if end == signal.SIGHUP and not args:
        pytest.skip("a single process is not replaced")
    (tmp_path / "closes.py").write_text(
        "class Body:\n"
        "    def __iter__(self):\n        return self\n"
        "    def __next__(self):\n        return b'x' * 65536\n"
        "    def close(self):\n        open('closed', 'a').write('closed\\n')\n"
        "def app(environ, start_response):\n    start_response('200 OK', [('Content-Type', 'text/plain')])\n    return Body()\n")
    server = serve("--chdir", str(tmp_path), "closes", "--shutdown-timeout", "300ms", "-q", *args, env=env())
    with server.connect() as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.recv(10)
        server.process.send_signal(end)
        until((tmp_path / "closed").exists, "close()")
        # A second SIGTERM could arrive while Python, which has ended its handlers, is about to exit.
        assert (server.process.wait(DEADLINE) if end == signal.SIGTERM else server.stop()) == 0
    assert (tmp_path / "closed").read_text() == "closed\n"
