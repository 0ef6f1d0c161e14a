"""curl: the first client that most people try."""

import email
import gzip
import shutil
import subprocess
import time

from kit import commands
from kit.bench import DAY, digest, make, noise
from kit.checks import Skipped, same

NAME = "curl"
DEBIAN = {"curl": "curl"}
TEXT = b"".join(b"line %d of a text that is worth coding\n" % n for n in range(4000))


def version(at):
    return at.run(["curl", "--version"]).text.split()[1]


def curl(at, *words, stdin=b"", within=30):
    """One curl, which prints only errors."""
    return at.run(["curl", "-sS", *at.trusting("--proxy-cacert", ""), *words], stdin=stdin, within=within)


def told(at, what, *words, stdin=b""):
    """The output of `-w`, without the body."""
    return curl(at, "-o", "/dev/null", "-w", what, *words, stdin=stdin).good().text


def big(at):
    """A file of 3 MB, and its address."""
    path = at.root / "curl" / "big.bin"
    if not path.exists():
        make(path, noise(3_000_000))
        at.settle("/curl/big.bin")
    return path, f"{at.site.url}/curl/big.bin"


def text(at):
    """A text with a sidecar in each coding for which there is a tool."""
    path = at.root / "curl" / "text.js"
    if not path.exists():
        make(path, TEXT)
        for tool, suffix in (("brotli", "br"), ("zstd", "zst")):
            if shutil.which(tool):
                make(
                    path.with_name(f"text.js.{suffix}"),
                    subprocess.run([tool, "-c"], input=TEXT, stdout=-1, check=True).stdout,
                )
        make(path.with_name("text.js.gz"), gzip.compress(TEXT))  # the last client: when it is accepted, all are
        at.settle("/curl/text.js", "gzip")
    return path, f"{at.site.url}/curl/text.js"


def check_get(at):
    """a whole file: all bytes, its type and its length"""
    path, url = big(at)
    same(digest(curl(at, url).good().out), digest(path), "the body")
    same(
        told(at, "%{http_code} %{content_type} %{size_download}", url),
        "200 application/octet-stream 3000000",
        "the answer",
    )


def check_head(at):
    """-I: the fields of the file, and no body"""
    path, url = big(at)
    said = curl(at, "-I", url).good().text.lower()
    for wanted in (
        "http/1.1 200 ok",
        f"content-length: {path.stat().st_size}",
        "accept-ranges: bytes",
        'etag: "',
        "last-modified: ",
    ):
        assert wanted in said, f"{wanted!r} is missing: {said}"
    assert said.endswith("\r\n\r\n"), said[-80:]


def check_resume(at):
    """-C - continues a broken download, and downloads nothing of a complete file"""
    path, url = big(at)
    half = make(at.folder("curl-resume") / "big.bin", path.read_bytes()[:1_234_567])
    same(curl(at, "-C", "-", "-o", half, "-w", "%{http_code}", url).good().text, "206", "the status")
    same(digest(half), digest(path), "the file")
    again = curl(at, "-C", "-", "-o", half, "-w", "%{http_code}", url)
    same((again.status, again.text), (0, "416"), "a file that is whole")
    same(digest(half), digest(path), "the file, asked for again")


def check_ranges(at):
    """-r: the first bytes, the last ones, open, beyond the end, and no range at all"""
    path, url = big(at)
    whole = path.read_bytes()
    for asked, part in {
        "0-0": whole[:1],
        "0-": whole,
        "-5": whole[-5:],
        "2999999-": whole[-1:],
        "100-199": whole[100:200],
        "2999990-9999999": whole[-10:],
        "-9999999": whole,
    }.items():
        done = curl(at, "-r", asked, "-w", "%{stderr}%{http_code} %header{content-range}", url).good()
        same(digest(done.out), digest(part), f"the bytes of {asked}")
        assert done.err.startswith(b"206 bytes "), f"{asked}: {done.err}"
    for asked, status in {"3000000-": "416 bytes */3000000", "-0": "416 bytes */3000000"}.items():
        same(told(at, "%{http_code} %header{content-range}", "-r", asked, url), status, asked)
    for asked in ("lines=0-4", "bytes=9-4", "bytes=x"):
        same(told(at, "%{http_code} %{size_download}", "-H", f"Range: {asked}", url), "200 3000000", asked)


