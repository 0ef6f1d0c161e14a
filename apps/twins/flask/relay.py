"""A relay for two backends with a cache. Each request holds a thread; WebSockets are not possible in WSGI."""

import sys
import threading
import time

import requests
from flask import Flask, Response, request

LARGEST, MOST = 1 << 20, 256
HOP = {"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "content-length"}
app = Flask(__name__, static_folder=None)
cache, lock = {}, threading.Lock()


def lifetime(answer):
    words = [word.strip() for word in answer.headers.get("Cache-Control", "").split(",")]
    if answer.status_code != 200 or "public" not in words or {"no-store", "no-cache"} & set(words):
        return None
    if {"vary", "set-cookie", "age"} & {name.lower() for name in answer.headers}:
        return None
    ages = {name: value for name, _, value in (word.partition("=") for word in words)}
    age = ages.get("s-maxage", ages.get("max-age", ""))
    return int(age) if age.isdecimal() else None


def keep(key, kept):
    with lock:
        if len(cache) >= MOST:
            for old in [old for old, (begun, age, *_) in cache.items() if time.monotonic() - begun >= age]:
                del cache[old]
        if len(cache) < MOST:
            cache[key] = kept


@app.route("/", defaults={"path": ""}, methods=["GET", "POST", "PUT", "DELETE", "PATCH"])
@app.route("/<path:path>", methods=["GET", "POST", "PUT", "DELETE", "PATCH"])
def relay(path):
    key = (request.host, request.full_path)
    plain = request.method == "GET" and not {"Authorization", "Range", "Cache-Control"} & set(dict(request.headers))
    kept = cache.get(key) if plain else None
    if kept and time.monotonic() - kept[0] < kept[1]:
        return Response(kept[3], 200, kept[2] + [("Age", str(int(time.monotonic() - kept[0])))])
    backend = sys.argv[2] if path == "api" or path.startswith("api/") else sys.argv[3]
    fields = {name: value for name, value in request.headers if name.lower() not in HOP}
    fields["X-Forwarded-For"] = request.remote_addr
    url = backend + request.full_path.rstrip("?")
    body = request.get_data()
    try:
        answer = requests.request(request.method, url, headers=fields, data=body, stream=True, timeout=60, allow_redirects=False)
    except requests.Timeout:
        return "", 504
    except requests.ConnectionError:
        return "", 502
    begun, age = time.monotonic(), lifetime(answer) if plain else None
    fields = [(name, value) for name, value in answer.raw.headers.items() if name.lower() not in HOP]

    def pieces():
        copy = b""
        for piece in answer.raw.stream(64 << 10, decode_content=False):
            yield piece
            if age is not None and len(copy) <= LARGEST:
                copy += piece
        if age is not None and len(copy) <= LARGEST:
            keep(key, (begun, age, fields, copy))

    return Response(pieces(), answer.status_code, fields)


if __name__ == "__main__":
    app.run(port=int(sys.argv[1]), threaded=True)
