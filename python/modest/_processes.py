"""Several processes that serve one application: a parent creates the listening sockets, forks, and replaces processes that end.

The parent never has a second thread: it forks without one, and it runs no code of the application. A child imports the application,
reports that it serves, and drains on SIGTERM (a stop) and SIGUSR2 (a successor serves). On SIGUSR1 it reloads files. While a process is replaced, the new one serves before the old one stops; clients that
connect meanwhile wait in the queue of the sockets, which all processes share.
"""

from __future__ import annotations

import _thread
import os
import random
import select
import signal
import socket
import sys
import time
import traceback

from . import _modest, wsgi

# A process that ends sooner than this, several times in a row, is not started again at once.
YOUNG = 5.0
# The time in which a process must begin to serve. Otherwise another process is started in its place.
START = 120.0
# When the replacement of a process has failed, another one follows after this time.
RETRY = 60.0
# A process that has not ended this long after its shutdown timeout is killed: code that never returns holds the interpreter.
OVERTIME = 5.0
# How often files are compared, with and without reports of the kernel. Some file systems, such as NFS, report nothing.
COMPARE_WATCHED, COMPARE = 5.0, 0.3
# How long to wait after the first report before comparing files, because editors write a file in several steps.
SETTLE = 0.2

# With --shutdown-delay, new clients are refused this long before the delay has passed.
EARLY = 0.03

# Ends a child that a successor replaces: without --shutdown-delay, because no client needs another server.
REPLACED = signal.SIGUSR2
# Lets a child reload its files and reopen its log.
RELOAD = signal.SIGUSR1

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD, signal.SIGQUIT, RELOAD)

READY, RETIRE = b"R", b"X"


class Child:
    """A process that serves, or will serve."""

    def __init__(self, pid: int, number: int, pipe: int, age: float | None) -> None:
        self.pid = pid
        self.number = number  # that of its predecessor
        self.pipe = pipe  # the child reports here, and ends when the pipe is closed
        self.begun = time.monotonic()
        # A random part, so that processes that were started together are not replaced together.
        self.retires = None if age is None else self.begun + age * random.uniform(0.9, 1.1)
        self.is_ready = False
        self.is_ending = False
        self.reloads = False  # the files of options may have changed since it has read them
        self.rereads = False  # a signal has asked for a successor, which would read these files
        self.killed_at: float | None = None
        self.replaces: Child | None = None


