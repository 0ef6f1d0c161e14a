#!/usr/bin/env python3
"""How far one process of modest uses many cores: counts the cache lines that its threads take from each other, and computes the rest.

    benches/cores.py [--cached] [--top N] [--costs FILE] [hello] [file]

Runs a server under valgrind's lackey, which prints each access to memory, with 1, 2, 4, 8 and 16 workers busy on as many cores, which it pretends
to have. A simulation of one cache per thread counts how often a request needs a line that another thread has changed, or changes one that others
have (MESI). Then it measures the CPU time of a request on one core and on two, without valgrind. From both, a closed queueing network (mean value analysis)
gives the requests per second for up to 64 cores, in one process or several. Lines that more than one request in twenty waits for are stations with a
queue, and so are the poller and the kernel's list of ready connections.

`--cached`: the programs are built. `--top N`: prints N lines that move most often, with the code that touches them. `--costs FILE`: stores what was
counted and measured there, or computes from it if it exists.

A core waits for a line that it reads. It need not wait for one that it writes, unless the access is atomic, which the trace does not show. So everything
is computed twice: as if cores waited for lines that they read only, and as if they waited for all. The results are the two ends of a range.

What it cannot show: valgrind runs one thread at a time, and the next at a system call, so lines change their owner there and not in between, and a lock is never
contended. Valgrind does not see the kernel: what all cores share there is a parameter (KERNEL_LINES). The client's cores, the network card, memory bandwidth
and accepting are not in the model, and clients are spread evenly over processes.

Needs cargo, cc, wrk and binutils; installs valgrind from Debian where it is missing.
"""

import argparse
import bisect
import contextlib
import ctypes
import json
import multiprocessing
import os
import re
import select
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
TARGET = HERE / "target/cores"
WORKERS = [1, 2, 4, 8, 16]
CONNECTIONS = 32  # for each worker
REQUESTS = 8  # on each connection, counted; half as many before, which are not
LINE = 64
ROUNDS, SECONDS = 7, 1

# ns for a line that another core has changed: within a socket, and from the other one. 58 ns was measured on two cores (docs/notes/engine-2026-11.md); the
# others are medians of https://github.com/nviennot/core-to-core-latency.
MACHINES = {"Intel Xeon, Ice Lake": (58, 108), "AMD EPYC, Milan": (107, 197)}
SOCKET = 32  # cores
CORES = [1, 2, 4, 8, 16, 32, 64]
PROCESSES = [1, 2, 4, 8]
HOT = 0.05  # a line that moves so often per request is a station
# Lines of the kernel's epoll instance that move for each request: its lock, and its list of ready connections, to which the core that receives
# a segment adds the connection.
KERNEL_LINES = 2


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cached", action="store_true")
    parser.add_argument("--top", type=int, default=0)
    parser.add_argument("--costs", type=Path)
    parser.add_argument("rows", nargs="*", choices=["hello", "file", []])
    given = parser.parse_args()
    costs = json.loads(given.costs.read_text()) if given.costs and given.costs.exists() else found(given)
    if given.costs:
        given.costs.write_text(json.dumps(costs))
    for name, cost in costs.items():
        report(name, cost, given.top)


def found(given):
    if not shutil.which("valgrind"):
        subprocess.run(["apt-get", "update", "-qq"], check=True, stdout=subprocess.DEVNULL)
        subprocess.run(["apt-get", "install", "-y", "-qq", "valgrind"], check=True, stdout=subprocess.DEVNULL)
    if not given.cached:
        build()
    with tempfile.TemporaryDirectory(prefix="modest-cores-") as folder:
        folder = Path(folder)
        (folder / "www").mkdir()
        (folder / "www/1k.txt").write_text("x" * 1023 + "\n")
        shim = folder / "cores.so"
        subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", shim, HERE / "benches/cores.c", "-ldl"], check=True)
        rows = {"hello": Row("examples/hello", ["127.0.0.1:0"], "/"), "file": Row("modest", [folder / "www", "-p", "0", "--quiet"], "/1k.txt")}
        return {name: cost_of(row, shim) for name, row in rows.items() if name in (given.rows or rows)}


