#!/usr/bin/env python3
"""How many instructions modest-wsgi adds to a call of Flask's hello: the process of the server beside the same call in a loop.

    pip install flask; apt-get install valgrind
    python benches/instructions.py [--connections 1,16] [--kind flask,bare]

Each program runs twice under valgrind's callgrind, with few and with many requests, and the difference per request is printed. The kernel's
instructions are not included, so the machine and its load hardly matter. Fails if Flask's hello costs more than 15 % above the loop. Takes
some four minutes.
"""

import argparse
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time

import compare

HERE = compare.HERE
FEW, MANY = 160, 960
MOST_ABOVE_LOOP = 1.15


def counted(command, load=None):
    """The instructions of a command. `load` runs while it serves, and then it is asked to end."""
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile("w+") as log:
        environ = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}
        callgrind = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={folder}/out", *command]
        program = subprocess.Popen(callgrind, cwd=HERE, env=environ, stdout=subprocess.DEVNULL, stderr=log, start_new_session=True)
        try:
            if load:
                load(program)
                program.send_signal(signal.SIGTERM)
            program.wait(120)
        finally:
            if program.poll() is None:
                os.killpg(program.pid, signal.SIGKILL)
        log.seek(0)
        text = log.read()
        found = re.search(r"Collected : (\d+)", text)
        if program.returncode or not found:
            sys.exit(f"{' '.join(command)}: exit status {program.returncode}\n{text}")
        return int(found[1])


def connected(port, program):
    for _ in range(600):
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=60)
        except ConnectionRefusedError:
            if program.poll() is not None:
                break
            time.sleep(0.1)
    sys.exit("the server did not start")


def of_server(kind, connections, count):
    port = compare.free_port()
    request = f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()

    def load(program):
        clients = [connected(int(port), program) for _ in range(connections)]
        for _ in range(count // connections):
            for client in clients:
                client.sendall(request)
            for client in clients:
                response = b""
                while not response.endswith(b"World!\n"):
                    got = client.recv(4096)
                    if not got:
                        sys.exit(f"the connection ended after {response!r}")
                    response += got
        for client in clients:
            client.close()

    return counted(compare.PEERS["modest"](compare.APPS[kind], port), load)


def of_loop(count):
    return counted([sys.executable, "loop.py", str(count)])


def per_request(count):
    return (count(MANY) - count(FEW)) / (MANY - FEW)


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--connections", default="1,16")
    options.add_argument("--kind", default="flask,bare")
    words = options.parse_args()
    loop = per_request(of_loop)
    print(f"{'flask, in a loop':24}{loop:10,.0f}", flush=True)
    over = False
    for kind in words.kind.split(","):
        for connections in map(int, words.connections.split(",")):
            each = per_request(lambda count: of_server(kind, connections, count))
            ratio = f"  {each / loop:.3f} of the loop" if kind == "flask" else ""
            print(f"{f'{kind}, {connections} connections':24}{each:10,.0f}{ratio}", flush=True)
            over |= kind == "flask" and each > MOST_ABOVE_LOOP * loop
    return over


if __name__ == "__main__":
    sys.exit(main())
