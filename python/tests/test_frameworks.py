"""The tutorials of Flask, Django, Pyramid, Bottle and Falcon, unchanged, as a browser uses them."""

import hashlib
import os
import re
import subprocess
import sys
import threading
import time

import pytest
from conftest import HERE, until

requests = pytest.importorskip("requests")

FRAMEWORKS = os.path.join(HERE, "frameworks")


def base(server):
    return f"http://127.0.0.1:{server.port}"


# Flask


@pytest.fixture
def flaskr(serve, tmp_path):
    pytest.importorskip("flask")
    download = tmp_path / "download.bin"
    download.write_bytes(os.urandom(1 << 20) * 3)
    env = {"FLASKR_INSTANCE": str(tmp_path / "instance"), "FLASKR_DOWNLOAD": str(download)}
    server = serve("--chdir", FRAMEWORKS, "--static", "/served=flaskr/static", "flaskr:create_app()", env=env)
    server.download = download
    return server


def test_flask_tutorial(flaskr):
    url, session = base(flaskr), requests.Session()
    assert session.get(url + "/hello").text == "Hello, World!"
    assert session.get(url + "/static/style.css").text == session.get(url + "/served/style.css").text
    assert session.get(url + "/create").url == url + "/auth/login"
    register = session.post(url + "/auth/register", {"username": "ada", "password": "ä secret"})
    assert register.url == url + "/auth/login"
    assert "already registered" in session.post(url + "/auth/register", {"username": "ada", "password": "x"}).text
    assert "Incorrect" in session.post(url + "/auth/login", {"username": "ada", "password": "wrong"}).text
    assert "ada" in session.post(url + "/auth/login", {"username": "ada", "password": "ä secret"}).text
    session.post(url + "/create", {"title": "Grüße <b>", "body": "first"})
    page = session.get(url + "/").text
    assert "Grüße &lt;b&gt;" in page and "by ada" in page
    session.post(url + "/1/update", {"title": "changed", "body": "second"})
    assert "changed" in session.get(url + "/").text
    assert requests.post(url + "/1/delete", allow_redirects=False).status_code == 302
    assert session.get(url + "/9/update").status_code == 404
    session.post(url + "/1/delete")
    assert "changed" not in session.get(url + "/").text
    assert "Log In" in session.get(url + "/auth/logout").text


def test_flask_patterns(flaskr):
    url = base(flaskr) + "/more"
    content = os.urandom(3_000_000)
    found = requests.post(url + "/upload", files={"file": ("ü.bin", content)}, data={"note": "n"}).json()
    assert found == {"name": "ü.bin", "size": len(content), "sha256": hashlib.sha256(content).hexdigest(), "note": "n"}
    whole = flaskr.download.read_bytes()
    answer = requests.get(url + "/download")
    assert answer.content == whole and answer.headers["content-length"] == str(len(whole))
    assert requests.get(url + "/download", headers={"Range": "bytes=10-19"}).content == whole[10:20]
    assert requests.get(url + "/download", headers={"If-None-Match": answer.headers["etag"]}).status_code == 304
    assert requests.head(url + "/download").headers["content-length"] == str(len(whole))
    assert requests.get(url + "/memory").content == b"in memory" * 1000
    assert requests.get(url + "/stream").text.splitlines()[-1] == "row 999 of /more/stream"
    assert requests.post(url + "/json", json={"a": ["ü", 1]}).json() == {"a": ["ü", 1]}

    def chunks():
        yield b'{"chunk'
        yield b'ed": true}'

    chunked = requests.post(url + "/json", data=chunks(), headers={"Content-Type": "application/json"})
    assert chunked.json() == {"chunked": True}
    assert requests.get(url + "/fails").status_code == 500
    flaskr.logged("RuntimeError: on purpose")
    assert requests.get(base(flaskr) + "/missing").status_code == 404
    assert requests.post(base(flaskr) + "/hello").status_code == 405


# Django


@pytest.fixture(scope="module")
def django(tmp_path_factory):
    """The project of the tutorial, made by `django-admin`, with the tutorial's files."""
    pytest.importorskip("django")
    folder = tmp_path_factory.mktemp("django")
    admin = [sys.executable, "-m", "django"]
    run = lambda *args, **more: subprocess.run([*args], cwd=folder, check=True, capture_output=True, **more)
    run(*admin, "startproject", "mysite", ".")
    run(*admin, "startapp", "polls")
    files = os.path.join(FRAMEWORKS, "django_files")
    for name in ("models", "admin", "views", "urls", "tests_live"):
        with open(os.path.join(files, name + ".py")) as file:
            (folder / "polls" / f"{name}.py").write_text(file.read())
    with open(os.path.join(files, "settings_more.py")) as file, open(folder / "mysite" / "settings.py", "a") as settings:
        settings.write(file.read())
    with open(folder / "mysite" / "urls.py", "a") as urls:
        urls.write('\nfrom django.urls import include\nurlpatterns.append(path("polls/", include("polls.urls")))\n')
    manage = [sys.executable, "manage.py"]
    run(*manage, "makemigrations", "polls")
    run(*manage, "migrate")
    run(*manage, "collectstatic", "--noinput")
    run(*manage, "createsuperuser", "--noinput", env={**os.environ, "DJANGO_SUPERUSER_USERNAME": "admin",
                                                    "DJANGO_SUPERUSER_PASSWORD": "secret", "DJANGO_SUPERUSER_EMAIL": "a@example.org"})
    return folder


