"""git over dumb HTTP: a bare repository is a folder of files."""

from kit.bench import make, noise
from kit.checks import same
from kit.commands import plain_environment

NAME = "git"
DEBIAN = {"git": "git"}
PERSON = {
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "A"), ("EMAIL", "a@example"))
}


def version(at):
    return at.run(["git", "--version"]).text.split()[2]


def git(at, *words, cwd):
    nothing = {
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_CONFIG_SYSTEM": "/dev/null",
        "GIT_TERMINAL_PROMPT": "0",
        "HOME": str(at.made),
    }
    return at.run(["git", *words], cwd=cwd, env=plain_environment(**PERSON, **nothing)).good()


def commit(at, work, name, content):
    make(work / name, content)
    git(at, "add", ".", cwd=work)
    git(at, "commit", "-q", "-m", name, cwd=work)


def publish(at, work):
    git(at, "push", "-q", at.root / "repo.git", "HEAD:refs/heads/main", cwd=work)
    git(at, "update-server-info", cwd=at.root / "repo.git")


def check_clone(at):
    """clone, loose objects and packs; then fetch the new commits"""
    work = at.folder("git-work")
    git(at, "init", "-q", "-b", "main", cwd=work)
    git(at, "init", "-q", "--bare", "-b", "main", at.root / "repo.git", cwd=work)
    commit(at, work, "first.bin", noise(300_000, 11))
    commit(at, work, "second.txt", b"second\n")
    publish(at, work)
    git(at, "gc", "-q", cwd=at.root / "repo.git")
    commit(at, work, "loose.txt", b"loose\n")
    publish(at, work)
    copy = at.folder("git-clone") / "repo"
    git(at, "clone", "-q", f"{at.site.url}/repo.git", copy, cwd=at.made)
    git(at, "fsck", "--strict", cwd=copy)
    same(head(at, copy), head(at, work), "the commit")
    commit(at, work, "later.txt", b"later\n")
    publish(at, work)
    git(at, "pull", "-q", cwd=copy)
    same(head(at, copy), head(at, work), "the commit after a pull, in the same second")
    same((copy / "later.txt").read_bytes(), b"later\n", "the file")


def head(at, work):
    return git(at, "rev-parse", "HEAD^{tree}", "HEAD", cwd=work).text
