"""Step 3 in Python: a client has one second for its head."""
import socket
import sys

from head import respond

listener = socket.create_server(("127.0.0.1", int(sys.argv[1]) if sys.argv[1:] else 8000))
while True:
    client, _ = listener.accept()
    with client:
        try:
            client.sendall(respond(client, within=1))
        except OSError as error:
            print(f"lost a client: {error}", flush=True)
