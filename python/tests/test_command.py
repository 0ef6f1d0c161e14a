"""The commands `modest-wsgi` and `modest`: options, loading, static files, other addresses, shutdown."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from wsgiref.util import request_uri

import modest.wsgi
import pytest
from conftest import DEADLINE, HERE, Answer, Running, read_all, until


def run(*args, module="modest.wsgi", **options):
    return subprocess.run([sys.executable, "-m", module, *args], cwd=HERE, capture_output=True, text=True, timeout=DEADLINE, **options)


@pytest.mark.parametrize("name, body", [
    ("apps:factory()", "made"),
    ("apps:factory('called', suffix='!')", "called!"),
    ("apps:Namespace.inner", "inner"),
    ("apps.py:factory()", "made"),
    (os.path.join(HERE, "apps.py") + ":factory()", "made"),
    ("apps", None),
])
def test_names(serve, name, body):
    answer = serve(name).get("/tuple")
    assert answer.status == 200 and (body is None or answer.body.decode() == body), answer


@pytest.mark.parametrize("args, status, line", [
    ([], 2, "expected an application"),
    (["apps:app", "apps:app"], 2, "there is one application already"),
    (["apps:nothing"], 3, "apps has no 'nothing'"),
    (["missing:app"], 3, "No module named 'missing'"),
    (["missing.py:app"], 3, "there is no file missing.py"),
    (["apps:HERE()"], 3, "apps has no 'HERE'"),
    (["apps:TEXT"], 3, "is not callable"),
    (["apps:asynchronous"], 3, "apps:asynchronous is an ASGI application, but only WSGI is supported"),
    (["apps:Asynchronous()"], 3, "is an ASGI application"),
    (["apps:factory(open)"], 3, "literals"),
    (["apps:a b"], 3, "neither a name nor a call"),
    (["apps:factory({[]})"], 3, "arguments must be literals"),
    (["apps:factory(**{'a': 1})"], 3, "arguments must be literals"),
    ([":app"], 3, "':app' names no module"),
    (["apps:no_arguments"], 3, "apps:no_arguments takes (), but a WSGI application is called with (environ, start_response); a factory needs parentheses"),
    (["apps:Wrapped()"], 3, "takes (scope, receive, send), but"),
    (["apps:app", "--threads", "none"], 2, "--threads none: expected a number"),
    (["apps:app", "--threads"], 2, "--threads needs a value"),
    (["apps:app", "--processes", "0"], 2, "--processes 0: expected a number"),
    (["apps:app", "--process-age", "soon"], 2, "--process-age soon: expected a time"),
    (["apps:app", "--static", "static"], 2, "--static static: expected a path and a folder"),
    (["apps:app", "--static", "/=here"], 2, "expected a path and a folder"),
    (["apps:app", "--static", "/s=missing"], 1, "missing"),
    (["apps:app", "--static", "/s="], 2, "--static /s=: expected a path and a folder"),
    (["apps:app", "--processes", "2", "-p", "9465", "--metrics-bind", "127.0.0.1:9464"], 2, "--port 9465 and --metrics-bind 127.0.0.1:9465 are the same address"),
    (["apps:app", "--static", "/s=."], 2, "APPLICATION: 'apps.py' is in '.', which is served, so clients could read the source of the application"),
    (["apps.py:app", "--static", "/s=.."], 2, "APPLICATION: 'apps.py' is in '..', which is served"),
    (["tests.apps", "--chdir", "..", "--static", "/s=tests"], 2, "APPLICATION: 'tests/apps.py' is in 'tests', which is served"),
    (["apps:app", "--env", "NAME"], 2, "--env NAME: expected a name and a value"),
    (["apps:app", "--env", "KEY:secret"], 2, "--env (hidden): expected a name and a value"),
    (["apps:app", "--chdir", "missing"], 1, "--chdir missing"),
    (["apps:app", "--wrong"], 2, "there is no option --wrong"),
    (["apps:app", "--processes", "2", "--metrics-bind", "unix:/tmp/metrics"], 2, "so expected an IP address"),
    (["apps:app", "--processes", "2", "--metrics-bind", "127.0.0.1:65535"], 2, "no 2 ports from 65535 on"),
    (["apps:app", "--check", "--processes", "2", "--metrics-bind", "127.0.0.1:65535"], 2, "no 2 ports from 65535 on"),
    (["apps:app", "--confine"], 2, "--confine is for folders only"),
    (["apps:app", "--hsts", "1d"], 2, "to give it to --hsts, write --hsts=1d (see 'modest-wsgi --help')"),
    (["apps:app", "--cors", "https://x.org"], 2, "write --cors=https://x.org"),
    (["apps:app", "--thread", "3"], 2, "there is no option --thread; did you mean --threads?"),
    (["random.py:app"], 3, "there is no file random.py"),
    (["apps:app", "--reload=no"], 2, "--reload takes no value"),
    (["apps:app", "--directory", "."], 2, "--directory: the application is served; a folder is given as --static /URL=DIR"),
    (["apps:app", "-d", "/d=."], 2, "--directory: the application is served; a folder is given as --static /URL=DIR"),
    (["apps:app", "--threads", "2", "--workers", "3"], 2, "--threads and --workers contradict each other: both limit the calls that run at once"),
])
def test_mistakes(args, status, line):
    done = run(*args, env={**os.environ, "MODEST_PORT": "0"})
    assert done.returncode == status and line in done.stderr, (done.returncode, done.stderr)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can change the user")
def test_a_file_that_cannot_be_reached_is_not_reported_as_missing(tmp_path):
    (tmp_path / "closed/inner").mkdir(parents=True)
    (tmp_path / "closed/inner/hello.py").touch()
    (tmp_path / "closed").chmod(0)
    program = ("import os, sys; os.chdir(sys.argv[1]); from modest.wsgi import load; os.setgid(65534); os.setuid(65534)\n"
               "try: load('hello.py:app')\n"
               "except ImportError as error: print(error)")
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path / "closed/inner")], capture_output=True, text=True, timeout=DEADLINE)
    assert done.stdout == f"hello.py can't be read: Permission denied: {tmp_path}/closed/inner/hello.py\n", (done.stdout, done.stderr)


@pytest.mark.parametrize("parent", [["--processes", "2"], ["--reload"], ["--process-age", "1h"]])
@pytest.mark.parametrize("args, status, line", [
    (["--static", "/s=.", "--archive"], 2, "--archive and --no-listing contradict each other"),
    (["--static", "/s=.", "--archives", "2"], 2, "--archives has no effect without --archive"),
    (["--group", "a=b"], 2, "--group has no effect"),
    (["--tls-self-signed", "--tls-cert", "x"], 2, "--tls-self-signed and --tls-cert contradict each other"),
    (["--auth", "ada:secret"], 2, "--auth: expected a file"),
    (["--static", "/s=.", "--log-file", "log.txt"], 2, "which is served, so clients could read"),
    (["-b", "127.0.0.1:1", "-b", "localhost:1"], 2, "are the same address"),
])
def test_the_parent_reports_mistakes_once(parent, args, status, line):
    """Each of its children would report them, and with `--reload` it would wait for a change of a file."""
    done = run("apps:app", *args, *parent)
    assert (done.returncode, len(done.stderr.splitlines())) == (status, 1), done.stderr
    assert line in done.stderr and "'modest-wsgi --help'" in done.stderr, done.stderr


@pytest.mark.parametrize("args", [["--redirects", "nope"], ["--auth", "nope"], ["--static", "/s=nope"], ["--log-file", "nope/log"]])
def test_a_wrong_option_ends_a_parent_that_reloads(args):
    """A change of the application's files would not correct it."""
    done = run("apps:app", "-p", "0", "--reload", *args)
    assert done.returncode in (1, 2) and "nope" in done.stderr, (done.returncode, done.stderr)


