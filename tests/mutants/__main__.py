"""`make mutants`: change the core in small ways, a copy each, and see whether a test fails.

    python -m tests.mutants --seed 1 --sample 200

Each mutant is run against the tests that cover its lines. A survivor is a change no test saw:
each must stand in explained.toml with its reason, or get a test. The report is written to
build/mutants/report-SEED.json; exit 1 if fewer than 90 % are killed or a survivor is unexplained.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import random
import shutil
import subprocess
import sys
import time
import tomllib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.mutants import covered
from tests.mutants.covered import Covered
from tests.mutants.mutations import Mutant, sample

ROOT = Path(__file__).parents[2]
BUILD = ROOT / "build" / "mutants"

#: The part of the mutants that must be killed.
WANTED = 0.9

#: Seconds after which one test has hung, which kills a mutant.
TEST_SECONDS = 90

#: Seconds after which a mutant's tests as a whole have hung: a loop within a task may swallow the
#: only signal by which pytest ends one test.
RUN_SECONDS = 1_800

#: A test that takes longer than this many seconds waits for processes or clocks, so load alone may
#: make it fail. It kills a mutant only if it fails twice.
STEADY_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """A mutant's end: the test that killed it, or none.

    ``tests`` counts the tests that it was run against, ``left`` those that cover it too but were
    left out because they take too long.
    """

    name: str
    module: str
    line: int
    operator: str
    killed_by: str | None
    tests: int
    left: int
    seconds: float
    why: str | None = None


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="make mutants", description=__doc__)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10_000))
    parser.add_argument("--sample", type=int, default=200, help="how many mutants")
    parser.add_argument("--jobs", type=int, default=2 * (os.cpu_count() or 1))
    parser.add_argument("--measured", action="store_true", help="take the last run's map of lines")
    parser.add_argument(
        "--seconds",
        type=float,
        default=600,
        help="how long the tests of one mutant may take, as measured; the last are left out",
    )
    parser.add_argument("--only", help="only mutants whose name holds this")
    asked = parser.parse_args()
    print(f"seed {asked.seed}, {asked.sample} mutants", flush=True)
    if not asked.measured:
        print("measuring which tests cover which lines", flush=True)
        try:
            failing = covered.measure(_copy(0), BUILD, asked.jobs)
        except covered.SuiteFailedError as failed:
            sys.exit(str(failed))
        if failing:
            print("these tests fail although no line is changed, so they are left out:")
            print(*failing, sep="\n", flush=True)
    mutants = [m for m in sample(ROOT, asked.sample, asked.seed) if (asked.only or "") in m.name]
    verdicts = _run_all(mutants, Covered(BUILD, ROOT), asked.seconds, asked.jobs)
    return _report(verdicts, asked.seed)


def _copy(number: int) -> Path:
    """Write the sources that git knows to a directory of their own, and return it."""
    files = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\0")
    copy = BUILD / f"copy-{number}"
    shutil.rmtree(copy, ignore_errors=True)
    for name in filter(None, files):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, copy / name)
    return copy


def _run_all(mutants: list[Mutant], map_: Covered, seconds: float, jobs: int) -> list[Verdict]:
    copies: queue.SimpleQueue[Path] = queue.SimpleQueue()
    for number in range(jobs):
        copies.put(_copy(number))
    reasons = explained()

    def run(mutant: Mutant) -> Verdict:
        copy = copies.get()
        try:
            verdict = _try(mutant, map_, seconds, copy, reasons)
        finally:
            _write(copy / mutant.module, (ROOT / mutant.module).read_text())
            copies.put(copy)
        word = f"killed by {verdict.killed_by}" if verdict.killed_by else "SURVIVED"
        print(
            f"{word}, {verdict.tests} tests, {verdict.seconds:.0f} s:"
            f" {mutant.module}:{mutant.line} {mutant.operator}\n"
            f"    {mutant.before}\n -> {mutant.after}",
            flush=True,
        )
        return verdict

    with ThreadPoolExecutor(jobs) as pool:
        return list(pool.map(run, mutants))


def _write(module: Path, source: str) -> None:
    """Replace a module's text, and forget its bytecode: Python may take that for up to date."""
    for compiled in module.parent.glob(f"__pycache__/{module.stem}.*"):
        compiled.unlink()
    module.write_text(source)


def _try(
    mutant: Mutant, map_: Covered, seconds: float, copy: Path, reasons: dict[str, str]
) -> Verdict:
    _write(copy / mutant.module, mutant.source)
    covering = map_.tests(mutant.module, mutant.line)
    tests = map_.affordable(covering, seconds)
    began = time.monotonic()
    killed_by = _killer(tests, map_, copy)
    return Verdict(
        mutant.name,
        mutant.module,
        mutant.line,
        mutant.operator,
        killed_by,
        len(tests),
        len(covering) - len(tests),
        time.monotonic() - began,
        None if killed_by else reasons.get(mutant.name),
    )


def _killer(tests: list[str], map_: Covered, copy: Path) -> str | None:
    """Return the first test that fails, twice if load may be the reason. None: all pass."""
    while tests:
        failed = _first_failure(tests, copy)
        if failed not in tests or map_.seconds([failed]) <= STEADY_SECONDS:
            return failed
        if _first_failure([failed], copy):
            return failed
        tests = tests[tests.index(failed) + 1 :]
    return None


def _first_failure(tests: list[str], copy: Path) -> str | None:
    """Run the tests in ``copy`` up to the first that fails, and return its id.

    Where no test could begin, or pytest itself ended, return a sentence. None: all pass.
    """
    (copy / "mutant-tests").write_text("\n".join(tests))
    try:
        process = _pytest(copy)
    except subprocess.TimeoutExpired:
        return f"pytest, which does not end within {RUN_SECONDS} seconds"
    if process.returncode == 0:
        return None
    for line in process.stdout.splitlines():
        word, _, rest = line.partition(" ")
        if word in ("FAILED", "ERROR"):
            named = [test for test in tests if rest == test or rest.startswith(f"{test} - ")]
            return max(named, key=len) if named else f"{rest.split()[0]}, which does not load"
    return f"pytest, which ends with exit code {process.returncode}"


def _pytest(copy: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-x", "-q", "--no-header", "-p", "no:cacheprovider"),
            *("-p", "no:xdist", "--timeout", str(TEST_SECONDS), "--tb", "no", "@mutant-tests"),
        ],
        env={**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": ""},
        cwd=copy,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
        timeout=RUN_SECONDS,
    )


def explained() -> dict[str, str]:
    """Return the survivors that are no fault of the tests, each with its reason."""
    entries = tomllib.loads((Path(__file__).parent / "explained.toml").read_text())
    return {entry["mutant"]: entry["why"] for entry in entries.get("survivor", [])}


def _report(verdicts: list[Verdict], seed: int) -> int:
    (BUILD / f"report-{seed}.json").write_text(json.dumps([asdict(v) for v in verdicts], indent=1))
    killed = sum(v.killed_by is not None for v in verdicts)
    print(f"\nseed {seed}: {killed} of {len(verdicts)} killed, {killed / len(verdicts):.1%}")
    for module, count in sorted(Counter(v.module for v in verdicts).items()):
        dead = sum(v.killed_by is not None for v in verdicts if v.module == module)
        print(f"  {module}: {dead} of {count}")
    unexplained = [v for v in verdicts if v.killed_by is None and v.why is None]
    for verdict in unexplained:
        print(f"unexplained survivor, line {verdict.line}, {verdict.operator}: {verdict.name}")
    return 1 if unexplained or killed < WANTED * len(verdicts) else 0


if __name__ == "__main__":
    sys.exit(main())
