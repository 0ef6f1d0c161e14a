"""litmus, the test suite of WebDAV, with a login, because only users can lock folders."""

import re

from kit.checks import same

NAME = "litmus"
DEBIAN = {"litmus": "litmus"}
SUITES = {"basic": 16, "copymove": 13, "props": 30, "locks": 41, "http": 4}


def version(at):
    return at.run(["dpkg-query", "-W", "-f", "${Version}", "litmus"]).text


def check_all(at):
    """basic, copymove, props, locks and http: every test passes"""
    users = at.folder("litmus users") / "users"
    users.write_bytes(at.run([at.built["modest"], "--hash-password", "ada"], stdin=b"secret-of-ada\n").good().out)
    words = ["--upload", "--overwrite", "replace", "--allow-delete", "--webdav", "--auth", users]
    server = at.serve("modest", at.folder("litmus"), "-b", "127.0.0.1", "-p", "0", *words)
    logs = at.folder("litmus logs")  # it writes logs to its working folder
    suites = SUITES | ({"http": 3} if at.tls else {})  # it does not test `Expect: 100-continue` over TLS
    for suite, count in suites.items():
        done = at.run(["env", "-C", logs, f"TESTS={suite}", "litmus", "-k", f"{server.url}/", "ada", "secret-of-ada"], within=60)
        found = re.search(r"of (\d+) tests run: (\d+) passed, (\d+) failed", done.text)
        same(found and found.groups(), (str(count), str(count), "0"), f"{suite}: {done.text[-600:]}")
