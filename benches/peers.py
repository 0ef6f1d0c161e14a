"""The servers of the comparison: how to start each, the ports of its sites, and the CPU time that it has used.

Used by `compare.py`. Each is started in a separate session, and so in a separate scheduling group if the kernel makes
one per session (`sched_autogroup_enabled`); or in the group of the caller.
"""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
CORES = os.cpu_count() or 1

NGINX = """
worker_processes auto; daemon off; pid {folder}/nginx.pid; error_log stderr crit; worker_rlimit_nofile 16384;
events {{ worker_connections 4096; }}
http {{
  keepalive_requests 1000000000; default_type text/plain; autoindex on; {settings}
  client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
  uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
  server {{ listen 127.0.0.1:{files} backlog=4096; root {www}; access_log off; }}
  server {{ listen 127.0.0.1:{log} backlog=4096; root {www}; access_log {folder}/access.log combined; }}
  server {{ listen 127.0.0.1:{hello} backlog=4096; access_log off; location / {{ return 200 "Hello, World!"; }} }}
  server {{
    listen 127.0.0.1:{tls} ssl backlog=4096; root {www}; access_log off;
    ssl_certificate {certificate}; ssl_certificate_key {key}; ssl_protocols TLSv1.2 TLSv1.3;
  }}
}}
"""
NGINX_SETTINGS = {
    "nginx": "sendfile on;",
    "nginx-copy": "sendfile off;",
    "nginx-cached": "sendfile on; open_file_cache max=4096; open_file_cache_min_uses 1;",
}
H2O = """
num-threads: {cores}
error-log: {folder}/h2o.log
file.dirlisting: on
hosts:
  "files:{files}":
    listen: {{ host: 127.0.0.1, port: {files} }}
    paths: {{ "/": {{ file.dir: "{www}" }} }}
  "log:{log}":
    listen: {{ host: 127.0.0.1, port: {log} }}
    paths: {{ "/": {{ file.dir: "{www}" }} }}
    access-log: {folder}/access-h2o.log
"""
LIGHTTPD = """
server.document-root = "{www}"
server.bind = "127.0.0.1"
server.port = {files}
server.max-worker = {cores}
server.max-fds = 16384
server.max-keep-alive-requests = 65535
server.listen-backlog = 4096
server.errorlog = "{folder}/lighttpd.log"
server.modules += ( "mod_dirlisting", "mod_accesslog" )
dir-listing.activate = "enable"
mimetype.assign = ( ".txt" => "text/plain", ".bin" => "application/x-binary" )
$SERVER["socket"] == "127.0.0.1:{log}" {{ accesslog.filename = "{folder}/access-lighttpd.log" }}
"""
HYPER = HERE / "benches/hyper"
PEERS = [*NGINX_SETTINGS, "h2o", "lighttpd", "static-web-server", "hyper"]
TITLES = {
    "modest": "modest",
    "nginx": "nginx",
    "nginx-copy": "nginx, `sendfile off`",
    "nginx-cached": "nginx, `open_file_cache`",
    "h2o": "h2o",
    "lighttpd": "lighttpd",
    "static-web-server": "static-web-server",
    "hyper": "hyper",
}


class Server:
    """One server under test: the ports of its sites, and its processes."""

    def __init__(self, name):
        self.name = name
        self.ports = {}  # by site
        self.roots = {}  # the process that was started, by site

    def processes(self, site):
        """The process that was started for this site, and its children."""
        root = self.roots[site].pid
        children = Path(f"/proc/{root}/task/{root}/children").read_text().split()
        return [root, *map(int, children)]

    def spent(self, site):
        """CPU time in µs, and context switches, of all threads so far."""
        cpu = switches = 0
        for process in self.processes(site):
            for task in Path(f"/proc/{process}/task").iterdir():
                cpu += int((task / "schedstat").read_text().split()[0]) / 1000
                for line in (task / "status").read_text().splitlines():
                    if "ctxt_switches" in line:
                        switches += int(line.split()[1])
        return cpu, switches


