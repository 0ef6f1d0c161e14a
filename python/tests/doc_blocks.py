"""Runs the commands of docs/python.md, and those of README.md, as printed. `test_docs.py` starts this in namespaces of
its own: a network in which all ports are free, and empty folders /srv and /run.
"""

import json
import os
import re
import shlex
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

from modest.wsgi import load

HERE = os.path.dirname(os.path.abspath(__file__))
PAGE = os.path.join(HERE, "..", "..", "docs", "python.md")
README = os.path.join(HERE, "..", "README.md")
DEADLINE = 20

ENVIRON = """import json
def application(environ, start_response):
    shown = {key: value for key, value in environ.items() if isinstance(value, (str, bool))}
    shown["body"] = len(environ["wsgi.input"].read())
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(shown).encode()]
app = application
"""

def blocks(kind, title, path=PAGE):
    """The blocks of this kind in the section, or the paragraph, with this title."""
    with open(path) as page:
        text = page.read()
    rest = text[text.index(title) :]
    rest = re.split(r"\n## |\n\*\*", rest[2:])[0]
    found = re.findall(rf"```{kind}\n(.*?)```", rest, re.S)
    assert found, (kind, title)
    return found


def command(block):
    """The line with `modest-wsgi`, without its comment."""
    (line,) = [line for line in block.splitlines() if line.startswith("modest-wsgi")]
    return re.sub(r" +#.*", "", line)


class Started:
    """A command of a shell, which is ended with SIGTERM."""

    def __init__(self, line, **options):
        self.process = subprocess.Popen(["sh", "-c", "exec " + line], start_new_session=True, **options)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            raise


def get(url, **options):
    """The body of this page, once the server is there."""
    deadline = time.monotonic() + DEADLINE
    while True:
        try:
            with urllib.request.urlopen(urllib.request.Request(url, **options), timeout=DEADLINE, context=insecure()) as answer:
                return answer.read()
        except urllib.error.HTTPError:
            raise
        except (ConnectionError, urllib.error.URLError):
            assert time.monotonic() < deadline, url
            time.sleep(0.02)


def insecure():
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def write(path, text):
    folder = os.path.dirname(path)
    if folder:
        os.makedirs(folder, exist_ok=True)
    with open(path, "w") as file:
        file.write(text)


def flaskr(folder):
    shutil.copytree(os.path.join(HERE, "frameworks", "flaskr"), os.path.join(folder, "flaskr"))
    os.environ["FLASKR_INSTANCE"] = os.path.join(folder, "instance")


def first_block():
    (block,) = blocks("sh", "# Python applications")[:1]
    install, serve = block.splitlines()
    assert install.startswith("pip install ./python "), install  # tested by tests/wheel
    address = re.search(r"http://\S+", serve).group()
    flaskr(os.getcwd())
    with Started(command(block)):
        assert get(address + "hello") == b"Hello, World!"


def first_application():
    """The programs, and what the page prints of their output."""
    run_applications("## A first application", PAGE, ["hello.py", "shop.py"])


def readme():
    run_applications("# modest for Python", README, ["hello.py"])


def run_applications(title, path, files):
    programs, commands = blocks("python", title, path), blocks("console", title, path)
    assert (len(programs), len(commands)) == (len(files), 2 * len(files))
    for file, program in zip(files, programs):
        write(file, program)
        (serve, *announced), (ask, *answered) = (commands.pop(0).splitlines() for _ in range(2))
        assert serve.startswith("$ modest-wsgi ") and ask.startswith("$ curl "), (serve, ask)
        with Started(serve[2:], stdout=subprocess.PIPE, text=True) as started:
            assert [started.process.stdout.readline().rstrip("\n") for _ in announced] == announced
            assert get(ask.split()[-1]).decode().splitlines() == answered


