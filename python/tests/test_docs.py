"""Every block of docs/python.md and of README.md is run as printed, by `doc_blocks.py` in a network of its own. Needs root, as in containers."""

import json
import os
import re
import shutil
import ssl
import subprocess
import sys

import doc_blocks
import pytest
from conftest import HERE, Answer, read_all


def can_unshare():
    return os.getuid() == 0 and shutil.which("ip") and subprocess.run(["unshare", "--net", "--mount", "true"], capture_output=True).returncode == 0


@pytest.mark.skipif(not can_unshare(), reason="needs root, unshare and ip")
@pytest.mark.parametrize("block", [block.__name__ for block in doc_blocks.BLOCKS])
def test_a_block(block):
    if block == "behind_nginx" and not shutil.which("nginx"):
        pytest.skip("nginx is not installed")
    pytest.importorskip("django" if block == "alone" else "flask")
    path = os.path.dirname(sys.executable) + os.pathsep + os.environ["PATH"]
    command = ["unshare", "--net", "--mount", sys.executable, "doc_blocks.py", block]
    done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, timeout=120, env={**os.environ, "PATH": path, "OUTSIDE": os.readlink("/proc/self/ns/mnt")})
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_block_is_run():
    """A new block needs a function."""
    with open(doc_blocks.PAGE) as page:
        found = re.findall(r"^```(\w+)", page.read(), re.M)
    assert found == ["sh", *["python", "console", "console"] * 2, "python", "sh", "sh", "nginx"], found


@pytest.mark.skipif(not shutil.which("openssl"), reason="needs openssl")
def test_the_variables(serve, tmp_path):
    """The table has every variable that an application gets, and each of them is there in some request."""
    with open(doc_blocks.PAGE) as page:
        table = page.read().partition("### Variables")[2].partition("\n## ")[0]
    documented = {name for row in table.splitlines() if row.startswith("| `") for name in re.findall(r"`([^`]+)`", row.split("|")[1])}
    users, cert, key = str(tmp_path / "users"), str(tmp_path / "cert.pem"), str(tmp_path / "key.pem")
    hashed = subprocess.run([sys.executable, "-m", "modest", "--hash-password", "ada"], input="secret\n", capture_output=True, text=True)
    (tmp_path / "users").write_text(hashed.stdout)
    doc_blocks.certificate(cert, key)
    server = serve("apps", "--tls-cert", cert, "--tls-key", key, "--tls-client-ca", cert, "--auth", users)
    context = ssl.create_default_context(cafile=cert)
    context.load_cert_chain(cert, key)
    with context.wrap_socket(server.connect(), server_hostname="localhost") as client:
        client.sendall(b"POST /environ?a HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/x\r\nContent-Length: 1\r\nAuthorization: Basic YWRhOnNlY3JldA==\r\nConnection: close\r\n\r\nx")
        found = json.loads(Answer(read_all(client)).body)
    found.pop("type")
    assert {"HTTP_*" if name.startswith("HTTP_") else "wsgi.*" if name.startswith("wsgi.") else name for name in found} == documented
    assert (found["HTTPS"], found["SSL_PROTOCOL"], found["SSL_TLS_SNI"], found["SSL_CLIENT_VERIFY"]) == ("on", "TLSv1.3", "localhost", "SUCCESS"), found
    with open(cert) as file:
        assert found["SSL_CLIENT_CERT"] == file.read()
    assert (found["REMOTE_USER"], found["AUTH_TYPE"]) == ("ada", "Basic")
