"""The clients of all pages, one after the other, against whatever listens. Each line says whether the server passed."""
import os
import socket
import struct
import time

ADDRESS = ("127.0.0.1", int(os.environ.get("PORT", 8000)))
GET = "GET / HTTP/1.1\r\nHost: me\r\n"


def connect(seconds=2):
    return socket.create_connection(ADDRESS, timeout=seconds)


def say(*parts, seconds=2):
    """Returns the bytes that are received until the server closes or is silent."""
    received = b""
    try:
        with connect(seconds) as server:
            for number, part in enumerate(parts):
                time.sleep(0.1 if number else 0)
                server.sendall(part.encode())
            while data := server.recv(65536):
                received += data
    except OSError:
        pass
    return received.decode("latin-1")


def status(*parts):
    return say(*parts)[9:12]


def is_alive():
    return say(GET + "Connection: close\r\n\r\n").startswith("HTTP/1.1 ")


def reset():
    server = connect()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    server.close()
    return is_alive()


def crowd(count):
    clients = [connect() for _ in range(count)]
    return is_alive() and len(clients) == count


def greedy(count):
    """Clients that send requests without end and read nothing, until nothing more can be sent."""
    clients = [connect(0.05) for _ in range(count)]
    for client in clients:
        try:
            for _ in range(500):
                client.sendall((GET + "\r\n").encode() * 200)
        except OSError:
            pass  # the server has stopped reading, or has closed the connection
    return is_alive()


long_head = GET + "Connection: close\r\nX: " + "x" * 9000
CHECKS = [
    (1, "half a request gets no response", lambda: " 200 " not in say("GET / HT", seconds=0.5)),
    (1, "a reset ends only its connection", reset),
    (2, "a space before the colon", lambda: status(GET + "Content-Length : 5\r\n\r\n") == "400"),
    (2, "two hosts", lambda: status(GET + "Host: you\r\n\r\n") == "400"),
    (3, "a silent client", lambda: crowd(1)),
    (4, "a crowd of them", lambda: crowd(100)),
    (5, "clients that read nothing", lambda: greedy(10)),
    (9, "two requests, two responses", lambda: say(GET + "\r\n" + GET + "Connection: close\r\n\r\n").count("HTTP/1.1 ") == 2),
    (10, "two ways to end a body", lambda: status(GET + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n") == "400"),
    (10, "a path out of the folder", lambda: "[workspace]" not in say(GET.replace("/ ", "/../Cargo.toml ") + "Connection: close\r\n\r\n")),
    (11, "a script in a path", lambda: "<script>al" not in say(GET.replace("/ ", "/%3Cscript%3Ealert(1) ") + "Connection: close\r\n\r\n")),
    (13, "a plus sign", lambda: status(GET + "Content-Length: +8\r\n\r\nname=Eve") == "400"),
    (14, "a long head, in one piece or two", lambda: status(long_head + "\r\n\r\n") == status(long_head, "\r\n\r\n") != ""),
]

for page, what, holds in CHECKS:
    try:
        held = holds()
    except OSError:
        held = False
    print(f"page {page:2}: {what:36} {'held' if held else 'broken'}")
