"""httpx: kept clients, streams in both directions, many at once."""

import asyncio
import ssl

import httpx
from telling import DOWNLOAD, GIVEN, HELLO, SITE, check, digest, numbers, tell_all

WHOLE = open(GIVEN["whole"], "rb").read()
URL = f"{SITE}/script/whole.bin"
TRUSTED = ssl.create_default_context(cafile=next(iter(GIVEN["authority"]), None))


@check
def kept():
    """a client downloads twenty files on one connection"""
    connects = []

    def watch(name, _):
        if name == "connection.connect_tcp.started":
            connects.append(name)

    with httpx.Client(trust_env=False, verify=TRUSTED) as client:
        for number in range(20):
            answer = client.get(f"{SITE}/script/{number}.txt", extensions={"trace": watch})
            assert (answer.status_code, answer.text, answer.http_version) == (200, f"number {number}\n", "HTTP/1.1"), (
                answer
            )
    assert len(connects) == 1, connects


@check
def stream():
    """a stream read in pieces, one that is abandoned in the middle, and a chunked one"""
    with httpx.Client(trust_env=False, verify=TRUSTED) as client:
        with client.stream("GET", URL) as answer:
            assert digest(b"".join(answer.iter_raw(9999))) == digest(WHOLE)
        with client.stream("GET", URL) as answer:
            assert next(answer.iter_raw(1000)) == WHOLE[:1000]
        assert client.get(f"{SITE}/script/3.txt").text == "number 3\n"
        assert digest(client.get(f"{DOWNLOAD}/lines/100000").content) == digest(numbers(100_000))


@check
def post():
    """bodies of bytes, of a generator, of a form, and from a file"""
    parts = (b"%d\n" % n for n in range(1, 50_001))
    with httpx.Client(trust_env=False, verify=TRUSTED) as client:
        assert digest(client.post(f"{HELLO}/echo", content=parts).content) == digest(numbers(50_000))
        assert client.post(f"{HELLO}/echo", data={"a": "b c"}).content == b"a=b+c"
        assert digest(client.post(f"{HELLO}/echo", content=WHOLE).content) == digest(WHOLE)
        with open(GIVEN["whole"], "rb") as file:
            answer = client.post(f"{HELLO}/echo", files={"file": ("whole.bin", file)})
        assert WHOLE in answer.content


@check
def resumes():
    """a range, a condition, a redirect, a missing file"""
    with httpx.Client(trust_env=False, verify=TRUSTED, follow_redirects=True) as client:
        answer = client.get(URL, headers={"Range": f"bytes={len(WHOLE) - 10}-"})
        assert (answer.status_code, answer.content) == (206, WHOLE[-10:])
        tag = answer.headers["etag"]
        assert client.get(URL, headers={"If-None-Match": tag}).status_code == 304
        assert client.get(f"{SITE}/script").url.path == "/script/"
        assert client.get(f"{SITE}/none").status_code == 404


@check
async def many():
    """a hundred at once from one async client"""
    async with httpx.AsyncClient(trust_env=False, verify=TRUSTED, timeout=20) as client:
        answers = await asyncio.gather(*(client.get(f"{SITE}/script/{number % 20}.txt") for number in range(100)))
    assert [answer.text for answer in answers] == [f"number {number % 20}\n" for number in range(100)]


tell_all()