class Row:
    """A program, and the path of a request."""

    def __init__(self, program, words, path):
        self.program, self.words, self.path = program, words, path
        self.request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()

    def start(self, folder, before=(), **more):
        """Its process and its port."""
        command = [*before, folder / self.program, *self.words]
        process = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True, start_new_session=True, **more)
        return process, process.stdout


def build():
    """The programs as they are, and once more with the C library's clock, which the shim replaces, and with line numbers."""
    cargo = ["cargo", "build", "--locked", "--release", "--bins", "--example", "hello"]
    subprocess.run(cargo, cwd=HERE, check=True)
    other = os.environ | {"RUSTFLAGS": "--cfg=rustix_use_libc", "CARGO_PROFILE_RELEASE_DEBUG": "line-tables-only"}
    subprocess.run([*cargo, "--target-dir", TARGET], cwd=HERE, check=True, env=other)


def cost_of(row, shim):
    """All that is counted and measured of a row: as it is stored by `--costs`."""
    measured = measure(row)
    slowness = counted(row, shim, 1, 3000)["wall"] / measured["one core"]
    print(f"{row.path}: {measured}, under valgrind {slowness:,.0f} times slower", file=sys.stderr)
    counts = [counted(row, shim, workers, int(slowness * workers)) for workers in WORKERS]
    return measured | {"poll": poll_time(), "counts": counts}


# Counting.


@contextlib.contextmanager
def stopped(process):
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def counted(row, shim, workers, slowness):
    """What a request does with this many busy workers, as a dictionary."""
    reader, writer = os.pipe()
    valgrind = ["valgrind", "--tool=lackey", "--trace-mem=yes", "--basic-counts=no", "--trace-sched=yes", "--fair-sched=yes", f"--log-fd={writer}"]
    environment = os.environ | {"LD_PRELOAD": str(shim), "CORES": str(workers), "SLOWNESS": str(slowness)}
    process, out = row.start(TARGET / "release", valgrind, pass_fds=[writer], env=environment)
    os.close(writer)
    with stopped(process), open(reader, "rb", buffering=0) as pipe:
        trace = Trace()
        port = int(re.search(r"http://[^/]*:(\d+)/", read_beside(trace, pipe, out)).group(1))
        program = Program(TARGET / "release" / row.program, process.pid)
        trace.of(program)
        count = workers * CONNECTIONS
        ours, theirs = multiprocessing.Pipe()
        client = multiprocessing.get_context("fork").Process(target=clients, args=(port, row.request, count, theirs), daemon=True)
        client.start()
        trace.read_until(pipe, ours)  # the first requests
        trace.reset()
        began = time.monotonic()
        ours.send("go")
        trace.read_until(pipe, ours)
        wall = (time.monotonic() - began - QUIET) * 1e6 / (count * REQUESTS)
        client.terminate()
        return trace.result(workers, count * REQUESTS, program) | {"wall": wall}


def read_beside(trace, pipe, out):
    """The server's first line. What it does until then is read as well, or it would wait for that."""
    while out not in select.select([pipe, out], [], [])[0]:
        trace.feed(os.read(pipe.fileno(), 1 << 20))
    return out.readline()


QUIET = 0.5  # s without an access: all requests are answered


