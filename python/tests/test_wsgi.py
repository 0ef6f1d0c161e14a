"""PEP 3333 from outside: one row per case, all with one server. The cases come from the PEP, RFC 9112 and wsgiref."""

import hashlib
import json
import socket
import threading

import pytest
from conftest import PEER, Answer, read_all, until


def environ_of(answer):
    return json.loads(answer.body)


def count_of(server, name):
    return json.loads(server.get("/counts").body).get(name, 0)


# environ

ENVIRON = [
    # target, fields, body, expected entries; None: the key is missing
    ("/a", (), b"", {"REQUEST_METHOD": "GET", "SCRIPT_NAME": "", "PATH_INFO": "/a", "QUERY_STRING": "", "SERVER_PROTOCOL": "HTTP/1.1"}),
    ("/", (), b"", {"PATH_INFO": "/"}),
    ("/?", (), b"", {"PATH_INFO": "/", "QUERY_STRING": ""}),
    pytest.param("/a?b=c&d=%20+", (), b"", {"PATH_INFO": "/a", "QUERY_STRING": "b=c&d=%20+", "RAW_URI": "/a?b=c&d=%20+"}, marks=pytest.mark.own),
    ("/a?b?c", (), b"", {"QUERY_STRING": "b?c"}),
    ("/caf%C3%A9", (), b"", {"PATH_INFO": "/cafÃ©"}),
    ("/%E4", (), b"", {"PATH_INFO": "/ä"}),
    ("/%FF%80", (), b"", {"PATH_INFO": "/\xff\x80"}),
    ("/a%20b", (), b"", {"PATH_INFO": "/a b"}),
    ("/a%2Fb", (), b"", {"PATH_INFO": "/a/b"}),
    ("/a//b", (), b"", {"PATH_INFO": "/a//b"}),
    ("//a", (), b"", {"PATH_INFO": "//a"}),
    ("/a/", (), b"", {"PATH_INFO": "/a/"}),
    ("/a+b", (), b"", {"PATH_INFO": "/a+b"}),
    ("/%2525", (), b"", {"PATH_INFO": "/%25"}),
    ("/a;b=c", (), b"", {"PATH_INFO": "/a;b=c"}),
    ("/a%3Fb", (), b"", {"PATH_INFO": "/a?b", "QUERY_STRING": ""}),
    ("http://other:81/abs?q", (), b"", {"PATH_INFO": "/abs", "QUERY_STRING": "q", "HTTP_HOST": "other:81"}),
    ("/", ("X-Test: one",), b"", {"HTTP_X_TEST": "one"}),
    ("/", ("x-TEST: one",), b"", {"HTTP_X_TEST": "one"}),
    ("/", ("X-Test: one", "X-Test: two"), b"", {"HTTP_X_TEST": "one,two"}),
    ("/", ("X-Test: one", "X-Other: x", "x-test: two", "X-Test: three"), b"", {"HTTP_X_TEST": "one,two,three", "HTTP_X_OTHER": "x"}),
    ("/", ("Cookie: a=1", "Cookie: b=2"), b"", {"HTTP_COOKIE": "a=1; b=2"}),
    ("/", ("X_Test: underscore",), b"", {"HTTP_X_TEST": None}),
    ("/", ("X-Test: hyphen", "X_Test: underscore"), b"", {"HTTP_X_TEST": "hyphen"}),
    ("/", ("Proxy: http://evil.example",), b"", {"HTTP_PROXY": None}),
    ("/", ("Content_Length: 5",), b"", {"CONTENT_LENGTH": None, "HTTP_CONTENT_LENGTH": None}),
    ("/", ("X-Latin: caf\xe9",), b"", {"HTTP_X_LATIN": "caf\xe9"}),
    ("/", ("X-Empty:",), b"", {"HTTP_X_EMPTY": ""}),
    ("/", ("X-Space:   a b  ",), b"", {"HTTP_X_SPACE": "a b"}),
    ("/", ("X-Tab: a\tb",), b"", {"HTTP_X_TAB": "a\tb"}),
    ("/", (), b"", {"CONTENT_TYPE": None, "CONTENT_LENGTH": None, "HTTP_CONTENT_TYPE": None, "HTTP_CONTENT_LENGTH": None}),
    ("/", ("Content-Type: text/x",), b"abc", {"CONTENT_TYPE": "text/x", "CONTENT_LENGTH": "3", "HTTP_CONTENT_TYPE": None}),
    # A type in which neither value passes for the other, whichever of them another program uses
    pytest.param("/", ("Content-Type: text/x", "content-type: text/y"), b"abc", {"CONTENT_TYPE": "text/x,text/y"}, marks=pytest.mark.own),
    ("/", ("Content-Length: 0",), b"", {"CONTENT_LENGTH": "0"}),
    ("/", ("Content-Length: 003",), b"abc", {"CONTENT_LENGTH": "3"}),
    ("/", ("Transfer-Encoding: chunked",), b"3\r\nabc\r\n0\r\n\r\n", {"CONTENT_LENGTH": "3", "HTTP_TRANSFER_ENCODING": None, "wsgi.input_terminated": True}),
    ("/", ("Authorization: Basic eDp5",), b"", {"HTTP_AUTHORIZATION": "Basic eDp5", "REMOTE_USER": None}),
    ("/", (), b"", {"REMOTE_ADDR": "127.0.0.1", "SERVER_NAME": "127.0.0.1", "HTTP_HOST": "test", "wsgi.url_scheme": "http"}),
    ("/", (), b"", {"wsgi.version": [1, 0], "wsgi.multithread": True, "wsgi.multiprocess": False, "wsgi.run_once": False}),
    ("/", (), b"", {"type": "True", "wsgi.input_terminated": True}),
    ("/", ("X-Forwarded-For: 1.2.3.4", "X-Forwarded-Proto: https"), b"", {"REMOTE_ADDR": "127.0.0.1", "wsgi.url_scheme": "http", "HTTP_X_FORWARDED_FOR": "1.2.3.4"}),
]