def check_many_ranges(at):
    """-r with many ranges: multipart/byteranges that a mail parser reads"""
    path, url = big(at)
    whole = path.read_bytes()
    done = curl(at, "-i", "-r", "0-4,100-104,-3", url).good()
    head, _, body = done.out.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 206 "), head
    fields = dict(line.lower().split(": ", 1) for line in head.decode().splitlines()[1:])
    same(int(fields["content-length"]), len(body), "the length")
    message = email.message_from_bytes(head.split(b"\r\n", 1)[1] + b"\r\n\r\n" + body)
    parts = [(part["Content-Range"], part.get_payload(decode=True)) for part in message.get_payload()]
    wanted = [
        ("bytes 0-4/3000000", whole[:5]),
        ("bytes 100-104/3000000", whole[100:105]),
        ("bytes 2999997-2999999/3000000", whole[-3:]),
    ]
    same(parts, wanted, "the parts")


def check_absurd_ranges(at):
    """a thousand overlapping ranges send no more than the file"""
    path, url = big(at)
    length = int(told(at, "%{size_download}", "-r", ",".join("0-" for _ in range(1000)), url))
    assert length <= path.stat().st_size + 1000, f"{length} bytes were sent"


def check_time_conditions(at):
    """-z: 304 for an older file, the content for a newer one"""
    path, url = big(at)
    stamp = path.stat().st_mtime
    for name, seconds, wanted in (("older", -DAY, "200 3000000"), ("equal", 0, "304 0"), ("newer", 3600, "304 0")):
        copy = make(at.folder(f"curl-time-{name}") / "big.bin", b"")
        when = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(stamp + seconds))
        same(told(at, "%{http_code} %{size_download}", "-z", when, url), wanted, f"-z {name}")
        assert copy.exists()
    same(
        told(at, "%{http_code}", "-z", "-" + time.strftime("%d %b %Y %H:%M:%S GMT", time.gmtime(stamp - DAY)), url),
        "412",
        "-z -older",
    )


def check_etags(at):
    """--etag-save and --etag-compare: nothing the second time, the new content the third time"""
    page = make(at.root / "curl" / "page.html", b"<p>one")
    at.settle("/curl/page.html")
    tag = at.folder("curl-etags") / "tag"
    url = f"{at.site.url}/curl/page.html"

    def ask():
        return curl(at, "--etag-save", tag, "--etag-compare", tag, "-w", " %{http_code}", url).good().text

    tag.write_bytes(b"")
    same(ask(), "<p>one 200", "the first")
    same(ask(), " 304", "the second")
    make(page, b"<p>two", age=DAY - 1)
    same(ask(), "<p>two 200", "after an edit")


def check_upload_with_expect(at):
    """upload: Expect: 100-continue, then the body, and the same body back"""
    body = noise(5 << 20)
    done = curl(
        at,
        "-v",
        "-H",
        "Expect: 100-continue",
        "--expect100-timeout",
        "20",
        "--data-binary",
        "@-",
        f"{at.hello.url}/echo",
        stdin=body,
    ).good()
    same(digest(done.out), digest(body), "the body that came back")
    said = done.err.decode("utf-8", "replace")
    assert "< HTTP/1.1 100 Continue" in said and "< HTTP/1.1 200 OK" in said, said[-600:]


def check_upload_refused(at):
    """an upload that is rejected from its head sends no body"""
    body = make(at.folder("curl-refused") / "body", noise(5 << 20))
    said = told(
        at,
        "%{http_code} %{size_upload} %header{allow}",
        "--expect100-timeout",
        "20",
        "-H",
        "Expect: 100-continue",
        "-T",
        body,
        f"{at.site.url}/curl/new.bin",
    )
    same(said, "405 0 GET, HEAD, OPTIONS", "a PUT")
    assert not (at.root / "curl" / "new.bin").exists()
    without = curl(
        at, "-o", "/dev/null", "-w", "%{http_code}", "-H", "Expect:", "--data-binary", f"@{body}", f"{at.site.url}/"
    )
    same(without.text, "405", "a POST that doesn't wait")