def clients(port, request, count, pipe):
    """Kept connections, each of which sends its next request when it has a response: some, and after a word some that are counted."""
    connections = [socket.create_connection(("127.0.0.1", port)) for _ in range(count)]
    connections[0].sendall(request)
    length = len(connections[0].recv(65536))
    closed_loop(connections, request, length, count * REQUESTS // 2)
    pipe.send("warm")
    pipe.recv()
    closed_loop(connections, request, length, count * REQUESTS)
    pipe.send("done")
    pipe.recv()


def closed_loop(connections, request, length, budget):
    by_number, left = {connection.fileno(): connection for connection in connections}, {}
    epoll = select.epoll()
    for number, connection in by_number.items():
        epoll.register(number, select.EPOLLIN)
        connection.sendall(request)
        left[number], budget = length, budget - 1
    while left:
        for number, _ in epoll.poll():
            got = len(by_number[number].recv(left[number]))
            if not got:
                sys.exit("the server closed a connection")
            left[number] -= got
            if left[number]:
                continue
            del left[number]
            if budget > 0:
                by_number[number].sendall(request)
                left[number], budget = length, budget - 1
    epoll.close()


class Program:
    """Where the functions of a running program are."""

    def __init__(self, path, pid):
        self.path = path
        maps = [line.split() for line in Path(f"/proc/{pid}/maps").read_text().splitlines() if line.endswith(str(path))]
        self.base = min(int(words[0].split("-")[0], 16) - int(words[2], 16) for words in maps)
        self.end = max(int(words[0].split("-")[1], 16) for words in maps)
        found = [line.split(maxsplit=3) for line in run("nm", "-C", "-S", "--defined-only", path).splitlines()]
        self.functions = sorted((int(words[0], 16), int(words[1], 16), words[3]) for words in found if len(words) == 4 and words[2] in "tT")
        self.starts = [start for start, _, _ in self.functions]

    def function(self, pc):
        at = bisect.bisect_right(self.starts, pc - self.base) - 1
        if at >= 0 and pc - self.base < self.functions[at][0] + self.functions[at][1]:
            return self.functions[at][2]
        return ""

    def places(self, pcs):
        """The innermost line of our own code at each of these addresses."""
        own = [pc for pc in pcs if self.base <= pc < self.end]
        lines = run("addr2line", "-a", "-i", "-e", self.path, *(hex(pc - self.base) for pc in own)).splitlines()
        found, at = {}, None
        for line in lines:
            if line.startswith("0x"):
                at = int(line, 16) + self.base
            elif (place := re.search(r"/((?:src|program|examples)/[a-z_/]+\.rs:\d+)", line)) and "/registry/" not in line and "/rustc/" not in line:
                found.setdefault(at, place[1].removeprefix("src/"))
        return found


def run(*command):
    return subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True).stdout


# The poller is held from the first of these functions to one of the others.
TAKES = ("::gather",)
RETURNS = ("drop_in_place<modest::tcp::scheduler::poller_guard::PollerGuard", "::after_a_poll", "::wake_one", "ReadyQueue<C>::len")
INSTRUCTION, READ, WRITE = range(3)


