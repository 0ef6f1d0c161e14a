"""Firefox and the pages of the program: the listing with its controls, uploads, logins, and errors."""

import contextlib
import json

from kit.bench import make, noise
from kit.checks import same
from kit.cutting import Cut
from kit.marionette import Firefox

NAME = "firefox"
DEBIAN = {"firefox-esr": "firefox-esr"}
LIMITS = dict.fromkeys(["listing", "narrow", "keys", "viewing", "many", "plain", "uploads", "breaks", "login", "error"], 180)
ROWS = "return [...document.querySelectorAll('tbody:not(#up) tr')].filter(r => r.getClientRects().length).map(r => r.querySelector('a').textContent)"

NAMES = "[...document.querySelectorAll('tbody:not(#up) td:first-child a')].map(a => a.textContent)"


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
            firefox.wait("return location.search == '?q=file&sort=-size'", "sorted by size")
            same(firefox.run(ROWS), ["file 2.txt", "file 10.txt"], "the largest first, still filtered")


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


def check_keys(at):
    """by keys alone: filter, order, a row, Back"""
    folder, url = at.served("firefox-keys")
    for number, name in enumerate(["one report.txt", "two.txt", "report three.txt"]):
        make(folder / name, bytes(10**number))
    make(folder / "deeper" / "page.txt", b"the page")
    focus = "return document.activeElement.textContent.trim() || document.activeElement.type"
    with Firefox(at.folder("firefox-keys-profile")) as firefox:
        firefox.open(f"{url}/")
        firefox.keys("/", *"report")
        same(firefox.run(ROWS), ["one report.txt", "report three.txt"], "rows that are left by the filter")
        same(firefox.run("return document.querySelector('.f output').textContent"), "2 shown", "the count")
        firefox.keys("Tab", "Tab", "Tab")
        same(firefox.run(focus), "Size", "what has the focus after the filter")
        firefox.keys("Enter")
        firefox.wait("return location.search == '?q=report&sort=-size'", "sorted, with the filter")
        same(firefox.run(ROWS), ["report three.txt", "one report.txt"], "the largest first")
        firefox.keys("/", "Escape")
        same(len(firefox.run(ROWS)), 4, "rows without the filter")
        firefox.run("document.querySelector('tbody:not(#up) a').focus()")
        firefox.keys("Enter")
        firefox.wait("return document.readyState == 'complete' && location.pathname.endsWith('/deeper/')", "the folder")
        firefox("WebDriver:Back")
        firefox.wait("return location.search == '?sort=-size'", "the order after Back, without the filter")


