"""lynx, w3m and links: a listing and the project's own site as text."""

from kit.bench import make
from kit.checks import same
from kit.commands import plain_environment

NAME = "lynx, w3m, links"
DEBIAN = {"lynx": "lynx", "w3m": "w3m", "links2": "links2"}


def version(at):
    return at.run(["lynx", "-version"]).text.split()[2]


def dumps(at, url):
    """The text that each of them shows for a page."""
    url = url.replace("127.0.0.1", "localhost")  # lynx does not find addresses in a certificate
    home = at.made / "away" / "home"
    home.mkdir(parents=True, exist_ok=True)
    for words in (
        ["lynx", "-dump", "-nolist", "-width=120", url],
        ["w3m", "-dump", "-cols", "120", *at.trusting("-o", "ssl_ca_file="), url],
        ["links2", "-dump", "-width", "120", *(["-ssl.certificates", "0"] if at.tls else []), url],
    ):
        done = at.run(words, env=plain_environment(HOME=str(home), TERM="dumb"))
        yield words[0], done.text + done.err.decode()


def check_listing(at):
    """a listing: names, sizes and dates are in their rows"""
    folder, url = at.served("shelf")
    make(folder / "plain.txt", bytes(999))
    make(folder / "large.bin", bytes(12 << 20))
    make(folder / "Grüße.txt", b"x")
    (folder / "inside").mkdir()
    for name, text in dumps(at, f"{url}/"):
        rows = [line.split() for line in text.splitlines() if line.strip()]
        words = [row[0] for row in rows]
        assert "".join(rows[0]) == "/shelf/", f"the way here in {name}: {rows[0]}"
        same(
            words[words.index("..") :],
            ["..", "inside/", "Grüße.txt", "large.bin", "plain.txt"],
            f"the first words in {name}",
        )
        same([row[1:3] for row in rows[-3:]], [["1", "B"], ["12", "MiB"], ["999", "B"]], f"the sizes in {name}")


def check_site(at):
    """the project's own site is readable without style and script"""
    site = at.serve("modest", at.project / "www", "-b", "127.0.0.1", "-p", "0")
    for name, text in dumps(at, f"{site.url}/"):
        for wanted in (
            "It works. This page is served by modest.",
            "What is being served",
            "A server of your own",
            "do_get",
        ):
            assert wanted in " ".join(text.split()), f"{name} does not show {wanted!r}"


def check_missing(at):
    """a missing page is shown with its status"""
    for name, text in dumps(at, f"{at.site.url}/none"):
        assert "404 Not Found" in text, f"{name}: {text}"
