"""examples/half.rs: half of the routes in Rust, the others in Flask, with a layer of Rust around them. LONG=1 builds and runs it; needs cargo."""

import os
import subprocess
import sysconfig

import pytest
from conftest import HERE, Running

pytestmark = pytest.mark.skipif(not os.environ.get("LONG"), reason="LONG=1 builds it")


def test_half_rust_half_flask():
    pytest.importorskip("flask")
    manifest = os.path.join(HERE, "..", "Cargo.toml")
    env = {"LD_LIBRARY_PATH": sysconfig.get_config_var("LIBDIR"), "PYTHONPATH": sysconfig.get_path("purelib")}
    env = {**os.environ, **env}
    subprocess.run(["cargo", "build", "--quiet", "--locked", "--manifest-path", manifest, "--example", "half"], check=True)
    server = Running(port=False, env=env, command=["cargo", "run", "--quiet", "--manifest-path", manifest, "--example", "half", "127.0.0.1:0"])
    try:
        server.port = int(server.wait_for(server.out, r":(\d+)").rpartition(":")[2])
        assert server.get("/api/sum?a=1&b=2").body == b"3\n"
        assert server.get("/api/sum?a=1&b=x").status == 400
        assert server.get("/hello/Ada").body == b"Hello, Ada!\n"
        assert server.get("/shout", method="POST", body="für".encode()).body == "FÜR".encode()
        assert server.get("/api/other").status == 404 and b"werkzeug" not in server.get("/hello").body
        assert server.get("/api/sum", method="POST", body=b"x").status in (404, 405)
        statuses = [server.get("/hello/Ada").status for _ in range(20)]
        assert statuses.count(429) > 0 and server.get("/api/sum?a=1&b=2").status == 200, statuses
    finally:
        server.stop()
