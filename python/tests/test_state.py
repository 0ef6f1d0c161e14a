"""State that the server keeps across requests, with several processes: the table in docs/python.md, for every option of the program."""

import base64
import os
import re
import subprocess
import sys

import pytest
from conftest import DEADLINE, HERE, Answer, until
from test_processes import children, pids

DOCS = os.path.join(HERE, "..", "..", "docs", "python.md")

UPLOAD = ["--upload=/s"]

# Options with state across requests, and words with which they are given. Words may contain {folder}, {users} and {log}.
STATE = {
    "rejected": {
        "--upload": UPLOAD,
        "--overwrite": [*UPLOAD, "--overwrite", "replace"],
        "--allow-delete": [*UPLOAD, "--allow-delete"],
        "--upload-limit": [*UPLOAD, "--upload-limit", "1m"],
        "--upload-reserve": [*UPLOAD, "--upload-reserve", "1m"],
        "--upload-quota": [*UPLOAD, "--upload-quota", "1m"],
        "--uploads-at-once": [*UPLOAD, "--uploads-at-once", "5"],
        "--uploads-each": [*UPLOAD, "--uploads-each", "5"],
        "--resumable": [*UPLOAD, "--resumable"],
        "--fsync": [*UPLOAD, "--fsync"],
    },
    "per process": {
        "--auth": ["--auth", "{users}"],
        "--threads": ["--threads", "2"],
        "--workers": ["--workers", "2"],
        "--max-connections": ["--max-connections", "100"],
        "--max-per-address": ["--max-per-address", "50"],
        "--queue-limit": ["--queue-limit", "100"],
        "--proxy-at-once": ["--proxy", "/p=http://127.0.0.1:9", "--proxy-at-once", "5"],
        "--proxy-idle-connections": ["--proxy", "/q=http://127.0.0.1:9", "--proxy-idle-connections", "5"],
        "--compressions": ["--compressions", "1"],
        "--memory": ["--memory", "1g"],
        "--input-quota": ["--input-quota", "1m"],
        "--body-memory-quota": ["--body-memory-quota", "1m"],
        "--body-quota": ["--body-quota", "2g"],
        "--cache-files": ["--cache-files", "100"],
        "--cache-size": ["--cache-size", "1m"],
        "--open-files": ["--open-files", "10"],
        "--listing-cache": ["--listing-cache", "1m"],
        "--listing-watches": ["--listing-watches", "10"],
        "--compress-cache": ["--compress-cache", "1m"],
        "--metrics": ["--metrics"],
        "--health": ["--health", "/healthy"],
    },
    "shared": {
        "--bind": ["--bind", "127.0.0.1"],
        "--port": ["--port", "0"],
        "--backlog": ["--backlog", "100"],
        "--socket-mode": ["--bind", "unix:{folder}.sock", "--socket-mode", "600"],
        "--redirect-to-https": ["--tls-self-signed", "--redirect-to-https=127.0.0.1:0"],
        "--tls-self-signed": ["--tls-self-signed"],
        "--log-file": ["--log-file", "{log}"],
    },
}

# Options that concern a single request or connection, or files: each process does the same with them. (--archives needs --archive, which
# needs listings, and these folders have none.)
NO_STATE = """
    --allow --allowed-host --archive --archive-depth --archive-entries --archives --auth-over-http --body-folder --body-limit --body-memory
    --body-timeout --cache-control --cache-file-size --check --chunked-bodies --clean-urls --compress --compress-from --compress-to
    --config --confine --content-type --cors --directory --error-page --field-limit --follow-symlinks --forwarded-host --group
    --hash-password --head-limit --head-timeout --header --help --hidden --hsts --idle-timeout --index --inotify --ipv6-only
    --keep-alive --log-format --max-connection-age --max-requests --metrics-bind --mime --min-rate --no-listing --open --precompressed
    --prefix --print-config --proxy --proxy-body-limit --proxy-header-timeout --proxy-idle-timeout --proxy-protocol --proxy-timeout --proxy-untrusted --qr
    --queue-timeout --quiet --realm --redirects --request-line-limit --reuse-port --server --shutdown-delay --shutdown-timeout
    --slow-handler --spa --tls-cert --tls-client-auth --tls-client-ca --tls-handshake-timeout --tls-key --tls-password-file
    --trusted-proxy --user --verbose --version --webdav --write-timeout
    --static --env --chdir --processes --process-requests --process-age --reload
""".split()

PARENTS = [("--processes", "2"), ("--processes", "1"), ("--process-requests", "100"), ("--process-age", "1h"), ("--reload",)]


@pytest.fixture
def words(tmp_path):
    """Returns the words of a command line, in which the placeholders are replaced by files that exist."""
    folder = tmp_path / "static"
    folder.mkdir()
    (folder / "a.txt").write_text("a")
    users = tmp_path / "users"
    hashed = subprocess.run([sys.executable, "-m", "modest", "--hash-password", "ada"], input="secret\n", capture_output=True, text=True)
    users.write_text(hashed.stdout)
    names = {"folder": folder, "users": users, "log": tmp_path / "log"}

    def filled(given):
        return ["--static", f"/s={folder}", *(word.format(**names) for word in given)]

    return filled


