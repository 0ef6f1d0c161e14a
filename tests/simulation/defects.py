#!/usr/bin/env python3
"""Puts each known defect separately into a copy of the source, and prints the number of simulation runs until it is found.

    tests/simulation/defects.py [--runs N] [--starts N] [--dry-run] [NAME...]

Each `defects/NAME.patch` begins with a sentence, followed by a diff. A patch that no longer applies is an error:
write it again. A line `test: NAME` between them means that no client can see the defect, so this unit test of the engine runs
instead. With `law: NAME` this test of `tests/laws.rs` runs, because the simulation finds the defect too rarely. The copy in
`target/defects` has only the simulation and the engine, which compile fast.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
COPY = ROOT / "target" / "defects"


MANIFEST = """
[package]
name = "defects"
version = "0.0.0"
edition = "2024"
autobins = false

[workspace]

[lib]
path = "empty.rs"

[[test]]
name = "simulation"
path = "tests/simulation/main.rs"

[profile.dev]
opt-level = 1
debug = false

[profile.release]
debug-assertions = true
overflow-checks = true

[dependencies]
"""
NEEDED = ("log", "memchr", "mio", "rustix", "service-binding", "shuttle", "socket2", "tempfile")


def copy_of_the_source(to: Path = COPY, more: tuple[str, ...] = ()) -> None:
    """The simulation and the files that it needs, and tests that need only the engine."""
    shutil.rmtree(to / "tests", ignore_errors=True)
    shutil.copytree(HERE, to / "tests" / "simulation", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "Cargo.lock", to / "Cargo.lock")
    (to / "empty.rs").touch()
    manifest, models = (tomllib.loads((ROOT / path).read_text()) for path in ("Cargo.toml", "tests/models/Cargo.toml"))
    known = models["dev-dependencies"] | manifest["dependencies"]
    lines = []
    for name in NEEDED:
        needed = known[name] if isinstance(known[name], dict) else {"version": known[name]}
        features = ", ".join(f'"{feature}"' for feature in needed.get("features", []))
        lines.append(f'{name} = {{ version = "{needed["version"]}", features = [{features}] }}')
    tests = ""
    for name in more:
        shutil.copy(ROOT / "tests" / f"{name}.rs", to / "tests")
        tests += f'[[test]]\nname = "{name}"\n\n'
    (to / "Cargo.toml").write_text(MANIFEST.replace("[profile.dev]", tests + "[profile.dev]") + "\n".join(lines) + "\n")


def put_back(patch: Path) -> None:
    shutil.rmtree(COPY / "src", ignore_errors=True)
    shutil.copytree(ROOT / "src", COPY / "src")
    if not applies(patch, COPY):
        sys.exit(f"{patch.name} no longer applies: write it again")


def applies(patch: Path, to: Path, *options: str) -> bool:
    """Applies the patch to the sources in this folder. Returns whether it has applied."""
    command = ["patch", "--strip=1", "--silent", "--no-backup-if-mismatch", *options]
    with patch.open() as text:
        return subprocess.run(command, cwd=to, stdin=text, check=False).returncode == 0


def simulate(first: int, runs: int) -> tuple[int | None, str]:
    """The number of the run that fails, and the reason; `None`: no run fails."""
    settings = {"SIMULATION_FIRST": first, "SIMULATION_RUNS": runs, "SIMULATION_THREADS": 1, "RUST_BACKTRACE": 0}
    environment = os.environ | {name: str(value) for name, value in settings.items()}
    command = ["cargo", "test", "-j2", "--release", "--test", "simulation", "the_engine", "--", "--nocapture"]
    done = subprocess.run(command, cwd=COPY, env=environment, capture_output=True, text=True)
    output = done.stdout + done.stderr
    found = re.search(r"^run (\d+) of thread \d+: (.*)$", output, re.MULTILINE)
    if found:
        return int(found[1]), found[2]
    if done.returncode != 0:
        sys.exit(output[-3000:])
    return None, ""


def one_test(kind: str, name: str) -> str:
    """The failure of this test with the defect; empty if it passes."""
    target = {"test": "simulation", "law": "laws"}[kind]
    command = ["cargo", "test", "-j2", "--release", "--test", target, name]
    done = subprocess.run(command, cwd=COPY, capture_output=True, text=True)
    if "running 1 test" not in done.stdout:
        sys.exit(f"{name} is not one test:\n{done.stderr[-3000:]}")
    return f"`{name}` fails" if done.returncode else ""


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--runs", type=int, default=100_000, help="at most, from each start")
    arguments.add_argument("--starts", type=int, default=3)
    arguments.add_argument("--dry-run", action="store_true", help="only check that each defect can be put back")
    arguments.add_argument("names", nargs="*")
    chosen = arguments.parse_args()
    patches = [patch for patch in sorted((HERE / "defects").glob("*.patch")) if not chosen.names or patch.stem in chosen.names]
    if not patches:
        sys.exit("there is no such defect")
    if chosen.dry_run:
        stale = [patch.name for patch in patches if not applies(patch, ROOT, "--dry-run")]
        sys.exit(f"these no longer apply, write them again: {', '.join(stale)}" if stale else 0)
    copy_of_the_source(more=("laws",))
    missed = []
    print("| defect | runs | what is seen |\n| --- | --- | --- |", flush=True)
    for patch in patches:
        put_back(patch)
        if test := re.search(r"^(test|law): (\w+)$", patch.read_text(), re.MULTILINE):
            seen = one_test(test[1], test[2])
            print(f"| {patch.stem} | | {seen or 'nothing'} |", flush=True)
            missed += [] if seen else [patch.stem]
            continue
        ends = [simulate(1_000_000 * start, chosen.runs) for start in range(1, chosen.starts + 1)]
        counts = ", ".join("-" if run is None else f"{run:,}" for run, _ in ends)
        whys = [re.sub(r"\d+", "n", why) for run, why in ends if run is not None]
        print(f"| {patch.stem} | {counts} | {whys[0] if whys else 'nothing'} |", flush=True)
        missed += [] if whys else [patch.stem]
    if missed:
        sys.exit(f"not found: {', '.join(missed)}")


if __name__ == "__main__":
    main()
