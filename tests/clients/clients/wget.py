"""wget: mirrors, and updates of them."""

from kit.bench import DAY, digest, make, noise, tree
from kit.checks import same

NAME = "wget"
DEBIAN = {"wget": "wget"}


def version(at):
    return at.run(["wget", "--version"]).text.split()[2]


def wget(at, *words, cwd=None):
    return at.run(["wget", "-nv", "--tries=1", "--no-config", *at.trusting("--ca-certificate="), *words], cwd=cwd)


def check_mirror(at):
    """-m: a whole tree through its listings, names in any script, equal bytes"""
    folder, url = at.served("mirror")
    names = [
        "plain.txt",
        "with space.txt",
        "Grüße 你好.txt",
        "100%.txt",
        "a&b;c=d+e.txt",
        "deep/er/file.bin",
        "deep/other.txt",
        "semi;colon.txt",
        "tilde~.txt",
        "empty.txt",
    ]
    for number, name in enumerate(names):
        make(folder / name, b"" if name == "empty.txt" else noise(1000 * number + 1, number))
    at.settle("/mirror/empty.txt")
    copy = at.folder("wget-mirror")
    words = ["-m", "-np", "-nH", "--cut-dirs=1", "-R", "index.html*", "--restrict-file-names=nocontrol", f"{url}/"]
    mark = at.site.mark()
    wget(at, *words, cwd=copy).good()
    at.site.logged(mark, '/mirror/deep/er/file.bin HTTP/1.1" 200')  # the last line of the first run: later lines belong to the second run
    same(tree(copy), tree(folder), "the copy")
    stamps = {name: int((folder / name).stat().st_mtime) for name in names}
    same({name: int((copy / name).stat().st_mtime) for name in names}, stamps, "the times")
    mark = at.site.mark()
    wget(at, *words, cwd=copy).good()
    fresh = at.site.logged(mark, '/mirror/tilde~.txt HTTP/1.1" 304')
    files = [line for line in fresh if "/mirror/" in line and '/ HTTP/1.1"' not in line]
    same([line for line in files if '" 304 ' not in line], [], "what was fetched the second time")


def check_orders(at):
    """-r: a folder is stored once, not once for each order in its headings"""
    folder, url = at.served("orders")
    make(folder / "inside" / "file.txt", b"x")
    away = at.folder("orders-by-wget")
    wget(at, "-r", "-np", "-nH", "-e", "robots=off", f"{url}/", cwd=away).good()
    same(sorted(tree(away)), [f"orders/{name}" for name in ("index.html", "inside/file.txt", "inside/index.html")], "files")


def check_newer(at):
    """-N: once, not again, and again after a change"""
    page = make(at.root / "wget-newer.html", b"<p>one")
    at.settle("/wget-newer.html")
    copy, url = at.folder("wget-newer"), f"{at.site.url}/wget-newer.html"
    for wanted, content in (("200", b"<p>one"), ("304", b"<p>one"), ("200", b"<p>two")):
        if content != page.read_bytes():
            make(page, content, age=DAY // 2)
            at.settle("/wget-newer.html")
        mark = at.site.mark()
        wget(at, "-N", url, cwd=copy).good()
        at.site.logged(mark, f'" {wanted} ')
        same((copy / page.name).read_bytes(), content, f"the copy after a {wanted}")


def check_resume(at):
    """-c: the rest of a file, and nothing of a complete one"""
    whole = make(at.root / "wget.bin", noise(2_000_000, 3))
    at.settle("/wget.bin")
    half = make(at.folder("wget-resume") / "wget.bin", whole.read_bytes()[:777_777])
    mark = at.site.mark()
    wget(at, "-c", f"{at.site.url}/wget.bin", cwd=half.parent).good()
    at.site.logged(mark, '" 206 ')
    same(digest(half), digest(whole), "the file")
    mark = at.site.mark()
    wget(at, "-c", f"{at.site.url}/wget.bin", cwd=half.parent).good()
    at.site.logged(mark, '" 416 ')
    same(digest(half), digest(whole), "the file, asked for again")


def check_page_with_all_it_needs(at):
    """-p of the project's own site: nothing is missing"""
    site = at.serve("modest", at.project / "www", "-b", "127.0.0.1", "-p", "0")
    copy = at.folder("wget-page")
    wget(at, "-p", "-nH", f"{site.url}/", cwd=copy).good()
    got = tree(copy)
    same({name: digest(at.project / "www" / name) for name in got}, got, "what came")
    assert {"index.html", "style.css", "script.js", "house.svg"} <= set(got), got.keys()


def check_missing(at):
    """a missing file is an error with its status"""
    done = wget(at, f"{at.site.url}/there/is/no/such/thing", cwd=at.folder("wget-missing"))
    assert done.status == 8 and b"404" in done.err, done.err


def check_users(at):
    """--user and --password: a challenge once, then it continues"""
    url = f"{at.guarded().url}/private/"
    refused = wget(at, "-O", "/dev/null", url)
    assert "401" in refused.text or refused.status != 0, refused
    copy = at.folder("wget-users")
    words = ["-r", "-np", "-nH", "-R", "index.html*", "--user=ada", "--password=a long secret", url]
    wget(at, *words, cwd=copy).good()
    same((copy / "private" / "key.txt").read_bytes(), b"key", "the file")
