"""PEP 3333 sentence by sentence, RFC 9112 as an application sees it, and what `wsgiref` does: one row per case.

`benches/peers.py` runs these rows and those of `test_wsgi.py` with other servers. A row that is a choice of this server is marked `own`."""

import json
import re
import socket
import subprocess
import sys

import case_apps
import pytest
from conftest import DEADLINE, HERE, Answer, answers, read_all, until

APP = "case_apps:app"


def counts(server):
    return json.loads(server.get("/counts").body)


@pytest.mark.parametrize("name", case_apps.CHECKS)
def test_what_an_application_gets(server, name):
    source, request, _ = case_apps.CHECKS[name]
    target = f"/check/{name}" + request.get("target", "")
    answer = server.get(target, **{key: value for key, value in request.items() if key != "target"})
    assert answer.body == b"ok", (source, answer)


@pytest.mark.parametrize("name", case_apps.STARTS)
def test_start_response(server, name):
    """"It is a fatal error to call start_response without exc_info if start_response has already been called.\""""
    _, status, raised = case_apps.STARTS[name]
    answer = server.get(f"/start?{name}")
    assert answer.status == status, answer
    assert raised is None or answer.body.decode().removeprefix("body") == raised, answer


@pytest.mark.parametrize("version", ["1.1", "1.0"])
@pytest.mark.parametrize("name", case_apps.RESULTS)
def test_results(server, name, version):
    _, body, fields = case_apps.RESULTS[name]
    answer = server.get(f"/result?{name}", version=version)
    assert (answer.status, answer.body) == (200, body) and answer.is_whole and not answer.was_reset, answer
    for field, value in fields.items():
        assert answer.field(field) == value, answer


@pytest.mark.parametrize("name", case_apps.WRONG)
def test_wrong_results(server, name):
    """The values "must be of type bytes"."""
    answer = server.get(f"/wrong?{name}")
    assert answer.status == 500 and b"Traceback" not in answer.raw, answer
    assert server.get("/tuple").body == b"abc"


def test_other_attributes_are_not_used(server):
    """"Servers and gateways must not directly use any other attributes of the iterable.\""""
    server.get("/result?strict")
    until(lambda: any(name.startswith("strict:") for name in counts(server)), "close()")
    assert {name for name in counts(server) if name.startswith("strict:")} == {"strict:close"}


def test_close_follows_the_last_piece(server):
    answer = server.get("/order")
    assert answer.body == b"piecepiece"
    until(lambda: counts(server).get("order:iter,next,next,next,close"), counts(server))


@pytest.mark.parametrize("length, body, pulls", [("10", b"0123456789", 1), ("25", b"0123456789012345678901234", 3), ("30", b"0123456789" * 3, 3), ("5", b"01234", 1)])
def test_it_stops_when_enough_has_been_sent(server, length, body, pulls):
    """"The server should not transmit more bytes than the header allows, and should stop iterating.\""""
    before = counts(server)
    answer = server.get(f"/enough?{length}")
    assert (answer.body, answer.field("content-length"), answer.was_reset) == (body, length, False), answer
    until(lambda: counts(server).get("enough:closed", 0) == before.get("enough:closed", 0) + 1, "close()")
    assert counts(server)["enough"] - before.get("enough", 0) <= pulls + 1


def test_the_head_can_change_after_an_empty_piece(server):
    answer = server.get("/mind")
    assert (answer.status, answer.body) == (503, b"changed"), answer


def test_the_head_may_be_set_by_the_first_iterations(server):
    answer = server.get("/starts-late")
    assert (answer.body, answer.field("x-late")) == (b"late", "yes"), answer


def receive_until(client, end):
    received = b""
    while end not in received:
        piece = client.recv(1000)
        assert piece, received
        received += piece
    return received


