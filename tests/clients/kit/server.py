"""A server under test: started on a free port, observed through its log, and stopped as a user would stop it."""

import http.client
import re
import signal
import ssl
import time
from pathlib import Path
from subprocess import DEVNULL, PIPE

from .commands import end, start

PATIENCE = 10  # seconds for a banner, or for a line of the log


class Server:
    """One process of the program or of an example."""

    def __init__(self, words, folder):
        self.log = folder / f"{Path(words[0]).name}.log"
        self.process = start(words, stdin=DEVNULL, stdout=PIPE, stderr=self.log.open("wb"))
        self.url = self.banner()
        self.host, self.port = "127.0.0.1", int(self.url.rsplit(":", 1)[1])
        self.at_rest = self.first_answer()

    def banner(self):
        line = self.process.stdout.readline().decode()
        found = re.search(r"https?://[^/ )]+", line)
        if not found:
            raise RuntimeError(f"no banner but {line!r}; {self.log.read_text()}")
        return found[0]

    def first_answer(self):
        """Sends a request, so that all files are open; returns the number of descriptors without the client's."""
        asked = self.connection()
        asked.request("HEAD", "/", headers={"connection": "close"})
        asked.getresponse().read()
        asked.close()
        # The banner may come before the server accepts clients, and the last descriptor is closed a moment after the response.
        return self.descriptors()

    def connection(self):
        """A connection of Python's own client."""
        if self.url.startswith("https:"):
            anybody = ssl._create_unverified_context()  # other checks verify the certificate
            return http.client.HTTPSConnection(self.host, self.port, timeout=PATIENCE, context=anybody)
        return http.client.HTTPConnection(self.host, self.port, timeout=PATIENCE)

    def lines(self):
        return self.log.read_text("utf-8", "replace").splitlines()

    def logged(self, since, *wanted):
        """Waits until all of these are in the log after line `since`; returns those lines."""
        until = time.monotonic() + PATIENCE
        while True:
            new = self.lines()[since:]
            if all(any(text in line for line in new) for text in wanted):
                return new
            if time.monotonic() > until:
                raise AssertionError(f"the log does not say {wanted}, but {new[-5:]}")
            time.sleep(0.02)

    def mark(self):
        """The position in the log: later lines come after it."""
        return len(self.lines())

    def descriptors(self):
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    def stop(self):
        """Stops it by SIGTERM; returns the exit status."""
        if self.process.poll() is not None:
            return self.process.returncode
        status = end(self.process, signal.SIGTERM)
        self.process.stdout.close()
        return status
