"""Every block of docs/python.md is run as printed, by `doc_blocks.py` in a network of its own. Needs root, as in containers."""

import os
import re
import shutil
import subprocess
import sys

import doc_blocks
import pytest
from conftest import HERE


def can_unshare():
    return os.getuid() == 0 and shutil.which("ip") and subprocess.run(["unshare", "--net", "--mount", "true"], capture_output=True).returncode == 0


@pytest.mark.skipif(not can_unshare(), reason="needs root, unshare and ip")
@pytest.mark.parametrize("block", [block.__name__ for block in doc_blocks.BLOCKS])
def test_a_block(block):
    if block == "behind_nginx" and not shutil.which("nginx"):
        pytest.skip("nginx is not installed")
    pytest.importorskip("django" if block == "alone" else "flask")
    path = os.path.dirname(sys.executable) + os.pathsep + os.environ["PATH"]
    command = ["unshare", "--net", "--mount", sys.executable, "doc_blocks.py", block]
    done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, timeout=120, env={**os.environ, "PATH": path, "OUTSIDE": os.readlink("/proc/self/ns/mnt")})
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_block_is_run():
    """A new block needs a function."""
    with open(doc_blocks.PAGE) as page:
        found = re.findall(r"^```(\w+)", page.read(), re.M)
    assert found == ["sh", "python", "sh", "sh", "nginx"], found