@pytest.mark.parametrize("variable, value", [
    ("MODEST_RELOAD", "maybe"), ("MODEST_RELOAD", ""), ("MODEST_PROCESSES", ""), ("MODEST_THREADS", ""), ("MODEST_THREADS", "+1"),
    ("MODEST_THREADS", "5000"), ("MODEST_STATIC", ""), ("MODEST_ENV", ""), ("MODEST_CHDIR", ""), ("MODEST_PROCESS_AGE", ""),
    ("MODEST_PROCESS_AGE", b"\xff"),
])
def test_own_options_are_checked_in_every_source(tmp_path, variable, value):
    env = {**os.environb, variable.encode(): value if isinstance(value, bytes) else value.encode()}
    done = run("apps:app", "--check", env=env)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1) and variable in done.stderr, (done.returncode, done.stderr)
    if isinstance(value, str):
        name = variable.removeprefix("MODEST_").lower().replace("_", "-")
        (tmp_path / "modest.toml").write_text(f'{name} = "{value}"\n')
        done = run("apps:app", "--check", "--config", str(tmp_path / "modest.toml"))
        assert (done.returncode, len(done.stderr.splitlines())) == (2, 1) and f"{name}: " in done.stderr, (done.returncode, done.stderr)


@pytest.mark.parametrize("parent", [[], ["--processes", "1"]])
def test_options_are_parsed_once(serve, tmp_path, parent):
    """The variables and the folder of the application change no option, although some have the names of options."""
    (tmp_path / "app").mkdir()
    (tmp_path / "app/inner.py").write_text("import os\nfrom apps import app as _\n\ndef app(environ, start_response):\n"
                                           "    start_response('200 OK', [])\n    return [os.environ['MODEST_PORT'].encode()]\n")
    (tmp_path / "modest.toml").write_text("chdir = 'app'\nheader = ['X-Config: read']\n")
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([HERE, os.environ.get("PYTHONPATH", "")])}
    server = serve("inner:app", "--config", "modest.toml", "--env", "MODEST_PORT=x", "--env", "MODEST_BIND=127.0.0.3", *parent, env=env, cwd=tmp_path)
    answer = server.get("/")
    assert answer.body == b"x" and answer.field("x-config") == "read", answer.raw


