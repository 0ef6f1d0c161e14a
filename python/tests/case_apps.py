"""Applications for `test_cases.py`. Checks run inside the application, and name the sentence that they are about; the others misbehave or are
unusual in one way each."""

import collections
import io
import sys
import threading
from functools import partial
from urllib.parse import unquote_to_bytes
from wsgiref.util import application_uri, request_uri

import apps
from apps import TEXT, Body, app, at, count, ok

__all__ = ["app"]

CHECKS = {}


def check(source, **request):
    """A check of what an application gets. `request`: arguments of `Running.get`."""

    def add(function):
        CHECKS[function.__name__] = (source, request, function)
        return function

    return add


@at("/check", valid=False)
def run_check(environ, start_response):
    name = environ["PATH_INFO"].split("/")[2]
    try:
        CHECKS[name][2](environ)
        said = "ok"
    except Exception as error:
        said = f"{type(error).__name__}: {error}"
    ok(start_response)
    return [said.encode("utf-8", "backslashreplace")]


# PEP 3333, "environ Variables"


@check("environ: a dictionary of Python, not a subclass", target="?a=b")
def environ_is_a_dict(environ):
    assert type(environ) is dict


@check("environ: values of CGI variables are str, in latin-1", target="/caf%C3%A9/%FF?%FF=\xff", fields=("X-Latin: caf\xe9", "Content-Type: a/\xe9"))
def values_are_latin1(environ):
    for key, value in environ.items():
        assert type(key) is str, key
        if "." not in key:
            assert type(value) is str, key
            value.encode("latin-1")


@check("environ: the variables that must be there")
def required_variables(environ):
    for key in ("REQUEST_METHOD", "SERVER_NAME", "SERVER_PORT", "SERVER_PROTOCOL"):
        assert environ[key], key
    for key in ("wsgi.version", "wsgi.url_scheme", "wsgi.input", "wsgi.errors", "wsgi.multithread", "wsgi.multiprocess", "wsgi.run_once"):
        assert key in environ, key
    assert environ.get("SCRIPT_NAME", "") == "" and environ["PATH_INFO"]


@check("environ: missing variables are left out")
def missing_variables(environ):
    assert not {"REMOTE_USER", "AUTH_TYPE", "HTTPS", "HTTP_CONTENT_TYPE", "HTTP_CONTENT_LENGTH"} & environ.keys()


@check("environ: wsgi.version is the tuple (1, 0)")
def version_is_a_tuple(environ):
    assert environ["wsgi.version"] == (1, 0) and type(environ["wsgi.version"]) is tuple


@check("environ: SERVER_PORT is a number, as text")
def port_is_text(environ):
    assert type(environ["SERVER_PORT"]) is str and environ["SERVER_PORT"].isdigit()


@check("environ: variables of the server have names in lower case, or are those of CGI")
def names_of_variables(environ):
    for key in environ:
        assert key.upper() == key or key.lower() == key, key


@check("environ: as many CGI variables as are applicable")
def other_cgi_variables(environ):
    for key in ("GATEWAY_INTERFACE", "REMOTE_ADDR", "SERVER_SOFTWARE"):
        assert environ.get(key), key


@check("environ: what an application changes is gone with its request")
def changes_are_gone(environ):
    assert "changed" not in environ and environ["SERVER_NAME"] != "changed"
    environ.update(changed="yes", SERVER_NAME="changed", PATH_INFO="changed")


CHECKS["changes_are_gone_again"] = CHECKS["changes_are_gone"]


@check("environ: no field that the client did not send", fields=("X-One: 1",))
def no_other_fields(environ):
    sent = {key for key in environ if key.startswith("HTTP_")}
    assert sent == {"HTTP_HOST", "HTTP_CONNECTION", "HTTP_X_ONE"}, sent


@check("environ: QUERY_STRING may be empty, and is undecoded", target="?a=%2F+b&c")
def query_is_raw(environ):
    assert environ["QUERY_STRING"] == "a=%2F+b&c"


def reconstructs(environ):
    """"URL Reconstruction": wsgiref's functions find the requested URL, except that they quote by rules of their own."""
    expected = unquote_to_bytes(environ["HTTP_X_URL"])
    assert unquote_to_bytes(request_uri(environ)) == expected, (request_uri(environ), expected)
    assert application_uri(environ).startswith("http://test")


for number, suffix in enumerate(["", "?", "?a=b", "/caf%C3%A9", "/a%20b?c%20d=e", "/a//b", "/%FF", "/a;b=c", "/a%2Bb", "/~a", "/a:b@c", "/!$&'()*,="]):
    url = f"http://test/check/reconstruct{number}{suffix.removesuffix('?') if suffix == '?' else suffix}"
    CHECKS[f"reconstruct{number}"] = ("URL Reconstruction", {"target": suffix, "fields": (f"X-Url: {url}",)}, reconstructs)


