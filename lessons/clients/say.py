"""Sends each argument unchanged, with a pause between two, and prints the received bytes until the server closes.

`\\r\\n` in an argument is the end of a line. Nothing is added: these are the bytes that the server reads.
"""
import os
import socket
import sys
import time

with socket.create_connection(("127.0.0.1", int(os.environ.get("PORT", 8000)))) as server:
    try:
        for number, part in enumerate(sys.argv[1:]):
            time.sleep(0.1 if number else 0)
            server.sendall(part.replace("\\r", "\r").replace("\\n", "\n").encode("latin-1"))
        server.settimeout(2)
        while data := server.recv(65536):
            print(data.decode("latin-1").replace("\r\n", "\n"), end="", flush=True)
    except ConnectionError as error:
        print("[the connection was reset]" if isinstance(error, ConnectionResetError) else error)
    except TimeoutError:
        print("[no byte for 2 seconds]")
