"""Step 1 in Python: responds to anything, one client at a time."""
import socket
import sys

listener = socket.create_server(("127.0.0.1", int(sys.argv[1]) if sys.argv[1:] else 8000))
while True:
    client, _ = listener.accept()
    with client:
        print(client.recv(1024).decode("latin-1"), flush=True)
        client.sendall(b"HTTP/1.1 200 OK\r\n\r\nHello, World!\n")