def test_defaults_of_its_own_can_be_switched_off(serve, tmp_path):
    (tmp_path / "a.txt").write_text("a" * 5000)
    server = serve("apps:app", "--static", f"/s={tmp_path}", env={**os.environ, "MODEST_COMPRESS": "no", "MODEST_NO_LISTING": "no"})
    assert b"a.txt" in server.get("/s/").body
    assert server.get("/s/a.txt", fields=("Accept-Encoding: gzip",)).field("content-encoding") is None


def test_a_text_that_cannot_be_written_is_an_error():
    for args in (["--print-config"], ["--help"], ["--version"]):
        with open("/dev/full", "w") as full:
            command = [sys.executable, "-m", "modest.wsgi", *args]
            done = subprocess.run(command, cwd=HERE, stdout=full, stderr=subprocess.PIPE, text=True, timeout=DEADLINE)
        assert done.returncode == 1 and done.stderr == "modest-wsgi: can't write to stdout: No space left on device\n", (args, done)


def test_print_config_shows_the_own_options_and_their_sources(tmp_path):
    config = tmp_path / "modest.toml"
    config.write_text("threads = 8\nprocesses = 3\nstatic = ['/a=.', '/b=.']\n")
    env = {**os.environ, "MODEST_PROCESSES": "2", "MODEST_ENV": "KEY=secret"}
    args = ("--print-config", "--config", str(config), "--process-age", "1h")
    for more in ((), ("apps:app",)):
        done = run(*args, *more, env=env)
        assert done.returncode == 0, done.stderr
        lines = done.stdout.splitlines()
        for line in (
            "# modest-wsgi",
            f"threads = \"8\"  # '{config}'",
            "processes = \"2\"  # environment",
            "process-age = \"1h\"  # command line",
            f"static = [\"/a=.\", \"/b=.\"]  # '{config}'",
            "# env = [\"KEY=(hidden)\"]  # environment",
            "# chdir = the current folder  # default",
            "# reload = no  # default",
            "# workers = \"8\"  # default",
            "# body-limit = \"1g\"  # default",
            "# directory = none  # default",
        ):
            assert line in lines, (line, done.stdout)
        assert "secret" not in done.stdout
    config.write_text(done.stdout)
    done = run("--print-config", "--config", str(config))
    assert "threads = \"8\"" in done.stdout and "processes = \"2\"" in done.stdout, (done.stdout, done.stderr)


@pytest.mark.parametrize("variable, value, line", [
    ("MODEST_THREDS", "3", "modest-wsgi: there is no variable MODEST_THREDS; did you mean MODEST_THREADS?"),
    ("MODEST_THREADS", "none", "modest-wsgi: MODEST_THREADS: none: expected a number from 1 to 4096"),
    ("MODEST_SPA", "missing.html", "modest-wsgi: MODEST_SPA "),
    ("MODEST_DIRECTORY", ".", "modest-wsgi: MODEST_DIRECTORY: the application is served; a folder is given as --static /URL=DIR"),
])
def test_mistakes_in_the_environment(variable, value, line):
    done = run("apps:app", "-p", "0", env={**os.environ, variable: value})
    assert done.returncode == 2 and done.stderr.startswith(line) and "'modest-wsgi --help'" in done.stderr, done.stderr


def test_mistakes_in_a_file(tmp_path):
    (tmp_path / "modest.toml").write_text("thraeds = 3\n")
    done = run("apps:app", "--config", str(tmp_path / "modest.toml"))
    assert done.returncode == 2 and "there is no setting thraeds; did you mean threads?" in done.stderr, done.stderr
    for name in ("reload", "threads", "chdir"):
        (tmp_path / "modest.toml").write_text(f"{name} = [1]\n")
        done = run("apps:app", "--check", "--config", str(tmp_path / "modest.toml"))
        assert done.returncode == 2 and f"{name}: expected one value, not a list" in done.stderr, done.stderr