# PEP 3333, "Input and Error Streams"


@check("input: it ends at the end of the body", body=b"abc", method="POST")
def reads_past_the_end(environ):
    stream = environ["wsgi.input"]
    assert [stream.read(2), stream.read(2), stream.read(2), stream.read(), stream.read(-1), stream.readline(), stream.readlines(), list(stream)] == [
        b"ab", b"c", b"", b"", b"", b"", [], []]


@check("input: without a body it is empty")
def empty_input(environ):
    stream = environ["wsgi.input"]
    assert [stream.read(), stream.read(5), stream.readline(), stream.readlines(), list(stream)] == [b"", b"", b"", [], []]


@check("input: everything is bytes", body=b"a\nb\nc\nd", method="POST")
def input_is_bytes(environ):
    stream = environ["wsgi.input"]
    pieces = [stream.read(1), stream.readline(), next(iter(stream)), *stream.readlines()]
    assert pieces == [b"a", b"\n", b"b\n", b"c\n", b"d"] and {type(piece) for piece in pieces} == {bytes}


@check("input: read(size), readline(size) and readlines(hint)", body=b"one\ntwo\nthree", method="POST")
def sizes(environ):
    stream = environ["wsgi.input"]
    assert [stream.read(0), stream.readline(2), stream.readline(10), stream.readlines(1), stream.read(None), stream.read(1)] == [
        b"", b"on", b"e\n", [b"two\n"], b"three", b""]


@check("input: io.BufferedReader, io.TextIOWrapper and csv can be built on it", body="a,ü\r\nb,c\r\n".encode(), method="POST")
def text_over_input(environ):
    import csv

    lines = (line.decode() for line in environ["wsgi.input"])
    assert list(csv.reader(lines)) == [["a", "ü"], ["b", "c"]]


@check("input: as shutil.copyfileobj reads it", body=b"x" * 300_000, method="POST")
def copied_input(environ):
    import shutil

    target = io.BytesIO()
    shutil.copyfileobj(environ["wsgi.input"], target)
    assert target.getvalue() == b"x" * 300_000


@check("errors: write, writelines, flush and print; each text is accepted")
def errors_stream(environ):
    stream = environ["wsgi.errors"]
    stream.write("plain\n")
    stream.write("ünï \u20ac \U0001f600 \ud800 \0\n")
    stream.writelines(["a\n", "b\n"])
    stream.writelines(iter(()))
    print("printed", file=stream)
    stream.flush()


# PEP 3333, "The start_response() Callable": called within an application that counts what it raises.


def raised(call, *args):
    try:
        call(*args)
    except Exception as error:
        return type(error)
    return None


STARTS = {
    # name: (the calls, the status that the client gets, what the calls raise)
    "returns-write": (lambda start, info: [None if callable(start("200 OK", [TEXT])) else "write"], 200, "none"),
    "twice": (lambda start, info: [raised(start, "200 OK", []), raised(start, "201 Created", [])], 200, "none,AssertionError"),
    # "This includes the case where the first call raised an error." Then there is no head.
    "twice-after-an-error": (
        lambda start, info: [raised(start, "200 OK", [("A", "b\n")]), raised(start, "201 Created", [])], 500, None),
    "again-with-exc-info": (
        lambda start, info: [raised(start, "200 OK", []), raised(start, "500 Oops", [TEXT], info)], 500, "none,none"),
    "again-with-exc-info-after-an-error": (
        lambda start, info: [raised(start, "200 OK", [("A", "b\n")]), raised(start, "503 Oops", [TEXT], info)], 503, "ValueError,none"),
    "first-with-exc-info": (lambda start, info: [raised(start, "500 Oops", [TEXT], info)], 500, "none"),
    "exc-info-none": (lambda start, info: [raised(start, "200 OK", [TEXT], None)], 200, "none"),
    "three-times-with-exc-info": (lambda start, info: [raised(start, "503 Oops", [], info) for _ in range(3)], 503, "none,none,none"),
    "after-write": (lambda start, info: [raised(start("200 OK", [TEXT]), b"body"), raised(start, "500 Oops", [], info)], 200, "none,LookupError"),
    "the-list-may-change": (lambda start, info: [changed(start)], 200, "none"),
}


def changed(start):
    """Changes the list of fields after the call, which must not fail, whether the server has copied the list or still uses it."""
    fields = [TEXT, ("X-A", "b")]
    start("200 OK", fields)
    del fields[:]


@at("/start", valid=False)
def starts(environ, start_response):
    name = environ["QUERY_STRING"]
    try:
        raise LookupError("the application's own")
    except LookupError:
        info = sys.exc_info()
    found = STARTS[name][0](start_response, info)
    return [",".join(each.__name__ if isinstance(each, type) else each or "none" for each in found).encode()]


