"""`make bench`: measure, print a table, write `benchmarks/results/NAME.json`.

    make bench                          all benchmarks; takes a while
    make bench ARGS="submit export"     some
    make bench ARGS="--rounds 3 submit" with fewer repetitions
    make bench ARGS=--docs              write the table of measured figures into the documentation

A benchmark is a module of `benchmarks.cases` whose `measure(rounds)` yields figures; it measures
its baseline in the same run, turn and turn about.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
import traceback
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmarks.harness.figures import Figure, saved

#: The modules below `benchmarks.cases`, in the order they run: the short ones first.
BENCHMARKS = (
    "feeding",
    "first_message",
    "submit",
    "export",
    "documents",
    "progress",
    "scale",
    "memory",
    "worker.worker_start",
    "ledger_writes",
    "worker.rows",
    "worker.worker_memory",
    "worker.pool",
    "worker.events",
    "worker.unit_costs",
    "autoscaler",
)
#: Each benchmark's name on the command line, and its place.
NAMES = {place.rpartition(".")[2]: place for place in BENCHMARKS}

PAGE = Path(__file__).parent.parent / "docs" / "explanation" / "performance.md"
START, END = "<!-- benchmarks -->", "<!-- /benchmarks -->"


def main() -> int:
    """Measure what is asked for; return 1 if a benchmark failed to run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--rounds", type=int, default=5, help="repetitions of each (5)")
    parser.add_argument("--docs", action="store_true", help="only write the table into its page")
    asked = parser.parse_args()
    if asked.docs:
        write_page(saved())
        return 0
    unknown = sorted(set(asked.names) - set(NAMES))
    if unknown:
        parser.error(f"no benchmark {unknown[0]!r}; there are {', '.join(NAMES)}")
    console = Console()
    measured: list[Figure] = []
    failed = False
    for name, place in NAMES.items():
        if asked.names and name not in asked.names:
            continue
        started = time.monotonic()
        try:
            case = importlib.import_module(f"benchmarks.cases.{place}")
            for figure in case.measure(asked.rounds):
                figure.save()
                measured.append(figure)
        except Exception:  # one that can't run must not take the others with it
            traceback.print_exc()
            failed = True
        console.print(f"{name}: {time.monotonic() - started:.0f} s", style="dim")
    console.print(_table(measured))
    return int(failed)


def _cells(figure: Figure) -> tuple[str, ...]:
    beside = ""
    if figure.baseline is not None:
        beside = f"{figure.beside}: {_number(figure.baseline)} {figure.unit}"
    ratio = "" if figure.ratio is None else f"{figure.ratio:.2f}"
    met = ("yes" if figure.met else "no") if figure.wanted else ""
    value = f"{_number(figure.value)} {figure.unit}"
    return figure.title, value, beside, ratio, figure.wanted, met


_HEADERS = ("figure", "Rowfleet", "beside", "ratio", "wanted", "met")


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _table(figures: list[Figure]) -> Table:
    table = Table(*_HEADERS)
    for figure in figures:
        table.add_row(*map(escape, _cells(figure)), style=None if figure.met else "yellow")
    return table


def write_page(figures: list[Figure]) -> None:
    """Put the table between the two markers of the page."""
    # The page has another table for the simulated figures.
    goals = [f for f in figures if f.wanted and not f.name.startswith("simulated_")]
    lines = [_line(_HEADERS), _line(["---"] * len(_HEADERS)), *(_line(_cells(f)) for f in goals)]
    before, start, rest = PAGE.read_text().partition(START)
    _, end, after = rest.partition(END)
    if not (start and end):
        sys.exit(f"{PAGE.name} has no {START} … {END} to write between")
    PAGE.write_text(f"{before}{START}\n\n" + "\n".join(lines) + f"\n\n{END}{after}")


def _line(cells: object) -> str:
    assert isinstance(cells, (tuple, list))
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


if __name__ == "__main__":
    sys.exit(main())
