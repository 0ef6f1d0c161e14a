"""N silent clients connect, then one that speaks. How long does it wait?"""
import os
import socket
import sys
import time

address = ("127.0.0.1", int(os.environ.get("PORT", 8000)))
count = int(sys.argv[1])
silent = [socket.create_connection(address) for _ in range(count)]
began = time.monotonic()
with socket.create_connection(address) as server:
    server.sendall(b"GET / HTTP/1.1\r\nHost: me\r\n\r\n")
    status = server.recv(1000).decode().split("\r\n")[0]
waited = time.monotonic() - began
print(f"behind {count} silent clients: {status}, after {'more' if waited > count - 0.5 else 'less'} than {count - 0.5} seconds")