class Supervisor:
    def __init__(self, settings) -> None:
        self.settings = settings
        self.wanted = settings.processes or 1
        self.listeners = _modest.Listeners(settings, self.wanted)
        self.children: dict[int, Child] = {}
        self.is_stopping = False
        self.refuses_at: float | None = None
        self.stopped_at: float | None = None  # when a signal has begun the stop
        self.explained_at: float | None = None  # when a stop by Ctrl-C that still waits is explained
        self.status = 0
        self.early_ends = 0
        self.not_before = 0.0
        self.has_announced = self.has_served = False
        self.messages = _modest.Log(settings)
        self.log = self.messages.write
        self.files = Files(self.log) if settings.reload else None
        # Open while the parent lives: its children read from the other end.
        self.life, self.alive = os.pipe()
        self.signals, self.signalled = os.pipe()
        for pipe in (self.life, self.alive, self.signals, self.signalled):
            os.set_inheritable(pipe, False)
        os.set_blocking(self.signalled, False)

    def run(self) -> int:
        signal.set_wakeup_fd(self.signalled, warn_on_full_buffer=False)
        for number in (*SIGNALS, REPLACED):  # the last one is for a child, and sent here by mistake
            signal.signal(number, lambda *_: None)
        while not (self.is_stopping and not self.children):
            self.fill()
            self.wait()
        return self.status

    # Events

    def wait(self) -> None:
        pipes = {child.pipe: child for child in self.children.values() if child.pipe >= 0}
        watched = self.files.watch.fileno() if self.files and self.files.watch else None
        sources = [self.signals, *pipes, *([] if watched is None else [watched])]
        ready, _, _ = select.select(sources, [], [], self.timeout())
        for pipe in ready:
            if pipe == self.signals:
                for number in os.read(pipe, 512):
                    self.on_signal(number)
            elif pipe in pipes:
                self.on_report(pipes[pipe])
            elif self.files:
                self.files.on_reports()
        self.refuse_clients()
        self.reap()
        self.explain()
        for child in list(self.children.values()):
            self.on_time(child, time.monotonic())
        if self.files and not self.is_stopping and self.files.have_changed():
            self.log("INFO", f"{self.files.changed} has changed: starting again")
            self.reload()

    def on_time(self, child: Child, now: float) -> None:
        if child.is_ending:
            if child.killed_at is not None and child.killed_at <= now:
                self.log("ERROR", f"process {child.pid} does not end: it is killed")
                self.end(child, signal.SIGKILL)
        elif child.is_ready:
            if child.retires is not None and child.retires <= now:
                self.replace(child)
        elif now - child.begun > START:
            self.log("ERROR", f"process {child.pid} does not serve after {START:.0f} s: it is killed")
            replaced = child.replaces
            self.end(child, signal.SIGKILL)
            self.keep(replaced)

    def timeout(self) -> float | None:
        children = [child for child in self.children.values() if not child.is_ending]
        moments = [child.retires for child in children if child.is_ready and child.retires and not self.has_successor(child)]
        moments += [child.begun + START for child in children if not child.is_ready]
        moments += [child.killed_at for child in self.children.values() if child.killed_at is not None]
        if self.files:
            moments.append(self.files.compared_at)
        if self.refuses_at is not None:
            moments.append(self.refuses_at - 0.01)
        if self.explained_at is not None:
            moments.append(self.explained_at)
        if len(self.serving()) < self.wanted and not self.is_stopping:
            moments.append(min(self.not_before, time.monotonic() + 60))
        return None if not moments else max(0.0, min(moments) - time.monotonic()) + 0.01

    def on_signal(self, number: int) -> None:
        if number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
            if self.stopped_at is not None and time.monotonic() - self.stopped_at < wsgi.REPEATED:
                return
            if number == signal.SIGINT and not self.is_stopping:
                self.explained_at = time.monotonic() + self.messages.interrupted()
            notify("STOPPING=1", self.log)
            self.stop(signal.SIGKILL if self.is_stopping else signal.SIGTERM)
            self.stopped_at = time.monotonic()
        elif number == signal.SIGHUP and not self.is_stopping:
            self.log("INFO", "SIGHUP: new processes replace the old ones")
            for child in self.children.values():
                child.rereads = True
            self.reload()
        elif number == RELOAD:
            for child in self.children.values():
                self.reload_files(child)

    def on_report(self, child: Child) -> None:
        try:
            report = os.read(child.pipe, 16)
        except OSError:
            report = b""
        if not report:
            os.close(child.pipe)
            child.pipe = -1
        if READY in report and not child.is_ready:
            if not self.has_served:
                notify("READY=1", self.log)
            child.is_ready = self.has_served = True
            if child.reloads:
                self.reload_files(child)
            if child.replaces is not None:
                self.end(child.replaces, REPLACED)
                child.replaces = None
        if RETIRE in report:
            child.retires = time.monotonic()

    def reap(self) -> None:
        while self.children:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            child = self.children.pop(pid, None)
            if child is not None:
                self.on_end(child, os.waitstatus_to_exitcode(status))

    def on_end(self, child: Child, code: int) -> None:
        if child.pipe >= 0:
            os.close(child.pipe)
        for other in self.children.values():
            if other.replaces is child:
                other.replaces = None  # there is nothing left to end
        if not self.has_served:
            self.has_announced = False  # the next process prints the address
        if self.is_stopping and child.is_ready and code > 0:
            self.status = self.status or code  # as without a parent, such as that of `sys.exit()` in a handler of signals
        if child.is_ending or self.is_stopping:
            return
        how = f"by signal {-code}" if code < 0 else f"with status {code}"
        self.log("ERROR", f"process {child.pid} ended {how}")
        if child.is_ready:
            is_young = time.monotonic() - child.begun < YOUNG
        else:
            is_young = True
            if child.replaces is not None:
                self.keep(child.replaces)
                return
            is_about_options = code in (1, 2) and not self.has_served  # no change of the application corrects it
            if self.files and not is_about_options:
                self.not_before = float("inf")  # the next change may correct the error
                self.log("INFO", "--reload: waiting for a change of a file")
                return
            if not self.has_served:
                # The application can't be loaded, so another attempt would fail as well.
                self.is_stopping, self.status = True, code if code > 0 else 1
                for other in self.children.values():
                    self.end(other, signal.SIGTERM)
                return
        self.early_ends = self.early_ends + 1 if is_young else 0
        if self.early_ends > 1:
            self.pause()

    # Actions

    def pause(self) -> None:
        """Waits before the next process starts: longer each time, up to 10 s."""
        self.not_before = time.monotonic() + min(10.0, 0.5 * 2 ** min(self.early_ends, 5))

    def serving(self) -> list[Child]:
        return [child for child in self.children.values() if not child.is_ending and child.replaces is None]

    def fill(self) -> None:
        while not self.is_stopping and len(self.serving()) < self.wanted and self.not_before <= time.monotonic():
            self.start()

    def reload(self) -> None:
        self.not_before = 0.0
        for child in list(self.children.values()):
            if child.replaces is not None or not child.is_ready and not child.is_ending:
                self.end(child, REPLACED)  # it has loaded the old code
        for child in self.serving():
            self.replace(child)

    def replace(self, child: Child) -> None:
        if not self.has_successor(child):
            self.start(replaces=child)

    def keep(self, child: Child | None) -> None:
        """Lets a process continue whose successor does not start. If it was to be replaced for its age, another attempt follows later."""
        if child is None:
            return
        waits = "; the next change of a file starts another one" if self.files else ""
        self.log("ERROR", f"process {child.pid} continues: its successor does not start{waits}")
        if child.rereads:
            child.rereads = False
            self.reload_files(child)
        if child.retires is not None:
            child.retires = max(child.retires, time.monotonic() + RETRY)

    def reload_files(self, child: Child) -> None:
        """A process that has not begun to serve does not yet handle the signal, and may have read the files before: it gets the signal later."""
        child.reloads = not child.is_ready
        if child.is_ready:
            os.kill(child.pid, RELOAD)

    def stop(self, number: int) -> None:
        """Ends all processes. New clients are refused before they stop accepting: clients in the queue after the last accept are reset."""
        self.is_stopping = True
        if number != signal.SIGKILL:
            self.refuses_at = time.monotonic() + self.settings.delay - EARLY
            self.refuse_clients()
        for child in self.children.values():
            self.end(child, number)

    def refuse_clients(self) -> None:
        if self.refuses_at is not None and self.refuses_at <= time.monotonic():
            self.refuses_at = None
            time.sleep(self.listeners.refuse_clients())

    def explain(self) -> None:
        if self.explained_at is not None and self.explained_at <= time.monotonic() and self.children:
            self.explained_at = None
            self.messages.explain()

    def has_successor(self, child: Child) -> bool:
        return any(other.replaces is child for other in self.children.values())

    def end(self, child: Child, number: int) -> None:
        child.is_ending = True
        child.replaces = None
        is_limited = number != signal.SIGKILL and self.settings.drain is not None
        child.killed_at = time.monotonic() + self.settings.drain + OVERTIME if is_limited else None
        try:
            os.kill(child.pid, number)
        except ProcessLookupError:
            pass

    def start(self, replaces: Child | None = None) -> None:
        number = replaces.number if replaces else self.free_number()
        try:
            pid, read = self.fork(number)
        except OSError as error:  # the system's limit of processes, descriptors or memory
            self.log("ERROR", f"no process can be started: {error.strerror}")
            self.early_ends += 1
            self.pause()
            self.keep(replaces)
            if replaces is not None:
                replaces.retires = time.monotonic() + RETRY
            return
        child = Child(pid, number, read, self.settings.process_age)
        child.replaces = replaces
        self.children[pid] = child
        self.has_announced = True

    def fork(self, number: int) -> tuple[int, int]:
        """Starts a process. Returns its id, and the descriptor of its reports."""
        read, write = os.pipe()
        try:
            # Signals are blocked until the child has its own handlers.
            signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
            pid = os.fork()
            if pid == 0:
                code = 70
                try:
                    os.close(read)
                    code = self.serve(write, number)
                except BaseException:
                    traceback.print_exc()
                finally:
                    wsgi.end(code, finishes=code == 0)  # without the parent's exit handlers
        except OSError:
            os.close(read)
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
            os.close(write)
        return pid, read

    def free_number(self) -> int:
        taken = {child.number for child in self.serving()}
        return next(number for number in range(self.wanted) if number not in taken)

    # In a child

    def serve(self, pipe: int, number: int) -> int:
        signal.set_wakeup_fd(-1)
        for number_ in (signal.SIGTERM, signal.SIGCHLD, REPLACED):
            signal.signal(number_, signal.SIG_DFL)
        # The parent handles the signals that a terminal sends to all processes. They are not ignored here, because programs
        # that the application starts would inherit that. The server will handle RELOAD.
        for number_ in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, RELOAD):
            signal.signal(number_, wsgi.ignored)
            signal.siginterrupt(number_, False)
        os.environ.pop("NOTIFY_SOCKET", None)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        os.close(self.alive)
        for child in self.children.values():
            if child.pipe >= 0:
                os.close(child.pipe)
        server, has_served = _modest.Server(), []
        random.seed()
        requests = self.settings.process_requests

        def ready() -> None:
            has_served.append(True)
            os.write(pipe, READY)

        return wsgi.run(
            self.settings,
            begin=lambda: self.end_with_parent(server, has_served),
            server=server,
            multiprocess=self.wanted > 1,
            listeners=(self.listeners, number),
            ready=ready,
            retire=requests and (max(1, round(requests * random.uniform(0.9, 1.1))), lambda: os.write(pipe, RETIRE)),
            signals="parent",
            announce=not self.has_announced,
        )

    def end_with_parent(self, server, has_served: list[bool]) -> None:
        """A killed parent can't notify its children, but its end of the pipe closes. A child that does not yet serve ends at once."""

        def wait() -> None:
            os.read(self.life, 1)
            if not server.addresses and not has_served:
                os._exit(1)
            server.hand_over()

        # `threading` does not list this thread: gevent patches modules only while the application's thread is the only one.
        wsgi.start(_thread.start_new_thread, wait, ())


