"""Clients come from Debian, from PyPI (into a venv of this run) and from npm (into a folder of this run).

A module lists its requirements: `DEBIAN`, a dict of commands to packages; `PYPI` and `NPM`, packages. Registries are used through
their ordinary clients, with the settings of this machine. If a package is not available, the row of the client reports this.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

_here = {"venv": None, "npm": None, "python": set(), "node": set()}


def install(clients, made, willing):
    """Installs missing packages; `made` is the folder that is removed after the run."""
    debian = {command: package for client in clients for command, package in getattr(client, "DEBIAN", {}).items()}
    pypi = sorted({package for client in clients for package in getattr(client, "PYPI", ())})
    npm = sorted({package for client in clients for package in getattr(client, "NPM", ())})
    if not willing:
        return
    from_debian([package for command, package in debian.items() if not found(command)])
    if pypi:
        from_pypi(pypi, made / "venv")
    if npm and found("npm"):
        from_npm(npm, made / "npm")


def missing(client):
    """The requirements of a client that this machine does not have."""
    commands = [
        f"{command} ({package} of Debian)"
        for command, package in getattr(client, "DEBIAN", {}).items()
        if not found(command)
    ]
    python = [f"{package} (PyPI)" for package in getattr(client, "PYPI", ()) if package not in _here["python"]]
    node = [f"{package} (npm)" for package in getattr(client, "NPM", ()) if package not in _here["node"]]
    return commands + python + node


def python():
    """The interpreter of the venv."""
    return _here["venv"] / "bin" / "python"


def node_modules():
    return _here["npm"] / "node_modules"


def python_version(package):
    words = [python(), "-c", f"import importlib.metadata as m; print(m.version({package!r}))"]
    return subprocess.run(words, capture_output=True, text=True, timeout=20).stdout.strip()


def node_version(package):
    return json.loads((node_modules() / package / "package.json").read_text())["version"]


def found(command):
    return shutil.which(command) or (Path("/usr/sbin") / command).exists()


def from_debian(wanted):
    """One call for all packages. If that fails, one call for each package, so that one wrong name does not prevent the others."""
    wanted = sorted(set(wanted))
    if not wanted:
        return
    get = ["apt-get"] if os.geteuid() == 0 else ["sudo", "-n", "apt-get"]
    if not shutil.which(get[0]):
        return
    said(f"installing from Debian: {' '.join(wanted)}")
    quietly([*get, "update", "-q"], 180)
    options = ["install", "-y", "-q", "--no-install-recommends"]
    if not quietly([*get, *options, *wanted], 420):
        for package in wanted:
            quietly([*get, *options, package], 180)


def from_pypi(wanted, folder):
    said(f"installing from PyPI: {' '.join(wanted)}")
    if not quietly([sys.executable, "-m", "venv", folder], 60):
        return
    _here["venv"] = folder
    pip = [python(), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    together = quietly([*pip, *wanted], 180)
    _here["python"] = {package for package in wanted if together or quietly([*pip, package], 60)}


def from_npm(wanted, folder):
    said(f"installing from npm: {' '.join(wanted)}")
    folder.mkdir()
    (folder / "package.json").write_text("{}")
    _here["npm"] = folder
    npm = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", folder]
    together = quietly([*npm, *wanted], 180)
    _here["node"] = {package for package in wanted if together or quietly([*npm, package], 60)}


def quietly(words, within):
    """Whether it succeeded. The last lines of the output are shown if it did not."""
    environment = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    words = [str(word) for word in words]
    try:
        done = subprocess.run(
            words, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=within
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        said(f"{words[0]}: {error}")
        return False
    if done.returncode != 0:
        said("\n".join((done.stderr or done.stdout).strip().splitlines()[-3:]))
    return done.returncode == 0


def said(text):
    print(f"-- {text}", flush=True)
