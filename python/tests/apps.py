"""Applications for tests: one for each path. `wsgiref.validate` checks all except those that break the rules on purpose."""

import contextvars
import json
import os
import sys
import tempfile
import threading
import time
from wsgiref.validate import validator

TEXT = ("Content-Type", "text/plain; charset=utf-8")
APPS = {}
COUNTS = {}
LOCK = threading.Lock()


def count(name):
    with LOCK:
        COUNTS[name] = COUNTS.get(name, 0) + 1


def at(path, valid=True):
    def add(app):
        APPS[path] = validator(app) if valid else app
        return app

    return add


def app(environ, start_response):
    first = "/" + environ["PATH_INFO"].lstrip("/").split("/")[0]
    return APPS.get(first, APPS["/environ"])(environ, start_response)


class Body:
    """An iterable whose `close` is counted."""

    def __init__(self, name, pieces):
        self.name, self.pieces = name, iter(pieces)

    def __iter__(self):
        return self

    def __next__(self):
        return next(self.pieces)

    def close(self):
        count(self.name)


def ok(start_response, *fields):
    return start_response("200 OK", [TEXT, *fields])


@at("/environ")
def show_environ(environ, start_response):
    shown = {key: value if isinstance(value, (str, int, bool, tuple)) else type(value).__name__ for key, value in environ.items()}
    shown["type"] = str(type(environ) is dict)
    body = json.dumps(shown).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]


@at("/counts")
def show_counts(environ, start_response):
    ok(start_response)
    return [json.dumps(COUNTS).encode()]


@at("/echo")
def echo(environ, start_response):
    ok(start_response)
    return [environ["wsgi.input"].read(-1)]


@at("/input")
def read_input(environ, start_response):
    """The query has the calls that read the body: `read(3),readline()`."""
    stream = environ["wsgi.input"]
    results = []
    for call in environ["QUERY_STRING"].split(";"):
        name, _, argument = call.partition("-")
        arguments = (int(argument.replace("m", "-")),) if argument else ()
        if name == "iter":
            results.append([line.decode() for line in stream])
        else:
            found = getattr(stream, name)(*arguments)
            results.append([line.decode() for line in found] if isinstance(found, list) else found.decode())
    ok(start_response)
    return [json.dumps(results).encode()]


APPS["/input-raw"] = read_input  # the validator rejects `read()` without a size


@at("/generator")
def generator(environ, start_response):
    ok(start_response)
    yield b"one,"
    yield b""
    yield b"two,"
    yield b"three"


@at("/late-start")
def late_start(environ, start_response):
    def body():
        ok(start_response)
        yield b"late"

    return body()


APPS["/late-start"] = late_start


@at("/empty")
def empty(environ, start_response):
    ok(start_response)
    return []


@at("/empty-generator", valid=False)
def empty_generator(environ, start_response):
    ok(start_response)
    return Body("empty-generator", [])


@at("/tuple")
def of_tuple(environ, start_response):
    ok(start_response)
    return (b"a", b"b", b"c")


APPS["/tuple-raw"] = of_tuple


@at("/closing")
def closing(environ, start_response):
    ok(start_response)
    return Body("closing", [b"a", b"b"])


@at("/closing-sized")
def closing_sized(environ, start_response):
    ok(start_response, ("Content-Length", "2"))
    return Body("closing-sized", [b"ab"])


@at("/closing-long")
def closing_long(environ, start_response):
    ok(start_response)
    return Body("closing-long", (b"x" * 65536 for _ in range(10_000)))


@at("/closing-raises", valid=False)
def closing_raises(environ, start_response):
    class Raises(Body):
        def close(self):
            super().close()
            raise RuntimeError("raised by close")

    ok(start_response)
    return Raises("closing-raises", [b"whole"])


@at("/raises", valid=False)
def raises(environ, start_response):
    raise RuntimeError("raised at once: ünï")


@at("/exits", valid=False)
def exits(environ, start_response):
    sys.exit("exit of an application")


