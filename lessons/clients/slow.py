"""N clients request /slow, whose handler takes ten seconds, and wait."""
import os
import socket
import sys
import time

count = int(sys.argv[1])
clients = [socket.create_connection(("127.0.0.1", int(os.environ.get("PORT", 8000)))) for _ in range(count)]
for client in clients:
    client.sendall(b"GET /slow HTTP/1.1\r\nHost: me\r\n\r\n")
time.sleep(0.2)
print(f"{count} slow requests sent", flush=True)
time.sleep(60)
