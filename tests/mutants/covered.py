"""Which tests run a line: measured by coverage.py over the suite, workers' processes included."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from itertools import accumulate
from pathlib import Path

import coverage

from tests.mutants.modules import modules

HERE = Path(__file__).parent

#: The tests that run the modules at all.
SUITE = ("tests/unit", "tests/integration")


class SuiteFailedError(Exception):
    """The suite does not run at all; the message is for the user."""


def measure(copy: Path, build: Path, jobs: int) -> list[str]:
    """Run the suite once with coverage.py in an unchanged copy of the sources.

    A test that fails is run again, alone: load makes a test fail now and then. Return the tests
    that fail again. They are in no line's list, since they would seem to kill each of its mutants.
    """
    for old in build.glob(".coverage*"):
        old.unlink()
    sources = "\n  ".join(str(copy / module) for module in modules(copy))
    (build / "coveragerc").write_text(
        f"[run]\ndata_file = {build}/.coverage\nparallel = true\nrelative_files = false\n"
        "concurrency = thread\ncontext = ${COVERAGE_TEST-}\n"
        f"include =\n  {sources}\n"
    )
    log = build / "suite.log"
    traced = {
        "COVERAGE_PROCESS_START": str(build / "coveragerc"),
        "PYTHONPATH": os.pathsep.join((str(HERE / "traced"), str(copy))),
    }
    failing: list[str] = []
    if _suite_fails(
        copy,
        log,
        traced,
        *("-n", str(jobs), "--dist", "worksteal", "-p", "tests.mutants.tracing"),
        *("-vv", "--durations", "0", "--durations-min", "0"),
    ) and _suite_fails(copy, build / "suite-again.log", {"PYTHONPATH": str(copy)}, "--last-failed"):
        failing = _last_failed(copy)
    _write_map(copy, build, set(failing))
    return failing


def _last_failed(copy: Path) -> list[str]:
    try:
        found = json.loads((copy / ".pytest_cache/v/cache/lastfailed").read_text())
    except FileNotFoundError:
        raise SuiteFailedError(
            f"the suite does not run in {copy}; see suite.log beside it"
        ) from None
    return sorted(found)


def _write_map(copy: Path, build: Path, failing: set[str]) -> None:
    data = coverage.Coverage(data_file=str(build / ".coverage"), config_file=False)
    data.combine([str(build)])
    found: dict[str, dict[int, list[str]]] = {}
    for module in modules(copy):
        lines: dict[int, list[str]] = defaultdict(list)
        for line, tests in data.get_data().contexts_by_lineno(str(copy / module)).items():
            lines[line] = sorted({*filter(None, tests)} - failing)
        found[module] = lines
    seconds = _durations((build / "suite.log").read_text(errors="replace"))
    (build / "covered.json").write_text(json.dumps({"lines": found, "seconds": seconds}))


def _suite_fails(copy: Path, log: Path, env: dict[str, str], *options: str) -> bool:
    with log.open("wb") as output:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", *options, *SUITE],
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "", **env},
            cwd=copy,
            stdout=output,
            stderr=output,
            check=False,
        )
    return done.returncode != 0


def _durations(log: str) -> dict[str, float]:
    """Return what each test took, in seconds, set-up and end included."""
    total: dict[str, float] = defaultdict(float)
    for line in log.splitlines():
        found = re.fullmatch(r"([0-9.]+)s (?:setup|call|teardown) +(.+)", line)
        if found:
            total[found[2]] += float(found[1])
    return total


class Covered:
    """The measured map of lines to tests."""

    def __init__(self, build: Path, root: Path) -> None:
        """Read what `measure` wrote to ``build`` about the modules below ``root``."""
        found = json.loads((build / "covered.json").read_text())
        self._lines: dict[str, dict[str, list[str]]] = found["lines"]
        self._seconds: dict[str, float] = found["seconds"]
        self._trees = {module: ast.parse((root / module).read_text()) for module in modules(root)}

    def seconds(self, tests: Iterable[str]) -> float:
        """Return how long the tests took together when they were measured."""
        return sum(self._seconds.get(test, 0) for test in tests)

    def affordable(self, tests: list[str], seconds: float) -> list[str]:
        """Return the first of the tests, as many as take ``seconds`` together."""
        spent = accumulate(self.seconds([test]) for test in tests)
        return [test for test, total in zip(tests, spent, strict=True) if total <= seconds]

    def tests(self, module: str, line: int) -> list[str]:
        """Return the tests that run the statement on ``line``, in the order to run them in.

        What runs only once in a process is seen in one test only: a constant, a class, a function
        that is cached. Of that, the tests of the lines that use its name count.
        """
        tree = self._trees[module]
        within = [node for node in ast.walk(tree) if _holds(node, line)]
        functions = [
            node for node in within if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        ]
        once = next(
            (f for f in functions if any("cache" in ast.dump(d) for d in f.decorator_list)), None
        )
        if once is not None:
            found = self._using(module, {once.name})
        elif functions and line >= functions[-1].body[0].lineno:
            statement = max((n for n in within if isinstance(n, ast.stmt)), key=lambda n: n.lineno)
            body = getattr(statement, "body", None)
            last = body[0].lineno - 1 if body else statement.end_lineno or line
            found = self._running(module, min(statement.lineno, line), max(last, line))
        elif functions:
            found = self._body(module, functions[-1])
        else:
            found = self._using(module, {name for node in within for name in _names(node)})
        for outer in reversed(functions):  # a process that is killed says nothing of its lines
            found = found or self._body(module, outer)
        return self._in_order(found or self._running(module, 1, 1 << 30))

    def _body(self, module: str, function: ast.FunctionDef | ast.AsyncFunctionDef) -> set[str]:
        """Return the tests that run any line of the function."""
        return self._running(
            module, function.body[0].lineno, function.end_lineno or function.lineno
        )

    def _in_order(self, tests: Iterable[str]) -> list[str]:
        """Return the quickest case of each test function, then the second of each, and so on."""
        cases: Counter[str] = Counter()
        order = []
        for test in sorted(tests, key=lambda test: (self._seconds.get(test, 0), test)):
            function = test.partition("[")[0]
            order.append((cases[function], len(order), test))
            cases[function] += 1
        return [test for *_, test in sorted(order)]

    def _running(self, module: str, first: int, last: int) -> set[str]:
        lines = self._lines[module]
        return {test for at, tests in lines.items() if first <= int(at) <= last for test in tests}

    def _using(self, module: str, names: set[str]) -> set[str]:
        """Return the tests that run a line of a function that says one of the names."""
        found: set[str] = set()
        for function in ast.walk(self._trees[module]):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                for node in ast.walk(function):
                    said = getattr(node, "id", None) or getattr(node, "attr", None)
                    if said in names and node.lineno >= function.body[0].lineno:
                        found |= self._running(module, node.lineno, node.end_lineno or node.lineno)
        return found


def _holds(node: ast.AST, line: int) -> bool:
    first = getattr(node, "lineno", None)
    if first is None:
        return False
    for decorator in getattr(node, "decorator_list", ()):
        first = min(first, decorator.lineno)
    return bool(first <= line <= node.end_lineno)


def _names(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.ClassDef():
            yield node.name
        case ast.Assign():
            yield from (target.id for target in node.targets if isinstance(target, ast.Name))
        case ast.AnnAssign(target=ast.Name(id=name)):
            yield name
