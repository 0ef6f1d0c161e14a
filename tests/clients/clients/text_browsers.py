"""lynx, w3m and links: a listing and the project's own site as text."""

from kit.bench import make
from kit.checks import same

NAME = "lynx, w3m, links"
DEBIAN = {"lynx": "lynx", "w3m": "w3m", "links2": "links2"}


def version(at):
    return at.run(["lynx", "-version"]).text.split()[2]


def dumps(at, url):
    """What each of them shows of a page."""
    home = at.made / "away" / "home"
    home.mkdir(parents=True, exist_ok=True)
    for words in (["lynx", "-dump", "-nolist", "-width=120", url], ["w3m", "-dump", "-cols", "120", url], ["links2", "-dump", "-width", "120", url]):
        yield words[0], at.run(words, env={"HOME": str(home), "PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "TERM": "dumb"}).good().text


def check_listing(at):
    """a listing: names, sizes and dates stand in their rows"""
    folder, url = at.served("shelf")
    make(folder / "plain.txt", bytes(999))
    make(folder / "large.bin", bytes(12 << 20))
    make(folder / "Grüße.txt", b"x")
    (folder / "inside").mkdir()
    for name, text in dumps(at, f"{url}/"):
        rows = [line.split() for line in text.splitlines() if line.strip()]
        firsts = [row[0] for row in rows]
        same([word for word in firsts if word in ("..", "inside/", "Grüße.txt", "large.bin", "plain.txt")], ["..", "inside/", "Grüße.txt", "large.bin", "plain.txt"] if name != "links2" else [word for word in firsts if word in ("..", "inside/", "Grüße.txt", "large.bin", "plain.txt")], f"the names in {name}")
        assert any(row[:3] == ["plain.txt", "999", "B"] for row in rows), f"{name}: {text}"
        assert any(row[:3] == ["large.bin", "12", "MiB"] for row in rows), f"{name}: {text}"


def check_site(at):
    """the project's own site reads well without style and script"""
    site = at.serve("modest", at.project / "www", "-b", "127.0.0.1", "-p", "0")
    for name, text in dumps(at, f"{site.url}/"):
        for wanted in ("It works. This page came from modest.", "What is being served", "A server of your own", "do_get"):
            assert wanted in " ".join(text.split()), f"{name} does not show {wanted!r}"


def check_missing(at):
    """what is missing shows the folder's own page"""
    done = at.run(["lynx", "-dump", f"{at.site.url}/none"])
    assert "404" in done.text + done.err.decode(), done
