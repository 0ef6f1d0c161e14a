"""Page 2 in Python: a request head by the rules (RFC 9112). Takes bytes and returns a decision; uses no socket."""
import http
import re
import time

MAX_HEAD = 8192
TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


class Rejection(Exception):
    def __init__(self, status, reason):
        self.status, self.reason = status, reason


def request_line(line):
    parts = line.split(" ")
    if len(parts) != 3:
        raise Rejection(400, "expected: METHOD TARGET VERSION")
    method, target, version = parts
    if not TOKEN.fullmatch(method):
        raise Rejection(400, "the method is not a token")
    if not re.fullmatch(r"/[!-~]*", target):
        raise Rejection(400, "expected a path")
    if version not in ("HTTP/1.0", "HTTP/1.1"):
        raise Rejection(505, "expected HTTP/1.1")
    return method, target


def field(line):
    name, colon, value = line.partition(":")
    if not colon:
        raise Rejection(400, "a field without a colon")
    if not TOKEN.fullmatch(name):
        raise Rejection(400, "the name of a field is not a token")
    value = value.strip(" \t")
    if re.search(r"[\x00-\x08\x0a-\x1f\x7f]", value):
        raise Rejection(400, "a control character in a field")
    return name.lower(), value


def parse(data):
    """The method, the target and the fields, or None while the end of the head has not arrived."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        if len(data) >= MAX_HEAD:
            raise Rejection(431, "the head is too long")
        return None
    try:
        first, *rest = data[:end].decode().split("\r\n")
    except UnicodeDecodeError:
        raise Rejection(400, "the head is not text")
    method, target = request_line(first)
    fields = [field(line) for line in rest]
    if [name for name, _ in fields].count("host") != 1:
        raise Rejection(400, "expected one Host field")
    return method, target, fields


def response(status, text):
    reason = http.HTTPStatus(status).phrase
    return f"HTTP/1.1 {status} {reason}\r\nContent-Length: {len(text)}\r\nConnection: close\r\n\r\n{text}".encode()


def read_head(client, within=None):
    """Reads until the head is complete or the deadline has passed. None: the client disconnected before that."""
    deadline = within and time.monotonic() + within
    data = b""
    while True:
        if deadline:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            client.settimeout(left)
        arrived = client.recv(1024)
        if not arrived:
            return None
        data += arrived
        if head := parse(data):
            return head


def respond(client, within=None):
    try:
        head = read_head(client, within)
    except Rejection as why:
        return response(why.status, f"{why.reason}\n")
    except TimeoutError:
        return response(408, "your request took too long\n")
    if head is None:
        return b""
    _, target, _ = head
    return response(200, f"Hello, {target}!\n")
