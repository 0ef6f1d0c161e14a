#!/usr/bin/env python3
"""Compare modest with nginx (in three settings), h2o, lighttpd, static-web-server and hyper: CPU time per request, and latency.

    benches/compare.py [--rows many,file,..] [--rounds 5] [--seconds 1] [--servers modest,nginx,..] [--write]

The servers take turns under the same load (wrk), round by round, so that a noisy machine affects all of them; `--busy`
adds noise by this many busy loops. CPU time is user and system time of all threads, read from /proc before and after,
per response (or MiB, for the large file). Each row has the medians, their spread over the rounds, and the ratio to the
best peer: the median of the ratios within a round.
Latency is measured with each server in a separate session and so in a separate scheduling group, and (`--groups both`, half
as many rounds) also in the client's group. Rows are chosen by the beginning of their names; `--list` prints them.
`--also NAME=PROGRAM` adds another build of modest. `--write` puts the tables into docs/notes/performance-2026-11.md: all rows and both groups take ten minutes.

Needs cargo and Python 3.11; installs nginx, h2o, lighttpd and wrk from Debian where they are missing, and takes
static-web-server if it is there; hyper (`benches/hyper`) has only the rows `hello`. Loads go to loopback only.
"""

import argparse
import datetime
import math
import os
import platform
import re
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from peers import CORES, HERE, PEERS, TITLES, Servers, available
from rows import ROWS, headers_for, load, make_site, script

PAGE = HERE / "docs/notes/performance-2026-11.md"
BEGIN, END = "<!-- measured: written by benches/compare.py -->", "<!-- end of what is measured -->"


def main():
    args = arguments()
    if args.list:
        print("\n".join(f"{row.name:13} {row.what}{' (if named)' * row.optional}" for row in ROWS))
        return
    known = {"modest", *PEERS, *(also.split("=")[0] for also in args.also)}
    if unknown := set(args.servers.split(",")) - known:
        sys.exit(f"no such server: {', '.join(sorted(unknown))}; there are {', '.join(sorted(known))}")
    rows = [row for row in ROWS if is_chosen(row, args.rows)]
    install({"nginx": "nginx-light", "h2o": "h2o", "lighttpd": "lighttpd", "wrk": "wrk"})
    subprocess.run(["cargo", "build", "--release", "--bins", "--example", "hello"], cwd=HERE, check=True)
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
        write(report)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", default="", help="beginnings of names, with commas between")
    parser.add_argument("--list", action="store_true", help="list the rows")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=1, help="of load a round and server")
    parser.add_argument("--servers", default=",".join(["modest", *PEERS]))
    parser.add_argument("--also", action="append", default=[], metavar="NAME=PROGRAM", help="another build of modest")
    parser.add_argument("--groups", choices=["own", "shared", "both"], default="own")
    parser.add_argument("--busy", type=int, default=0, help="processes that only take CPU time meanwhile")
    parser.add_argument("--folder", help="where the site is made; the usual place of temporary files")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.relative_to(HERE)}")
    return parser.parse_args()


def is_chosen(row, chosen):
    """By the beginning of its name, up to a dash. Without a choice: all rows that are not optional."""
    if not chosen:
        return not row.optional
    return any(row.name == name or row.name.startswith(f"{name}-") for name in chosen.split(","))


def install(programs):
    missing = [package for program, package in programs.items() if not shutil.which(program)]
    if missing:
        subprocess.run(["apt-get", "update", "-qq"], check=True, stdout=subprocess.DEVNULL)
        subprocess.run(["apt-get", "install", "-y", "-qq", *missing], check=True, stdout=subprocess.DEVNULL)


def measure(args, rows, group, folder):
    """{row name: {server name: its rounds}}. `own`: the client has its own scheduling group."""
    rounds = args.rounds
    if group == "shared":
        rows, rounds = [row for row in rows if row.latency], (rounds + 1) // 2
    others = dict(also.split("=", 1) for also in args.also)
    names = args.servers.split(",")
    names = [name for name in names if name not in PEERS] + list(others) + available([n for n in names if n in PEERS])
    inner = folder / group
    inner.mkdir()
    inner.chmod(0o777)
    servers = Servers(inner, folder / "www", names, others, sorted({row.site for row in rows}), group == "own")
    try:
        return {row.name: compare(args, row, group, rounds, servers, script(inner, row)) for row in rows}
    finally:
        servers.stop()


def compare(args, row, group, count, servers, lua):
    print(f"\n{row.name}: {row.what}{', client and server in one group' * (group == 'shared')}", flush=True)
    compared = [server for server in servers.all if row.site in server.ports]
    if row.site == "hello":
        compared = [server for server in compared if server.name in ("modest", "nginx", "hyper")]
    headers = {server.name: headers_for(row, server.ports[row.site]) for server in compared}
    rounds = {server.name: [] for server in compared}
    for turn in range(count):
        for server in compared if turn % 2 == 0 else reversed(compared):
            port, site = server.ports[row.site], row.site
            round_ = load(row, lua, port, headers[server.name], lambda: server.spent(site), args.seconds)
            rounds[server.name].append(round_)
    for name, found in rounds.items():
        print(f"  {name:17} {cpu(found):8.2f} µs ±{spread(found):3.0f} %  {median(found, 'switches'):7.3f} switches"
              f"  {median(found, 'rate'):8.0f}/s  {latency(found)} ms", flush=True)
    return rounds


