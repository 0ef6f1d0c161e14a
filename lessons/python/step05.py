"""Step 5 in Python: four workers and a queue of 16 clients."""
import queue
import socket
import sys
import threading
import time

from head import Rejection, read_head, response

WORKERS = 4
QUEUE = 16
TIMEOUT = 10


def serve(client):
    try:
        head = read_head(client, TIMEOUT)
        if head is None:
            return
        _, target, _ = head
        text = "a long book\n" * 1_000_000 if target == "/big" else f"Hello, {target}!\n"
        answer = response(200, text)
    except Rejection as why:
        answer = response(why.status, f"{why.reason}\n")
    except TimeoutError:
        answer = response(408, "your request took too long\n")
    client.settimeout(TIMEOUT)
    client.sendall(answer)


def work(waiting):
    while True:
        with waiting.get() as client:
            try:
                serve(client)
            except OSError as error:
                print(f"lost a client: {error}", flush=True)


waiting = queue.Queue(QUEUE)
for _ in range(WORKERS):
    threading.Thread(target=work, args=(waiting,), daemon=True).start()
listener = socket.create_server(("127.0.0.1", int(sys.argv[1]) if sys.argv[1:] else 8000), backlog=128)
while True:
    try:
        client, _ = listener.accept()
    except OSError as error:
        print(f"cannot accept: {error}", flush=True)
        time.sleep(0.1)
        continue
    try:
        waiting.put_nowait(client)
    except queue.Full:
        with client:
            client.setblocking(False)
            client.sendall(response(503, "busy\n"))
            print("no room in the queue", flush=True)
