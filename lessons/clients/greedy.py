"""N clients request a large response and do not read it. Holds the connections until it is stopped."""
import os
import socket
import sys
import time

count = int(sys.argv[1])
clients = []
for _ in range(count):
    server = socket.socket()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # a small window: the response stays at the server
    server.connect(("127.0.0.1", int(os.environ.get("PORT", 8000))))
    server.sendall(b"GET /big HTTP/1.1\r\nHost: me\r\n\r\n")
    server.recv(1)  # the response has begun
    clients.append(server)
print(f"{count} clients have read one byte each", flush=True)
time.sleep(60)
