"""An application that finds out on which threads its code runs. Each call and each piece checks that no other request is in progress there."""

import os
import sqlite3
import sys
import threading
import time

HERE = threading.local()
LOCK = threading.Lock()
# Requests that began and ended, and what went wrong.
BEGUN, CLOSED, WRONG = [0], [0], []


def wrong(what, *details):
    WRONG.append(f"{what}: {details}")


class Body:
    """Pieces that belong to a thread: by `threading.local`, a lock, and a connection to a database."""

    def __init__(self, name, count, kind):
        with LOCK:
            BEGUN[0] += 1
        self.name, self.left, self.kind, self.closed = name, count, kind, 0
        self.thread = threading.get_ident()
        self.lock = threading.RLock()
        self.lock.acquire()
        self.rows = sqlite3.connect(":memory:")
        HERE.owner = name

    def check(self, where):
        if HERE.__dict__.get("owner") != self.name or threading.get_ident() != self.thread:
            wrong(where, self.name, HERE.__dict__.get("owner"))

    def __iter__(self):
        self.check("iter")
        return self

    def __next__(self):
        self.check("next")
        self.rows.execute("select 1").fetchone()
        self.left -= 1
        if self.left < 0:
            if self.kind == "raise":
                raise ValueError("for the test")
            raise StopIteration
        if self.kind == "pause" and self.left % 10 == 0:
            time.sleep(0.001)
        return b"" if self.kind == "empty" and self.left % 2 else b"x" * 1000

    def close(self):
        self.check("close")
        self.closed += 1
        if self.closed > 1:
            wrong("closed twice", self.name)
        self.rows.close()
        self.lock.release()
        HERE.owner = None
        with LOCK:
            CLOSED[0] += 1


def app(environ, start_response):
    if HERE.__dict__.get("owner") is not None:
        wrong("a call", environ["PATH_INFO"], HERE.owner)
    path = environ["PATH_INFO"]
    if path == "/counts":
        start_response("200 OK", [])
        return [f"{BEGUN[0]} {CLOSED[0]} {len(WRONG)} {WRONG[:3]}".encode()]
    if path == "/plain":
        start_response("200 OK", [])
        return [b"plain"]
    _, kind, count, number = path.split("/")
    count = int(count)
    body = Body(f"{kind} {number}", count, kind)
    fields = []
    if kind == "sized":
        fields = [("Content-Length", str(1000 * count))]
    if kind == "short":
        fields = [("Content-Length", str(1000 * count // 2 + 1))]
    write = start_response("200 OK" if kind != "nobody" else "304 Not Modified", fields)
    if kind == "write":
        write(b"w" * 1000)
    return body


def forks(environ, start_response):
    """Forks at the place in the path. The child process ends in the way that the path names."""
    _, place, way = environ["PATH_INFO"].split("/")

    def fork(here):
        if here != place or os.fork():
            return
        print(f"child {place} {way}", file=sys.stderr)
        if way == "exit":
            sys.exit(3)
        if way == "text":
            sys.exit("a text")
        if way == "raise":
            raise ValueError("of the child")
        if way == "_exit":
            os._exit(0)
        HERE.is_child = True  # returns

    class Forking:
        def __init__(self):
            self.left = 3

        def __iter__(self):
            fork("iter")
            return self

        def __next__(self):
            self.left -= 1
            if self.left == 1:
                fork("next")
            if self.left < 0:
                raise StopIteration
            return b"%d" % os.getpid() + b" " * 100_000

        def close(self):
            fork("close")

    fork("call")
    start_response("200 OK", [])
    return [b"%d" % os.getpid()] if place == "call" else Forking()


def empty(environ, start_response):
    """Has nothing to send, like a queue of events without an event."""
    start_response("200 OK", [])
    if environ["PATH_INFO"] == "/counts":
        return [f"{BEGUN[0]} {CLOSED[0]}".encode()]

    def pieces():
        BEGUN[0] += 1
        try:
            if environ["PATH_INFO"] == "/begun":
                yield b"begun"
            while True:
                time.sleep(0.01)
                yield b""
        finally:
            CLOSED[0] += 1

    return pieces()


GO = threading.Event()
AFTER = []


def after(environ, start_response):
    """Generators with work after their last byte, which waits until a request lets it continue."""
    path = environ["PATH_INFO"]
    if path in ("/after", "/go"):
        if path == "/go":
            GO.set()
        start_response("200 OK", [])
        return [",".join(AFTER).encode()]
    pieces = {"one": [b"abc"], "two": [b"ab", b"c"], "empty": [b"", b"abc", b""], "endless": [b"abc"], "more": [b"abcd"], "later": [b"abc"]}
    kind = path[1:]
    start_response("200 OK", [("Content-Length", "3")])

    def body():
        try:
            yield from pieces[kind]
            if kind == "later":
                yield b"d"
            GO.wait(20)
            while kind == "endless":
                yield b""
            AFTER.append(f"{kind} went on")
        except GeneratorExit:
            AFTER.append(f"{kind} closed")
            raise
        finally:
            AFTER.append(f"{kind} ended")

    return body()


def processes(environ, start_response):
    """Forks processes, and ends them in the way that the path names."""
    import multiprocessing
    import signal

    context, way = multiprocessing.get_context("fork"), environ["PATH_INFO"][1:]
    if way.startswith("SIG"):
        child = os.fork()
        if not child:
            time.sleep(30)
            os._exit(0)
        os.kill(child, getattr(signal, way))
        said = -os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    elif way == "terminate":
        child = context.Process(target=time.sleep, args=(30,))
        child.start()
        child.terminate()
        child.join()
        said = -child.exitcode
    elif way == "pool":
        with context.Pool(2) as pool:
            pool.map_async(time.sleep, [30])
        said = "ended"
    elif way == "daemon":
        context.Process(target=time.sleep, args=(30,), daemon=True).start()
        said = "begun"
    else:
        said = os.fork()
        if not said:
            time.sleep(30)
            os._exit(0)
    start_response("200 OK", [])
    return [str(said).encode()]


def job():
    """Runs in a forked process, and prints to a buffer."""
    main, started = threading.main_thread(), threading.Thread(target=int)
    started.start(), started.join()
    print("a job in", main.name, main is threading.current_thread(), main.is_alive(), main.daemon)


def jobs(environ, start_response):
    """Runs a job in a process that the path names, after `current_thread()` was called in this thread. Returns the job's exit status."""
    import logging
    import multiprocessing

    context, way = multiprocessing.get_context("fork"), environ["PATH_INFO"][1:]
    logging.getLogger("jobs").warning("a line")
    name = threading.current_thread().name
    if way == "process":
        process = context.Process(target=job)
        process.start()
        process.join()
        status = process.exitcode
    elif way == "pool":
        with context.Pool(1) as pool:
            pool.apply(job)
            pool.close()
            worker = pool._pool[0]
            pool.join()
        status = worker.exitcode
    else:
        child = os.fork()
        if not child:
            job()
            threading._shutdown()  # as `multiprocessing` and the end of the interpreter do
            sys.exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    start_response("200 OK", [])
    return [f"{status} {threading.current_thread().name == name}".encode()]
