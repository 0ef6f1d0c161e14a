"""The servers of the comparison: how to start each, the ports of its sites, and the CPU time that it has used.

Used by `compare.py`. Each is started in a separate session, and so in a separate scheduling group if the kernel makes
one per session (`sched_autogroup_enabled`); or in the group of the caller.
"""

import contextlib
import os
import socket
import subprocess
import time
from pathlib import Path

from builds import HERE, HYPER, INSTALLED, RUST, Programs, free_ports, make_certificate, make_database, wait_for
from configs import APP, CADDY, H2O, LIGHTTPD, NGINX, NGINX_SETTINGS, NGINX_SITES, SITES

CORES = os.cpu_count() or 1


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
        """CPU time in µs of all threads so far, and context switches of those that there are."""
        cpu = switches = 0
        for process in self.processes(site):
            cpu += time.clock_gettime(~process << 3 | 2) * 1e6  # its CPU-time clock, which also counts threads that have ended
            switches += sum(map(switches_of, Path(f"/proc/{process}/task").iterdir()))
        return cpu, switches


def switches_of(task):
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended
        return sum(int(line.split()[1]) for line in (task / "status").read_text().splitlines() if "ctxt_switches" in line)
    return 0


class Servers:
    """All servers of a comparison. They are started here, and stopped at the end."""

    def __init__(self, folder, www, names, others, sites, own_session):
        self.folder, self.www, self.sites, self.own_session = folder, www, sites, own_session
        self.certificate, self.key = make_certificate(folder)
        self.database = make_database(folder) if "app" in sites else ""
        self.backend = 0
        self.started = []
        self.all = []
        try:
            if "proxy" in sites:
                self.backend = self.start_backend()
            for name in names:
                server = Server(name)
                if name in SITES:
                    self.start_peer(server)
                else:
                    self.start_modest(server, Programs(others.get(name)))
                self.all.append(server)
        except BaseException:
            self.stop()
            raise

    def start(self, command, **settings):
        # At its end lighttpd signals its whole process group, so it must not be in ours.
        group = {"start_new_session": True} if self.own_session else {"process_group": 0}
        process = subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL, **group, **settings)
        self.started.append(process)
        return process

    def start_modest(self, server, programs):
        files = [programs.modest, self.www, "--quiet"]
        proxy = [programs.modest, f"/static={self.www}", "--quiet", "--proxy", f"/=http://127.0.0.1:{self.backend}"]
        app = [programs.app, "{address}", self.database]
        self.start_one(server, ("files", "listing"), [*files, "-p", "{port}"])
        self.start_one(server, ("log",), [programs.modest, self.www, "-p", "{port}"])
        self.start_one(server, ("hello",), [programs.hello, "{address}"])
        self.start_one(server, ("tls",), [*files, "-p", "{port}", "--tls-cert", self.certificate, "--tls-key", self.key])
        self.start_one(server, ("gzip", "precompressed"), [*files, "-p", "{port}", "--compress"])
        self.start_one(server, ("archive",), [*files, "-p", "{port}", "--archive"])
        uploads = [programs.modest, self.uploaded(server), "--quiet", "--upload", "--overwrite", "replace", "-p", "{port}"]
        self.start_one(server, ("uploads", "forms"), uploads)
        self.start_one(server, ("proxy",), [*proxy, "-p", "{port}"])
        self.start_one(server, (*APP, "page", "sockets", "events"), app)
        self.start_one(server, ("lines",), [programs.lines, "{address}", "turns"])
        self.start_one(server, ("datagrams",), [programs.app, "{address}", "udp"])

    def start_peer(self, server):
        name, sites, rust = server.name, SITES[server.name], RUST / "target/release"
        installed = INSTALLED / "bin" / name
        if name in NGINX_SETTINGS:
            self.start_nginx(server)
        elif name == "h2o":
            self.start_configured(server, H2O, ["h2o", "-c"], ("files", "log"))
        elif name == "lighttpd":
            self.start_configured(server, LIGHTTPD, ["lighttpd", "-D", "-f"], ("files", "log"))
        elif name == "caddy":
            self.start_configured(server, CADDY, ["caddy", "run", "--adapter", "caddyfile", "--config"], ("listing", "gzip", "proxy"))
        elif name == "static-web-server":
            self.start_one(server, sites, [name, "--host", "127.0.0.1", "--port", "{port}", "--root", self.www,
                                           "--log-level", "error", "--directory-listing", "true"])
        elif name == "hyper":
            self.start_one(server, sites, [HYPER / "target/release/hyper-hello", "{address}"])
        elif name == "dufs":
            dufs = [installed, "--bind", "127.0.0.1", "--port", "{port}", "--log-format", "", "--allow-archive"]
            self.start_one(server, ("listing", "archive"), [*dufs, self.www])
            self.start_one(server, ("uploads",), [*dufs, "--allow-all", self.uploaded(server)])
        elif name == "miniserve":
            miniserve = [installed, "--interfaces", "127.0.0.1", "--port", "{port}"]
            self.start_one(server, ("listing", "archive"), [*miniserve, "--enable-tar", "--enable-zip", self.www])
            self.start_one(server, ("forms",), [*miniserve, "--upload-files", "--on-duplicate-files", "overwrite", self.uploaded(server)])
        elif name == "redis":
            self.start_one(server, sites, ["redis-server", "--port", "{port}", "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
        elif name == "std":
            self.start_one(server, sites, [rust / "bench-udp", "{address}"])
        else:
            tcp = [site for site in sites if site != "datagrams"]
            self.start_one(server, tcp, [rust / f"bench-{name}", "{address}", self.database])
            if "datagrams" in sites:
                self.start_one(server, ("datagrams",), [rust / f"bench-{name}", "{address}", "udp"])

    def start_one(self, server, sites, command):
        """A program with one port, for these sites; only if a row needs one of them."""
        if not set(sites) & set(self.sites):
            return
        [port] = free_ports(1)
        words = [str(word).replace("{port}", str(port)).replace("{address}", f"127.0.0.1:{port}") for word in command]
        with open(self.folder / f"stderr-{server.name}.log", "ab") as log:
            process = self.start(words, stderr=log)
        self.listens(server, process, {site: port for site in sites})

    def start_nginx(self, server):
        folder = self.folder / server.name
        folder.mkdir()
        ports = dict(zip(NGINX_SITES, free_ports(len(NGINX_SITES))))
        conf = folder / "nginx.conf"
        conf.write_text(NGINX.format(folder=folder, www=self.www, certificate=self.certificate, key=self.key, backend=self.backend or 1,
                                     uploaded=self.uploaded(server), settings=NGINX_SETTINGS[server.name], **ports))
        process = self.start(["nginx", "-p", folder, "-c", conf], stderr=subprocess.DEVNULL)
        ports |= {"listing": ports["files"], "plaintext": ports["hello"]}
        self.listens(server, process, {site: ports[site] for site in SITES[server.name]})

    def start_configured(self, server, text, command, sites):
        ports = dict(zip(sites, free_ports(len(sites))))
        if not set(SITES[server.name]) & set(self.sites):
            return
        conf = self.folder / f"{server.name}.conf"
        conf.write_text(text.format(folder=self.folder, www=self.www, cores=CORES, backend=self.backend or 1, **ports))
        environment = os.environ | {"XDG_DATA_HOME": str(self.folder), "XDG_CONFIG_HOME": str(self.folder)}
        process = self.start([*command, conf], stderr=subprocess.DEVNULL, env=environment)
        same = {"listing": "files", "precompressed": "gzip"}
        self.listens(server, process, ports | {site: ports[same[site]] for site in SITES[server.name] if site not in ports})

    def start_backend(self):
        """The server behind those of the row `proxy`. Its own CPU time is not counted."""
        server = Server("nginx")
        server.name = "nginx-cached"
        folder = self.folder
        self.folder = folder / "backend"
        self.folder.mkdir()
        self.folder.chmod(0o777)
        self.start_nginx(server)
        self.folder = folder
        return server.ports["files"]

    def uploaded(self, server):
        """The folder for uploads to this server."""
        folder = self.folder / f"uploaded-{server.name}"
        folder.mkdir(exist_ok=True)
        folder.chmod(0o777)
        return folder

    def listens(self, server, process, ports):
        for site, port in ports.items():
            wait_for(server.name, process, port, socket.SOCK_DGRAM if site == "datagrams" else socket.SOCK_STREAM)
            server.ports[site], server.roots[site] = port, process

    def stop(self):
        for process in self.started:
            process.terminate()
        for process in self.started:
            process.wait()