def test_no_head_before_the_first_byte(server):
    """"Response headers must not be sent until there is actual body data available.\""""
    with server.connect() as client:
        client.sendall(b"GET /gate?head HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        client.settimeout(0.3)
        with pytest.raises(socket.timeout):
            client.recv(1000)
        client.settimeout(DEADLINE)
        assert server.get("/open").body == b"opened"
        assert b"X-Gate" in read_all(client)


def test_a_piece_does_not_wait_for_the_next(server):
    """"WSGI servers must not delay the transmission of any block.\""""
    with server.connect() as client:
        client.sendall(b"GET /gate?pieces HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert b"second" not in receive_until(client, b"first")
        assert server.get("/open").body == b"opened"
        assert b"second" in read_all(client)


@pytest.mark.own
def test_pieces_are_pulled_when_there_is_room(server):
    """A client that reads nothing gets what the sockets hold, and no more is pulled. Its iterable is closed when it leaves."""
    with server.connect() as client:
        client.sendall(b"GET /pulled HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.recv(1)
        found = []

        def has_settled():
            found.append(counts(server)["pulled"])
            return found[-5:] == [found[-1]] * 5

        until(has_settled, "a pause")
        assert found[-1] < 300, "20 MB in the sockets"
    until(lambda: counts(server).get("pulled:closed") == 1, "close()")
    assert counts(server)["pulled"] < 600


@pytest.mark.parametrize("how, body", [("returned", b"0123456789" * 1000), ("iterated", b"o123456789" * 1000), ("listed", b"0123456789" * 1000),
                                       ("not-returned", b"something else"), ("chained", b"0123456789" * 1000)])
def test_a_file_wrapper_and_middleware(server, how, body):
    """"It must not perform any data transmission until the server receives the iterable as a return value.\""""
    before = counts(server).get("wrapped", 0)
    answer = server.get(f"/wrapped?{how}")
    assert (answer.status, answer.body) == (200, body), answer
    if how != "iterated":
        until(lambda: counts(server).get("wrapped", 0) >= before + 1, "close()")


@pytest.mark.parametrize("status, line", [
    ("200 OK", "HTTP/1.1 200 OK"),
    ("200 Fine then", "HTTP/1.1 200 Fine then"),
    ("404 Not Found", "HTTP/1.1 404 Not Found"),
    ("200 caf%E9", "HTTP/1.1 200 caf\xe9"),
    ("299 ", "HTTP/1.1 299 "),  # RFC 9112, section 4: the space is sent even if there is no reason
    ("499 Client%09left", "HTTP/1.1 499 Client\tleft"),  # HTTP allows this control character
    ("200 a%00b", None),
    ("200 a%0Db", None),
    ("2000 OK", None),
    ("20x OK", None),
    ("-20 OK", None),
    ("099 OK", None),
    ("", None),
])
def test_status_lines(server, status, line):
    answer = server.get("/line?" + status.replace(" ", "%20"))
    if line is None:
        assert answer.status == 500, answer
    else:
        assert answer.line == line, answer


def test_fields_keep_their_order_and_their_number(server):
    answer = server.get("/no-length")
    assert answer.all("x-a") == ["1", "2"] and answer.all("set-cookie") == ["a=1", "b=2"] and answer.all("content-type") == ["text/plain"], answer


def test_a_length_in_any_spelling(server):
    answer = server.get("/length-spelled")
    assert answer.all("content-length") == ["3"] and answer.field("transfer-encoding") is None and answer.body == b"abc", answer


# RFC 9112 and 9110: bytes that a client sends, and the statuses of the responses. `END` asks for a close.

END = b"Connection: close\r\n\r\n"
GET = b"GET /result?list-of-one HTTP/1.1\r\nHost: a\r\n"
POST = b"POST /echo HTTP/1.1\r\nHost: a\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n"
LAST = GET + END


def chunked(body, more=b""):
    return CHUNKED + more + END + body


WIRE = [
    # section, bytes, statuses of the responses (a set: one of these), and a part of the last body
    ("9112 2.1 a request", GET + END, [200], b"alone"),
    ("9112 2.2 an empty line before a request line is ignored", b"\r\n" + GET + END, [200], b"alone"),
    ("9112 2.2 an empty line between requests is ignored", GET + b"\r\n" + b"\r\n" + LAST, [200, 200], b"alone"),
    ("9112 2.2 a space before the first field", b"GET /result?list-of-one HTTP/1.1\r\n Host: a\r\n\r\n", [400], b""),
    ("9112 2.2 a tab before the first field", b"GET /result?list-of-one HTTP/1.1\r\n\tX: a\r\nHost: a\r\n\r\n", [400], b""),
    ("9112 2.2 a bare CR in the request line", b"GET /result?list-of-one\r HTTP/1.1\r\nHost: a\r\n\r\n", [400], b""),
    ("9112 2.2 a bare CR ends no line", b"GET /result?list-of-one HTTP/1.1\rHost: a\r\n\r\n", [400], b""),
    ("9112 2.3 the version is case-sensitive", b"GET /result?list-of-one http/1.1\r\nHost: a\r\n\r\n", [400], b""),
    ("9112 2.3 a version has two digits", b"GET /result?list-of-one HTTP/1.10\r\nHost: a\r\n\r\n", [{400, 505}], b""),
    ("9112 2.3 a version has a dot", b"GET /result?list-of-one HTTP/1,1\r\nHost: a\r\n\r\n", [400], b""),
    ("9112 2.3 another protocol", b"GET /result?list-of-one FTP/1.1\r\nHost: a\r\n\r\n", [400], b""),
    ("9110 2.5 another major version", b"GET /result?list-of-one HTTP/3.0\r\nHost: a\r\n\r\n", [{400, 505}], b""),
    ("9112 3 a line without a version", b"GET /result?list-of-one\r\nHost: a\r\n\r\n", [400], b""),
    ("9112 3 a line of one word", b"GET\r\nHost: a\r\n\r\n", [400], b""),
    ("9112 3 a line of four words", b"GET /result?list-of-one a HTTP/1.1\r\nHost: a\r\n\r\n", [400], b""),
    ("9112 3 a space before the method", b" GET /result?list-of-one HTTP/1.1\r\nHost: a\r\n\r\n", [400], b""),
    ("9112 3 a tab between the words", b"GET\t/result?list-of-one\tHTTP/1.1\r\nHost: a\r\n\r\n", [400], b""),
    ("9112 3.1 a method that is not a token", b"GE(T /result?list-of-one HTTP/1.1\r\nHost: a\r\n\r\n", [400], b""),
    ("9112 3.1 no method", b"/result?list-of-one HTTP/1.1\r\nHost: a\r\n\r\n", [400], b""),
    ("9110 9.1 methods are case-sensitive", b"get /environ HTTP/1.1\r\nHost: a\r\n" + END, [{200, 400, 501}], b""),
    ("9112 3.2 a space in the target", b"GET /result? list-of-one HTTP/1.1\r\nHost: a\r\n\r\n", [400], b""),
    ("9112 3.2 a control character in the target", b"GET /result?list-of-one\x07 HTTP/1.1\r\nHost: a\r\n\r\n", [400], b""),
    ("9112 3.2 NUL in the target", b"GET /result?list-of-one\x00 HTTP/1.1\r\nHost: a\r\n\r\n", [400], b""),
    ("9112 3.2 a target without a slash", b"GET result HTTP/1.1\r\nHost: a\r\n\r\n", [400], b""),
    ("9112 3.2 a fragment in the target", b"GET /result?list-of-one#part HTTP/1.1\r\nHost: a\r\n" + END, [{200, 400}], b""),
    ("9112 3.2 no Host", b"GET /result?list-of-one HTTP/1.1\r\n\r\n", [400], b""),
    ("9112 3.2 two Hosts", b"GET /result?list-of-one HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", [400], b""),
    ("9112 3.2 Host with a space", b"GET /result?list-of-one HTTP/1.1\r\nHost: a b\r\n\r\n", [400], b""),
    ("9112 3.2 Host with a slash", b"GET /result?list-of-one HTTP/1.1\r\nHost: a/b\r\n\r\n", [400], b""),
    ("9112 3.2 Host with a user", b"GET /result?list-of-one HTTP/1.1\r\nHost: u@a\r\n\r\n", [400], b""),
    ("9112 3.2 Host with a word as port", b"GET /result?list-of-one HTTP/1.1\r\nHost: a:http\r\n\r\n", [400], b""),
    ("9112 3.2 an empty Host", b"GET /result?list-of-one HTTP/1.1\r\nHost:\r\n" + END, [{200, 400}], b""),
    ("9112 3.2 Host of IPv6", b"GET /result?list-of-one HTTP/1.1\r\nHost: [::1]:80\r\n" + END, [200], b"alone"),
    ("9112 3.2 no Host in HTTP/1.0", b"GET /result?list-of-one HTTP/1.0\r\n\r\n", [200], b"alone"),
    ("9112 3.2.2 an absolute target", b"GET http://b:81/environ?q HTTP/1.1\r\nHost: a\r\n" + END, [200], b'"HTTP_HOST": "b:81"'),
    ("9112 3.2.2 its path and query", b"GET http://b/environ?q HTTP/1.1\r\nHost: a\r\n" + END, [200], b'"PATH_INFO": "/environ"'),
    ("9112 3.2.2 an absolute target without Host", b"GET http://b/environ HTTP/1.1\r\n\r\n", [400], b""),
    ("9112 3.2.3 an authority", b"GET a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", [400], b""),
    ("9112 3.2.4 an asterisk", b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", [400], b""),
    ("9112 5 a field without a colon", GET + b"Nonsense\r\n\r\n", [400], b""),
    ("9112 5.1 a space before the colon", GET + b"X-A : b\r\n\r\n", [400], b""),
    ("9112 5.1 a tab before the colon", GET + b"X-A\t: b\r\n\r\n", [400], b""),
    ("9112 5.1 a space in the name", GET + b"X A: b\r\n\r\n", [400], b""),
    ("9112 5.1 a name that is not a token", GET + b"X(A: b\r\n\r\n", [400], b""),
    ("9112 5.1 a name with a byte beyond ASCII", GET + b"X\xe9: b\r\n\r\n", [400], b""),
    ("9112 5.1 spaces around the value", b"GET /environ HTTP/1.1\r\nHost: a\r\nX-A: \t b \t \r\n" + END, [200], b'"HTTP_X_A": "b"'),
    ("9112 5.1 no space before the value", b"GET /environ HTTP/1.1\r\nHost: a\r\nX-A:b:c\r\n" + END, [200], b'"HTTP_X_A": "b:c"'),
    ("9112 5.2 a folded line", GET + b"X-A: b\r\n\tc\r\n\r\n", [400], b""),
    ("9110 5.5 NUL in a value", GET + b"X-A: b\x00c\r\n\r\n", [400], b""),
    ("9110 5.5 CR in a value", GET + b"X-A: b\rc\r\n\r\n", [400], b""),
    ("9110 5.5 a control character in a value", GET + b"X-A: b\x01c\r\n\r\n", [400], b""),
    ("9110 5.3 fields of one name", b"GET /environ HTTP/1.1\r\nHost: a\r\nX-A: 1\r\nX-B: 2\r\nx-a: 3\r\n" + END, [200], b'"HTTP_X_A": "1,3"'),
    ("9112 6.1 chunked", chunked(b"3\r\nabc\r\n0\r\n\r\n"), [200], b"abc"),
    ("9112 6.1 chunked, in any spelling", POST + b"Transfer-Encoding: ChUnKeD\r\n" + END + b"3\r\nabc\r\n0\r\n\r\n", [200], b"abc"),
    ("9112 6.1 an unknown coding", POST + b"Transfer-Encoding: rot13\r\n\r\n", [{400, 501}], b""),
    ("9112 6.1 identity is gone", POST + b"Transfer-Encoding: identity\r\nContent-Length: 3\r\n\r\nabc", [{400, 501}], b""),
    ("9112 6.1 an unknown coding before chunked", POST + b"Transfer-Encoding: rot13, chunked\r\n\r\n0\r\n\r\n", [{400, 501}], b""),
    ("9112 6.1 chunked twice", POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", [400], b""),
    ("9112 6.1 chunked twice, in two fields", CHUNKED + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", [400], b""),
    ("9112 6.1 chunked that is not last", POST + b"Transfer-Encoding: chunked, rot13\r\n\r\n0\r\n\r\n", [{400, 501}], b""),
    ("9112 6.1 a control character in the coding", POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", [{400, 501}], b""),
    ("9112 6.1 an empty coding", POST + b"Transfer-Encoding:\r\nContent-Length: 3\r\n\r\nabc", [{400, 501}], b""),
    ("9112 6.1 both fields", CHUNKED + b"Content-Length: 3\r\n\r\n0\r\n\r\n", [400], b""),
    ("9112 6.1 both fields, the other order", POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", [400], b""),
    ("9112 6.1 chunked in HTTP/1.0", b"POST /echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", [400], b""),
    ("9112 6.2 a length", POST + b"Content-Length: 3\r\n" + END + b"abc", [200], b"abc"),
    ("9112 6.3 neither field: no body", POST + END, [200], b""),
    ("9112 6.3 two lengths", POST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", [400], b""),
    ("9112 6.3 the same length twice", POST + b"Content-Length: 3\r\nContent-Length: 3\r\n" + END + b"abc", [{200, 400}], b""),
    ("9112 6.3 a list of lengths", POST + b"Content-Length: 3, 4\r\n\r\nabcd", [400], b""),
    *[("9112 6.3 an invalid length: " + repr(value), POST + b"Content-Length: " + value + b"\r\n\r\nabc", [400], b"")
      for value in (b"", b"-3", b"+3", b"0x3", b"3a", b"1 1", b"3.0", b"1_0", b"\xb3", b"\xd9\xa3", b"three")],
    ("9112 6.3 a length beyond 64 bits", POST + b"Content-Length: 99999999999999999999\r\n\r\n", [{400, 413}], b""),
    ("9112 6.3 a length in HTTP/1.0", b"POST /echo HTTP/1.0\r\nContent-Length: 3\r\n\r\nabc", [200], b"abc"),
    ("9110 9.3.1 a body of GET", b"GET /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n" + END + b"abc", [{200, 400}], b""),
    ("9112 7.1 sizes in hexadecimal", chunked(b"A\r\n0123456789\r\nb\r\n0123456789a\r\n0\r\n\r\n"), [200], b"01234567890123456789a"),
    ("9112 7.1 a size with zeros", chunked(b"0003\r\nabc\r\n000\r\n\r\n"), [200], b"abc"),
    ("9112 7.1 an empty body", chunked(b"0\r\n\r\n"), [200], b""),
    ("9112 7.1 many chunks", chunked(b"1\r\nx\r\n" * 500 + b"0\r\n\r\n"), [200], b"x" * 500),
    *[("9112 7.1 an invalid size: " + repr(size), chunked(size + b"\r\nabc\r\n0\r\n\r\n"), [400], b"")
      for size in (b"", b"-3", b"+3", b"0x3", b"3g", b"g", b" 3", b"3 3", b"3_0", b"\xb3", b"three")],
    ("9112 7.1 a size beyond 64 bits", chunked(b"10000000000000003\r\nabc\r\n0\r\n\r\n"), [{400, 413}], b""),
    ("9112 7.1 a chunk that is longer than its size", chunked(b"3\r\nabcde\r\n0\r\n\r\n"), [400], b""),
    ("9112 7.1 a chunk that is shorter than its size", chunked(b"3\r\na\r\n0\r\n\r\n"), [400], b""),
    ("9112 7.1 a size that ends with LF", chunked(b"3\nabc\r\n0\r\n\r\n"), [400], b""),
    ("9112 7.1 data that ends with LF", chunked(b"3\r\nabc\n0\r\n\r\n"), [400], b""),
    ("9112 7.1.1 an extension is ignored", chunked(b"3;name=value\r\nabc\r\n0;last\r\n\r\n"), [200], b"abc"),
    ("9112 7.1.1 a quoted extension is ignored", chunked(b'3;name="va;lue"\r\nabc\r\n0\r\n\r\n'), [200], b"abc"),
    ("9112 7.1.1 an extension with a bare LF", chunked(b"3;name\nx\r\nabc\r\n0\r\n\r\n"), [400], b""),
    ("9112 7.1.2 trailers are dropped", chunked(b"3\r\nabc\r\n0\r\nX-Trailer: t\r\n\r\n"), [200], b"abc"),
    ("9110 6.5.1 trailers are not fields", b"POST /environ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nX-Z: z\r\n" + END
     + b"3\r\nabc\r\n0\r\nX-Z: trailer\r\n\r\n", [200], b'"HTTP_X_Z": "z"'),
    ("9112 7.1.2 a trailer that is not a field", chunked(b"0\r\nno field\r\n\r\n"), [400], b""),
    ("9112 9.3 connections are kept", GET + b"\r\n" + LAST, [200, 200], b"alone"),
    ("9112 9.3 close ends the connection", LAST + GET + END, [200], b"alone"),
    ("9112 9.3 close in any spelling", GET + b"Connection: CLOSE\r\n\r\n" + GET + END, [200], b"alone"),
    ("9112 9.3 close among other options", GET + b"Connection: x, close\r\n\r\n" + GET + END, [200], b"alone"),
    ("9112 9.3 close in the second field", GET + b"Connection: x\r\nConnection: close\r\n\r\n" + GET + END, [200], b"alone"),
    ("9112 9.3 HTTP/1.0 closes", b"GET /result?list-of-one HTTP/1.0\r\n\r\n" + GET + END, [200], b"alone"),
    ("9112 9.3 HTTP/1.0 with keep-alive", b"GET /result?list-of-one HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" + LAST, [{200}, 200], b"alone"),
    ("9112 9.3.2 responses in order", GET + b"\r\n" + b"GET /result?binary HTTP/1.1\r\nHost: a\r\n\r\n" + GET + b"\r\n" + LAST, [200] * 4, b"alone"),
    ("9112 9.3.2 bodies in order", (POST + b"Content-Length: 3\r\n\r\nabc") * 3 + LAST, [200] * 4, b"alone"),
    ("9112 9.3.2 chunked bodies in order", (CHUNKED + b"\r\n3\r\nabc\r\n0\r\n\r\n") * 3 + LAST, [200] * 4, b"alone"),
    ("9112 9.3 a body that is not read is not a request", b"POST /result?list-of-one HTTP/1.1\r\nHost: a\r\nContent-Length: 40\r\n\r\n"
     + b"GET /exits HTTP/1.1\r\nHost: a\r\n\r\n".ljust(40, b"x") + LAST, [200, 200], b"alone"),
    ("9112 9.3 a chunked body that is not read", b"POST /result?list-of-one HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n" + LAST,
     [200, 200], b"alone"),
    ("9112 9.3 after an error of the application", b"GET /raises HTTP/1.1\r\nHost: a\r\n\r\n" + LAST, [500, 200], b"alone"),
    ("9110 7.8 an upgrade is ignored", GET + b"Connection: upgrade, close\r\nUpgrade: something\r\n\r\n", [200], b"alone"),
    ("9110 7.8 an upgrade to h2c is ignored", GET + b"Connection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n", [200], b"alone"),
    ("9110 10.1.1 an unknown expectation", GET + b"Expect: the-unexpected\r\n" + END, [{200, 417}], b""),
    ("9110 10.1.1 an expectation without a body", GET + b"Expect: 100-continue\r\n" + END, [200], b"alone"),
    ("9110 10.1.1 no 100 in HTTP/1.0", b"POST /echo HTTP/1.0\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\nabc", [200], b"abc"),
    ("9110 9.3.2 HEAD", b"HEAD /result?list-of-one HTTP/1.1\r\nHost: a\r\n\r\n" + LAST, [200, 200], b"alone"),
    ("9110 9.3.2 HEAD of an error", b"HEAD /raises HTTP/1.1\r\nHost: a\r\n\r\n" + LAST, [500, 200], b"alone"),
    ("9110 9.3.2 HEAD of an iterator", b"HEAD /generator HTTP/1.1\r\nHost: a\r\n\r\n" + LAST, [200, 200], b"alone"),
    ("9110 15.3.5 204", b"GET /body-in-status?204 HTTP/1.1\r\nHost: a\r\n\r\n" + LAST, [204, 200], b"alone"),
    ("9110 15.3.6 205", b"GET /body-in-status?205 HTTP/1.1\r\nHost: a\r\n\r\n" + LAST, [205, 200], b"alone"),
    ("9110 15.4.5 304", b"GET /body-in-status?304 HTTP/1.1\r\nHost: a\r\n\r\n" + LAST, [304, 200], b"alone"),
    ("9110 9.3.6 CONNECT", b"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", [{400, 405, 501}], b""),
]


@pytest.mark.parametrize("pace", ["at once", "in pieces"])
@pytest.mark.parametrize("section, sent, statuses, part", WIRE, ids=[row[0] for row in WIRE])
def test_bytes_of_a_client(server, section, sent, statuses, part, pace):
    """Also sent in pieces, cut at different places."""
    pieces = [sent] if pace == "at once" else [sent[at : at + 37] for at in range(0, len(sent), 37)]
    with server.connect() as client:
        received = talk(client, pieces)
    found = answers(received, ["HEAD"] if sent.startswith(b"HEAD") else [])
    expected = [each if isinstance(each, set) else {each} for each in statuses]
    assert len(found) == len(expected) and all(answer.status in allowed for answer, allowed in zip(found, expected)), (sent, received)
    assert part in found[-1].body, (sent, received)
    for answer in found:
        assert len(answer.all("content-length")) + len(answer.all("transfer-encoding")) <= 1, answer
        assert answer.status != 204 or not answer.all("content-length") + answer.all("transfer-encoding"), answer
    # A server that closes the connection sends `close`, or has rejected the request (RFC 9112, section 9.6).
    assert found[-1].status >= 400 or "close" in (found[-1].field("connection") or "") or b"HTTP/1.0" in sent, received


def talk(client, pieces):
    """A server may close before it has read everything."""
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        for piece in pieces:
            client.sendall(piece)
    except OSError:
        pass
    return read_all(client)


INCOMPLETE = [
    ("9112 8 a head", GET),
    ("9112 8 a request line", b"GET /cut HT"),
    ("9112 8 a body", b"POST /cut HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc"),
    ("9112 8 a chunk", b"POST /cut HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc"),
    ("9112 8 no last chunk", b"POST /cut HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"),
    ("9112 8 no end of the trailers", b"POST /cut HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX: y\r\n"),
]


@pytest.mark.parametrize("section, sent", INCOMPLETE, ids=[row[0] for row in INCOMPLETE])
def test_an_incomplete_request_is_not_handled(server, section, sent):
    before = counts(server).get("cut", 0)
    with server.connect() as client:
        client.sendall(sent)
        client.shutdown(socket.SHUT_WR)
        received = read_all(client)
    assert b" 200 " not in received, received
    assert counts(server).get("cut", 0) == before


def test_rejected_requests_are_not_handled(server):
    """The byte sequences above that are rejected do not reach the application."""
    before = counts(server)
    for _, sent, statuses, _ in WIRE:
        if statuses == [400]:
            server.send(sent)
    after = counts(server)
    assert before == after


def test_100_is_sent_before_the_body(server):
    with server.connect() as client:
        client.sendall(POST + b"Content-Length: 3\r\nExpect: 100-continue\r\n" + END)
        assert receive_until(client, b"\r\n\r\n").startswith(b"HTTP/1.1 100")
        client.sendall(b"abc")
        assert Answer(read_all(client)).body == b"abc"


def test_chunks_to_1_1_only(server):
    """RFC 9112, section 6.1."""
    assert server.get("/generator").field("transfer-encoding") == "chunked"
    old = server.get("/generator", version="1.0")
    assert old.field("transfer-encoding") is None and old.body == b"one,two,three"


def test_what_a_response_has(server):
    """RFC 9110, section 6.6.1; PEP 3333: the server adds required fields."""
    for path in ("/tuple-raw", "/generator", "/raises", "/status?404", "/status?204"):
        answer = server.get(path)
        assert len(answer.all("date")) == 1 and re.fullmatch(r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", answer.field("date")), answer
        assert answer.line.startswith("HTTP/1.1 "), answer


# Applications of every kind, each in a server of its own


@pytest.mark.own
def test_callables(serve):
    """"A server must not have any dependency on what kind of callable was provided to it.\""""
    code = (
        "import threading, time, urllib.request\n"
        "from case_apps import CALLABLES\n"
        "from modest.wsgi import Server, serve\n"
        "for name, app in CALLABLES.items():\n"
        "    server = Server()\n"
        "    thread = threading.Thread(target=serve, args=(app,), kwargs=dict(server=server, port=0, quiet=True))\n"
        "    thread.start()\n"
        "    while not server.addresses: time.sleep(0.001)\n"
        "    print(name, urllib.request.urlopen('http://' + server.addresses[0]).read(), flush=True)\n"
        "    server.shutdown()\n"
        "    thread.join()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=HERE, capture_output=True, text=True, timeout=DEADLINE)
    for name in case_apps.CALLABLES:
        assert f"{name} b'called'" in done.stdout, done