def check_too_large(at):
    """a body above the limit gets a 413, which arrives while the body is sent"""
    body = at.folder("curl-large") / "body"
    with body.open("wb") as file:
        file.truncate(64 << 20)
    for name, words in (
        ("length", ["--data-binary", f"@{body}"]),
        ("chunks", ["-X", "POST", "-T", body, "-H", "Transfer-Encoding: chunked"]),
    ):
        done = curl(at, "-o", "/dev/null", "-w", "%{http_code}", "-H", "Expect:", *words, f"{at.hello.url}/echo")
        same(done.text, "413", name)


def check_chunked_upload(at):
    """a chunked upload from a pipe, of 0 bytes to 2 MB"""
    for length in (0, 1, 65_536, 2_000_000):
        body = noise(length)
        done = curl(
            at, "-X", "POST", "-T", "-", "-w", "%{stderr}%{http_code}", f"{at.hello.url}/echo", stdin=body
        ).good()
        same((digest(done.out), done.err), (digest(body), b"200"), f"{length} bytes")


def check_compressed(at):
    """--compressed: the sidecar is sent with its coding, and decodes to the same bytes"""
    path, url = text(at)
    done = curl(
        at, "--compressed", "-w", "%{stderr}%{http_code} %header{content-encoding} %header{vary} %{content_type}", url
    ).good()
    same(digest(done.out), digest(path), "what was decoded")
    assert done.err.decode().endswith("Accept-Encoding text/javascript; charset=utf-8"), done.err
    for coding, suffix in (("gzip", "gz"), ("br", "br"), ("zstd", "zst")):
        sidecar = path.with_name(f"text.js.{suffix}")
        if sidecar.exists():
            same(digest(curl(at, "-H", f"Accept-Encoding: {coding}", url).good().out), digest(sidecar), coding)
    same(digest(curl(at, url).good().out), digest(path), "asked for plainly")
    tags = {told(at, "%header{etag}", "-H", f"Accept-Encoding: {coding}", url) for coding in ("gzip", "br", "identity")}
    assert len(tags) >= 2, tags


def check_http_1_0(at):
    """-0: no chunks; the end of the connection ends a body of unknown length"""
    path, url = big(at)
    same(digest(curl(at, "-0", url).good().out), digest(path), "a file")
    wanted = b"".join(b"%d\n" % number for number in range(1, 200_001))
    done = curl(at, "-0", "-i", f"{at.download.url}/lines/200000").good()
    head, _, body = done.out.partition(b"\r\n\r\n")
    assert b"chunked" not in head.lower(), head
    same(digest(body), digest(wanted), "a stream")


def check_stream(at):
    """a stream of unknown length in chunks, and one of known length"""
    wanted = b"".join(b"%d\n" % number for number in range(1, 200_001))
    done = curl(at, "-w", "%{stderr}%header{transfer-encoding}", f"{at.download.url}/lines/200000").good()
    same((digest(done.out), done.err), (digest(wanted), b"chunked"), "chunks")
    same(told(at, "%{size_download}", f"{at.download.url}/bytes/12345678"), "12345678", "its length")


def check_paths(at):
    """--path-as-is: no spelling of a path leads out of the folder"""
    make(at.made / "secret.txt", b"secret")  # beside the served folder
    text(at)
    for path, statuses in {
        "/../secret.txt": "400",
        "/curl/../../secret.txt": "400",
        "/%2e%2e/secret.txt": "400",
        "/..%2fsecret.txt": "400 404",
        "/curl/..%5c..%5csecret.txt": "400 404",
        "//etc/passwd": "301 404",
        "/curl/text.js/": "404",
        "/curl/text.js%00": "400 404",
        "/curl/%zz": "400",
        "/curl/../curl/text.js": "301",
        "/curl": "301",
    }.items():
        done = curl(at, "--path-as-is", "-w", "%{stderr}%{http_code} %header{location}", f"{at.site.url}{path}").good()
        status, _, location = done.err.decode().partition(" ")
        assert status in statuses.split(), f"{path}: {status}"
        assert b"secret" not in done.out or b"<" in done.out, f"{path}: {done.out[:80]}"
        assert not location or (location.startswith("/") and not location.startswith("//")), f"{path}: {location}"


def check_kept(at):
    """three files on one connection"""
    _, url = big(at)
    counts = curl(at, *(["-o", "/dev/null"] * 3), "-w", "%{num_connects} ", url, url, url).good().text
    same(counts, "1 0 0 ", "new connections")