@at("/interrupts", valid=False)
def interrupts(environ, start_response):
    raise KeyboardInterrupt


@at("/recurses", valid=False)
def recurses(environ, start_response):
    """The recursion with the largest frames: through C code, on Python's default limit."""

    def key(_):
        sorted([1], key=key)

    key(1)


@at("/raises-later", valid=False)
def raises_later(environ, start_response):
    def pieces():
        yield b"begun"
        raise RuntimeError("raised amid the body")

    ok(start_response)
    return Body("raises-later", pieces())


@at("/raises-first", valid=False)
def raises_first(environ, start_response):
    def pieces():
        raise RuntimeError("raised before the body")
        yield b""

    ok(start_response)
    return Body("raises-first", pieces())


@at("/no-start", valid=False)
def no_start(environ, start_response):
    return Body("no-start", [b"body"])


@at("/none", valid=False)
def none(environ, start_response):
    ok(start_response)


@at("/text-piece", valid=False)
def text_piece(environ, start_response):
    ok(start_response)
    return Body("text-piece", ["text"])


@at("/text-in-list", valid=False)
def text_in_list(environ, start_response):
    ok(start_response)
    return ["text"]


@at("/returns-bytes", valid=False)
def returns_bytes(environ, start_response):
    ok(start_response)
    return b"bytes"


@at("/returns-text", valid=False)
def returns_text(environ, start_response):
    ok(start_response)
    return "text"


@at("/exc-info")
def exc_info(environ, start_response):
    ok(start_response, ("X-First", "1"))
    try:
        raise ValueError("before the head is sent")
    except ValueError:
        start_response("500 Oops", [TEXT, ("X-Second", "1")], sys.exc_info())
    return [b"an error page"]


@at("/exc-info-late", valid=False)
def exc_info_late(environ, start_response):
    def pieces():
        yield b"begun"
        try:
            raise ValueError("after the head is sent")
        except ValueError:
            start_response("500 Oops", [TEXT], sys.exc_info())
            count("exc-info-late did not raise")
        yield b"never"

    ok(start_response)
    return Body("exc-info-late", pieces())


@at("/twice", valid=False)
def twice(environ, start_response):
    ok(start_response)
    ok(start_response)
    return [b"never"]


@at("/write")
def write(environ, start_response):
    writes = ok(start_response)
    writes(b"written,")
    writes(b"twice,")
    return [b"returned"]


@at("/write-sized")
def write_sized(environ, start_response):
    writes = ok(start_response, ("Content-Length", "12"))
    writes(b"written,")
    return Body("write-sized", [b"more"])


@at("/write-large")
def write_large(environ, start_response):
    writes = ok(start_response)
    for _ in range(400):
        writes(b"w" * 65536)
    return []


@at("/write-too-much", valid=False)
def write_too_much(environ, start_response):
    writes = ok(start_response, ("Content-Length", "3"))
    writes(b"four")
    return []


@at("/write-late", valid=False)
def write_late(environ, start_response):
    """PEP 3333 forbids `write()` in an iterable. The query is the number of the piece at which it is called."""
    late = int(environ["QUERY_STRING"])

    def pieces(writes):
        for number in range(3):
            if number == late:
                writes(b"lost")
            yield b"piece"

    return Body("write-late", pieces(ok(start_response)))


@at("/status-list", valid=False)
def status_list(environ, start_response):
    start_response(f"{environ['QUERY_STRING']} Custom", [("Content-Length", "4")] if environ.get("HTTP_X_LENGTH") else [])
    return [b"body"]


@at("/ends", valid=False)
def ends(environ, start_response):
    """`WHERE;EXCEPTION`: raises this in the call, in `iter()`, in the first `next()`, in the second one, or in `close()`."""
    where, _, name = environ["QUERY_STRING"].partition(";")

    def at(place):
        if place == where:
            raise getattr(__builtins__, name, None) or __builtins__[name]

    class Pieces:
        def __iter__(self):
            at("iter")
            return self.pieces()

        def pieces(self):
            at("first")
            yield b"one"
            at("second")
            yield b"two"

        def close(self):
            count("ends")
            at("close")

    at("call")
    ok(start_response)
    return Pieces()


