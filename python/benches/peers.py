#!/usr/bin/env python3
"""How many cases other servers pass: those of `tests/test_wsgi.py` and `tests/test_cases.py`, without the rows that are choices of modest.

    pip install pytest gunicorn waitress cheroot granian uwsgi
    python benches/peers.py [--only modest,gunicorn] [--failed]

`--failed` prints the failed cases. Each server has 4 threads and 1 process. A case that needs more than three seconds has failed.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree

TESTS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests")
PEERS = {
    "modest": None,
    "gunicorn": "gunicorn -k gthread --threads 4 -w 1 -b 127.0.0.1:{port} {app}",
    "waitress": "waitress-serve --threads=4 --listen=127.0.0.1:{port} {app}",
    "cheroot": "cheroot {app} --bind 127.0.0.1:{port} --threads 4",
    "granian": "granian --interface wsgi --blocking-threads 4 --workers 1 --port {port} {app}",
    "uwsgi": "uwsgi --http-socket 127.0.0.1:{port} --module {app} --enable-threads --threads 4 --die-on-term",
    "wsgiref": f"{sys.executable} {os.path.abspath(__file__)} --serve {{port}} {{app}}",
}


def serve(port, app):
    """wsgiref's server, with a thread for each connection."""
    from importlib import import_module
    from socketserver import ThreadingMixIn
    from wsgiref.simple_server import WSGIServer, make_server

    class Threading(ThreadingMixIn, WSGIServer):
        daemon_threads = True

    sys.path.insert(0, os.getcwd())
    module, _, name = app.partition(":")
    make_server("127.0.0.1", int(port), getattr(import_module(module), name), server_class=Threading).serve_forever()


def cases(peer):
    """The number of cases, and the failed ones."""
    environ = {**os.environ, "DEADLINE": "3", "PYTHONPATH": TESTS}
    if PEERS[peer]:
        environ["PEER"] = PEERS[peer]
    with tempfile.NamedTemporaryFile(suffix=".xml") as report:
        command = [sys.executable, "-m", "pytest", "-q", "-m", "not own", "--junit-xml", report.name, "test_wsgi.py", "test_cases.py"]
        subprocess.run(command, cwd=TESTS, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=1800)
        found = [case for case in xml.etree.ElementTree.parse(report.name).iter("testcase") if case.find("skipped") is None]
    return len(found), [case.get("name") for case in found if len(case)]


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--only", default=",".join(PEERS))
    options.add_argument("--failed", action="store_true")
    options.add_argument("--serve", nargs=2, help=argparse.SUPPRESS)
    options = options.parse_args()
    if options.serve:
        serve(*options.serve)
    for peer in options.only.split(","):
        count, failed = cases(peer)
        print(f"{peer:9} passes {count - len(failed)} of {count}", flush=True)
        for name in failed if options.failed else ():
            print("   ", name)


if __name__ == "__main__":
    main()
