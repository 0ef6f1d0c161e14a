#!/usr/bin/env python3
"""Compare modest with other servers: CPU time per request, and latency.

    benches/compare.py [--table files|programs] [--rows many,file,..] [--rounds 5] [--seconds 1] [--servers modest,nginx,..] [--write]

The table `files` is the work of a file server, beside nginx (in three settings), h2o, lighttpd and static-web-server. `programs` is everything
else: handlers with JSON and SQLite beside axum, actix-web and may_minihttp, TLS, uploads, gzip, a proxy, listings and archives beside nginx, Caddy,
dufs and miniserve, WebSockets and events beside axum and tungstenite, lines beside Redis, datagrams beside tokio.

The servers take turns under the same load (wrk), round by round, so that a noisy machine affects all of them; `--busy`
adds noise by this many busy loops. CPU time is user and system time of all threads, read from the clocks of its processes before and after,
per response (or MiB, for large files). Each row has the medians, their spread over the rounds, and the ratio to the
best peer: the median of the ratios within a round.
Latency is measured with each server in a separate session and so in a separate scheduling group, and (`--groups both`, half
as many rounds) also in the client's group. Rows are chosen by the beginning of their names; `--list` prints them.
`--also NAME=PROGRAM` adds another build of modest: the program, or a folder with the programs modest, hello, miniredis and bench-modest. `--write`
puts the tables into docs/notes/performance-2026-11.md: `files` in both groups take ten minutes.

Needs cargo and Python 3.11; installs servers and wrk from Debian where they are missing, dufs and miniserve by cargo into `target/peers`, and takes
static-web-server if it is there. Peers written in Rust are in `benches/peers-rust` and `benches/hyper`. A response is checked before a row is
measured, and an error during it ends the comparison. Loads go to loopback only.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from builds import HERE, PACKAGES, build, install
from configs import PEERS
from folders import make_site
from loads import Refused, Target
from peers import Servers
from report import cpu, latency, median, report_of, spread
from rows import ROWS

PAGE = HERE / "docs/notes/performance-2026-11.md"
BEGIN = {"files": "<!-- measured: written by benches/compare.py -->", "programs": "<!-- measured: written by benches/compare.py, programs -->"}
END = "<!-- end of what is measured -->"


def main():
    args = arguments()
    if args.list:
        print("\n".join(f"{row.table:9} {row.name:13} {row.what}{' (if named)' * row.optional}" for row in ROWS))
        return
    known = {"modest", *PEERS, *(also.split("=")[0] for also in args.also)}
    if unknown := set(args.servers.split(",")) - known:
        sys.exit(f"no such server: {', '.join(sorted(unknown))}; there are {', '.join(sorted(known))}")
    rows = [row for row in ROWS if is_chosen(row, args)]
    if args.write and len({row.table for row in rows}) != 1:
        sys.exit("choose rows of one table to write it")
    install(PACKAGES)
    if not args.cached:
        build(args.servers.split(","), {row.site for row in rows})
    groups = {"both": ["own", "shared"]}.get(args.groups, [args.groups])
    with tempfile.TemporaryDirectory(prefix="modest-bench-", dir=args.folder) as folder:
        folder = Path(folder)
        os.chmod(folder, 0o777)  # workers of nginx and h2o run as another user, and write logs
        make_site(folder / "www", rows)
        loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(args.busy)]
        try:
            results = {group: measure(args, rows, group, folder) for group in groups}
        finally:
            for loop in loops:
                loop.kill()
    report = "\n".join(report_of(args, results))
    print(f"\n{report}")
    if args.write:
        write(report, BEGIN[rows[0].table])


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--table", choices=["files", "programs"], default="files", help="which rows, if none are named")
    parser.add_argument("--rows", default="", help="beginnings of names, with commas between")
    parser.add_argument("--list", action="store_true", help="list the rows")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=1, help="of load a round and server")
    parser.add_argument("--servers", default=",".join(["modest", *PEERS]))
    parser.add_argument("--also", action="append", default=[], metavar="NAME=PROGRAM", help="another build of modest")
    parser.add_argument("--groups", choices=["own", "shared", "both"], default="own")
    parser.add_argument("--busy", type=int, default=0, help="processes that only take CPU time meanwhile")
    parser.add_argument("--cached", action="store_true", help="the programs are built")
    parser.add_argument("--folder", help="where the site is made; the usual place of temporary files")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.relative_to(HERE)}")
    return parser.parse_args()


def is_chosen(row, args):
    """Whether `--rows` has the row's name, or the part before a dash. Without `--rows`: all rows of the table that are not optional."""
    if not args.rows:
        return row.table == args.table and not row.optional
    return any(row.name == name or row.name.startswith(f"{name}-") for name in args.rows.split(","))


def measure(args, rows, group, folder):
    """{row name: {server name: its rounds}}. `own`: the client has its own scheduling group."""
    rounds = args.rounds
    if group == "shared":
        rows, rounds = [row for row in rows if row.latency], (rounds + 1) // 2
    others = dict(also.split("=", 1) for also in args.also)
    names = [name for name in args.servers.split(",") if name != "static-web-server" or shutil.which(name)]
    names = [name for name in names if name not in PEERS] + list(others) + [name for name in names if name in PEERS]
    inner = folder / group
    inner.mkdir()
    inner.chmod(0o777)
    servers = Servers(inner, folder / "www", names, others, sorted({row.site for row in rows}), group == "own")
    try:
        return {row.name: compare(args, row, group, rounds, servers, inner) for row in rows}
    finally:
        servers.stop()


def compare(args, row, group, count, servers, folder):
    print(f"\n{row.name}: {row.what}{', client and server in one group' * (group == 'shared')}", flush=True)
    compared = [Target(row, server, folder, servers.www) for server in servers.all
                if row.site in server.ports and server.name not in row.without]
    rounds = {target.server.name: [] for target in compared}
    for turn in range(count):
        for target in compared if turn % 2 == 0 else reversed(compared):
            name = target.server.name
            try:
                if name in rounds:
                    rounds[name].append(target.load(args.seconds))
            except Refused as why:  # a peer that can't serve a row has no result in it
                if name not in PEERS:
                    sys.exit(why)
                print(f"  {why}", flush=True)
                del rounds[name]
    for name, found in rounds.items():
        print(f"  {name:17} {cpu(found):8.2f} µs ±{spread(found):3.0f} %  {median(found, 'switches'):7.3f} switches"
              f"  {median(found, 'rate'):8.0f}/s  {latency(found)} ms", flush=True)
    return rounds


def write(report, begin):
    before, rest = PAGE.read_text().split(begin)
    _, after = rest.split(END, 1)
    PAGE.write_text(f"{before}{begin}\n{report}\n{END}{after}")
    print(f"written: {PAGE.relative_to(HERE)}")


if __name__ == "__main__":
    main()
