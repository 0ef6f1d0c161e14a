"""aiohttp: kept sessions, streams, ranges, and clients that disconnect."""

import asyncio

import aiohttp
from telling import DOWNLOAD, GIVEN, HELLO, SITE, check, digest, numbers, tell_all

WHOLE = open(GIVEN["whole"], "rb").read()
URL = f"{SITE}/script/whole.bin"


@check
async def kept():
    """a session with one connection downloads twenty files"""
    made = []

    async def count(*_):
        made.append(1)

    trace = aiohttp.TraceConfig()
    trace.on_connection_create_end.append(count)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1), trace_configs=[trace]) as session:
        for number in range(20):
            async with session.get(f"{SITE}/script/{number}.txt") as answer:
                assert (answer.status, await answer.text()) == (200, f"number {number}\n"), answer
    assert len(made) == 1, f"{len(made)} connections"


@check
async def stream():
    """content in pieces as they arrive, a file and chunks"""
    async with aiohttp.ClientSession() as session:
        for url, wanted in ((URL, WHOLE), (f"{DOWNLOAD}/lines/100000", numbers(100_000))):
            got = bytearray()
            async with session.get(url) as answer:
                async for piece in answer.content.iter_chunked(5000):
                    got += piece
            assert digest(bytes(got)) == digest(wanted), url


@check
async def ranges():
    """eight ranges at once give the whole file"""
    step = len(WHOLE) // 8

    async def part(session, number):
        async with session.get(URL, headers={"Range": f"bytes={number * step}-{(number + 1) * step - 1}"}) as answer:
            assert answer.status == 206, answer.status
            return await answer.read()

    async with aiohttp.ClientSession() as session:
        parts = await asyncio.gather(*(part(session, number) for number in range(8)))
    assert digest(b"".join(parts)) == digest(WHOLE[: step * 8])


@check
async def post():
    """a chunked body with Expect: 100-continue, and a large one"""

    async def pieces():
        for number in range(1, 50_001):
            yield b"%d\n" % number

    async with aiohttp.ClientSession() as session:
        async with session.post(f"{HELLO}/echo", data=pieces(), expect100=True) as answer:
            assert digest(await answer.read()) == digest(numbers(50_000))
        async with session.post(f"{HELLO}/echo", data=WHOLE) as answer:
            assert digest(await answer.read()) == digest(WHOLE)


@check
async def gives_up():
    """fifty clients disconnect in the middle of a response; the next one is served at once"""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def leave():
            async with session.get(f"{DOWNLOAD}/bytes/100000000") as answer:
                await answer.content.readexactly(10_000)
                answer.close()

        await asyncio.gather(*(leave() for _ in range(50)))
        async with session.get(f"{DOWNLOAD}/bytes/10", timeout=aiohttp.ClientTimeout(5)) as answer:
            assert await answer.read() == b"x" * 10


@check
async def many():
    """three hundred at once, each on a separate connection"""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, force_close=True)) as session:

        async def ask(number):
            async with session.get(f"{SITE}/script/{number % 20}.txt") as answer:
                return await answer.text()

        texts = await asyncio.gather(*(ask(number) for number in range(300)))
    assert texts == [f"number {number % 20}\n" for number in range(300)]


tell_all()