def check_parallel(at):
    """-Z: sixty at once, all of them correct"""
    path, url = big(at)
    folder = at.folder("curl-parallel")
    curl(at, "-Z", "--parallel-max", "60", "-o", f"{folder}/#1", f"{url}?[1-60]").good()
    same({digest(file) for file in folder.iterdir()}, {digest(path)}, "the files")
    same(len(list(folder.iterdir())), 60, "how many")


def check_upgrade(at):
    """--http2 requests an upgrade that the server does not support: HTTP/1.1 continues"""
    path, url = text(at)
    same(
        told(at, "%{http_version} %{http_code} %{size_download}", "--http2", url),
        f"1.1 200 {path.stat().st_size}",
        "the answer",
    )


def check_as_through_a_proxy(at):
    """-x: the target in absolute form"""
    path, _ = text(at)
    done = curl(at, "-x", at.site.url, "http://any.example/curl/text.js").good()
    same(digest(done.out), digest(path), "the body")


def check_methods(at):
    """OPTIONS, OPTIONS *, TRACE, DELETE and an unknown method"""
    _, url = text(at)
    same(told(at, "%{http_code} %header{allow}", "-X", "OPTIONS", url), "204 GET, HEAD, OPTIONS", "OPTIONS")
    said = told(at, "%{http_code}", "-X", "OPTIONS", "--request-target", "*", at.site.url)
    assert said in ("200", "204"), f"OPTIONS *: {said}"
    for method, wanted in (("TRACE", "405"), ("DELETE", "405"), ("BREW", "501")):
        same(told(at, "%{http_code}", "-X", method, url), wanted, method)


def check_beyond_4_gib(at):
    """a file of 5 GiB: its length, a range beyond 4 GiB, its last bytes"""
    path = at.root / "curl" / "huge.bin"
    with path.open("wb") as file:
        try:
            file.truncate(5 << 30)
        except OSError as error:
            raise Skipped(f"no file of 5 GiB can be made here: {error}") from None
        file.seek((4 << 30) + 17)
        file.write(b"beyond")
        file.seek((5 << 30) - 4)
        file.write(b"last")
    url = f"{at.site.url}/curl/huge.bin"
    same(told(at, "%header{content-length}", "-I", url), str(5 << 30), "the length")
    same(curl(at, "-r", f"{(4 << 30) + 17}-{(4 << 30) + 22}", url).good().out, b"beyond", "beyond 4 GiB")
    same(curl(at, "-r", "-4", url).good().out, b"last", "the end")
    same(
        told(at, "%header{content-range}", "-r", f"{(4 << 30) - 5}-{(4 << 30) + 4}", url),
        f"bytes {(4 << 30) - 5}-{(4 << 30) + 4}/{5 << 30}",
        "across the border",
    )
    path.unlink()


def check_slow_reader(at):
    """a slow reader gets everything, and delays no other client"""
    path, url = big(at)
    slow = at.folder("curl-slow") / "big.bin"
    words = ["curl", "-sS", "--limit-rate", "1500k", "-o", slow, url]
    process = commands.start(words)
    try:
        begun = time.monotonic()
        same(told(at, "%{http_code}", f"{at.site.url}/curl/big.bin"), "200", "another request in the meantime")
        assert time.monotonic() - begun < 1.5, "another had to wait"
        same(process.wait(20), 0, "its exit status")
    finally:
        commands.end(process)
    same(digest(slow), digest(path), "the file")


def check_users(at):
    """-u: rights of users, under any spelling; wrong passwords are slowed down"""
    url = at.guarded().url
    key = ["-L", "-o", "/dev/null", "-w", "%{http_code}", "--path-as-is"]
    for path in ("/private/key.txt", "/%70rivate/key.txt", "//private/key.txt", "/x/../private/key.txt", "/private/"):
        same(curl(at, *key, url + path).good().text, "401", f"{path} without a password")
    same(curl(at, "-u", "ada:a long secret", f"{url}/private/key.txt").good().text, "key", "with it")
    same(curl(at, f"{url}/open.txt").good().text, "open", "what is open")
    assert "private" not in curl(at, f"{url}/").good().text, "a listing shows what may not be read"
    codes = [curl(at, *key, "-u", "eve:wrong", f"{url}/open.txt").good().text for _ in range(12)]
    same((codes[0], codes[-1]), ("401", "429"), "the first and the last of twelve")