@at("/sleep-closing")
def sleep_closing(environ, start_response):
    time.sleep(0.5)
    ok(start_response)
    return Body("sleep-closing", [b"x" * 65536] * 100)


class Held:
    def __init__(self, name):
        self.name = name

    def __del__(self):
        sys.stderr.write(f"{self.name} was released\n")


HELD = contextvars.ContextVar("held")


@at("/held", valid=False)
def held(environ, start_response):
    """An object of the request's context, whose end is on stderr: a request would itself use the interpreter."""
    name, _, pieces = environ["QUERY_STRING"].partition(";")
    HELD.set(Held(name))
    ok(start_response)
    return Body("held", (b"x" * 65536 for _ in range(int(pieces))))


@at("/signals")
def signals(environ, start_response):
    """The signals that a program of the application ignores."""
    import subprocess

    status = subprocess.run(["cat", "/proc/self/status"], capture_output=True, text=True).stdout
    ok(start_response)
    return [next(line for line in status.splitlines() if line.startswith("SigIgn")).encode()]


@at("/stuck", valid=False)
def stuck(environ, start_response):
    """Holds the interpreter, as a C extension can."""
    import ctypes

    ctypes.PyDLL(None).sleep(60)


@at("/status")
def status(environ, start_response):
    code = environ["QUERY_STRING"] or "200"
    fields = [] if code in ("204", "304") else [TEXT]
    start_response(f"{code} Custom", fields)
    return [] if code in ("204", "304") else [b"body"]


@at("/body-in-status", valid=False)
def body_in_status(environ, start_response):
    start_response(f"{environ['QUERY_STRING']} Custom", [])
    return Body("body-in-status", [b"not sent"])


@at("/head-field", valid=False)
def head_field(environ, start_response):
    """A field of the query: `Name=value`, percent-decoded."""
    from urllib.parse import unquote

    name, _, value = environ["QUERY_STRING"].partition("=")
    start_response("200 OK", [TEXT, (unquote(name, "latin-1"), unquote(value, "latin-1"))])
    return [b"sent"]


@at("/bad-head", valid=False)
def bad_head(environ, start_response):
    def call(status, fields, *more):
        start_response(status, fields, *more)

    {
        "status-bytes": lambda: call(b"200 OK", []),
        "status-number": lambda: call(200, []),
        "status-short": lambda: call("20 OK", []),
        "status-word": lambda: call("OK", []),
        "status-100": lambda: call("100 Continue", []),
        "status-101": lambda: call("101 Switching", []),
        "status-newline": lambda: call("200 OK\r\nX: y", []),
        "fields-tuple": lambda: call("200 OK", (TEXT,)),
        "fields-dict": lambda: call("200 OK", {}),
        "field-list": lambda: call("200 OK", [["a", "b"]]),
        "field-three": lambda: call("200 OK", [("a", "b", "c")]),
        "name-bytes": lambda: call("200 OK", [(b"a", "b")]),
        "value-bytes": lambda: call("200 OK", [("a", b"b")]),
        "value-number": lambda: call("200 OK", [("a", 1)]),
        "value-none": lambda: call("200 OK", [("a", None)]),
        "value-unicode": lambda: call("200 OK", [("a", "\u20ac")]),
        "no-arguments": lambda: start_response(),
        "one-argument": lambda: start_response("200 OK"),
        "length-word": lambda: call("200 OK", [("Content-Length", "many")]),
        "length-negative": lambda: call("200 OK", [("Content-Length", "-1")]),
        "length-two": lambda: call("200 OK", [("Content-Length", "1"), ("Content-Length", "2")]),
    }[environ["QUERY_STRING"]]()
    return [b"sent"]


