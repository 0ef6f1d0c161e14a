"""A network that stops and breaks between a client and a server on this computer. Called by checks of interrupted transfers."""

import contextlib
import socket
import threading


class Cut:
    """Passes connections on. `stop_after` stops passing on what clients send; `cut` breaks all connections until `mend`."""

    def __init__(self, server):
        self.target = (server.host, server.port)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"{server.url.split(':')[0]}://127.0.0.1:{self.listener.getsockname()[1]}"
        self.sockets = set()
        self.lock = threading.Lock()
        self.stopped = threading.Event()
        self.broken = False
        self.passed, self.most = 0, float("inf")

    def __enter__(self):
        threading.Thread(target=self.accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.listener.close()
        self.cut()

    def stop_after(self, length):
        """Passes on this many more bytes from clients. Then `stopped` is set."""
        self.passed, self.most = 0, length

    def cut(self):
        with self.lock:
            self.broken = True
            for one in self.sockets:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)

    def mend(self):
        with self.lock:
            self.broken = False
            self.passed, self.most = 0, float("inf")

    def accept(self):
        with contextlib.suppress(OSError):  # the listener is closed
            while True:
                client, _ = self.listener.accept()
                with self.lock:
                    if self.broken:
                        client.close()
                        continue
                    server = socket.create_connection(self.target)
                    self.sockets |= {client, server}
                for one, other, counts in ((client, server, True), (server, client, False)):
                    threading.Thread(target=self.pass_on, args=(one, other, counts), daemon=True).start()

    def pass_on(self, one, other, counts):
        with contextlib.suppress(OSError):
            while piece := one.recv(1 << 16):
                if counts and self.passed + len(piece) > self.most:
                    self.stopped.set()
                    return  # the connection stays open, and silent
                self.passed += len(piece) if counts else 0
                other.sendall(piece)
            other.shutdown(socket.SHUT_WR)
