"""ab, wrk and hey for a moment each, with and without keep-alive: every response is correct, and none is lost. A sanity check, not a benchmark."""

import re

from kit.bench import make, noise
from kit.checks import same

NAME = "ab, wrk, hey"
DEBIAN = {"ab": "apache2-utils", "wrk": "wrk", "hey": "hey"}


def version(at):
    return at.run(["ab", "-V"]).text.split("Version ")[1].split()[0]


def file(at):
    path = at.root / "load.bin"
    if not path.exists():
        make(path, noise(10_000))
        at.settle("/load.bin")
    return f"{at.site.url}/load.bin"


def check_ab(at):
    """ab: 3000 requests from 20 clients, with and without keep-alive, HTTP/1.0"""
    for url, length in ((file(at), 10_000), (f"{at.hello.url}/", 13)):
        for words in ([], ["-k"]):
            said = at.run(["ab", "-q", "-n", "3000", "-c", "20", *words, url], within=50).good().text
            counts = {
                name: re.search(rf"^{name}:\s+(\d+)", said, re.M)[1]
                for name in ("Complete requests", "Failed requests", "HTML transferred")
            }
            same(
                counts,
                {"Complete requests": "3000", "Failed requests": "0", "HTML transferred": str(3000 * length)},
                f"{url} {words}",
            )
            kept = re.search(r"Keep-Alive requests:\s+(\d+)", said)
            same(kept and kept[1], "3000" if words else None, "kept")


def check_wrk(at):
    """wrk: two seconds with 50 connections, with and without keep-alive"""
    for url in (file(at), f"{at.hello.url}/"):
        for words in ([], ["-H", "Connection: close"]):
            said = at.run(["wrk", "-t2", "-c50", "-d2s", *words, url], within=30).good().text
            assert "Non-2xx" not in said, said
            trouble = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", said)
            assert not trouble or set(trouble.groups()) == {"0"}, said
            assert int(re.search(r"(\d+) requests in", said)[1]) > 50, said  # on a busy machine, over TLS, without keep-alive


def check_hey(at):
    """hey: 2000 requests from 50 clients, with and without keep-alive"""
    # Over TLS it would send the port in the server name (SNI), which is not allowed there.
    host = ["-host", "localhost"] if at.tls else []
    for words in (host, [*host, "-disable-keepalive"]):
        said = at.run(["hey", "-n", "2000", "-c", "50", *words, file(at)], within=50).good().text
        same(re.findall(r"\[(\d+)\]\s+(\d+) responses", said), [("200", "2000")], f"the statuses {words}")
        assert "Error distribution" not in said, said