@at("/length", valid=False)
def length(environ, start_response):
    """`LENGTH;KIND;PIECES`: the Content-Length, and the pieces that follow."""
    promised, kind, pieces = environ["QUERY_STRING"].split(";")
    ok(start_response, ("Content-Length", promised))
    pieces = [piece.encode() for piece in pieces.split(",") if piece]
    return pieces if kind == "list" else Body("length", pieces)


@at("/errors")
def errors(environ, start_response):
    stream = environ["wsgi.errors"]
    stream.write("a line\nhalf ")
    stream.writelines(["a line\n", "the rest"])
    stream.flush()
    stream.write("bad \x1b[31m bytes\r\n")
    stream.write(os.fsdecode(b"name \xff\n"))
    ok(start_response)
    return [b"logged"]


@at("/errors-long")
def errors_long(environ, start_response):
    environ["wsgi.errors"].write("".join(f"line {number}\n" for number in range(5000)))
    ok(start_response)
    return [b"logged"]


def a_file(content):
    file = tempfile.TemporaryFile()
    file.write(content)
    file.seek(0)
    return file


@at("/file")
def send_file(environ, start_response):
    """`START;LENGTH`: the position of the file, and the Content-Length if it is not empty."""
    start, _, promised = environ["QUERY_STRING"].partition(";")
    file = a_file(b"0123456789" * 10_000)
    file.seek(int(start or 0))
    ok(start_response, *([("Content-Length", promised)] if promised else []))
    return environ["wsgi.file_wrapper"](Closing("file", file), 8192)


APPS["/file-raw"] = send_file


class Closing:
    """A file whose `close` is counted."""

    def __init__(self, name, file):
        self.name, self.file = name, file

    def __getattr__(self, name):
        return getattr(self.file, name)

    def close(self):
        count(self.name)
        self.file.close()


class Delegating:
    """Like Django's `File`: the methods are those of the file."""

    def __init__(self, file):
        self.file = file

    read = property(lambda self: self.file.read)
    fileno = property(lambda self: self.file.fileno)
    tell = property(lambda self: self.file.tell)


class Reversing(Delegating):
    """Its bytes are not those of its descriptor."""

    def read(self, size):
        return self.file.read(size)[::-1]


@at("/file-of-the-kernel")
def send_file_of_the_kernel(environ, start_response):
    ok(start_response)
    return environ["wsgi.file_wrapper"](open(environ["QUERY_STRING"], "rb"))


@at("/file-kind", valid=False)
def send_file_of_a_kind(environ, start_response):
    import bz2
    import gzip
    import io
    import lzma

    folder = tempfile.mkdtemp()
    paths = {}
    for name, opened in (("plain", open), ("gzip", gzip.open), ("bz2", bz2.open), ("lzma", lzma.open)):
        paths[name] = os.path.join(folder, name)
        with opened(paths[name], "wb") as file:
            file.write(b"0123456789" * 20)
    named = tempfile.NamedTemporaryFile()
    named.write(b"0123456789" * 20)
    named.seek(0)
    kinds = {
        "plain": lambda: open(paths["plain"], "rb"),
        "unbuffered": lambda: open(paths["plain"], "rb", buffering=0),
        "named": lambda: named,
        "delegating": lambda: Delegating(open(paths["plain"], "rb")),
        "gzip": lambda: gzip.open(paths["gzip"]),
        "bz2": lambda: bz2.open(paths["bz2"]),
        "lzma": lambda: lzma.open(paths["lzma"]),
        "buffered-gzip": lambda: io.BufferedReader(gzip.open(paths["gzip"])),
        "reversing": lambda: Reversing(open(paths["plain"], "rb")),
        "text": lambda: open(paths["plain"]),
    }
    ok(start_response)
    return environ["wsgi.file_wrapper"](kinds[environ["QUERY_STRING"]]())


@at("/file-like")
def send_file_like(environ, start_response):
    import io

    ok(start_response)
    return environ["wsgi.file_wrapper"](Closing("file-like", io.BytesIO(b"z" * 100_000)), 7000)