# PEP 3333, the result of an application


class Strict:
    """Notes each attribute that is used."""

    def __init__(self, pieces, used):
        object.__setattr__(self, "pieces", iter(pieces))
        object.__setattr__(self, "used", used)

    def __getattribute__(self, name):
        if not (name.startswith("__") and name.endswith("__")):
            object.__getattribute__(self, "used").append(name)
        return object.__getattribute__(self, name)

    def __iter__(self):
        return object.__getattribute__(self, "pieces")

    def close(self):
        used = ",".join(object.__getattribute__(self, "used"))
        count("strict:" + used)


class Sequence:
    """Old-style iteration: `__getitem__` with numbers."""

    def __getitem__(self, number):
        return [b"one,", b"two"][number]


class Lengths:
    """An iterable with a length, and pieces that are counted."""

    def __init__(self, pieces, name):
        self.pieces, self.name = pieces, name

    def __len__(self):
        return len(self.pieces)

    def __iter__(self):
        for piece in self.pieces:
            count(self.name)
            yield piece

    def close(self):
        count(self.name + ":closed")


class WithoutLength(Lengths):
    def __len__(self):
        raise TypeError("it has none")


class Callable:
    close = None
    pieces = ()


class Bytes(bytes):
    pass


BINARY = bytes(range(256)) * 3 + b"\r\n\n\r\r\n"

RESULTS = {
    # name: (the result, body, fields of the response; None: it is not there)
    "list": (lambda: [b"one,", b"two"], b"one,two", {}),
    "tuple": (lambda: (b"one,", b"two"), b"one,two", {}),
    "generator": (lambda: (piece for piece in (b"one,", b"two")), b"one,two", {}),
    "iterator": (lambda: iter([b"one,", b"two"]), b"one,two", {}),
    "set": (lambda: {b"alone"}, b"alone", {}),
    "deque": (lambda: collections.deque([b"one,", b"two"]), b"one,two", {}),
    "dict": (lambda: {b"one,": 1, b"two": 2}, b"one,two", {}),
    "map": (lambda: map(bytes.upper, [b"one,", b"two"]), b"ONE,TWO", {}),
    "bytesio": (lambda: io.BytesIO(b"one\ntwo"), b"one\ntwo", {}),
    "file": (lambda: open(__file__, "rb"), open(__file__, "rb").read(), {}),
    "sequence": (Sequence, b"one,two", {}),
    "callable-iterator": (lambda: iter(partial([b"", b"two", b"one,"].pop), b""), b"one,two", {}),
    "strict": (lambda: Strict([b"one,", b"two"], []), b"one,two", {}),
    "length-one": (lambda: Lengths([b"alone"], "length-one"), b"alone", {"content-length": "5"}),
    "length-two": (lambda: Lengths([b"one,", b"two"], "length-two"), b"one,two", {}),
    "length-raises": (lambda: WithoutLength([b"one,", b"two"], "length-raises"), b"one,two", {}),
    "list-of-one": (lambda: [b"alone"], b"alone", {"content-length": "5"}),
    "empties": (lambda: [b"", b"", b""], b"", {}),
    "empties-between": (lambda: iter([b"", b"one,", b"", b"", b"two", b""]), b"one,two", {}),
    "binary": (lambda: [BINARY], BINARY, {}),
    "binary-iterator": (lambda: iter([BINARY, BINARY]), BINARY * 2, {}),
    "subclass": (lambda: [Bytes(b"one,"), b"two"], b"one,two", {}),
    "chunk-like": (lambda: iter([b"0\r\n\r\n", b"5\r\n"]), b"0\r\n\r\n5\r\n", {}),
    "many": (lambda: (b"%d," % number for number in range(3000)), b"".join(b"%d," % number for number in range(3000)), {}),
    "large-and-small": (lambda: iter([b"x" * 300_000, b"y", b"z" * 300_000]), b"x" * 300_000 + b"y" + b"z" * 300_000, {}),
}


@at("/result", valid=False)
def results(environ, start_response):
    ok(start_response)
    return RESULTS[environ["QUERY_STRING"]][0]()


WRONG = {
    "none": lambda: None,
    "number": lambda: 7,
    "text": lambda: "text",
    "bytes": lambda: b"bytes",
    "text-pieces": lambda: ["text"],
    "none-pieces": lambda: iter([None]),
    "number-pieces": lambda: iter([1]),
    "bytearray-pieces": lambda: iter([bytearray(b"x")]),
    "memoryview-pieces": lambda: iter([memoryview(b"x")]),
    "list-pieces": lambda: [[b"x"]],
}


@at("/wrong", valid=False)
def wrong(environ, start_response):
    ok(start_response)
    return WRONG[environ["QUERY_STRING"]]()


