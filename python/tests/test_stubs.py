"""The type stubs agree with the module, and a program that uses them has the types that its author expects. Needs `pip install mypy`; a minute."""

import subprocess
import sys

import pytest

pytest.importorskip("mypy")

PROGRAM = """
from typing import Iterable
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment
from flask import Flask
from modest import __version__
from modest.wsgi import Server, load, main, serve

def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [])
    return [b"body"]

class Instance:
    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        return app(environ, start_response)

standard: WSGIApplication = app
server = Server()
serve(app, server=server, bind=["127.0.0.1:8000", "unix:/run/a"], threads=8, quiet=True)
serve(Instance())
serve(Flask(__name__), port=0)
serve(standard)
serve(load("flaskr:create_app()"))
addresses: list[str] = server.addresses
status: int = main(["--version"])
version: str = __version__
serve(7)  # type: ignore[arg-type]
serve(app, server="server")  # type: ignore[arg-type]
server.addresses = []  # type: ignore[misc]
"""


def run(*command):
    return subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True, timeout=300)


def test_stubs_agree_with_the_module():
    done = run("mypy.stubtest", "modest")
    assert done.returncode == 0, done.stdout


def test_a_program_with_types(tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    done = run("mypy", "--strict", "--cache-dir", str(tmp_path), str(tmp_path / "program.py"))
    assert done.returncode == 0, done.stdout


def test_the_package_itself(tmp_path):
    """mypy finds no errors in the stubs, for the oldest supported Python."""
    import modest

    folder = modest.__path__[0]
    done = run("mypy", "--cache-dir", str(tmp_path), f"{folder}/_modest.pyi", f"{folder}/wsgi.pyi")
    assert done.returncode == 0, done.stdout
