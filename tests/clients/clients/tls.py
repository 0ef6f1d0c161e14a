"""TLS: curl, openssl s_client, Python's own client, and the scanners testssl.sh and sslscan."""

import http.client
import json
import re
import ssl

from kit.bench import digest, make, noise
from kit.checks import same

NAME = "tls"
DEBIAN = {"curl": "curl", "openssl": "openssl", "testssl": "testssl.sh", "sslscan": "sslscan"}
LIMITS = {"testssl": 400, "large_file": 120, "sslscan": 120}


def version(at):
    return at.run(["openssl", "version"]).text.split()[1]


def secured(at):
    """A server with a certificate of a new authority, once for all checks: the server, and the authority's file."""
    if not hasattr(at, "secured"):
        words = [*at.authority.words, "--hsts"]
        at.secured = at.serve("modest", at.root, "-b", "127.0.0.1", "-p", "0", *words), at.authority.certificate
    return at.secured


def curl(at, *words):
    server, authority = secured(at)
    return at.run(["curl", "-sS", "--cacert", authority, *words])


def s_client(at, *words, said=b"Q\n"):
    server, authority = secured(at)
    done = at.run(["openssl", "s_client", "-connect", f"127.0.0.1:{server.port}", "-CAfile", authority, *words], stdin=said)
    return done.text + done.err.decode("utf-8", "replace")


def check_curl(at):
    """curl: the file, with both versions, and with the certificate checked"""
    make(at.root / "tls.txt", b"letters")
    server, _ = secured(at)
    for version in (["--tlsv1.3"], ["--tls-max", "1.2"]):
        said = curl(at, *version, f"{server.url}/tls.txt").good().text
        same(said, "letters", f"with {version}")
    assert curl(at, "--tls-max", "1.1", f"{server.url}/tls.txt").status != 0, "TLS 1.1 is spoken"


def check_large_file(at):
    """100 MiB and its ranges: equal bytes"""
    content = noise(100 << 20)
    make(at.root / "tls.bin", content)
    server, _ = secured(at)
    same(digest(curl(at, f"{server.url}/tls.bin").good().out), digest(content), "the file")
    for start, end in ((0, 0), (16383, 16385), (1 << 20, (3 << 20) + 7)):
        part = curl(at, "-r", f"{start}-{end}", f"{server.url}/tls.bin").good().out
        same(digest(part), digest(content[start : end + 1]), f"bytes {start} to {end}")


def check_plain_http(at):
    """plain HTTP at the port: redirected, and a POST is rejected"""
    server, _ = secured(at)
    plain = server.url.replace("https:", "http:")
    said = at.run(["curl", "-sSi", f"{plain}/a?b"]).good().text
    assert said.startswith("HTTP/1.1 308") and f"Location: {server.url}/a?b" in said, said
    assert at.run(["curl", "-sSi", "-d", "a=b", plain]).good().text.startswith("HTTP/1.1 403"), "a POST"
    same(curl(at, "-L", f"{plain}/tls.txt").good().text, "letters", "what is found there")


def check_resumption(at):
    """openssl: sessions are resumed, in both versions"""
    folder = at.folder("tls-sessions")
    for number, version in enumerate((["-tls1_3"], ["-tls1_2"])):
        ask = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        file = folder / str(number)
        first = s_client(at, *version, "-ign_eof", "-sess_out", file, said=ask)
        assert "New, TLS" in first and "Verify return code: 0" in first, first[-600:]
        again = s_client(at, *version, "-ign_eof", "-sess_in", file, said=ask)
        assert "Reused, TLS" in again, again[-600:]


def check_application_protocols(at):
    """openssl: http/1.1 is selected, h2 alone is rejected"""
    assert "ALPN protocol: http/1.1" in s_client(at, "-alpn", "h2,http/1.1")
    assert "no application protocol" in s_client(at, "-alpn", "h2")


def check_renegotiation(at):
    """openssl: a renegotiation is rejected"""
    said = s_client(at, "-tls1_2", said=b"R\nQ\n")
    assert "no renegotiation" in said or "Secure Renegotiation IS NOT" in said or "alert" in said, said[-600:]


def check_python(at):
    """Python's http.client: a connection kept for a hundred requests"""
    server, authority = secured(at)
    context = ssl.create_default_context(cafile=authority)
    asked = http.client.HTTPSConnection("localhost", server.port, timeout=10, context=context)
    for _ in range(100):
        asked.request("GET", "/tls.txt")
        answer = asked.getresponse()
        same((answer.status, answer.read()), (200, b"letters"), "an answer")
    assert answer.getheader("strict-transport-security") == "max-age=31536000"
    asked.close()


def check_sslscan(at):
    """sslscan: only TLS 1.2 and 1.3, no compression, no Heartbleed"""
    server, _ = secured(at)
    said = at.run(["sslscan", "--no-colour", f"127.0.0.1:{server.port}"], within=100).good().text
    for line in ("SSLv2     disabled", "SSLv3     disabled", "TLSv1.0   disabled", "TLSv1.1   disabled", "TLSv1.2   enabled",
                 "TLSv1.3   enabled", "TLSv1.2 not vulnerable to heartbleed"):
        assert line in said, f"{line!r} is not in {said}"


def check_testssl(at):
    """testssl.sh: no finding above low, except those about the certificate"""
    server, authority = secured(at)
    folder = at.folder("testssl")
    words = ["testssl", "--quiet", "--color", "0", "--warnings", "off", "--add-ca", authority, "--jsonfile", folder / "found.json"]
    at.run([*words, f"127.0.0.1:{server.port}"], within=390)
    found = json.loads((folder / "found.json").read_text())
    assert len(found) > 80, f"{len(found)} findings"
    bad = [f"{row['id']}: {row['finding']}" for row in found if row["severity"] in ("MEDIUM", "HIGH", "CRITICAL", "FATAL")]
    # The certificate was made for this run, by a new authority.
    # The client's order of ciphers applies: all of them are good, and a phone knows which one is fast for it.
    # BREACH needs a secret beside text of the attacker's request: a compressed listing has neither.
    known = r"cert_|DNS_CAArecord|overall_grade|cipher_order: NOT a cipher order|BREACH"
    bad = [line for line in bad if not re.match(known, line)]
    same(bad, [], "what was found")