def test_contradictions_are_named_as_in_their_source(tmp_path):
    config = tmp_path / "modest.toml"
    config.write_text("processes = 2\nthreads = 2\n")
    for args, env, line in (
        (["--config", config, "--upload", "--static", "/s=tests"], {}, f"--upload and '{config}': processes contradict each other: "),
        (["--upload", "--static", "/s=tests"], {"MODEST_RELOAD": "yes"}, "--upload and MODEST_RELOAD contradict each other: "),
        (["--config", config], {"MODEST_WORKERS": "3"}, f"'{config}': threads and MODEST_WORKERS contradict each other: "),
    ):
        done = run("apps:app", "--check", *args, env={**os.environ, **env})
        assert done.returncode == 2 and done.stderr.startswith(f"modest-wsgi: {line}"), (line, done.stderr)
    config.write_text("directory = '.'\n")
    done = run("apps:app", "--check", "--config", config)
    assert done.returncode == 2 and f"'{config}': directory: the application is served; " in done.stderr, done.stderr


def test_a_missing_folder_is_named_as_in_its_source(tmp_path):
    config = tmp_path / "modest.toml"
    config.write_text("chdir = 'missing'\n")
    for args, env, name in (
        (["--chdir", "missing"], {}, "--chdir"), ([], {"MODEST_CHDIR": "missing"}, "MODEST_CHDIR"),
        (["--config", str(config)], {}, f"'{config}': chdir"),
    ):
        done = run("apps:app", *args, env={**os.environ, **env})
        line = f"modest-wsgi: {name} missing: No such file or directory\n"
        assert (done.returncode, done.stderr) == (1, line), done.stderr


def test_the_help_fits_a_terminal():
    assert max(map(len, run("--help").stdout.splitlines())) <= 80


@pytest.mark.parametrize("name", ["apps:nothing", "missing:app", "missing.sub:app", "apps.sub:app", "missing.py:app", "apps:TEXT", "apps:a b"])
def test_a_wrong_name_needs_no_traceback(name):
    done = run(name, "-p", "0")
    assert done.returncode == 3 and "Traceback" not in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr


def test_a_file_with_the_name_of_another_module(tmp_path):
    (tmp_path / "signal.py").write_text("from apps import app\n")
    done = run(str(tmp_path / "signal.py") + ":app", "-p", "0")
    assert done.returncode == 3 and "there is another module 'signal'" in done.stderr and "rename the file" in done.stderr, done.stderr


def test_an_application_that_fails_has_a_traceback(tmp_path):
    (tmp_path / "needs.py").write_text("import missing_part\n")
    done = run("--chdir", str(tmp_path), "needs:app", "-p", "0")
    assert done.returncode == 3 and "needs.py" in done.stderr and "missing_part" in done.stderr, done.stderr


def test_help_and_version():
    assert "--threads" in run("--help").stdout and run("--version").stdout.startswith("modest")
    assert run("--check", "apps:app", "-p", "0").returncode == 0
    assert run("--help", module="modest").stdout.startswith("Serve folders")


def test_environment_and_settings(serve, tmp_path):
    config = tmp_path / "modest.toml"
    config.write_text('threads = 1\nbody-limit = "3"\nenv = ["A=file", "B=file"]\n')
    server = serve("--config", str(config), "apps", env={"MODEST_ENV": "A=environment\nC=environment"})
    found = json.loads(server.get("/environ").body)
    assert found["wsgi.multithread"] is False
    assert server.get("/echo", method="POST", body=b"four").status == 413


def test_env_and_chdir(serve, tmp_path):
    (tmp_path / "here.py").write_text(
        "import os\n"
        "def application(environ, start_response):\n"
        "    start_response('200 OK', [('Content-Type', 'text/plain')])\n"
        "    return [os.environ['NAME'].encode(), b' ', os.getcwd().encode()]\n"
    )
    server = serve("--chdir", str(tmp_path), "--env", "NAME=a=b", "here")
    assert server.get("/").body.decode() == f"a=b {os.path.realpath(tmp_path)}"


def test_static_files(serve, tmp_path):
    folder = tmp_path / "static"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.css").write_text("body {}\n" * 500)
    (folder / "sub" / "index.html").write_text("<p>index")
    server = serve("apps", "--static", f"/static={folder}", "--static", f"/deep/media={tmp_path}/static/sub")
    whole = server.get("/static/a.css")
    assert (whole.status, whole.field("content-type"), len(whole.body)) == (200, "text/css; charset=utf-8", 4000)
    assert server.get("/static/a.css", fields=("Range: bytes=0-3",)).body == b"body"
    assert server.get("/static/a.css", fields=(f"If-None-Match: {whole.field('etag')}",)).status == 304
    assert server.get("/static/a.css", fields=("Accept-Encoding: gzip",)).field("content-encoding") == "gzip"
    for path, status in [("/static/", 404), ("/static/missing", 404), ("/static/sub/", 200), ("/deep/media/index.html", 200),
                         ("/static/../apps.py", 301), ("/static/%2e%2e/apps.py", 301), ("/static/..%2fapps.py", 404)]:
        assert server.get(path).status == status, path
    assert server.get("/static/a.css", method="POST", body=b"x").status == 405
    for path in ("/staticx", "/other", "/deep/other"):
        assert json.loads(server.get(path).body)["PATH_INFO"] == path


