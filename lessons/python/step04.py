"""Step 4 in Python: a thread per client. `socketserver.ThreadingTCPServer` does the same."""
import socket
import sys
import threading
import time

from head import respond


def serve(client):
    with client:
        try:
            client.sendall(respond(client, within=20))
        except OSError as error:
            print(f"lost a client: {error}", flush=True)


listener = socket.create_server(("127.0.0.1", int(sys.argv[1]) if sys.argv[1:] else 8000), backlog=128)
while True:
    try:
        client, _ = listener.accept()
        threading.Thread(target=serve, args=(client,), daemon=True).start()
    except OSError as error:
        print(f"cannot accept: {error}", flush=True)
        time.sleep(0.1)  # without a pause this loop would take a whole core
    except RuntimeError as error:
        client.close()
        print(f"no thread for a client: {error}", flush=True)
