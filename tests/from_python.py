"""The part of `from_python.rs` that runs in Python. It prints the public names of both modules and CPython's tests of them, checks
the Python code in the page, and runs the programs of the modules' documentation, which are compared with those in Rust.

    python3 from_python.py names
    python3 from_python.py tests
    python3 from_python.py run docs/from-python.md
    python3 -u from_python.py program tcp
"""
import ast
import functools
import http.client
import http.server
import importlib.util
import re
import socket
import socketserver
import sys
import threading
import types


def names():
    """Every public name of the modules and of their classes, without the names of `object`."""
    for module in (socketserver, http.server):
        for name, value in vars(module).items():
            imported = getattr(value, "__module__", module.__name__) not in (module.__name__, "http")
            if name.startswith("_") or imported or isinstance(value, types.ModuleType):
                continue
            print(name)
            if isinstance(value, type) and value.__module__ == module.__name__:
                for member in dir(value):
                    if not member.startswith("_") and member not in dir(object):
                        print(member)


def tests():
    """The names of CPython's tests, if they are installed, and the tests of the table."""
    if sys.version_info[:2] != (3, 11):
        return
    for module in ("test.test_socketserver", "test.test_httpservers"):
        found = importlib.util.find_spec(module)
        if found is None:
            continue
        with open(found.origin, encoding="utf-8") as file:
            for node in ast.walk(ast.parse(file.read())):
                if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                    print(node.name)


def ask(server, method, path, body=None, fields={}):
    client = http.client.HTTPConnection(*server.server_address[:2], timeout=30)
    client.request(method, path, body, fields)
    answer = client.getresponse()
    found = answer.status, answer.read(), answer.headers
    client.close()
    return found


def get(server, path="/"):
    status, body, _ = ask(server, "GET", path)
    return status, body


def talk(server, said):
    with socket.create_connection(server.server_address[:2], 30) as client:
        client.sendall(said)
        client.shutdown(socket.SHUT_WR)
        return client.makefile("rb").read()


def datagram(server, said):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(30)
        client.sendto(said, server.server_address)
        return client.recv(100)


# The requests that the hidden lines of the Rust code send.
CHECKS = {
    "Serve a folder": lambda server: b"It works" in get(server)[1],
    "Say hello": lambda server: get(server, "/ada") == (200, b"Hello, /ada!\n"),
    "POST and JSON": lambda server: (ask(server, "POST", "/", "[1, 2, 3]")[1], ask(server, "POST", "/", "x")[0])
    == (b'{"sum": 6}', 400),
    "Paths": lambda server: (get(server, "/users/ada%20l"), get(server, "/add?a=2&b=3"), get(server, "/x")[0])
    == ((200, b"user ada l"), (200, b"5"), 404),
    "Logging": lambda server: get(server)[0] == 204,
    "Ctrl-C, and a shutdown from another thread": None,  # it ends by itself
    "Header fields in every response": lambda server: all(
        ask(server, "GET", path)[2]["X-Content-Type-Options"] == "nosniff" for path in ("/", "/none")
    ),
    "super().do_GET()": lambda server: (get(server, "/ping")[1], b"It works" in get(server)[1], get(server, "/none")[0])
    == (b"pong", True, 404),
    "Your own protocol": lambda server: talk(server, b"hello\nworld") == b"HELLO\nWORLD",
    "A response in pieces": lambda server: get(server) == (200, b"0\n1\n2\n"),
    "self.server, and state": lambda server: (get(server)[1], get(server)[1]) == (b"1", b"2"),
    "Error pages": lambda server: get(server) == (404, b"<h1>404</h1><p>no such thing</p>"),
    "Datagrams": lambda server: datagram(server, b"hello") == b"HELLO",
}


def serve(handler):
    if issubclass(handler, http.server.SimpleHTTPRequestHandler):
        handler = functools.partial(handler, directory="www")  # also the Rust code of the page, in a separate folder
    return http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)


def run(page):
    with open(page, encoding="utf-8") as file:
        sections = re.split(r"^### (.+)\n", file.read().split("\n## What differs")[0], flags=re.M)
    blocks = {title: re.search(r"```python\n(.*?)```", text, re.S) for title, text in zip(sections[1::2], sections[2::2])}
    assert set(blocks) == set(CHECKS), set(blocks) ^ set(CHECKS)
    http.server.BaseHTTPRequestHandler.log_message = lambda self, *args: None
    for title, block in blocks.items():
        code = block[1].replace("8000", "0")
        check = CHECKS[title]
        if check is not None:
            code = code.replace("server.serve_forever()", "")
        scope = {name: getattr(module, name) for module in (http.server, socketserver) for name in module.__all__}
        exec(compile(code, title, "exec"), scope)
        if check is None:
            continue
        server = scope.get("server") or serve(scope["Handler"])
        with server:
            thread = threading.Thread(target=server.serve_forever, args=(0.01,))
            thread.start()
            try:
                assert check(server), title
            finally:
                server.shutdown()
                thread.join()
        print(title)


class Tcp(socketserver.BaseRequestHandler):
    def handle(self):
        Tcp.answer(self, self.request.recv(1024), self.request.sendall)

    def answer(self, data, send):
        data = data.strip()
        print(f"{self.client_address[0]} wrote:")
        print(data)
        send(data.upper())


class Lines(socketserver.StreamRequestHandler):
    def handle(self):
        Tcp.answer(self, self.rfile.readline(), self.wfile.write)


class Threads(socketserver.BaseRequestHandler):
    def handle(self):
        data = self.request.recv(1024).decode("latin-1")
        self.request.sendall(f"{threading.current_thread().name}: {data}".encode("latin-1"))


class Udp(socketserver.BaseRequestHandler):
    def handle(self):
        data, answering = self.request
        Tcp.answer(self, data, lambda reply: answering.sendto(reply, self.client_address))


# The examples of both modules' documentation, in their order.
PROGRAMS = {
    "tcp": (socketserver.TCPServer, Tcp),
    "stream": (socketserver.TCPServer, Lines),
    "udp": (socketserver.UDPServer, Udp),
    "threads": (socketserver.ThreadingTCPServer, Threads),
    "base": (http.server.HTTPServer, http.server.BaseHTTPRequestHandler),
    "folder": (socketserver.TCPServer, functools.partial(http.server.SimpleHTTPRequestHandler, directory="www")),
}


def program(name):
    kind, handler = PROGRAMS[name]
    with kind(("127.0.0.1", 0), handler) as server:
        print("Listening at {}:{} ...".format(*server.server_address))
        server.serve_forever()


if __name__ == "__main__":
    {"program": program, "names": names, "tests": tests, "run": run}[sys.argv[1]](*sys.argv[2:])
