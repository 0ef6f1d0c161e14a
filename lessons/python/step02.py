"""Step 2 in Python: rejects requests that break the rules (head.py), one client at a time."""
import socket
import sys

from head import respond

listener = socket.create_server(("127.0.0.1", int(sys.argv[1]) if sys.argv[1:] else 8000))
while True:
    client, _ = listener.accept()
    with client:
        try:
            client.sendall(respond(client))
        except OSError as error:
            print(f"lost a client: {error}", flush=True)
