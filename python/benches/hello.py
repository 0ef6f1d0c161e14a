"""The applications of `compare.py`: a bare one, and Flask's hello."""

BODY = b"Hello, World!\n"
HEAD = [("Content-Type", "text/plain"), ("Content-Length", str(len(BODY)))]


def app(environ, start_response):
    start_response("200 OK", HEAD[:])
    return [BODY]


def post(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "2")])
    environ["wsgi.input"].read()
    return [b"ok"]


def flask():
    from flask import Flask

    made = Flask(__name__)

    @made.route("/")
    def hello():
        return "Hello, World!\n"

    return made