class Files:
    """The files of modules that the application imports: those below the working directory, without installed packages."""

    def __init__(self, log) -> None:
        self.log = log
        self.watch: _modest.Watch | None = None
        try:
            self.watch = _modest.Watch()
        except OSError:
            pass  # another system, or no instances left
        self.changed = ""
        self.seen = self.found()

    def found(self) -> dict[str, tuple[int, ...]]:
        self.compared_at = time.monotonic() + (COMPARE_WATCHED if self.watch else COMPARE)
        found: dict[str, tuple[int, ...]] = {}
        folders = ["."]
        while folders:
            folder = folders.pop()
            self.add(folder)  # before it is read, so that no change is missed
            try:
                entries = list(os.scandir(folder))
            except OSError:
                continue  # it was removed, or can't be read
            if folder != "." and any(entry.name == "pyvenv.cfg" for entry in entries):
                continue
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    if not entry.name.startswith((".", "__pycache__")) and entry.name != "node_modules":
                        folders.append(entry.path)
                elif entry.name.endswith((".py", ".toml", ".ini", ".cfg", ".env")):
                    try:
                        stat = entry.stat()
                    except OSError:
                        continue
                    found[entry.path] = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
        return found

    def add(self, folder: str) -> None:
        try:
            if self.watch:
                self.watch.add(folder)
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            pass  # it was removed, or can't be read
        except OSError as error:
            self.watch = None
            self.log("WARN", f"--reload: {folder} can't be watched ({error.strerror}); files are compared every {COMPARE} s")

    def on_reports(self) -> None:
        if self.watch:
            self.watch.clear()
        self.compared_at = min(self.compared_at, time.monotonic() + SETTLE)

    def have_changed(self) -> bool:
        if time.monotonic() < self.compared_at:
            return False
        found = self.found()
        different = found.items() ^ self.seen.items()
        self.seen = found
        self.changed = min((path for path, _ in different), default="")
        return bool(different)


def notify(state: str, log) -> None:
    """Notifies systemd (sd_notify(3)), if systemd has started this."""
    address = os.environ.get("NOTIFY_SOCKET")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as to:
            try:
                to.sendto(f"MAINPID={os.getpid()}\n{state}".encode(), "\0" + address[1:] if address[0] == "@" else address)
            except OSError as error:
                log("WARN", f"can't notify systemd of {state}: {error}")


def supervise(settings) -> int:
    try:
        supervisor = Supervisor(settings)
    except OSError as error:  # those of the listeners have no number, and are whole lines
        print(error if error.errno is None else f"modest-wsgi: can't serve: {error.strerror}", file=sys.stderr)
        return 1
    return supervisor.run()
