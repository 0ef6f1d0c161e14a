"""Connects N times and sends nothing. Holds the connections until it is stopped."""
import os
import socket
import sys
import time

count = int(sys.argv[1])
clients = [socket.create_connection(("127.0.0.1", int(os.environ.get("PORT", 8000)))) for _ in range(count)]
print(f"{count} connected, silent", flush=True)
time.sleep(60)
