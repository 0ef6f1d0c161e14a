"""Firefox and the pages of the program: the listing with its controls, and an error."""

from kit.bench import make
from kit.checks import same
from kit.marionette import Firefox

NAME = "firefox"
DEBIAN = {"firefox-esr": "firefox-esr"}
LIMITS = {"check_listing": 180, "check_error": 120, "check_narrow": 120, "check_many": 180}
ROWS = "return [...document.querySelectorAll('tbody:not(#up) tr')].filter(r => r.getClientRects().length).map(r => r.querySelector('a').textContent)"


def version(at):
    return at.run(["firefox-esr", "--version"]).text.split()[-1]


def check_listing(at):
    """the listing: order, filter, local times, icons, light and dark"""
    folder, url = at.served("firefox")
    names = ["file 10.txt", "file 2.txt", "picture.png", "Grüße 你好 שלום.txt", "packed.zip", "x" * 200 + ".txt"]
    for number, name in enumerate(names):
        make(folder / name, bytes(10 ** number))
    make(folder / "deeper" / "page.txt", b"the page")
    for dark in (False, True):
        with Firefox(at.folder(f"firefox-dark-{dark}"), dark=dark) as firefox:
            firefox.open(f"{url}/")
            expected = ["deeper/", "file 2.txt", "file 10.txt", "Grüße 你好 שלום.txt", "packed.zip", "picture.png", names[-1]]
            same(firefox.run(ROWS), expected, "rows")
            firefox.wait("return document.querySelector('i').textContent == 'local'", "local times")
            background = firefox.run("return getComputedStyle(document.body).backgroundColor")
            same(sum(map(int, background[4:-1].split(","))) < 384, dark, f"dark, of {background}")
            shape = firefox.run("return getComputedStyle(document.querySelector('td a'), '::before').clipPath")
            assert shape.startswith("path("), f"no icon: {shape}"
            firefox.shot(at.shots / f"firefox-{'dark' if dark else 'light'}.png")
            firefox.run("let q = document.querySelector('input'); q.focus(); q.value = 'file'; q.oninput()")
            same(firefox.run(ROWS), ["file 2.txt", "file 10.txt"], "rows that are left by the filter")
            firefox.run("document.querySelector('button[value=\"-size\"]').click()")
            firefox.wait("return location.search == '?sort=-size'", "sorted by size")
            same(firefox.run(ROWS)[:2], ["deeper/", names[-1]], "the largest first, after folders")


def check_narrow(at):
    """the listing on a phone: 320 and 390 px without overflow, rows of at least 44 px"""
    # A window of Firefox is never narrower than 500 px; a frame can be.
    make(at.root / "frame.html", b"<!DOCTYPE html><body style='margin:0'><iframe style='border:0' height=700 src='/firefox/'></iframe>")
    with Firefox(at.folder("firefox-narrow")) as firefox:
        firefox.open(f"{at.site.url}/frame.html")
        for width in (320, 390):
            firefox.run("document.querySelector('iframe').width = arguments[0]", width)
            firefox.wait(f"return frames[0].innerWidth == {width}", f"a frame of {width} px")
            overflow = firefox.run("let e = frames[0].document.documentElement; return e.scrollWidth - e.clientWidth")
            same(overflow, 0, f"pixels too many at {width}")
            heights = firefox.run("return [...frames[0].document.querySelectorAll('tbody tr')].map(r => r.getBoundingClientRect().height)")
            assert len(heights) == 8 and min(heights) >= 44, heights
            firefox.shot(at.shots / f"firefox-{width}.png")


def check_many(at):
    """10,000 names are in the page, and are laid out when they come near"""
    folder, url = at.served("firefox-many")
    for number in range(10_000):
        (folder / f"number {number}.txt").touch()
    with Firefox(at.folder("firefox-many-profile")) as firefox:
        firefox.open(f"{url}/")
        same(firefox.run("return document.querySelectorAll('tbody:not(#up) tr').length"), 10_000, "rows")
        firefox.run("document.querySelector('tbody:last-of-type tr:last-child a').scrollIntoView()")
        seen = "let r = document.querySelector('tbody:last-of-type tr:last-child').getBoundingClientRect(); return r.top >= 0 && r.top < innerHeight && r.height > 20"
        firefox.wait(seen, "the last row in view")


def check_error(at):
    """the error page: the error, and a link to the nearest existing folder"""
    folder, url = at.served("firefox-error")
    make(folder / "deep" / "page.txt", b"x")
    with Firefox(at.folder("firefox-error-profile")) as firefox:
        firefox.open(f"{url}/deep/gone/file.txt")
        same(firefox.run("return document.title"), "404 Not Found", "its title")
        same(firefox.run("return getComputedStyle(document.querySelector('h1')).fontSize"), "20.8px", "its style is let in by the policy")
        firefox.shot(at.shots / "firefox-error.png")
        firefox.run("document.querySelector('nav a').click()")
        firefox.wait("return document.readyState == 'complete' && location.pathname == '/firefox-error/deep/'", "the folder")
