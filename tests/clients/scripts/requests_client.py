"""requests: kept sessions, streams, ranges, and posted bodies."""

import threading

import requests
from telling import DOWNLOAD, GIVEN, HELLO, SITE, check, digest, numbers, tell_all

WHOLE = open(GIVEN["whole"], "rb").read()
URL = f"{SITE}/script/whole.bin"


@check
def session():
    """a session downloads twenty files on one connection"""
    with requests.Session() as session:
        for number in range(20):
            answer = session.get(f"{SITE}/script/{number}.txt", timeout=10)
            assert (answer.status_code, answer.text) == (200, f"number {number}\n"), answer
        pools = session.get_adapter(SITE).poolmanager.pools
        counts = [pools[key].num_connections for key in pools.keys()]
        assert counts == [1], f"{counts} connections"


@check
def stream():
    """stream=True: all of it in pieces; after an abandoned one the session continues"""
    with requests.Session() as session:
        with session.get(URL, stream=True, timeout=10) as answer:
            assert digest(b"".join(answer.iter_content(7777))) == digest(WHOLE)
        with session.get(URL, stream=True, timeout=10) as answer:
            assert next(answer.iter_content(1000)) == WHOLE[:1000]
        assert session.get(f"{SITE}/script/3.txt", timeout=10).text == "number 3\n"


@check
def chunks():
    """a chunked response, and a chunked body from a generator"""
    answer = requests.get(f"{DOWNLOAD}/lines/100000", timeout=20)
    assert answer.headers["transfer-encoding"] == "chunked" and digest(answer.content) == digest(numbers(100_000))
    answer = requests.post(f"{HELLO}/echo", data=(b"%d\n" % n for n in range(1, 50_001)), timeout=20)
    assert digest(answer.content) == digest(numbers(50_000)), len(answer.content)


@check
def ranges():
    """a range, and If-Range with the right and the wrong tag"""
    tag = requests.head(URL, timeout=10).headers["etag"]
    for fields, wanted in (
        ({"Range": "bytes=1000-1999"}, (206, WHOLE[1000:2000])),
        ({"Range": "bytes=1000-1999", "If-Range": tag}, (206, WHOLE[1000:2000])),
        ({"Range": "bytes=1000-1999", "If-Range": '"other"'}, (200, WHOLE)),
    ):
        answer = requests.get(URL, headers=fields, timeout=10)
        assert (answer.status_code, digest(answer.content)) == (wanted[0], digest(wanted[1])), fields


@check
def conditions():
    """If-None-Match: 304 without a body, and the connection continues"""
    with requests.Session() as session:
        tag = session.get(URL, timeout=10).headers["etag"]
        for _ in range(3):
            answer = session.get(URL, headers={"If-None-Match": tag}, timeout=10)
            assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", tag), answer
        assert session.get(URL, headers={"If-Match": '"other"'}, timeout=10).status_code == 412


@check
def redirects_and_names():
    """the redirect to a folder keeps the query, and names in any script are found"""
    answer = requests.get(f"{SITE}/script?a=b", timeout=10)
    assert answer.url == f"{SITE}/script/?a=b" and answer.history[0].status_code == 301, answer.url
    answer = requests.get(f"{SITE}/script/Grüße 你好.txt", timeout=10)
    assert answer.text == "Grüße\n" and answer.encoding == "utf-8", answer.encoding


@check
def errors():
    """404, 405 and 501 on one session"""
    with requests.Session() as session:
        for method, path, status in (
            ("GET", "/none", 404),
            ("DELETE", "/script/1.txt", 405),
            ("BREW", "/", 501),
            ("GET", "/script/1.txt", 200),
        ):
            answer = session.request(method, f"{SITE}{path}", timeout=10)
            assert answer.status_code == status, (method, path, answer.status_code)


@check
def threads():
    """thirty-two threads with a session each, twenty requests per thread"""
    wrong = []

    def ask():
        try:
            with requests.Session() as session:
                for number in range(20):
                    text = session.get(f"{SITE}/script/{number}.txt", timeout=20).text
                    if text != f"number {number}\n":
                        wrong.append(text)
        except Exception as error:
            wrong.append(error)

    all_of_them = [threading.Thread(target=ask) for _ in range(32)]
    for one in all_of_them:
        one.start()
    for one in all_of_them:
        one.join()
    assert not wrong, wrong[:3]


@check
def users():
    """auth=: rights of users, and a session keeps its password"""
    key = f"{GIVEN['guarded']}/private/key.txt"
    assert requests.get(key, timeout=20).status_code == 401
    assert requests.get(key, auth=("ada", "wrong"), timeout=20).status_code == 401
    with requests.Session() as session:
        session.auth = ("ada", "a long secret")
        for _ in range(20):
            answer = session.get(key, timeout=20)
            assert (answer.text, answer.headers["cache-control"]) == ("key", "private, no-cache"), answer.headers


tell_all()