def check(*args):
    command = [sys.executable, "-m", "modest.wsgi", "apps", "--check", *args]
    env = {**os.environ, "MODEST_PORT": "0"}  # other tests check the default port at the same time
    return subprocess.run(command, cwd=HERE, capture_output=True, text=True, timeout=DEADLINE, env=env)


def test_every_option_is_in_one_table():
    """A new option needs a decision."""
    shown = subprocess.run([sys.executable, "-m", "modest", "--markdown"], capture_output=True, text=True, timeout=DEADLINE).stdout
    own = subprocess.run([sys.executable, "-m", "modest.wsgi", "--help"], capture_output=True, text=True, timeout=DEADLINE).stdout
    options = set(re.findall(r"^\| (?:`-\w`, )?`(--[a-z0-9-]+)", shown, re.M)) | set(re.findall(r"^ +(?:-\w, )?(--[a-z0-9-]+)", own, re.M))
    known = [option for options in STATE.values() for option in options] + NO_STATE
    assert sorted(known) == sorted(options), set(known) ^ options


def test_the_documented_table():
    with open(DOCS) as file:
        section = file.read().partition("### What each process has for itself")[2].partition("\n## ")[0]
    rows = [row.split("|") for row in section.splitlines() if row.startswith("| `")]
    found = {scope: set() for scope in STATE}
    for row in rows:
        found[row[2].strip()] |= set(re.findall(r"`(--[a-z-]+)`", row[1]))
    assert found == {scope: set(options) for scope, options in STATE.items()}


@pytest.mark.parametrize("scope, option", [(scope, option) for scope, options in STATE.items() for option in options])
def test_options_and_processes(words, scope, option):
    given = words(STATE[scope][option])
    alone = check(*given)
    assert alone.returncode == 0, alone.stderr
    done = check("--processes", "2", *given)
    if scope != "rejected":
        assert done.returncode == 0, done.stderr
        return
    assert done.returncode == 2 and "--upload and --processes contradict each other" in done.stderr, done
    assert len(done.stderr.splitlines()) == 1, done.stderr


@pytest.mark.parametrize("parent", PARENTS)
def test_uploads_need_one_process(words, parent, tmp_path):
    """The option is rejected on the command line and in a file, with and without --check."""
    config = tmp_path / "modest.toml"
    config.write_text('upload = ["/s"]\n')
    for given in (words(UPLOAD), words(["--config", str(config)])):
        done = check(*given, *parent)
        assert done.returncode == 2 and f"--upload and {parent[0]} contradict each other" in done.stderr, done
    done = subprocess.run([sys.executable, "-m", "modest.wsgi", "apps", "-p", "0", *given, *parent], cwd=HERE, capture_output=True, text=True, timeout=DEADLINE)
    assert done.returncode == 2 and "contradict" in done.stderr, done


def test_all_other_options_at_once(serve, words):
    """Two processes serve with them, and each serves the folder."""
    # These change what a client sends; the tests below and in test_processes.py use them.
    left_out = {"--auth", "--bind", "--port", "--socket-mode", "--redirect-to-https", "--tls-self-signed", "--workers"}
    given = [word for scope in ("per process", "shared") for option, each in STATE[scope].items() if option not in left_out for word in each]
    server = serve("apps", "--processes", "2", *words(given))
    until(lambda: len(pids(server)) == 2, "both serve")
    for target in ["/s/a.txt"] * 20 + ["/metrics", "/healthy"]:
        assert server.get(target).status == 200, target
    assert server.stop() == 0


def test_a_limit_of_connections_counts_in_each_process(serve):
    server = serve("apps", "--processes", "2", "--max-per-address", "1", "-q")
    until(lambda: len(children(server)) == 2, "both are there")
    kept = {}

    def ask():
        try:  # a connection beyond the limit is reset, perhaps at once
            client = server.connect()
            client.sendall(b"GET /pid HTTP/1.1\r\nHost: a\r\n\r\n")
            received = b""
            while not received.endswith(b"0\r\n\r\n"):
                piece = client.recv(4096)
                if not piece:
                    return
                received += piece
        except (ConnectionResetError, BrokenPipeError):
            return
        pid = int(Answer(received).body)
        assert pid not in kept, "a second connection to one process"
        kept[pid] = client

    until(lambda: ask() or len(kept) == 2, "each process has one connection")
    for _ in range(20):
        ask()
    assert kept.keys() == children(server)
    [client.close() for client in kept.values()]


def test_wrong_passwords_count_in_each_process(serve, words):
    server = serve("apps", "--processes", "2", "-q", *words(["--auth", "{users}"]))
    field = "Authorization: Basic " + base64.b64encode(b"ada:wrong").decode()
    statuses = []

    def rejected_ones():
        statuses.append(server.get("/pid", fields=(field,)).status)
        return statuses.count(401) > 10 and statuses.count(429) > 10

    until(rejected_ones, statuses)
    assert statuses.count(401) <= 21, statuses  # 10 per minute in each
    assert server.stop() == 0