def test_prefix(serve, tmp_path):
    (tmp_path / "f").write_text("file")
    server = serve("apps", "--prefix", "/site", "--static", f"/static={tmp_path}")
    for target, script, path in [("/site/a", "/site", "/a"), ("/site/", "/site", "/"), ("/site", "/site", ""), ("/site/a%20b//c", "/site", "/a b//c")]:
        found = json.loads(server.get(target).body)
        assert (found["SCRIPT_NAME"], found["PATH_INFO"]) == (script, path), target
    assert server.get("/site/static/f").body == b"file" and server.get("/other").status == 404


def test_unix_socket(serve, tmp_path):
    path = tmp_path / "app.sock"
    server = serve("-b", f"unix:{path}", "--trusted-proxy", "unix", "apps", port=False)
    server.wait_for(server.out, "Serving HTTP")
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-Forwarded-For: 9.8.7.6\r\nX-Forwarded-Proto: https\r\n\r\n")
        found = json.loads(Answer(read_all(client)).body)
    assert found["REMOTE_ADDR"] == "9.8.7.6" and found["wsgi.url_scheme"] == "https" and found["SERVER_NAME"], found
    assert server.stop() == 0 and not path.exists()


def test_an_ipv6_address(serve):
    """Without Host, `SERVER_NAME` and `SERVER_PORT` are those of the URL (PEP 3333, "URL Reconstruction")."""
    server = serve("-b", "::1", "apps")
    with socket.create_connection(("::1", server.port), DEADLINE) as client:
        client.sendall(b"GET /environ HTTP/1.0\r\n\r\n")
        found = json.loads(Answer(read_all(client)).body)
    assert request_uri(found) == f"http://[::1]:{server.port}/environ" and found["REMOTE_ADDR"] == "::1", found


def test_users(serve, tmp_path):
    done = subprocess.run([sys.executable, "-m", "modest", "--hash-password", "ada"], input="secret\n", capture_output=True, text=True)
    users = tmp_path / "users"
    users.write_text(done.stdout)
    server = serve("apps", "--auth", str(users), "--allow", "/public=*:all", "--allow", "/=@users:all")
    assert server.get("/environ").status == 401
    assert server.get("/public//x").status == 200
    import base64

    field = "Authorization: Basic " + base64.b64encode(b"ada:secret").decode()
    assert json.loads(server.get("/environ", fields=(field,)).body)["REMOTE_USER"] == "ada"
    for target in ("//environ", "/environ%2Fx", "/public%2F..%2Fenviron", "/public/../environ"):
        assert server.get(target).status != 200, target