def token(page):
    return re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page).group(1)


def test_django_tutorial(serve, django):
    server = serve("--chdir", str(django), "--static", "/static=static", "mysite.wsgi", "--threads", "4")
    url, session = base(server), requests.Session()
    assert requests.get(url + "/static/admin/css/base.css").headers["content-type"].startswith("text/css")
    login = session.get(url + "/admin/").text
    fields = {"username": "admin", "password": "secret", "csrfmiddlewaretoken": token(login), "next": "/admin/"}
    assert requests.post(url + "/admin/login/", fields).status_code == 403, "no CSRF cookie"
    assert "Site administration" in session.post(url + "/admin/login/", fields).text
    page = session.get(url + "/admin/polls/question/add/").text
    added = session.post(url + "/admin/polls/question/add/", {
        "csrfmiddlewaretoken": token(page), "question_text": "What's ûp?", "choice_set-TOTAL_FORMS": "2",
        "choice_set-INITIAL_FORMS": "0", "choice_set-MIN_NUM_FORMS": "0", "choice_set-MAX_NUM_FORMS": "1000",
        "choice_set-0-choice_text": "Not much", "choice_set-0-votes": "0", "choice_set-1-choice_text": "The sky",
        "choice_set-1-votes": "0", "_save": "Save",
    })
    assert "was added successfully" in added.text
    question = int(re.findall(r"/admin/polls/question/(\d+)/change/", added.text)[-1])
    visitor = requests.Session()
    assert "What&#x27;s ûp?" in visitor.get(url + "/polls/").text
    detail = visitor.get(f"{url}/polls/{question}/").text
    choice = re.search(r'value="(\d+)"><label>The sky', detail).group(1)
    vote = f"{url}/polls/{question}/vote/"
    assert requests.post(vote, {"choice": choice}).status_code == 403
    assert "The sky -- 1" in visitor.post(vote, {"choice": choice, "csrfmiddlewaretoken": token(detail)}).text
    assert "didn&#x27;t select" in visitor.post(vote, {"csrfmiddlewaretoken": token(detail)}).text
    content = os.urandom(4_000_000)
    page = session.get(url + "/admin/polls/document/add/").text
    added = session.post(url + "/admin/polls/document/add/", {"csrfmiddlewaretoken": token(page), "_save": "Save"},
                         files={"file": ("large.bin", content)})
    document = int(re.findall(r"/admin/polls/document/(\d+)/change/", added.text)[-1])
    answer = visitor.get(f"{url}/polls/download/{document}/")
    assert answer.content == content and answer.headers["content-length"] == str(len(content))
    assert visitor.get(url + "/polls/stream/").text.endswith("998\n999\n")
    assert visitor.get(url + "/polls").url == url + "/polls/"
    assert visitor.get(url + "/missing").status_code == 404
    assert server.stop() == 0


