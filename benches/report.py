"""The tables of a comparison: medians of the rounds, their spread, and ratios to the best peer.

Used by `compare.py`.
"""

import datetime
import math
import os
import platform
import re
import shlex
import statistics
import subprocess
import sys
from pathlib import Path

from builds import HERE
from configs import PEERS, TITLES
from peers import CORES
from rows import ROWS


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
        yield from ["", "CPU time in µs per request (for large files: per MiB): the median of the rounds, and half the "
                    "range between the lowest and the highest round.", ""]
        is_files = all(row.table == "files" for row in ROWS if row.name in results["own"])
        yield from (cpu_table if is_files else table_of_peers)(results["own"])
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
                             (["lighttpd", "-v"], r"lighttpd/([\d.]+)"), (["caddy", "version"], r"([\d.]+)"),
                             (["redis-server", "--version"], r"v=([\d.]+)")):
        out = subprocess.run(command, capture_output=True, text=True)
        found = re.search(pattern, out.stdout + out.stderr)
        yield f"{command[0]} {found.group(1) if found else '?'}"


def cpu_table(results):
    names = list(dict.fromkeys(name for rounds in results.values() for name in rounds))
    yield "| work | " + " | ".join(TITLES.get(name, name) for name in names) + " | ratio to the best peer |"
    yield "| --- |" + " --- |" * (len(names) + 1)
    measured = [row for row in ROWS if row.name in results]
    for row in measured:
        rounds = results[row.name]
        cells = [with_spread(rounds[name]) if name in rounds else "" for name in names]
        yield f"| {row.what} | " + " | ".join(cells) + f" | {beside_best(rounds)} |"
    yield f"| geometric mean |" + " |" * len(names) + f" {mean(results)} |"


def table_of_peers(results):
    """For rows with different peers: all of them in one column, the best first."""
    yield "| row | work | modest | peers | ratio to the best peer | both sides |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for row in (row for row in ROWS if row.name in results):
        rounds = results[row.name]
        others = sorted((name for name in rounds if name != "modest"), key=lambda name: cpu(rounds[name]))
        peers = ", ".join(f"{TITLES.get(name, name)} {with_spread(rounds[name])}" for name in others)
        own = with_spread(rounds["modest"]) if "modest" in rounds else ""
        yield f"| `{row.name}` | {row.what} | {own} | {peers} | {beside_best(rounds)} | {both_sides(rounds)} |"
    yield f"| | geometric mean | | | {mean(results)} | |"


def with_spread(rounds):
    return f"{figure(cpu(rounds))} ±{spread(rounds):.0f} %"


def best_of(rounds):
    return min((name for name in rounds if name in PEERS), key=lambda name: cpu(rounds[name]), default=None)


def beside_best(rounds):
    best = best_of(rounds)
    return f"{ratio(rounds['modest'], rounds[best]):.2f} ({best})" if best and "modest" in rounds else ""


def both_sides(rounds):
    """The same ratio, of the CPU time of server and client together."""
    best = best_of(rounds)
    if not best or "modest" not in rounds:
        return ""
    return f"{statistics.median((a.cpu + a.client) / (b.cpu + b.client) for a, b in zip(rounds['modest'], rounds[best])):.2f}"


def mean(results):
    """The geometric mean of the ratios."""
    compared = [rounds for rounds in results.values() if best_of(rounds) and "modest" in rounds]
    ratios = [ratio(rounds["modest"], rounds[best_of(rounds)]) for rounds in compared]
    return f"{math.exp(statistics.mean(map(math.log, ratios))):.2f}" if ratios else ""


def table(rows, results, cell):
    """A row for each of these, a column for each server; `cell` returns the text for the rounds of a server."""
    names = list(dict.fromkeys(name for row in rows for name in results[row.name]))
    yield "| work | " + " | ".join(TITLES.get(name, name) for name in names) + " |"
    yield "| --- |" + " --- |" * len(names)
    for row in rows:
        yield f"| {row.what} | " + " | ".join(cell(results[row.name][name]) for name in names) + " |"