def test_tls_and_metrics(serve):
    import ssl

    server = serve("apps", "--tls-self-signed", "--metrics=/figures")
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE

    def get(target):
        with context.wrap_socket(server.connect()) as client:
            client.sendall(f"GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
            received = b""
            while True:
                piece = client.recv(65536)
                if not piece:
                    return Answer(received)
                received += piece

    assert json.loads(get("/environ").body)["wsgi.url_scheme"] == "https"
    assert get("/large?3").body == b"L" * (3 << 20)
    assert get("/generator").body == b"one,two,three"
    assert b"modest_" in get("/figures").body


def test_threads_run_at_once(serve):
    """At most as many calls as threads."""
    server = serve("apps", "--threads", "3")
    import time

    begun = time.monotonic()
    clients = [threading.Thread(target=server.get, args=("/sleep?1",)) for _ in range(3)]
    [client.start() for client in clients]
    [client.join() for client in clients]
    assert time.monotonic() - begun < 2.5


def test_shutdown_finishes_requests(serve):
    server = serve("apps", "--threads", "2")
    with server.connect() as client:
        client.sendall(b"GET /sleep?1 HTTP/1.1\r\nHost: a\r\n\r\n")
        until(lambda: True, "")
        server.get("/tuple")
        import signal

        server.process.send_signal(signal.SIGTERM)
        assert b"slept" in read_all(client)
    assert server.process.wait(DEADLINE) == 0


def test_serve_from_python():
    code = (
        "import sys, threading, urllib.request\n"
        "from modest.wsgi import Server, serve\n"
        "import apps\n"
        "server = Server()\n"
        "thread = threading.Thread(target=serve, args=(apps.app,), kwargs=dict(server=server, port=0, threads=2, quiet=True))\n"
        "thread.start()\n"
        "while not server.addresses: pass\n"
        "print(urllib.request.urlopen('http://' + server.addresses[0] + '/tuple').read())\n"
        "server.shutdown()\n"
        "thread.join()\n"
        "server.shutdown()\n"
        "print('ended', server.addresses)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=HERE, capture_output=True, text=True, timeout=DEADLINE)
    assert done.returncode == 0 and "b'abc'" in done.stdout and "ended []" in done.stdout, done


@pytest.mark.parametrize("bind, count", [
    (("127.0.0.1", 0), 1),
    ([("127.0.0.1", 0), ("127.0.0.1", 0)], 2),
    ((("127.0.0.1", 0), "127.0.0.1:0"), 2),
    (("127.0.0.1:0", "127.0.0.1:0"), 2),
    (["127.0.0.1:0", ("::1", 0), ("[::1]", 0)], 3),
    ("127.0.0.1:0", 1),
])
def test_addresses_of_serve(bind, count):
    if "::1" in str(bind) and not has_ipv6():
        pytest.skip("no IPv6")
    server = modest.wsgi.Server()
    thread = threading.Thread(target=modest.wsgi.serve, args=(lambda *_: [],), kwargs={"server": server, "bind": bind, "quiet": True})
    thread.start()
    try:
        until(lambda: server.addresses or not thread.is_alive(), "it listens")
        assert len(server.addresses) == count, server.addresses
        assert all(address.startswith(("127.0.0.1:", "[::1]:")) for address in server.addresses), server.addresses
    finally:
        server.shutdown()
        thread.join(DEADLINE)


def has_ipv6():
    with contextlib.suppress(OSError), socket.create_server(("::1", 0), family=socket.AF_INET6):
        return True
    return False


def test_an_option_of_other_servers():
    with pytest.raises(ValueError, match=r"^there is no option host; use bind='0.0.0.0'$"):
        modest.wsgi.serve(lambda *_: [], host="0.0.0.0", port=0)


def test_a_program_ends_after_its_requests():
    """Even if `serve` runs in a daemon thread, which Python does not wait for."""
    code = (
        "import threading, time\n"
        "from modest.wsgi import Server, serve\n"
        "server, called = Server(), threading.Event()\n"
        "def app(environ, start_response):\n"
        "    called.set()\n"
        "    time.sleep(1)\n"
        "    start_response('200 OK', [])\n"
        "    return [b'slept']\n"
        "threading.Thread(target=serve, args=(app,), kwargs=dict(server=server, port=0), daemon=True).start()\n"
        "called.wait()\n"
    )
    server = Running(port=False, command=[sys.executable, "-c", code])
    server.port = int(server.wait_for(server.out, r"port (\d+)").partition("port ")[2].split()[0])
    assert server.get("/").body == b"slept" and server.process.wait(DEADLINE) == 0, server.log


def test_a_server_that_is_shut_down_before_it_starts():
    code = (
        "from modest.wsgi import Server, serve\n"
        "import apps\n"
        "server = Server()\n"
        "server.shutdown()\n"
        "serve(apps.app, server=server, port=0, quiet=True)\n"
        "print('ended')\n"
        "try: serve(apps.app, server=server, port=0, quiet=True)\n"
        "except ValueError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=HERE, capture_output=True, text=True, timeout=DEADLINE)
    assert done.returncode == 0 and "ended" in done.stdout and "was used before" in done.stdout, done


def test_static_files_and_other_methods(serve, tmp_path):
    (tmp_path / "a.css").write_text("body {}")
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "secret").chmod(0)
    server = serve("apps", "--static", f"/static={tmp_path}")
    whole, head = server.get("/static/a.css"), server.get("/static/a.css", method="HEAD")
    assert (head.status, head.body, head.field("content-length")) == (200, b"", "7") and whole.body == b"body {}"
    for method in ("POST", "PUT", "DELETE", "PATCH", "PROPFIND", "BREW"):
        answer = server.get("/static/a.css", method=method)
        assert answer.status in (405, 501) and b"PATH_INFO" not in answer.body, answer
    if os.getuid():
        assert server.get("/static/secret").status in (403, 404)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_ends_the_command(serve, name):
    import signal

    server = serve("apps")
    assert server.get("/tuple").status == 200
    assert server.stop(getattr(signal, name)) == 0
    assert all(line is None or "GET /tuple" in line for line in server.log), server.log


@pytest.mark.skipif(
    signal.SIG_IGN in map(signal.getsignal, (signal.SIGINT, signal.SIGQUIT)),
    reason="the shell started these tests with ignored signals, which every process inherits",
)
def test_signals_and_serve():
    """`serve` returns after a signal, as often as it is called, and restores the handlers. The system can deliver the signal to any thread."""
    code = (
        "import os, signal, threading, time\n"
        "from modest.wsgi import Server, serve\n"
        "import apps\n"
        "before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]\n"
        "for number, any_thread in [(signal.SIGINT, False), (signal.SIGTERM, True), (signal.SIGINT, True)]:\n"
        "    server = Server()\n"
        "    def end():\n"
        "        while not server.addresses: time.sleep(0.01)\n"
        "        if any_thread: signal.pthread_kill(threading.get_ident(), number)\n"
        "        else: os.kill(os.getpid(), number)\n"
        "    threading.Thread(target=end).start()\n"
        "    serve(apps.app, server=server, port=0, quiet=True)\n"
        "    print('returned', flush=True)\n"
        "    assert signal.set_wakeup_fd(-1) == -1\n"
        "    assert before == [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]\n"
        "try: os.kill(os.getpid(), signal.SIGINT); time.sleep(10)\n"
        "except KeyboardInterrupt: print('interrupted')\n"
        "def alarm(*_): raise TimeoutError\n"
        "signal.signal(signal.SIGALRM, alarm)\n"
        "signal.alarm(1)\n"
        "try: serve(apps.app, port=0, quiet=True)\n"
        "except TimeoutError: print('alarmed')\n"
        "try: serve(apps.app, bind='no address')\n"
        "except ValueError: print('wrong')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=HERE, capture_output=True, text=True, timeout=DEADLINE)
    words = [line for line in done.stdout.split("\n") if line in ("returned", "interrupted", "alarmed", "wrong")]
    assert words == ["returned"] * 3 + ["interrupted", "alarmed", "wrong"] and done.returncode == 0, done


def test_the_other_program():
    """`python -m modest` and `modest`, with all their options."""
    folder = os.path.dirname(modest.__file__)
    for command in ([sys.executable, "-m", "modest"], [os.path.join(os.path.dirname(sys.executable), "modest")]):
        server = Running(port=False, command=[*command, "-d", folder, "-p", "0", "--header", "X-A", "b"])
        with contextlib.ExitStack() as stack:
            stack.callback(server.stop)
            server.port = int(server.wait_for(server.out, r"port (\d+)").partition("port ")[2].split()[0])
            answer = server.get("/wsgi.py")
            assert b"def serve(" in answer.body and answer.field("x-a") == "b"


def test_an_extension_that_blocks(serve, tmp_path):
    """Without the interpreter it costs one thread. With it, no Python code of this process can run, but static files are served."""
    (tmp_path / "static").mkdir()
    (tmp_path / "static/f").write_text("file")
    (tmp_path / "blocks.py").write_text(
        "import ctypes\nimport apps\n"
        "def app(environ, start_response):\n"
        "    if environ['PATH_INFO'] == '/free':\n        ctypes.CDLL(None).usleep(800_000)\n"
        "    if environ['PATH_INFO'] == '/holds':\n        ctypes.PyDLL(None).usleep(800_000)\n"
        "    return apps.app(environ, start_response)\n")
    server = serve("--chdir", str(tmp_path), "blocks", "--static", "/static=static", env={"PYTHONPATH": HERE})
    for target, meanwhile in (("/free", "/tuple"), ("/holds", "/static/f")):
        with server.connect() as client:
            client.sendall(f"GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
            client.settimeout(0.1)
            for _ in range(3):
                assert server.get(meanwhile).status == 200
            with pytest.raises(socket.timeout):  # it still blocks
                client.recv(1)
            client.settimeout(DEADLINE)
            assert b"200 OK" in read_all(client), server.log[-9:]


def test_options_that_only_the_command_has():
    from modest.wsgi import serve as serve_

    for name, value in (("chdir", "."), ("env", "A=b"), ("processes", 2), ("process_requests", 5), ("process_age", "1h"), ("reload", True)):
        with pytest.raises(TypeError, match=name):
            serve_(lambda *_: [], **{name: value})


def test_idle_connections_cost_as_little_as_in_rust(serve):
    """Less than 1 KiB for each, after a request on each of them."""
    from test_frameworks import memory

    server = serve("apps", "-q")
    begun, kept = [], []
    for count in (100, 600):
        while len(kept) < count:
            client = server.connect()
            client.sendall(b"GET /tuple-raw HTTP/1.1\r\nHost: a\r\n\r\n")
            assert client.recv(1000).endswith(b"abc")
            kept.append(client)
        begun.append(memory(server.process.pid))
    [client.close() for client in kept]
    assert begun[1] - begun[0] < 0.5, begun


def test_an_interrupt_of_an_import_ends_the_command(serve, tmp_path):
    (tmp_path / "slow.py").write_text("import time\nprint('importing', flush=True)\ntime.sleep(60)\n")
    server = serve("-p", "0", "--chdir", str(tmp_path), "slow:app", port=False)
    server.wait_for(server.out, "importing")
    server.process.send_signal(signal.SIGINT)
    assert server.process.wait(DEADLINE) == -signal.SIGINT and not any(line and "can't be loaded" in line for line in server.log), server.log


@pytest.mark.parametrize("processes", [(), ("--processes", "1")])
def test_a_thread_of_a_failed_import_does_not_hold_the_end(tmp_path, processes):
    (tmp_path / "broken.py").write_text("import threading, time\nthreading.Thread(target=time.sleep, args=(60,)).start()\nraise ValueError('on purpose')\n")
    command = [sys.executable, "-m", "modest.wsgi", "broken:app", "-p", "0", *processes]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=DEADLINE)
    assert ended.returncode == 3 and "can't be loaded" in ended.stderr, ended


@pytest.mark.parametrize(
    ("options", "kind", "errno", "text"),
    [
        ("port=used", "OSError", "EADDRINUSE", "already in use"),
        ("bind='192.0.2.1:0'", "OSError", "EADDRNOTAVAIL", "not an address of this machine"),
        ("bind='unix:/nonexistent/socket'", "FileNotFoundError", "ENOENT", "/nonexistent/socket"),
        ("port=0, log_file='/nonexistent/log'", "FileNotFoundError", "ENOENT", "/nonexistent/log"),
        ("port=0, static='/a=/nonexistent'", "FileNotFoundError", "ENOENT", "/nonexistent"),
        ("port=0, tls_cert='/nonexistent', tls_key='/nonexistent'", "FileNotFoundError", "ENOENT", "/nonexistent"),
        ("port=0, static=['/a=.', '/a=.']", "ValueError", None, "modest-wsgi: "),
    ],
)
def test_serve_raises_the_error(options, kind, errno, text):
    """An error is raised to the caller, with its number; nothing is printed."""
    code = (
        "import errno, socket\n"
        "from modest.wsgi import serve\n"
        "listener = socket.create_server(('127.0.0.1', 0))\n"
        "used = listener.getsockname()[1]\n"
        f"try: serve(lambda environ, start_response: [], {options})\n"
        "except Exception as error:\n"
        "    number = getattr(error, 'errno', None)\n"
        "    print(type(error).__name__, number and errno.errorcode[number], error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=HERE, capture_output=True, text=True, timeout=DEADLINE)
    assert done.stdout.startswith(f"{kind} {errno} ") and text in done.stdout and not done.stderr, done


NO_THREADS = """
import threading

def app(environ, start_response): ...

def start(self):
    raise RuntimeError("can't start new thread")

threading.Thread.start = start
"""


@pytest.mark.parametrize("processes", [(), ("--processes", "2")])
def test_too_few_threads_are_no_error_of_the_application(tmp_path, processes):
    """The system's limit of threads, which `Thread.start` reports as a RuntimeError."""
    (tmp_path / "limited.py").write_text(NO_THREADS)
    command = [sys.executable, "-m", "modest.wsgi", "limited:app", "-p", "0", *processes]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=DEADLINE)
    line = "modest-wsgi: can't serve: resource temporarily unavailable; allow more threads, for example by TasksMax= of systemd or 'ulimit -u'\n"
    assert ended.returncode == 1 and line in ended.stderr and "raised" not in ended.stderr and "Traceback" not in ended.stderr, ended
    (tmp_path / "program.py").write_text("from limited import app\nfrom modest.wsgi import serve\ntry: serve(app, port=0)\nexcept BlockingIOError as error: print(error)\n")
    ended = subprocess.run([sys.executable, "program.py"], cwd=tmp_path, capture_output=True, text=True, timeout=DEADLINE)
    assert "Resource temporarily unavailable" in ended.stdout and not ended.stderr, ended


def test_serve_warns_of_options_of_the_command(tmp_path):
    (tmp_path / "program.py").write_text(
        "import threading\nfrom modest.wsgi import Server, serve\nserver = Server()\nserver.shutdown()\nserve(lambda environ, start_response: [], server=server, port=0)\n"
    )
    environment = {**os.environ, "MODEST_PROCESSES": "2", "MODEST_CHDIR": "/nonexistent"}
    ended = subprocess.run([sys.executable, "program.py"], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=DEADLINE)
    assert ended.returncode == 0, ended
    for name in ("MODEST_PROCESSES", "MODEST_CHDIR"):
        assert f"{name} has no effect: it is an option of the command modest-wsgi alone" in ended.stderr, ended


def test_a_long_line_is_logged_in_part(serve):
    server = serve("apps:long_lines")
    assert server.get("/").status == 500
    server.logged(r"^.*errors é+\.\.\. \(\d+ more bytes\)$")
    server.logged(r"^.*raised ValueError$")
    server.logged(r"^.*ValueError: x+\.\.\. \(\d+ more bytes\)$")
