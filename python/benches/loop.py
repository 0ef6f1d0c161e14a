#!/usr/bin/env python3
"""The cost of a call of Flask's hello in a loop, without a server: microseconds of CPU. `loop.py N` makes N calls and prints nothing."""

import io
import sys
import time

from hello import flask

ENVIRON = {
    "REQUEST_METHOD": "GET", "SCRIPT_NAME": "", "PATH_INFO": "/", "QUERY_STRING": "", "SERVER_NAME": "127.0.0.1", "SERVER_PORT": "8000",
    "SERVER_PROTOCOL": "HTTP/1.1", "HTTP_HOST": "127.0.0.1:8000", "REMOTE_ADDR": "127.0.0.1", "wsgi.version": (1, 0),
    "wsgi.url_scheme": "http", "wsgi.errors": sys.stderr, "wsgi.multithread": True, "wsgi.multiprocess": False, "wsgi.run_once": False,
}


def start_response(status, fields, exc_info=None):
    return None


def call(app, count):
    for _ in range(count):
        result = app({**ENVIRON, "wsgi.input": io.BytesIO()}, start_response)
        for _ in result:
            pass
        result.close()


def main():
    app = flask()
    if len(sys.argv) > 1:
        return call(app, int(sys.argv[1]))
    best = float("inf")
    for _ in range(7):
        begun = time.thread_time()
        call(app, 2000)
        best = min(best, (time.thread_time() - begun) / 2000)
    print(f"flask in a loop: {best * 1e6:.1f} µs")


main()