class Servers:
    """All servers of a comparison. Starts them, and stops them at the end."""

    def __init__(self, folder, www, names, others, sites, own_session):
        self.folder, self.www, self.sites, self.own_session = folder, www, sites, own_session
        self.certificate, self.key = make_certificate(folder)
        self.started = []
        self.all = []
        try:
            for name in names:
                server = Server(name)
                if name in NGINX_SETTINGS:
                    self.start_nginx(server)
                elif name == "h2o":
                    self.start_configured(server, H2O, ["h2o", "-c"])
                elif name == "lighttpd":
                    self.start_configured(server, LIGHTTPD, ["lighttpd", "-D", "-f"])
                elif name == "static-web-server":
                    self.start_static_web_server(server)
                elif name == "hyper":
                    self.start_hyper(server)
                else:
                    self.start_modest(server, others.get(name, HERE / "target/release/modest"))
                self.all.append(server)
        except BaseException:
            self.stop()
            raise

    def start(self, command, **settings):
        # At its end lighttpd signals its whole process group, so it must not be in ours.
        group = {"start_new_session": True} if self.own_session else {"process_group": 0}
        process = subprocess.Popen(list(map(str, command)), **group, **settings)
        self.started.append(process)
        return process

    def start_modest(self, server, program):
        commands = {
            "files": [program, self.www, "-p", "0", "--quiet"],
            "log": [program, self.www, "-p", "0"],
            "hello": [HERE / "target/release/examples/hello", "127.0.0.1:0"],
            "tls": [program, self.www, "-p", "0", "--quiet", "--tls-cert", self.certificate, "--tls-key", self.key],
        }
        for site in self.sites:
            with open(self.folder / f"access-{server.name}.log", "ab") as log:
                process = self.start(commands[site], stdout=subprocess.PIPE, stderr=log, text=True)
            port = re.search(r"https?://[^/]*:(\d+)/", process.stdout.readline()).group(1)
            server.ports[site], server.roots[site] = int(port), process

    def start_nginx(self, server):
        folder = self.folder / server.name
        folder.mkdir()
        ports = dict(zip(("files", "log", "hello", "tls"), free_ports(4)))
        conf = folder / "nginx.conf"
        conf.write_text(NGINX.format(folder=folder, www=self.www, certificate=self.certificate, key=self.key,
                                     settings=NGINX_SETTINGS[server.name], **ports))
        process = self.start(["nginx", "-p", folder, "-c", conf], stderr=subprocess.DEVNULL)
        self.listens(server, process, ports)

    def start_configured(self, server, text, command):
        ports = dict(zip(("files", "log"), free_ports(2)))
        conf = self.folder / f"{server.name}.conf"
        conf.write_text(text.format(folder=self.folder, www=self.www, cores=CORES, **ports))
        self.listens(server, self.start([*command, conf], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL), ports)

    def start_static_web_server(self, server):
        ports = dict(zip(("files",), free_ports(1)))
        command = ["static-web-server", "--host", "127.0.0.1", "--port", ports["files"], "--root", self.www,
                   "--log-level", "error", "--directory-listing", "true"]
        self.listens(server, self.start(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL), ports)

    def start_hyper(self, server):
        """It serves no files, and is built only if a row needs it."""
        if "hello" in self.sites:
            subprocess.run(["cargo", "build", "--quiet", "--release", "--locked", "--target-dir", "target"], cwd=HYPER, check=True)
            ports = dict(zip(("hello",), free_ports(1)))
            self.listens(server, self.start([HYPER / "target/release/hyper-hello", f"127.0.0.1:{ports['hello']}"]), ports)

    def listens(self, server, process, ports):
        for site, port in ports.items():
            wait_for(server.name, process, port)
            server.ports[site], server.roots[site] = port, process

    def stop(self):
        for process in self.started:
            process.terminate()
        for process in self.started:
            process.wait()


def available(names):
    """The servers of this list that are installed, or built here."""
    programs = {name: name.split("-")[0] if name.startswith("nginx") else name for name in names}
    return [name for name, program in programs.items() if name == "hyper" or shutil.which(program)]


def make_certificate(folder):
    """One certificate for all servers, with a key on P-256."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key,
                    "-out", certificate, "-days", "30", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"],
                   check=True, capture_output=True)
    return certificate, key


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def wait_for(name, process, port):
    for _ in range(500):
        if process.poll() is not None:
            sys.exit(f"{name} has ended with {process.returncode}")
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            time.sleep(0.01)
    sys.exit(f"{name} does not listen on port {port}")