def check_viewing(at):
    """a README, a grid of pictures, a search through subfolders, sizes of folders"""
    folder, url = at.served("firefox-viewing")
    make(folder / "README.md", b"# The title\n\n*slanted* <script>document.title = 'evil'</script>\n")
    make(folder / "dot.svg", b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1"><path d="M0 0h1v1z"/></svg>')
    make(folder / "sub" / "deep" / "needle <i>.txt", b"12345")
    with Firefox(at.folder("firefox-viewing-profile")) as firefox:
        firefox.open(f"{url}/")
        firefox.wait("return document.querySelector('article em')?.textContent == 'slanted'", "the README")
        same(firefox.run("return document.title"), "firefox-viewing/ – Index of /firefox-viewing/", "no script of it runs")
        button = "return [...document.querySelectorAll('p button')].find(b => b.textContent == arguments[0]).click()"
        firefox.run(button, "Pictures")
        firefox.wait("return document.querySelector('td img')?.naturalWidth > 0", "a picture")
        firefox.run(button, "Pictures")
        firefox.run(button, "Folder sizes")
        firefox.wait("return document.querySelector('tbody:not(#up) td + td').textContent == '5 B'", "the size of the folder")
        firefox.keys("/", *"needle", "Enter")
        firefox.wait("return document.querySelector('#r li')?.textContent == 'sub/deep/needle <i>.txt'", "the name that is found")
        firefox.shot(at.shots / "firefox-viewing.png")


def check_plain(at):
    """without a script: the listing, its order, uploads by the form, and the reason of a rejection"""
    folder = at.folder("firefox-plain")
    make(folder / "small.txt", b"1")
    make(folder / "larger.txt", b"12345")
    server = at.serve("modest", folder, "-b", "127.0.0.1", "-p", "0", "--upload")
    file = make(at.folder("firefox-plain-away") / "Grüße #1.txt", b"new")
    with Firefox(at.folder("firefox-plain-profile"), scripts=False) as firefox:
        firefox.open(f"{server.url}/")
        same(firefox.texts("td:first-child a"), ["larger.txt", "small.txt"], "rows")
        same(firefox.texts("th"), ["Name", "Size", "Modified UTC"], "headings")
        firefox.click("button[value='-size']")
        firefox.click("button[value='size']")
        same(firefox.texts("td:first-child a"), ["small.txt", "larger.txt"], "by size")
        for expected in ("Grüße #1.txt", "Grüße #1.txt: That name is taken"):
            firefox.enter("input[type=file]", file)
            firefox.enter("input[name=folder]", "new" if expected == "Grüße #1.txt" else "")
            firefox.click("#u button")
            assert expected in firefox.texts("body")[0], firefox.texts("body")
        same(sorted(path.name for path in folder.iterdir()), ["Grüße #1.txt", "larger.txt", "new", "small.txt"], "what is stored")


@contextlib.contextmanager
def receiving(at, name, *words):
    """A folder that accepts uploads, its server, and a Firefox that has opened its page."""
    folder = at.folder(name)
    server = at.serve("modest", folder, "-b", "127.0.0.1", "-p", "0", "--upload", *words)
    with Firefox(at.folder(f"{name}-profile")) as firefox:
        firefox.open(f"{server.url}/")
        yield folder, server, firefox


def shown(firefox, names, what):
    """Waits until the page lists these names."""
    firefox.wait(f"return JSON.stringify({NAMES}) == JSON.stringify({json.dumps(names)})", what)


def last_menu(firefox, action):
    """Calls this function with the button of the last row's menu. The buttons are added after the rows."""
    firefox.wait(f"let b = document.querySelector('tbody:last-of-type tr:last-child .m'); b?.{action}(); return !!b", "a menu")


def check_uploads(at):
    """uploads, a name that is taken, a new folder, rename, delete and undo, by mouse and keys"""
    away = at.folder("firefox-away")
    files = [make(away / name, name.encode()) for name in ("one.txt", "Grüße 50% #2.txt", ".DS_Store")]
    with receiving(at, "firefox-uploads", "--allow-delete") as (folder, _, firefox):
        firefox.enter("input[type=file]", "\n".join(map(str, files)))
        shown(firefox, ["Grüße 50% #2.txt", "one.txt"], "the names")
        firefox.wait("return /2 files uploaded.*1 hidden or system item left out/.test(document.querySelector('#q').innerText.replace(/\\s/g, ' '))", "the queue")
        firefox.enter("input[type=file]", files[0])
        firefox.wait("return document.querySelector('dialog')?.innerText.includes('already exists')", "a question")
        firefox.shot(at.shots / "firefox-uploads-question.png")
        firefox.click("dialog button[value=keep]")
        shown(firefox, ["Grüße 50% #2.txt", "one (1).txt", "one.txt"], "both")
        same((folder / "one (1).txt").read_bytes(), b"one.txt", "its content")
        firefox.run("[...document.querySelectorAll('#u button')].pop().focus()")
        firefox.keys("Enter", *"a/b")
        firefox.keys("Enter")
        same(firefox.run("return document.querySelectorAll('dialog').length"), 1, "a slash is no name")
        firefox.run("document.querySelector('dialog input').select()")
        firefox.keys(*"new one", "Enter")
        shown(firefox, ["new one/", "Grüße 50% #2.txt", "one (1).txt", "one.txt"], "the folder")
        last_menu(firefox, "focus")
        firefox.keys("Enter")
        firefox.keys("Enter")
        firefox.wait("return document.querySelector('dialog input')?.value == 'one.txt'", "the question for a name")
        same(firefox.run("let i = document.querySelector('dialog input'); return i.value.slice(i.selectionStart, i.selectionEnd)"), "one", "what is selected")
        firefox.keys(*"two#", "Enter")
        shown(firefox, ["new one/", "Grüße 50% #2.txt", "one (1).txt", "two#.txt"], "the new name")
        firefox.shot(at.shots / "firefox-uploads.png")
        firefox.click("#m button")
        shown(firefox, ["new one/", "Grüße 50% #2.txt", "one (1).txt", "one.txt"], "the old name")
        for undone in (True, False):
            last_menu(firefox, "click")
            firefox.click("#k button:last-child")
            shown(firefox, ["new one/", "Grüße 50% #2.txt", "one (1).txt"], "after Delete")
            if undone:
                firefox.click("#m button")
                shown(firefox, ["new one/", "Grüße 50% #2.txt", "one (1).txt", "one.txt"], "after Undo")
        firefox.open("about:blank")  # sends the deletion
        firefox.wait("return true", "the page is left")
        at.until(lambda: not (folder / "one.txt").exists(), "the file is deleted when the page is left")


def check_breaks(at):
    """a broken connection: the upload continues where it stopped"""
    content = noise(6_000_000, 31)
    file = make(at.folder("firefox-large") / "large.bin", content)
    folder = at.folder("firefox-breaks")
    server = at.serve("modest", folder, "-b", "127.0.0.1", "-p", "0", "--upload", "--resumable")
    with Cut(server) as way, Firefox(at.folder("firefox-breaks-profile")) as firefox:
        firefox.open(f"{way.url}/")
        way.stop_after(3_000_000)
        firefox.enter("input[type=file]", file)
        way.stopped.wait(60)
        firefox.wait("return document.querySelector('li progress').value > 1_000_000", "progress")
        way.cut()
        firefox.wait("return document.querySelector('#q').innerText.includes('Waiting for a network connection.')", "it waits")
        firefox.shot(at.shots / "firefox-uploads-break.png")
        way.mend()
        firefox.wait("return document.querySelector('#q').innerText.includes('1 file uploaded')", "it continues")
        same((folder / "large.bin").read_bytes() == content, True, "the content is equal")
        assert way.passed < 5_000_000, f"{way.passed} bytes were sent after the break, of {len(content)}"


def check_login(at):
    """log in and log out: what may be done there is offered, and the password is forgotten"""
    users = at.folder("firefox-users") / "users"
    users.write_bytes(at.run([at.built["modest"], "--hash-password", "ada"], stdin=b"a long secret\n").good().out)
    rules = ["--auth", users, "--allow", "/=*:read,list", "--allow", "/=ada:all"]
    with receiving(at, "firefox-login", *rules) as (_, _, firefox):
        same(firefox.run("return [...document.querySelectorAll('nav form, #u')].map(f => f.innerText)"), ["Log in to upload"], "forms")
        firefox.will_log_in("ada", "a long secret")
        firefox.click("nav form button")
        firefox.answer("Accept")
        firefox.wait("return document.readyState == 'complete' && document.querySelector('nav form span')?.textContent == 'ada'", "the name")
        same(firefox.run("return [...document.querySelectorAll('#u button')].map(b => b.textContent)"), ["Upload files", "Upload a folder", "New folder"], "buttons")
        firefox.click("nav form button")
        firefox.wait("return document.readyState == 'complete' && document.querySelector('nav form')?.innerText == 'Log in to upload'", "logged out, without a dialog")
        same(firefox.run("return document.querySelectorAll('#u').length"), 0, "forms for uploads")


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