class Trace:
    """The accesses of all threads, and one cache for each thread. A line is in the caches of a set of threads; if one of them has changed it, in no other."""

    def __init__(self):
        self.rest = b""
        self.decoded = {}  # a line of the trace
        self.lines = {}  # the bits of the threads that have a line, and whether it was changed since others had it
        self.program = None
        self.thread, self.pc, self.held = 0, {}, set()
        self.reset()

    def of(self, program):
        self.program = program
        self.decoded = {}

    def reset(self):
        self.instructions, self.under_poller = Counter(), 0
        self.moves = {"read, changed": Counter(), "read, unchanged": Counter(), "written": Counter()}
        self.moved_under_poller = Counter()  # how often one was read, and written
        self.places = Counter()  # of moves, by line and address of the instruction

    def decode(self, text):
        """(kind, address of an instruction, enters a function) or (kind, line, another line or None)."""
        kind = {b"I ": INSTRUCTION, b" L": READ, b" S": WRITE, b" M": WRITE}.get(text[:2])
        if kind is None or text[2:3] != b" ":
            return None
        address, size = text[3:].split(b",")
        address, size = int(address, 16), int(size)
        if kind == INSTRUCTION:
            name = self.program.function(address) if self.program else ""
            enters = "takes" if name.endswith(TAKES) else "returns" if any(word in name for word in RETURNS) else None
            return kind, address, enters
        first, last = address // LINE, (address + size - 1) // LINE
        return kind, first, last if last != first else None

    def feed(self, data):
        *texts, self.rest = (self.rest + data).split(b"\n")
        decoded, decode = self.decoded, self.decode
        thread, held, count, pc = self.thread, self.thread in self.held, 0, self.pc.get(self.thread, 0)
        for text in texts:
            found = decoded.get(text)
            if found is None:
                if text.startswith(b"--"):
                    if (switch := re.search(rb"SCHED\[(\d+)\]: +acquired lock", text)) and int(switch[1]) != thread:
                        self.switch(thread, count, pc, held)
                        thread = self.thread = int(switch[1])
                        held, count, pc = thread in self.held, 0, self.pc.get(thread, 0)
                    continue
                if not (found := decode(text)):
                    continue
                decoded[text] = found
            kind, what, more = found
            if kind == INSTRUCTION:
                count += 1
                pc = what
                if more:
                    held = more == "takes"
                self.under_poller += held
            else:
                self.access(kind, what, thread, pc, held)
                if more:
                    self.access(kind, more, thread, pc, held)
        self.switch(thread, count, pc, held)

    def switch(self, thread, count, pc, held):
        """What `feed` keeps of a thread while it runs."""
        self.instructions[thread] += count
        self.pc[thread] = pc
        (self.held.add if held else self.held.discard)(thread)

    def access(self, kind, line, thread, pc, held):
        own = 2 << thread
        has = self.lines.get(line, 0)
        if kind == READ:
            if has & own or not has:
                if not has:
                    self.lines[line] = own
                return
            self.lines[line] = (has | own) & ~1
            how = "read, changed" if has & 1 else "read, unchanged"
        else:
            self.lines[line] = own | 1
            if not has & ~(own | 1):
                return
            how = "written"
        self.moves[how][line] += 1
        self.places[line, pc] += 1
        self.moved_under_poller[kind] += held

    def read_until(self, pipe, word):
        """Reads until the client has said something, and then until the server is quiet."""
        while word not in select.select([pipe, word], [], [])[0]:
            self.feed(os.read(pipe.fileno(), 1 << 20))
        word.recv()
        while select.select([pipe], [], [], QUIET)[0]:
            self.feed(os.read(pipe.fileno(), 1 << 20))

    def result(self, workers, requests, program):
        every = sum(self.moves.values(), Counter())
        hot = [line for line, count in every.most_common() if count / requests >= HOT]
        most = [line for line, _ in every.most_common(30)]
        kept = {(line, pc): count for (line, pc), count in self.places.items() if line in most}
        places = program.places({pc for _, pc in kept})
        name = lambda pc: places.get(pc) or program.function(pc)[:60] or "another file"
        code = {line: Counter() for line in most}
        for (line, pc), count in kept.items():
            code[line][name(pc)] += count / requests
        total = sum(self.instructions.values())
        by_kind = lambda line: [(every[line] - self.moves["written"][line]) / requests, self.moves["written"][line] / requests]
        return {
            "workers": workers,
            "busy": sum(count > total / workers / 4 for count in self.instructions.values()),
            "instructions": total / requests,
            "under poller": self.under_poller / requests,
            "moved under poller": [self.moved_under_poller[kind] / requests for kind in (READ, WRITE)],
            "moves": {how: sum(counts.values()) / requests for how, counts in self.moves.items()},
            "hot": [by_kind(line) for line in hot],
            "top": [[every[line] / requests, code[line].most_common(6)] for line in most],
        }


# Measuring.


def measure(row):
    """CPU time in µs of a request, with the server on one core and on two; the load comes from both. Medians of alternating rounds."""
    cores = sorted(os.sched_getaffinity(0))
    rounds = {"one core": [], "two cores": []}
    user = []
    for _ in range(ROUNDS):
        for name, count in (("one core", 1), ("two cores", 2)):
            took, share = measured(row, cores[:count])
            rounds[name].append(took)
            if count == 1:
                user.append(share)
    ratios = [two / one for one, two in zip(rounds["one core"], rounds["two cores"])]
    return {name: statistics.median(times) for name, times in rounds.items()} | {
        "user": statistics.median(user), "ratio": statistics.median(ratios), "ratios": [min(ratios), max(ratios)]}


def measured(row, cores):
    """(CPU time in µs of a request, the part of it outside the kernel)"""
    process, out = row.start(HERE / "target/release", ["taskset", "-c", ",".join(map(str, cores))])
    with stopped(process):
        port = int(re.search(r"http://[^/]*:(\d+)/", out.readline()).group(1))
        wrk = ["wrk", "-t2", "-c128", f"-d{SECONDS}s", f"http://127.0.0.1:{port}{row.path}"]
        run(*wrk)
        before = spent(process.pid)
        out = run(*wrk)
        user, system = (after - before for after, before in zip(spent(process.pid), before))
        requests = int(re.search(r"(\d+) requests in", out)[1])
        if "Non-2xx" in out:
            sys.exit(out)
        return (user + system) / requests, user / requests