def test_djangos_live_server_tests(django):
    done = subprocess.run([sys.executable, "manage.py", "test", "polls.tests_live"], cwd=django, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and "Ran 2 tests" in done.stderr, done.stderr


# Pyramid, Bottle, Falcon


def test_pyramid_tutorial(serve):
    pytest.importorskip("pyramid")
    server = serve("--chdir", FRAMEWORKS, "tutorial_pyramid:make_app()")
    url, session = base(server), requests.Session()
    assert "Hello World" in session.get(url + "/").text
    assert "visit 2" in session.get(url + "/?name=Ada").text
    assert session.get(url + "/page/100").json() == {"page": "Page 100"}
    assert session.get(url + "/page/9").status_code == 404
    form = session.get(url + "/page/100/edit").text
    assert session.post(url + "/page/100/edit", {"title": "x"}).status_code == 400
    csrf = re.search(r'value="([^"]+)"', form).group(1)
    assert session.post(url + "/page/100/edit", {"title": "née", "csrf_token": csrf}).json() == {"page": "née"}
    assert session.post(url + "/upload", files={"file": ("a", b"x" * 500_000)}).json() == {"name": "a", "size": 500_000}
    assert "Pyramid's quick tutorial" in session.get(url + "/file").text
    assert session.get(url + "/static/style.css").status_code == 200
    assert session.get(url + "/iterated").text.endswith("998\n999\n")


def test_bottle_tutorial(serve):
    pytest.importorskip("bottle")
    server = serve("--chdir", FRAMEWORKS, "tutorial_bottle")
    url, session = base(server), requests.Session()
    assert session.get(url + "/hello/Ada").text == "<b>Hello Ada</b>!"
    assert session.get(url + "/who").text == "Ada"
    assert session.post(url + "/login", {"username": "ada", "password": "secret"}).text == "welcome ada"
    assert session.post(url + "/login", {"username": "ada", "password": "wrong"}).status_code == 401
    assert session.post(url + "/upload", files={"file": ("a", b"x" * 500_000)}).json() == {"name": "a", "size": 500_000}
    assert session.post(url + "/json", json={"a": 1}).json() == {"echo": {"a": 1}}
    assert session.get(url + "/static/style.css").headers["content-type"].startswith("text/css")
    assert session.get(url + "/static/style.css", headers={"Range": "bytes=0-3"}).text == "html"
    assert session.get(url + "/stream").text.endswith("998\n999\n")


def test_falcon_tutorial(serve):
    pytest.importorskip("falcon")
    server = serve("--chdir", FRAMEWORKS, "tutorial_falcon")
    url = base(server)
    assert requests.get(url + "/quote").json()["author"] == "Grace Hopper"
    image = os.urandom(700_000)
    created = requests.post(url + "/images", data=image, headers={"Content-Type": "image/png"})
    assert created.status_code == 201
    answer = requests.get(url + created.headers["location"])
    assert answer.content == image and answer.headers["content-length"] == str(len(image))
    assert {"href": created.headers["location"]} in requests.get(url + "/images").json()["images"]
    assert requests.get(url + "/images/none.png").status_code == 404
    assert requests.post(url + "/echo", json={"a": "ü"}).json() == {"a": "ü"}


# Slow clients, large bodies


def memory(pid):
    """The private memory in MiB."""
    with open(f"/proc/{pid}/status") as file:
        return int(re.search(r"RssAnon:\s+(\d+)", file.read()).group(1)) / 1024


def peak(server):
    """Records the server's peak memory while the block runs."""

    class Peak:
        def __enter__(self):
            self.most, self.is_over = 0, False
            self.thread = threading.Thread(target=self.watch)
            self.thread.start()
            return self

        def watch(self):
            while not self.is_over:
                self.most = max(self.most, memory(server.process.pid))
                time.sleep(0.01)

        def __exit__(self, *_):
            self.is_over = True
            self.thread.join()

    return Peak()


@pytest.mark.parametrize("framework", ["flask", "django", "pyramid", "bottle", "falcon"])
def test_a_body_has_one_length_in_each_framework(serve, framework):
    """With a length and in chunks, empty, in memory and in a file."""
    pytest.importorskip(framework)
    server = serve("--chdir", FRAMEWORKS, f"lengths:{framework}()")
    for length in (0, 7, 100_000, 3_000_000):
        for body in (b"x" * length, iter([b"x" * length] if length else [])):
            got = requests.post(base(server), data=body, headers={"Content-Type": "application/octet-stream"})
            assert (got.status_code, got.text) == (200, str(length)), (framework, type(body), length)


def test_large_bodies_in_bounded_memory(serve):
    """An upload of 50 MB, and a download of 100 MB to a slow client."""
    server = serve("apps", "-q")
    requests.get(base(server) + "/tuple")
    before = memory(server.process.pid)
    with peak(server) as found:
        body = os.urandom(50_000_000)
        answer = server.get("/digest", method="POST", body=body)
        assert answer.body.decode() == f"{len(body)} {hashlib.sha256(body).hexdigest()}"
        count = 0
        with requests.get(base(server) + "/large?100", stream=True) as download:
            for piece in download.iter_content(1 << 20):
                count += len(piece)
                time.sleep(0.002)
        assert count == 100 << 20
    assert found.most - before < 12, (before, found.most)


def test_slow_clients_beside_a_good_one(serve, clients=200):
    """Clients that send a byte at a time, or read nothing of a large response, hold none of the four threads."""
    server = serve("apps", "--threads", "4", "-q")
    slow = []
    for number in range(clients):
        client = server.connect()
        if number % 2:
            client.sendall(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nx")
        else:
            client.sendall(b"GET /large?20 HTTP/1.1\r\nHost: a\r\n\r\n")
            assert client.recv(1)
        slow.append(client)
    is_over = threading.Event()

    def trickle():
        while not is_over.wait(0.5):
            for client in slow[1::2]:
                client.sendall(b"x")

    thread = threading.Thread(target=trickle)
    thread.start()
    try:
        times = []
        for _ in range(300):
            begun = time.monotonic()
            assert server.get("/tuple").body == b"abc"
            times.append(time.monotonic() - begun)
    finally:
        is_over.set()
        thread.join()
    times.sort()
    assert times[len(times) // 2] < 0.05 and times[-1] < 2, times[-10:]
    for client in slow:
        client.close()
    until(lambda: server.get("/tuple").status == 200, "it still serves")