@pytest.mark.parametrize("target, fields, body, expected", ENVIRON)
def test_environ(server, target, fields, body, expected):
    answer = server.get(target, method="POST" if body else "GET", fields=fields, body=body)
    assert answer.status == 200, answer
    found = environ_of(answer)
    for key, value in {**expected, "SERVER_PORT": str(server.port)}.items():
        if value is None:
            assert key not in found, (key, found)
        elif not (key == "REQUEST_METHOD" and body):
            assert found.get(key) == value, (key, found)


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND", "BREW", "M-SEARCH"])
def test_methods(server, method):
    assert environ_of(server.get("/x", method=method))["REQUEST_METHOD"] == method


def test_http_1_0(server):
    answer = Answer(server.send(b"GET /x HTTP/1.0\r\n\r\n"))
    found = environ_of(answer)
    assert found["SERVER_PROTOCOL"] == "HTTP/1.0" and "HTTP_HOST" not in found


# Requests that are rejected without a call of the application (RFC 9112)

REJECTED = [
    (b"GET / HTTP/1.1\r\n\r\n", 400),  # no Host
    (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: a\r\nA : b\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: a\r\nA: b\r\n c\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: a\r\nA: b\x00c\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: a\r\nA: b\rc\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n", 400),
    pytest.param(b"GET / HTTP/1.1\nHost: a\n\n", 400, marks=pytest.mark.own),
    (b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
    (b"GET /\r\n\r\n", 400),
    (b"G@T / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    pytest.param(b"GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n", 400, marks=pytest.mark.own),
    pytest.param(b"GET /%00 HTTP/1.1\r\nHost: a\r\n\r\n", 400, marks=pytest.mark.own),
    pytest.param(b"GET /.. HTTP/1.1\r\nHost: a\r\n\r\n", 400, marks=pytest.mark.own),
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400),
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400),
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\na", 400),
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1x\r\n\r\na", 400),
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", (400, 501)),
    (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip\r\n\r\n", (400, 501)),
    (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", 400),
    (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n", 400),
    (b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    pytest.param(b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414, marks=pytest.mark.own),
    pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\nA: " + b"a" * 40000 + b"\r\n\r\n", 431, marks=pytest.mark.own),
    pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\n" + b"A: b\r\n" * 101 + b"\r\n", 431, marks=pytest.mark.own),
    (b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", 501),
]


@pytest.mark.parametrize("request_bytes, status", REJECTED)
def test_rejected(server, request_bytes, status):
    with server.connect() as client:
        client.sendall(request_bytes)
        client.shutdown(socket.SHUT_WR)
        answer = Answer(read_all(client))
    assert answer.status in (status if isinstance(status, tuple) else (status,)) or PEER and answer.status >= 400, answer


# wsgi.input

LINES = b"one\ntwo\r\n\nlast"
INPUT = [
    (b"", "read", [""]),
    (b"", "readline", [""]),
    (b"", "readlines", [[]]),
    (b"", "iter", [[]]),
    (LINES, "read", [LINES.decode()]),
    (LINES, "read-m1", [LINES.decode()]),
    (LINES, "read-0;read-3;read-100;read-5", ["", "one", "\ntwo\r\n\nlast", ""]),
    (LINES, "readline;readline;readline;readline;readline", ["one\n", "two\r\n", "\n", "last", ""]),
    (LINES, "readline-2;readline-2;readline-2", ["on", "e\n", "tw"]),
    (LINES, "readline-0;readline-m1", ["", "one\n"]),
    (LINES, "readlines", [["one\n", "two\r\n", "\n", "last"]]),
    (LINES, "readlines-1;read", [["one\n"], "two\r\n\nlast"]),
    (LINES, "readlines-5;read", [["one\n", "two\r\n"], "\nlast"]),
    (LINES, "readlines-m1", [["one\n", "two\r\n", "\n", "last"]]),
    (LINES, "iter;read", [["one\n", "two\r\n", "\n", "last"], ""]),
    (LINES, "readline;iter", ["one\n", ["two\r\n", "\n", "last"]]),
]


@pytest.mark.parametrize("framing", ["length", "chunked", "file"])
@pytest.mark.parametrize("body, calls, expected", INPUT)
def test_input(server, body, calls, expected, framing):
    fields = ()
    if framing == "chunked":
        chunks = [b"%x\r\n%s\r\n" % (len(body[at : at + 4]), body[at : at + 4]) for at in range(0, len(body), 4)]
        fields, body = ("Transfer-Encoding: chunked",), b"".join(chunks) + b"0\r\n\r\n"
    if framing == "file":
        # A long line after the others, so the body is in a file. Only calls that read less than the whole body.
        if any(call.split("-")[0] in ("iter", "readlines") or call in ("read", "read-m1", "read-100") for call in calls.split(";")):
            pytest.skip("this reads to the end")
        if not body or "last" in str(expected):
            pytest.skip("this reads to the end")
        body += b"\n" + b"x" * 200_000
    answer = server.get(f"/input-raw?{calls}", method="POST", fields=fields, body=body)
    assert answer.status == 200, answer
    assert json.loads(answer.body) == expected


def test_long_input(server):
    """Bodies in a file give the same results as bodies in memory."""
    body = b"".join(b"line %d\n" % number for number in range(30_000))
    found = json.loads(server.get("/input-raw?readline;read-4;readlines-10;iter;read", method="POST", body=body).body)
    assert found[0] == "line 0\n" and found[1] == "line" and found[2] == [" 1\n", "line 2\n"]
    assert "".join(found[3]) == body.decode().split("line 2\n", 1)[1] and found[4] == ""


@pytest.mark.parametrize("size", [0, 1, 65535, 65536, 65537, 1_000_000])
def test_echo(server, size):
    body = bytes(number % 251 for number in range(size))
    answer = server.get("/digest", method="POST", fields=(f"Content-Length: {size}",), body=body)
    assert answer.body.decode() == f"{size} {hashlib.sha256(body).hexdigest()}"


def test_input_after_the_call_has_returned(server):
    """PEP 3333 lets an application read while its iterable is sent."""
    answer = server.get("/input-later", method="POST", body=b"x" * 120_000)
    assert answer.body == b"begun,50000,50000,20000,", answer


def test_the_next_request_is_not_in_the_input(server):
    second = b"GET /x?second HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    raw = server.send(b"POST /environ HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc" + second)
    assert raw.count(b"HTTP/1.1 200") == 2 and b'"QUERY_STRING": "second"' in raw, raw


def test_expect_100(server):
    with server.connect() as client:
        client.sendall(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n")
        assert client.recv(100).startswith(b"HTTP/1.1 100")
        client.sendall(b"abc")
        assert Answer(read_all(client)).body == b"abc"


# Responses

BODIES = [
    # path, body, Content-Length or None
    ("/generator", b"one,two,three", None),
    ("/late-start", b"late", None),
    ("/empty", b"", "0"),
    ("/empty-generator", b"", "0"),
    ("/tuple", b"abc", None),
    ("/tuple-raw", b"abc", "3"),
    ("/closing", b"ab", None),
    ("/closing-sized", b"ab", "2"),
    ("/closing-raises", b"whole", None),
    ("/write", b"written,twice,returned", None),
    ("/write-sized", b"written,more", "12"),
    ("/write-large", b"w" * 65536 * 400, None),
    ("/exc-info", b"an error page", None),
    ("/file-like", b"z" * 100_000, None),
    ("/file-without-close", b"abcdef", None),
    ("/one-piece?200000", b"P" * 200_000, None),
    ("/one-piece?10", b"P" * 10, None),
]


@pytest.mark.parametrize("path, body, length", BODIES)
@pytest.mark.parametrize("version", ["1.1", "1.0"])
def test_bodies(server, path, body, length, version):
    answer = server.get(path, version=version)
    assert answer.body == body and answer.is_whole and not answer.was_reset, answer
    if length is not None:
        assert answer.field("content-length") == length, answer
    assert version == "1.1" or answer.field("transfer-encoding") is None


CLOSED = ["/closing", "/closing-sized", "/closing-raises", "/empty-generator", "/raises-later", "/raises-first", "/no-start",
          "/text-piece", "/write-sized", "/file", "/file-raw", "/file-like", "/exc-info-late", "/large?3"]


@pytest.mark.parametrize("path", CLOSED)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_close_is_called_once(server, path, method):
    name = path.strip("/").split("?")[0].replace("-raw", "")
    before = count_of(server, name)
    server.get(path, method=method)
    until(lambda: count_of(server, name) == before + 1, name)


def test_close_is_called_when_the_client_leaves(server):
    before = count_of(server, "closing-long")
    with server.connect() as client:
        client.sendall(b"GET /closing-long HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.recv(10)
    until(lambda: count_of(server, "closing-long") == before + 1, "close() after a disconnect")


BROKEN = [
    # path, status, whether the body is visibly incomplete, the log line
    ("/raises", 500, False, "raised at once"),
    ("/exits", 500, False, "exit of an application"),
    ("/interrupts", 500, False, "KeyboardInterrupt"),
    ("/recurses", 500, False, "RecursionError"),
    ("/raises-first", 500, False, "raised before the body"),
    ("/no-start", 500, False, "start_response"),
    ("/none", 500, False, "NoneType"),
    ("/text-piece", 500, False, "must return bytes, not str"),
    ("/text-in-list", 500, False, "must return bytes, not str"),
    ("/returns-bytes", 500, False, r"the application returned bytes; return a list of bytes, such as \[b'abc'\]"),
    ("/returns-text", 500, False, r"the application returned str; return a list of bytes, such as \[b'abc'\]"),
    ("/twice", 500, False, "called twice"),
    ("/write-too-much", 500, False, "more bytes than Content-Length"),
    ("/raises-later", 200, True, "raised amid the body"),
    ("/exc-info-late", 200, True, "after the head is sent"),
]


@pytest.mark.parametrize("path, status, is_broken, logged", BROKEN)
def test_failures_cost_one_request(server, path, status, is_broken, logged):
    answer = server.get(path)
    assert answer.status == status, answer
    assert (answer.was_reset or not answer.is_whole) == is_broken, answer
    assert b"Traceback" not in answer.raw
    server.logged(logged)
    assert server.get("/tuple").body == b"abc"


def test_exc_info_replaces_the_head(server):
    answer = server.get("/exc-info")
    assert (answer.status, answer.field("x-first"), answer.field("x-second")) == (500, None, "1")


@pytest.mark.parametrize("case", """status-bytes status-number status-short status-word status-100 status-101 status-newline
    fields-tuple fields-dict field-list field-three name-bytes value-bytes value-number value-none value-unicode no-arguments
    one-argument length-word length-negative length-two""".split())
def test_wrong_heads(server, case):
    assert server.get(f"/bad-head?{case}").status == 500


FIELDS = [
    ("X-A=b", 200),
    ("X-A=", 200),
    ("X-A=caf%E9", 200),
    ("Set-Cookie=a%3Db; Path=/", 200),
    ("ETag=unquoted", 200),
    ("Last-Modified=yesterday", 200),
    ("Date=today", 200),
    ("X-A=b%0Ac", 500),
    ("X-A=b%0D%0AX-B: c", 500),
    ("X-A=b%0D", 500),
    ("X-A=b%00c", 500),
    ("X-A=b%7F", 500),
    ("X A=b", 500),
    ("X%0A=b", 500),
    ("X:=b", 500),
    ("%C3%A4=b", 500),
    ("=b", 500),
    *[(f"{name}=x", 500) for name in ("Connection", "connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization",
                                     "TE", "Trailer", "Transfer-Encoding", "Upgrade")],
]


@pytest.mark.parametrize("query, status", FIELDS)
def test_fields(server, query, status):
    answer = server.get("/head-field?" + query.replace(" ", "%20"))
    assert answer.status == status, answer
    assert not answer.all("x-b") and answer.field("transfer-encoding") in (None, "chunked")
    if status == 200:
        name, _, value = query.partition("=")
        assert answer.field(name) == value.replace("%E9", "\xe9").replace("%3D", "="), answer


def test_date_and_server(server):
    answer = server.get("/tuple")
    assert len(answer.all("date")) == 1 and len(answer.all("server")) == 1
    answer = server.get("/head-field?Server=mine")
    assert answer.all("server") == ["mine"]


@pytest.mark.parametrize("code", [200, 201, 202, 203, 206, 300, 301, 400, 404, 405, 410, 418, 429, 500, 503, 599, 299, 499])
def test_statuses(server, code):
    answer = server.get(f"/status?{code}")
    assert (answer.status, answer.body) == (code, b"body"), answer
    assert answer.line == f"HTTP/1.1 {code} Custom"


@pytest.mark.parametrize("code", [204, 304])
@pytest.mark.parametrize("path", ["/status", "/body-in-status"])
def test_statuses_without_a_body(server, code, path):
    raw = server.send(f"GET {path}?{code} HTTP/1.1\r\nHost: a\r\n\r\nGET /tuple-raw HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
    first, second = raw.split(b"HTTP/1.1 200")
    assert first.startswith(b"HTTP/1.1 %d" % code) and first.endswith(b"\r\n\r\n"), raw
    assert b"content-length" not in first.lower() and b"transfer-encoding" not in first.lower(), raw
    assert second.endswith(b"abc")


@pytest.mark.parametrize("path", ["/tuple-raw", "/generator", "/closing-sized", "/file-raw?10", "/write", "/large?2", "/one-piece-raw?100000"])
def test_head(server, path):
    raw = server.send(f"HEAD {path} HTTP/1.1\r\nHost: a\r\n\r\nGET /tuple-raw HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
    head, _, rest = raw.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200") and rest.startswith(b"HTTP/1.1 200") and rest.endswith(b"abc"), raw
    answer = Answer(head + b"\r\n\r\n", "HEAD")
    expected = {"/tuple-raw": "3", "/closing-sized": "2", "/large?2": str(2 << 20), "/one-piece-raw?100000": "100000"}.get(path)
    if expected:
        assert answer.field("content-length") == expected


LENGTHS = [
    # Content-Length, pieces, body, whether it is truncated
    ("3", "abc", b"abc", False),
    ("3", "a,b,c", b"abc", False),
    ("0", "", b"", False),
    ("2", "abc", b"ab", False),
    ("2", "a,bc", b"ab", False),
    ("2", "a,b,c", b"ab", False),
    ("0", "abc", b"", False),
    ("5", "abc", b"abc", True),
    ("5", "a,b", b"ab", True),
    ("1", "", b"", True),
]


@pytest.mark.parametrize("kind", ["list", "iterator"])
@pytest.mark.parametrize("promised, pieces, body, is_broken", LENGTHS)
def test_content_length(server, promised, pieces, body, is_broken, kind):
    answer = server.get(f"/length?{promised};{kind};{pieces}")
    assert answer.status == 200 and answer.field("content-length") == promised, answer
    if is_broken:
        assert len(answer.body) < int(promised) and body.startswith(answer.body), answer
    else:
        assert answer.body == body and not answer.was_reset, answer


@pytest.mark.parametrize("code", [204, 304])
@pytest.mark.parametrize("fields", [(), ("X-Length: yes",)])
def test_a_list_where_no_body_is_allowed(server, code, fields):
    answer = server.get(f"/status-list?{code}", fields=fields)
    assert (answer.status, answer.body, answer.field("transfer-encoding")) == (code, b"", None), answer
    assert answer.field("content-length") is None, answer  # RFC 9110, section 8.6


@pytest.mark.own
@pytest.mark.parametrize("piece", [0, 1, 2])
def test_write_in_an_iterable_is_an_error(server, piece):
    """PEP 3333 forbids it. An error is better than silently lost bytes."""
    before = count_of(server, "write-late")
    answer = server.get(f"/write-late?{piece}")
    assert b"lost" not in answer.raw and (answer.status == 500 if piece == 0 else not answer.is_whole or answer.was_reset), answer
    server.logged(rf"GET /write-late\?{piece}: the application raised AssertionError")
    server.logged("after the application had returned")
    until(lambda: count_of(server, "write-late") == before + 1, "close()")


ENDS = [(where, name) for where in ("call", "iter", "first", "second", "close")
        for name in ("RuntimeError", "SystemExit", "KeyboardInterrupt", "GeneratorExit", "StopIteration", "MemoryError")]


@pytest.mark.parametrize("where, name", ENDS)
def test_every_exception_everywhere(server, where, name):
    before = count_of(server, "ends")
    answer = server.get(f"/ends?{where};{name}")
    if where == "close":
        assert answer.body == b"onetwo" and answer.is_whole and not answer.was_reset, answer
    elif where == "second":
        assert answer.status == 200 and (not answer.is_whole or answer.was_reset), answer
    else:
        assert answer.status == 500, answer
    until(lambda: count_of(server, "ends") == before + (where != "call"), "close() once")


def test_close_is_called_when_the_client_left_during_the_call(server):
    before = count_of(server, "sleep-closing")
    with server.connect() as client:
        client.sendall(b"GET /sleep-closing HTTP/1.1\r\nHost: a\r\n\r\n")
    until(lambda: count_of(server, "sleep-closing") == before + 1, "close() after an early disconnect")


@pytest.mark.own
@pytest.mark.parametrize("name, pieces, reads", [("whole", 1, True), ("none", 0, True), ("left", 10_000, False)])
def test_objects_of_a_request_end_with_it(server, name, pieces, reads):
    if reads:
        server.get(f"/held?{name};{pieces}")
    else:
        with server.connect() as client:
            client.sendall(f"GET /held?{name};{pieces} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            assert client.recv(10)
    server.logged(f"{name} was released")


CONTENT = b"0123456789" * 10_000


@pytest.mark.parametrize("query, body", [("", CONTENT), ("12345", CONTENT[12345:]), ("0;10", CONTENT[:10]), ("5;7", CONTENT[5:12]),
                                         ("100000", b""), ("99999;1", b"9")])
def test_file_wrapper(server, query, body):
    answer = server.get(f"/file-raw?{query}")
    assert answer.body == body and answer.field("content-length") == str(len(body)), answer


@pytest.mark.own
@pytest.mark.parametrize("kind", ["plain", "unbuffered", "named", "delegating", "gzip", "bz2", "lzma", "buffered-gzip", "reversing"])
def test_file_wrapper_sends_what_read_returns(server, kind):
    answer = server.get(f"/file-kind?{kind}")
    expected = CONTENT[:200]
    assert answer.body == (expected[::-1] if kind == "reversing" else expected), answer
    # Regular files are sent by descriptor, with their length.
    is_sent = kind in ("plain", "unbuffered", "named", "delegating")
    assert answer.field("content-length") == ("200" if is_sent else None), answer


@pytest.mark.parametrize("path", ["/proc/version", "/sys/devices/system/cpu/online", "/dev/null"])
def test_file_wrapper_and_files_of_the_kernel(server, path):
    """The kernel reports their lengths as 0, or as the size of a memory page."""
    with open(path, "rb") as file:
        content = file.read()
    answer = server.get(f"/file-of-the-kernel?{path}")
    assert answer.body == content and answer.is_whole and not answer.was_reset, answer


def test_file_wrapper_around_text(server):
    assert server.get("/file-kind?text").status == 500
    server.logged("must return bytes, not str")


def test_a_file_that_is_shorter_than_promised(server):
    answer = server.get("/file-raw?99990;100")
    assert answer.body == CONTENT[99990:] and answer.field("content-length") == "100", answer


def test_pieces_are_sent_at_once(server):
    """A piece is sent while the application makes the next one."""
    with server.connect() as client:
        client.sendall(b"GET /slow-pieces HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        received = b""
        while b"first" not in received:
            received += client.recv(1000)
        assert b"second" not in received
        assert server.get("/go-on").body == b"gone on"
        assert b"second" in read_all(client)


@pytest.mark.own
def test_errors_go_to_the_log(server):
    server.get("/errors")
    for line in ("] a line$", "] half a line$", "] the rest$", r"bad \\u\{1b\}\[31m bytes$", r"name \\+udcff$"):
        server.logged(line)


@pytest.mark.own
def test_a_record_in_json_holds_a_text(serve):
    """Each write, each traceback, and of a long text as many lines as fit."""
    server = serve("apps", "--log-format", "json")
    for path in ("/errors", "/errors-long", "/raises", "/raises-later"):
        server.get(path)
    server.stop()
    until(lambda: server.log[-1] is None, "the end of the log")
    records = [json.loads(line) for line in server.log if line]
    found = [(record["level"], record["message"]) for record in records if record["target"] == "modest::wsgi"]
    short = [("WARN", text) for text in ("a line", "half a line", "the rest", "bad \x1b[31m bytes", "name \\udcff")]
    assert found[:5] == short, found[:5]
    long, raised = [message for level, message in found[5:] if level == "WARN"], [message for level, message in found if level == "ERROR"]
    assert "\n".join(long) == "\n".join(f"line {number}" for number in range(5000)) and max(map(len, long)) <= 16384 and len(long) < 6, len(long)
    assert len(raised) == 2, raised
    for text, path, last in zip(raised, ("/raises", "/raises-later"), ("raised at once: ünï", "raised amid the body")):
        assert text.startswith(f"GET {path}: the application raised ") and "\nTraceback (most" in text and text.endswith(last), text


def test_keep_alive(server):
    """Many requests on one connection, pipelined."""
    request = b"GET /generator HTTP/1.1\r\nHost: a\r\n\r\nGET /tuple-raw HTTP/1.1\r\nHost: a\r\n\r\n"
    last = b"GET /tuple-raw HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    raw = server.send(request * 10 + last)
    assert raw.count(b"HTTP/1.1 200") == 21 and raw.count(b"three") == 10, raw


@pytest.mark.own
def test_calls_that_wait_run_at_once(server):
    """A call that has released the interpreter does not count as one that computes, so all four threads run calls."""
    results = []
    clients = [threading.Thread(target=lambda: results.append(server.get("/meet").status)) for _ in range(4)]
    for client in clients:
        client.start()
    for client in clients:
        client.join(30)
    assert results == [200] * 4


@pytest.mark.own
def test_threads_keep_their_locals(server):
    """`threading.local` lives as long as its thread, as in other threaded servers: applications keep database connections there."""
    calls = [int(server.get("/thread-local").body) for _ in range(20)]
    assert max(calls) >= 5, calls


@pytest.mark.own
def test_context_variables_belong_to_a_request(server):
    for _ in range(5):
        assert server.get("/context").body == b"unset,set;" * 50 + b"unset"


@pytest.mark.own
def test_redirects_of_dot_segments(server):
    answer = server.get("/a/../b?c")
    assert answer.status == 301 and answer.field("location") == "/b?c", answer


@pytest.mark.own
def test_options_of_the_server(server):
    assert server.get("*", method="OPTIONS").status == 204