@at("/file-without-close", valid=False)
def send_file_without_close(environ, start_response):
    class Readable:
        pieces = [b"abc", b"def"]

        def read(self, size):
            return self.pieces.pop(0) if self.pieces else b""

    readable = Readable()
    readable.pieces = list(Readable.pieces)
    ok(start_response)
    return environ["wsgi.file_wrapper"](readable)


@at("/sleep")
def sleep(environ, start_response):
    time.sleep(float(environ["QUERY_STRING"]))
    ok(start_response)
    return [b"slept"]


@at("/slow-pieces")
def slow_pieces(environ, start_response):
    """The second piece follows once another request has come."""
    event = threading.Event()
    WAITING.append(event)
    ok(start_response)
    yield b"first"
    event.wait(10)
    yield b"second"


WAITING = []
ALL_THREADS = threading.Barrier(4)


@at("/meet")
def meet(environ, start_response):
    """Waits for three other calls."""
    ALL_THREADS.wait(10)
    ok(start_response)
    return [b"met"]


@at("/go-on")
def go_on(environ, start_response):
    while WAITING:
        WAITING.pop().set()
    ok(start_response)
    return [b"gone on"]


VARIABLE = contextvars.ContextVar("variable", default="unset")


@at("/context")
def context(environ, start_response):
    """Like Flask's `stream_with_context`: a value that is set at the start is reset at the end, in any thread."""
    before = VARIABLE.get()
    token = VARIABLE.set("set")
    ok(start_response)

    def pieces():
        for _ in range(50):
            yield f"{before},{VARIABLE.get()};".encode()
        VARIABLE.reset(token)
        yield VARIABLE.get().encode()

    return pieces()


LOCAL = threading.local()


@at("/thread-local")
def thread_local(environ, start_response):
    LOCAL.calls = getattr(LOCAL, "calls", 0) + 1
    ok(start_response)
    return [str(LOCAL.calls).encode()]


@at("/pid")
def pid(environ, start_response):
    ok(start_response)
    return [str(os.getpid()).encode()]


@at("/input-later")
def input_later(environ, start_response):
    """The body is read while the response is sent."""
    stream = environ["wsgi.input"]
    ok(start_response)
    yield b"begun,"
    while True:
        piece = stream.read(50_000)
        if not piece:
            return
        yield b"%d," % len(piece)


@at("/digest")
def digest(environ, start_response):
    import hashlib

    found, size, stream = hashlib.sha256(), 0, environ["wsgi.input"]
    while True:
        piece = stream.read(65536)
        if not piece:
            break
        size += len(piece)
        found.update(piece)
    ok(start_response)
    return [f"{size} {found.hexdigest()}".encode()]


@at("/large")
def large(environ, start_response):
    """This many MiB, in pieces."""
    number = int(environ["QUERY_STRING"])
    ok(start_response, ("Content-Length", str(number << 20)))
    return Body("large", (b"L" * 65536 for _ in range(number * 16)))


@at("/one-piece")
def one_piece(environ, start_response):
    ok(start_response)
    return [b"P" * int(environ["QUERY_STRING"])]


APPS["/one-piece-raw"] = one_piece


def factory(text="made", *, suffix=""):
    def made(environ, start_response):
        ok(start_response)
        return [(text + suffix).encode()]

    return validator(made)


class Namespace:
    inner = staticmethod(factory("inner"))


async def asynchronous(scope, receive, send):
    """An ASGI application, which the command rejects."""


class Asynchronous:
    async def __call__(self, scope, receive, send):
        pass


def no_arguments():
    """A factory."""


class Wrapped:
    """An ASGI application behind a function that is not a coroutine."""

    def __call__(self, scope, receive, send):
        return asynchronous(scope, receive, send)


def long_lines(environ, start_response):
    environ["wsgi.errors"].write("errors " + "é" * 5_000_000)
    raise ValueError("x" * 10_000_000)
