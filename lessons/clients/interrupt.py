"""Requests PATH, and while the server works on it, presses Ctrl-C at the server: it sends SIGINT to the process that listens."""
import os
import re
import signal
import socket
import sys
import time
from pathlib import Path

port = int(os.environ.get("PORT", 8000))


def listener():
    """The process that listens at the port: its socket is in the kernel's table, and among its open files."""
    for line in Path("/proc/net/tcp").read_text().split("\n")[1:-1]:
        fields = line.split()
        if fields[1].endswith(f":{port:04X}") and fields[3] == "0A":
            name = f"socket:[{fields[9]}]"
    for process in Path("/proc").iterdir():
        if re.fullmatch(r"\d+", process.name):
            try:
                if any(os.readlink(file) == name for file in (process / "fd").iterdir()):
                    return int(process.name)
            except OSError:
                pass  # another user's process, or one that has just ended
    raise SystemExit("no process listens")


def has_been_read(client):
    """Whether the server has read our bytes: the kernel's table has the number of unread bytes."""
    entry = rf":{port:04X} [0-9A-F]+:{client:04X} [0-9A-F]{{2}} [0-9A-F]+:([0-9A-F]+) "
    found = re.search(entry, Path("/proc/net/tcp").read_text())
    return bool(found) and int(found[1], 16) == 0


process = listener()  # before the request: on a busy machine the search takes as long as /report
with socket.create_connection(("127.0.0.1", port)) as server:
    server.sendall(f"GET {sys.argv[1]} HTTP/1.1\r\nHost: me\r\n\r\n".encode())
    while not has_been_read(server.getsockname()[1]):
        time.sleep(0.01)
    os.kill(process, signal.SIGINT)
    try:
        received = b""
        while data := server.recv(65536):
            received += data
    except ConnectionResetError:
        received += b"[the connection was reset]"
    print(received.decode().replace("\r\n", "\n").rstrip("\n") or "[the connection was closed without a byte]")
