"""Sends a request one byte at a time, with a pause after each, and prints how it ends."""
import os
import socket
import sys
import time

pause = float(sys.argv[1])
began = time.monotonic()
with socket.create_connection(("127.0.0.1", int(os.environ.get("PORT", 8000)))) as server:
    server.settimeout(pause)
    for byte in b"GET /" + b"slow" * 100:
        server.sendall(bytes([byte]))
        try:
            print(server.recv(1000).decode().split("\r\n")[0])
            break
        except TimeoutError:
            pass  # no response yet: this was the pause
print("ended within 5 seconds" if time.monotonic() - began < 5 else "held the server for more than 5 seconds")