@at("/enough", valid=False)
def enough(environ, start_response):
    """`LENGTH`: pieces of ten bytes, which are counted."""
    ok(start_response, ("Content-Length", environ["QUERY_STRING"]))

    def pieces():
        for _ in range(100):
            count("enough")
            yield b"0123456789"

    return Body("enough:closed", pieces())


@at("/mind", valid=False)
def changes_its_mind(environ, start_response):
    """An error after an empty piece: nothing was sent, so the head can be replaced."""
    ok(start_response)
    yield b""
    try:
        raise ValueError("after an empty piece")
    except ValueError:
        start_response("503 Changed", [TEXT], sys.exc_info())
    yield b"changed"


@at("/starts-late", valid=False)
def starts_late(environ, start_response):
    yield b""
    ok(start_response, ("X-Late", "yes"))
    yield b"late"


GATE = threading.Event()


@at("/gate", valid=False)
def gate(environ, start_response):
    """`head`: the head must wait for the first byte. `pieces`: a piece is sent without waiting for the next one."""
    GATE.clear()
    ok(start_response, ("X-Gate", "yes"))
    yield b"" if environ["QUERY_STRING"] == "head" else b"first"
    GATE.wait(10)
    yield b"second"


@at("/open", valid=False)
def opens(environ, start_response):
    GATE.set()
    ok(start_response)
    return [b"opened"]


@at("/pulled", valid=False)
def pulled(environ, start_response):
    """Pieces of 64 KiB, which are counted."""
    ok(start_response)

    def pieces():
        for _ in range(2000):
            count("pulled")
            yield b"x" * 65536

    return Body("pulled:closed", pieces())


@at("/order", valid=False)
def order(environ, start_response):
    """`close()` follows the last piece, on the object that was returned, not on its iterator."""
    events = []

    class Iterator:
        def __iter__(self):
            return self

        def __next__(self):
            events.append("next")
            if events.count("next") > 2:
                raise StopIteration
            return b"piece"

        def close(self):
            events.append("iterator")

    class Returned:
        def __iter__(self):
            events.append("iter")
            return Iterator()

        def close(self):
            count("order:" + ",".join([*events, "close"]))

    ok(start_response)
    return Returned()


class Calls:
    """Applications of every kind: see `test_callables`."""

    def __call__(self, environ, start_response):
        ok(start_response)
        return [b"called"]

    def method(self, environ, start_response):
        return self(environ, start_response)

    @classmethod
    def of_class(cls, environ, start_response):
        return cls()(environ, start_response)


class AppClass:
    """The class of the PEP: a call creates the iterable."""

    def __init__(self, environ, start_response):
        self.start = start_response

    def __iter__(self):
        ok(self.start)
        yield b"called"


class Slots:
    """An application without a name of its own, as those of extensions are."""

    __slots__ = ()

    def __call__(self, *args):
        return Calls()(*args)


CALLABLES = {
    "function": lambda environ, start_response: Calls()(environ, start_response),
    "class": AppClass,
    "instance": Calls(),
    "method": Calls().method,
    "classmethod": Calls.of_class,
    "partial": partial(Calls.method, Calls()),
    "slots": Slots(),
}


# Files, by wsgi.file_wrapper


@at("/wrapped", valid=False)
def wrapped(environ, start_response):
    """The wrapper, and what middleware may do with it."""
    file = apps.a_file(b"0123456789" * 1000)
    wrapper = environ["wsgi.file_wrapper"](apps.Closing("wrapped", file), 100)
    ok(start_response)
    how = environ["QUERY_STRING"]
    if how == "iterated":
        return (piece.replace(b"0", b"o") for piece in wrapper)
    if how == "listed":
        listed = list(wrapper)
        wrapper.close()
        return listed
    if how == "not-returned":
        wrapper.close()
        return [b"something else"]
    if how == "chained":
        return Chained(wrapper)
    return wrapper


class Chained:
    """Middleware that passes on what it got."""

    def __init__(self, inner):
        self.inner = inner

    def __iter__(self):
        return iter(self.inner)

    def close(self):
        self.inner.close()


# Status lines and fields


@at("/line", valid=False)
def line(environ, start_response):
    """`STATUS`, percent-encoded, in latin-1."""
    start_response(unquote_to_bytes(environ["QUERY_STRING"]).decode("latin-1"), [("Content-Length", "0")])
    return []


@at("/no-length", valid=False)
def no_length(environ, start_response):
    start_response("200 OK", [("content-TYPE", "text/plain"), ("X-A", "1"), ("x-a", "2"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")])
    return iter([b"a", b"b"])


@at("/length-spelled", valid=False)
def length_spelled(environ, start_response):
    start_response("200 OK", [("cOnTeNt-lEnGtH", "3")])
    return iter([b"a", b"b", b"c"])


@at("/cut", valid=False)
def cut(environ, start_response):
    count("cut")
    ok(start_response)
    return [environ["wsgi.input"].read()]