def spent(pid):
    """User and system time of a process, in µs."""
    words = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return [int(word) * 1e6 / os.sysconf("SC_CLK_TCK") for word in words[11:13]]


def poll_time():
    """µs of epoll_wait(2) for each ready connection: with 128 of TCP that are ready again each time."""
    listener = socket.create_server(("127.0.0.1", 0))
    pairs = []
    for _ in range(128):
        client = socket.create_connection(listener.getsockname())
        pairs.append((client, listener.accept()[0]))
        client.sendall(b"x")
    libc, events = ctypes.CDLL(None), ctypes.create_string_buffer(12 * 1024)
    with contextlib.closing(select.epoll()) as epoll:
        for _, server in pairs:
            epoll.register(server, select.EPOLLIN)
        times = []
        for _ in range(2000):
            began = time.perf_counter_ns()
            count = libc.epoll_wait(epoll.fileno(), events, 1024, 0)
            times.append((time.perf_counter_ns() - began) / 1000 / count)
    return statistics.median(times)


# Computing.


def model(cost, cores, processes, latency, writes):
    """Requests per second of several processes that share these cores evenly; times in µs. `writes`: cores wait for lines that they write (1 or 0)."""
    each = cores // processes
    count = counts_for(cost["counts"], each)
    line = latency_of(latency, each) / 1000
    waits = lambda moves: (moves[0] + moves[1] * writes) * line  # of [reads, writes]
    poller = cost["poll"] + count["under poller"] * cost["user"] / count["instructions"]
    elsewhere = [every - under - sum(hot) for every, under, *hot in zip(reads_and_writes(count), count["moved under poller"], *count["hot"])]
    stations = [poller + waits(count["moved under poller"]), *map(waits, count["hot"])]
    if each > 1:
        stations.append(KERNEL_LINES * line)
    return processes * 1e6 * rate(each, cost["one core"] - poller + waits([max(moves, 0) for moves in elsewhere]), stations)


def reads_and_writes(count):
    moves = count["moves"]
    return [moves["read, changed"] + moves["read, unchanged"], moves["written"]]


def counts_for(counts, cores):
    """Of as many workers, or between the next fewer and the next more. Beyond the most that were counted: as those."""
    below = max((count for count in counts if count["workers"] <= cores), key=lambda count: count["workers"])
    above = min((count for count in counts if count["workers"] >= cores), key=lambda count: count["workers"], default=below)
    if below is above:
        return below
    part = (1 / below["workers"] - 1 / cores) / (1 / below["workers"] - 1 / above["workers"])
    return between(below, above, part)


def between(below, above, part):
    """What is this part of the way from one of two counts to the other."""
    if isinstance(below, dict):
        return {name: between(value, above[name], part) for name, value in below.items() if name not in ("top", "hot")} | (
            {"hot": between(*padded(below["hot"], above["hot"]), part)} if "hot" in below else {})
    if isinstance(below, list):
        return [between(*both, part) for both in zip(below, above)]
    return below + (above - below) * part


def padded(*lists):
    length = max(map(len, lists))
    return [hot + [[0, 0]] * (length - len(hot)) for hot in lists]


def latency_of(latency, cores):
    """The mean over all pairs of cores: beyond those of one socket some are of the other one."""
    inside, across = latency
    if cores <= SOCKET:
        return inside
    return inside + (across - inside) * (cores - SOCKET) / (cores - 1)


def rate(customers, delay, stations):
    """Exact mean value analysis of a closed network with one delay and these stations: passages per µs."""
    queues = [0.0] * len(stations)
    throughput = 0.0
    for number in range(1, customers + 1):
        responses = [service * (1 + queue) for service, queue in zip(stations, queues)]
        throughput = number / (delay + sum(responses))
        queues = [throughput * response for response in responses]
    return throughput