def what_to_serve():
    """Each name in the table."""
    with open(PAGE) as page:
        section = page.read().partition("## What to serve")[2].partition("\n\nModules")[0]
    names = [name for row in section.splitlines() if row.startswith("| `") for name in re.findall(r"`([^`]+)`", row.split("|")[1])]
    factory = "def create_app(mode='', debug=None):\n    return application\n"
    for path in ("mysite/wsgi.py", "app.py", "/srv/shop/app.py"):
        write(path, ENVIRON)
    write("shop/__init__.py", "from . import web\n" + ENVIRON + factory)
    write("shop/web.py", ENVIRON)
    assert len(names) >= 7, names
    sys.path.insert(0, "")
    for name in names:
        (name,) = shlex.split(name) if name[0] == "'" else [name]
        sys.modules.pop("app", None)  # two files have this name
        assert callable(load(name)), name
    subprocess.run(["modest-wsgi", "--check", "-p", "0", names[-1]], check=True, stdout=subprocess.DEVNULL)


def from_python():
    (block,) = blocks("python", "## What to serve")
    write("static/a.css", "body {}")
    write("shop.py", block)
    with Started(f"{sys.executable} shop.py", stderr=subprocess.PIPE, text=True) as started:
        assert get("http://127.0.0.1:8000/hello") == b"Hello, World!" and get("http://127.0.0.1:8000/static/a.css") == b"body {}"
        lines = map(json.loads, started.process.stderr)
        assert "/hello" in str(next(line for line in lines if line.get("status") == 200))


def options_in_words():
    """`MODEST_THREADS=8`, `threads = 8` and the pages of `--metrics-bind`."""
    with open(PAGE) as page:
        text = " ".join(page.read().split())
    write("app.py", ENVIRON)
    variable, line = re.search(r"in the environment \(`(\w+=\d+)`\) or in the `--config` file \(`(threads = \d+)`\)", text).groups()
    write("modest.toml", line + "\n")
    subprocess.run(["sh", "-c", f"{variable} modest-wsgi --check app.py && modest-wsgi --config modest.toml --check app.py"], check=True)
    words, first, last = re.search(r"`(--metrics-bind [^`]+)` gives each process a page of its own, at the ports (\d+) to (\d+)", text).groups()
    with Started(f"modest-wsgi app.py -q {words}"):
        get("http://127.0.0.1:8000/")
        for port in range(int(first), int(last) + 1):
            assert b"modest_http_requests_total" in get(f"http://127.0.0.1:{port}/metrics"), port


def certificate(path="fullchain.pem", key="privkey.pem"):
    """A certificate of localhost, which a client can also have."""
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key, "-out", path,
                    "-days", "1", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-addext", "basicConstraints=critical,CA:FALSE"], check=True, capture_output=True)


def alone():
    (block,) = blocks("sh", "**Alone.**")
    certificate()
    write("mysite/wsgi.py", ENVIRON)
    write("/srv/site/static/a.css", "body {}")
    with Started(command(block)) as started:
        assert get("https://127.0.0.1/static/a.css") == b"body {}"
        assert json.loads(get("https://127.0.0.1/"))["HTTPS"] == "on"
        with open(f"/proc/{started.process.pid}/task/{started.process.pid}/children") as children:
            assert len(children.read().split()) == 4


def behind_nginx():
    (serve,) = blocks("sh", "**Behind nginx.**")
    (location,) = blocks("nginx", "**Behind nginx.**")
    os.makedirs("/run/site")
    os.chmod(".", 0o755)
    write("mysite/wsgi.py", ENVIRON)
    write("nginx.conf", "daemon off; error_log stderr; pid nginx.pid; user www-data;\nevents {}\n"
          "http { client_max_body_size 100m; access_log off; server { listen 80;\n" + location + "} }\n")
    # The socket belongs to the group of the process, and nginx is in that group.
    with Started(command(serve), group="www-data"), Started(f"nginx -p {os.getcwd()} -c {os.getcwd()}/nginx.conf"):
        while not os.path.exists("/run/site/site.sock"):
            time.sleep(0.02)
        assert os.stat("/run/site/site.sock").st_mode & 0o777 == 0o660
        found = json.loads(get("http://127.0.0.1/a//b?c", headers={"Host": "site.example", "X-Forwarded-For": "6.6.6.6", "X-Forwarded-Proto": "https"}))
        expected = {"REMOTE_ADDR": "127.0.0.1", "wsgi.url_scheme": "http", "HTTP_HOST": "site.example", "QUERY_STRING": "c", "PATH_INFO": "/a//b"}
        assert {key: found.get(key) for key in expected} == expected, found
        assert json.loads(get("http://127.0.0.1/", data=b"x" * 5_000_000))["body"] == 5_000_000
    with Started(command(serve).replace("--trusted-proxy unix", ""), group="www-data"), Started(f"nginx -p {os.getcwd()} -c {os.getcwd()}/nginx.conf"):
        while True:
            try:
                found = json.loads(get("http://127.0.0.1/"))
                break
            except urllib.error.HTTPError:
                time.sleep(0.02)  # nginx is there before modest
        assert found["HTTP_X_FORWARDED_FOR"] == "127.0.0.1" and found["REMOTE_ADDR"] == "", found


