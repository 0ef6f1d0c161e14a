"""nc and telnet: raw bytes. Pipelining, half-closes, and typed requests."""

import socket
import subprocess

from kit.bench import make
from kit.checks import same
from kit.commands import end, start

NAME = "nc and telnet"
PLAIN = "without TLS"
DEBIAN = {"nc": "netcat-openbsd", "telnet": "telnet"}


def version(at):
    said = at.run(["nc", "-h"]).err.decode()
    return said.split("patchlevel ")[1].split(")")[0]


def nc(at, said, server=None):
    """Sends everything, half-closes, and returns all bytes until the other end closes."""
    server = server or at.site
    return at.run(["nc", "-N", "-w", "20", server.host, str(server.port)], stdin=said, within=25).good().out


def check_pipeline(at):
    """fifty requests in one write: fifty responses, in order"""
    folder, _ = at.served("nc")
    for number in range(50):
        make(folder / f"{number}.txt", b"<%d>" % number)
    asked = b"".join(b"GET /nc/%d.txt HTTP/1.1\r\nHost: a\r\n\r\n" % number for number in range(50))
    answered = nc(at, asked)
    same(answered.count(b"HTTP/1.1 200 OK\r\n"), 50, "answers")
    places = [answered.find(b"\r\n\r\n<%d>" % number) for number in range(50)]
    assert -1 not in places and places == sorted(places), places


def check_pipeline_with_bodies(at):
    """bodies with a length and chunked ones in one write, each with its own response"""
    asked = (
        b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nfirst"
        b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nsec\r\n3;x=y\r\nond\r\n0\r\nTrailer: t\r\n\r\n"
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        b"GET /never HTTP/1.1\r\nHost: a\r\n\r\n"
    )
    answered = nc(at, asked, at.hello)
    bodies = [part.partition(b"\r\n\r\n")[2] for part in answered.split(b"HTTP/1.1 200 OK\r\n")[1:]]
    same(bodies, [b"first", b"second", b"Hello, World!"], "the bodies")


def check_half_close(at):
    """a half-closed client gets its response; half a request gets none"""
    assert nc(at, b"GET /nc/7.txt HTTP/1.0\r\n\r\n").endswith(b"\r\n\r\n<7>")
    assert nc(at, b"GET /nc/7.txt HTTP/1.1\r\nHost: a\r\n\r\n").endswith(b"\r\n\r\n<7>")
    for half in (b"", b"GET", b"GET / HTTP/1.1\r\nHo"):
        said = nc(at, half)
        assert b" 200 " not in said, f"{half}: {said}"


def check_simplest(at):
    """HTTP/0.9, a TLS greeting, HTTP/2 and a wrong Host get an error in words"""
    for said, wanted in (
        (b"GET /nc/7.txt\r\n", (b"400", b"505")),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(60), (b"400",)),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", (b"505", b"400")),
        (b"GET / HTTP/1.1\r\n\r\n", (b"400",)),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", (b"400",)),
    ):
        answer = nc(at, said)
        assert answer[9:12] in wanted, f"{said[:30]}: {answer[:60]}"


def check_telnet(at):
    """telnet: typed line by line, gets a response, and is closed as in HTTP/1.0"""
    process = start(
        ["telnet", at.site.host, at.site.port], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        for line in (b"GET /nc/9.txt HTTP/1.0\n", b"Host: typed\n", b"\n"):
            process.stdin.write(line)
            process.stdin.flush()
        said = process.stdout.read()  # until telnet sees the end and exits
    finally:
        end(process)
        process.stdin.close()
        process.stdout.close()
    assert b"200 OK" in said and b"<9>" in said, said


def check_one_byte_a_packet(at):
    """a request in packets of one byte"""
    asked = b"GET /nc/3.txt HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    with socket.create_connection((at.site.host, at.site.port), timeout=20) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in asked:
            client.sendall(bytes([byte]))
        answered = b"".join(iter(lambda: client.recv(65536), b""))
    assert answered.endswith(b"\r\n\r\n<3>"), answered