def several_win(cost, latency, writes):
    """From how many cores on two processes have a rate of 1.1 or more, and from how many a process per eight cores."""
    wins = lambda cores, processes: model(cost, cores, processes, latency, writes) >= 1.1 * model(cost, cores, 1, latency, writes)
    two = next((cores for cores in range(2, 130, 2) if wins(cores, 2)), None)
    eights = next((cores for cores in range(16, 136, 8) if wins(cores, cores // 8)), None)
    return [str(cores or "more than 128") for cores in (two, eights)]


# Printing.


def report(name, cost, top):
    print(f"\n## {name}\n")
    print(f"CPU time of a request: {cost['one core']:.2f} µs on one core ({cost['user']:.2f} outside the kernel), {cost['two cores']:.2f} on two; ratio "
          f"{cost['ratio']:.2f} ({cost['ratios'][0]:.2f} to {cost['ratios'][1]:.2f}). epoll_wait: {cost['poll']:.3f} µs for a ready connection.\n")
    report_counts(cost)
    if top:
        report_top(cost["counts"][-1], top)
    for machine, latency in MACHINES.items():
        report_model(cost, machine, latency)


def report_counts(cost):
    counts = cost["counts"]
    print("| for a request, with workers | " + " | ".join(str(count["workers"]) for count in counts) + " |")
    print("| --- |" + " --- |" * len(counts))
    rows = {
        "busy threads": lambda count: f"{count['busy']}",
        "instructions": lambda count: f"{count['instructions']:,.0f}",
        "of those with the poller": lambda count: f"{count['under poller']:,.0f}",
        "lines read that another has changed": lambda count: f"{count['moves']['read, changed']:.2f}",
        "lines read that others have, unchanged": lambda count: f"{count['moves']['read, unchanged']:.2f}",
        "lines written that others have": lambda count: f"{count['moves']['written']:.2f}",
        "of all these with the poller": lambda count: f"{sum(count['moved under poller']):.2f}",
        "of all these in hot lines": lambda count: f"{sum(map(sum, count['hot'])):.2f} in {len(count['hot'])}",
    }
    for what, value in rows.items():
        print(f"| {what} | " + " | ".join(map(value, counts)) + " |")
    reads, writes = (moves * MACHINES["Intel Xeon, Ice Lake"][0] / 1000 / cost["one core"] for moves in reads_and_writes(counts[1]))
    print(f"\nOn two cores a request costs {1 + reads:.2f} to {1 + reads + writes:.2f} of its time on one, with 58 ns per line; measured {cost['ratio']:.2f}.")


def report_top(count, top):
    print(f"\nLines that move most often, with {count['workers']} workers:\n")
    for moves, code in count["top"][:top]:
        print(f"- {moves:.3f}: " + ", ".join(f"{place} {times:.3f}" for place, times in code))


def report_model(cost, machine, latency):
    print(f"\n{machine}: {latency[0]} ns within a socket of {SOCKET} cores, {latency[1]} ns across. Thousands of requests per second (and efficiency):\n")
    print("| cores | " + " | ".join(f"{count} process{'es' * (count > 1)}" for count in PROCESSES) + " |")
    print("| --- |" + " --- |" * len(PROCESSES))
    alone = model(cost, 1, 1, latency, 0)
    for cores in CORES:
        print(f"| {cores} | " + " | ".join(cell(cost, cores, processes, latency, alone) for processes in PROCESSES) + " |")
    (two, eights), (two_at_best, eights_at_best) = (several_win(cost, latency, writes) for writes in (1, 0))
    print(f"\nTwo processes have 1.1 of the rate of one from {two} cores on if cores wait for writes, and from {two_at_best} if they do not; a process per eight "
          f"cores from {eights}, and from {eights_at_best}.")


def cell(cost, cores, processes, latency, alone):
    if cores < processes:
        return ""
    rates = [model(cost, cores, processes, latency, writes) for writes in (1, 0)]
    low, high = (f"{rate_ / 1000:,.0f}" for rate_ in rates)
    worst, best = (f"{rate_ / alone / cores:.2f}" for rate_ in rates)
    return f"{low} ({best})" if low == high else f"{low} to {high} ({worst} to {best})"


if __name__ == "__main__":
    main()