def coming_from_gunicorn():
    """Every option in the right column exists, and means what its row has."""
    with open(PAGE) as page:
        table = page.read().partition("**Coming from gunicorn:**")[2].partition("\n## ")[0]
    rows = [[cell.strip() for cell in row.split("|")[1:3]] for row in table.splitlines() if row.startswith("| `")]
    write("app.py", ENVIRON)
    write("modest.toml", "threads = 2\n")
    values = {"--bind": "127.0.0.1:8000", "--socket-mode": "660", "--processes": "2", "--threads": "2", "--process-requests": "9", "--slow-handler": "5s",
              "--shutdown-timeout": "5s", "--idle-timeout": "60s", "--trusted-proxy": "unix", "--request-line-limit": "4k", "--field-limit": "100",
              "--head-limit": "16k", "--log-file": "log", "--log-format": "json", "--tls-cert": "fullchain.pem", "--tls-key": "privkey.pem",
              "--env": "A=b", "--chdir": ".", "--config": "modest.toml", "--reload": None, "-q": None}
    certificate()
    named = {option for _, right in rows for option in re.findall(r"`(--?[a-z-]+)", right)}
    words = [word for option in sorted(named) for word in (option, values[option]) if word is not None]
    subprocess.run(["modest-wsgi", "--check", "app.py", "-b", "unix:/run/a", *words], check=True, stdout=subprocess.DEVNULL)
    assert len(rows) > 10
    gunicorn = shutil.which("gunicorn")
    if gunicorn:
        known = subprocess.run([gunicorn, "--help"], capture_output=True, text=True).stdout
        for left, _ in rows:
            for option in re.findall(r"`(--?[a-z-]+)", left):
                assert re.search(rf"(^|[ ,]){option}\b", known, re.M), option


def sockets_of_systemd():
    """`--bind systemd`, with the descriptor that systemd passes, and its notifications."""
    write("app.py", ENVIRON)
    for more in ("", "--processes 2"):
        path = tempfile.mktemp()
        with socket.create_server(("127.0.0.1", 8000)) as listener, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.bind(path)
            notify.settimeout(DEADLINE)
            line = f"env LISTEN_PID=$$ LISTEN_FDS=1 NOTIFY_SOCKET={path} modest-wsgi -b systemd app.py {more}"
            with Started(line, pass_fds=[3], preexec_fn=lambda: os.dup2(listener.fileno(), 3, inheritable=True)):
                assert b"READY=1" in notify.recv(1000)
                assert json.loads(get("http://127.0.0.1:8000/"))["PATH_INFO"] == "/"


BLOCKS = [first_block, first_application, readme, what_to_serve, from_python, options_in_words, alone, behind_nginx, coming_from_gunicorn, sockets_of_systemd]


def main():
    assert os.readlink("/proc/self/ns/mnt") != os.environ["OUTSIDE"], "started by test_docs.py"
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    for folder in ("/srv", "/run"):
        subprocess.run(["mount", "-t", "tmpfs", "none", folder], check=True)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        next(block for block in BLOCKS if block.__name__ == sys.argv[1])()
        os.chdir("/")


if __name__ == "__main__":
    main()