def median(rounds, what):
    return statistics.median(getattr(round_, what) for round_ in rounds)


def cpu(rounds):
    return median(rounds, "cpu")


def figure(value):
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def with_client(rounds):
    return statistics.median(round_.cpu + round_.client for round_ in rounds)


def spread(rounds):
    """Half of the difference between minimum and maximum, in percent of the median."""
    found = [round_.cpu for round_ in rounds]
    return (max(found) - min(found)) / 2 / cpu(rounds) * 100


def latency(rounds):
    return ", ".join(f"{median(rounds, what) / 1000:.3g}" for what in ("p50", "p99", "p999"))


def ratio(rounds, peer_rounds):
    """The median of the ratios of all rounds: noise affects both servers of a round."""
    return statistics.median(a.cpu / b.cpu for a, b in zip(rounds, peer_rounds))


def report_of(args, results):
    """The tables, a line at a time."""
    yield from machine(args)
    if "own" in results:
        yield from ["", "CPU time in µs per request (for the large file: per MiB): the median of the rounds, and half the "
                    "range between the lowest and the highest round.", ""]
        yield from cpu_table(results["own"])
        rows = [row for row in ROWS if row.with_client and row.name in results["own"]]
        if rows:
            yield from ["", "CPU time of server and client (wrk) together, and the requests or MiB per second.", ""]
            yield from table(rows, results["own"], lambda rounds: f"{with_client(rounds):.0f}, {median(rounds, 'rate'):,.0f}/s")
    for group, title in (("own", "Latency with server and client in separate scheduling groups"),
                         ("shared", "Latency with server and client in one group")):
        rows = [row for row in ROWS if row.latency and row.name in results.get(group, {})]
        if rows:
            yield from ["", f"{title}: p50, p99, p99.9 in ms, medians of the rounds.", ""]
            yield from table(rows, results[group], latency)


def machine(args):
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    release = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=HERE, capture_output=True, text=True).stdout.strip()
    others = os.getloadavg()[2]
    command = shlex.join(["benches/compare.py", *sys.argv[1:]])
    yield (f"{datetime.date.today():%d %B %Y}, {model.group(1) if model else platform.machine()}, {CORES} cores, "
           f"Linux {platform.release().split('-')[0]}, load {others:.1f} over the last 15 minutes; at {release}, "
           f"{args.rounds} rounds of {args.seconds} s or more; {', '.join(versions())}:")
    yield f"`{command}`"


def versions():
    for command, pattern in ((["nginx", "-v"], r"nginx/([\d.]+)"), (["h2o", "--version"], r"version ([\d.]+)"),
                             (["lighttpd", "-v"], r"lighttpd/([\d.]+)")):
        out = subprocess.run(command, capture_output=True, text=True)
        found = re.search(pattern, out.stdout + out.stderr)
        yield f"{command[0]} {found.group(1) if found else '?'}"


def cpu_table(results):
    names = list(dict.fromkeys(name for rounds in results.values() for name in rounds))
    yield "| work | " + " | ".join(TITLES.get(name, name) for name in names) + " | ratio to the best peer |"
    yield "| --- |" + " --- |" * (len(names) + 1)
    ratios = []
    for row in ROWS:
        rounds = results.get(row.name)
        if not rounds:
            continue
        cells = [f"{figure(cpu(rounds[name]))} ±{spread(rounds[name]):.0f} %" if name in rounds else "" for name in names]
        peers = [name for name in rounds if name in PEERS]
        best = min(peers, key=lambda name: cpu(rounds[name]), default=None)
        told = ""
        if best and "modest" in rounds:
            ratios.append(ratio(rounds["modest"], rounds[best]))
            told = f"{ratios[-1]:.2f} ({best})"
        yield f"| {row.what} | " + " | ".join(cells) + f" | {told} |"
    if ratios:
        mean = math.exp(statistics.mean(map(math.log, ratios)))
        yield "| geometric mean |" + " |" * len(names) + f" {mean:.2f} |"


def table(rows, results, cell):
    """A row for each of these, a column for each server; `cell` tells what of its rounds."""
    names = list(dict.fromkeys(name for row in rows for name in results[row.name]))
    yield "| work | " + " | ".join(TITLES.get(name, name) for name in names) + " |"
    yield "| --- |" + " --- |" * len(names)
    for row in rows:
        yield f"| {row.what} | " + " | ".join(cell(results[row.name][name]) for name in names) + " |"


def write(report):
    before, rest = PAGE.read_text().split(BEGIN)
    _, after = rest.split(END)
    PAGE.write_text(f"{before}{BEGIN}\n{report}\n{END}{after}")
    print(f"written: {PAGE.relative_to(HERE)}")


if __name__ == "__main__":
    main()
