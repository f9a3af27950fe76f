"""What the suite has shown, as JSON, and as the tables of docs/explanation/reliability.md.

With CHAOS_REPORT=FILE a run adds its cases to the file, in place of those with the same seed.
`python -m tests.chaos.report FILE…` writes anew the tables that the runs in them are for.
"""

from __future__ import annotations

import json
import os
import re
import statistics
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

#: Name of the property by which a case hands its record to whoever writes the report.
PROPERTY = "chaos"

PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "reliability.md"

#: The fleets of a case that is run on several (its record has them as `fleets`), and their titles.
FLEETS = {"plain": "Celery's defaults", "careful": "as advised", "rowfleet": "Rowfleet"}

#: A record's `place` when its case ran on a cluster: those have a table of their own.
CLUSTER = "cluster"


class Report:
    """Collects the cases of a run."""

    def __init__(self) -> None:
        self._cases: list[dict[str, Any]] = []
        self._records: dict[str, dict[str, Any]] = {}
        self._outcomes: dict[str, str] = {}
        self._seconds: dict[str, float] = defaultdict(float)

    def add(self, report: pytest.TestReport) -> None:
        """Take note of a phase of a case."""
        name = report.nodeid.rpartition("::")[2]
        self._seconds[name] += report.duration
        if report.outcome != "passed":
            self._outcomes[name] = report.outcome
        elif report.when == "call":
            self._outcomes.setdefault(name, "passed")
        record = dict(report.user_properties).get(PROPERTY)
        if isinstance(record, dict):
            self._records[name] = record

    def write(self) -> None:
        """Add the cases to the file that CHAOS_REPORT names."""
        file = os.environ.get("CHAOS_REPORT")
        if not file or not self._records:
            return
        new = {
            (name, record["seed"]): {
                "case": name,
                "outcome": self._outcomes[name],
                **record,
                "seconds": round(self._seconds[name], 1),
            }
            for name, record in self._records.items()
        }
        path = Path(file)
        path.parent.mkdir(parents=True, exist_ok=True)
        old = json.loads(path.read_text("utf-8")) if path.exists() else []
        kept = [case for case in old if (case["case"], case["seed"]) not in new]
        cases = [*kept, *new.values()]
        path.write_text(json.dumps(cases, indent=1) + "\n", "utf-8")


def table(cases: list[dict[str, Any]]) -> str:
    """Return the table: one line a case, in the order of their first runs; sums over green runs."""
    by_name: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for case in cases:
        by_name[case["case"]].append(case)
    lines = [
        "| case | runs | green | rows | faults | lost | paid again (allowed) "
        "| moves again (s) | all ended (s) |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, all_runs in by_name.items():
        runs = [run for run in all_runs if run["outcome"] == "passed"]
        if not runs:  # a red case has no figures: it ended before they were taken
            title = name.removeprefix("test_").replace("_", " ")
            lines.append(f"| {title} | {len(all_runs)} | 0 | – | – | – | – | – | – |")
            continue
        sums = {
            key: sum(run[key] for run in runs)
            for key in ("rows", "faults", "lost", "calls_over", "allowed")
        }
        cells = [
            name.removeprefix("test_").replace("_", " "),
            len(all_runs),
            len(runs),
            f"{sums['rows']:,}",
            sums["faults"],
            sums["lost"],
            f"{sums['calls_over']} ({sums['allowed']})",
            _median(runs, "moves_again"),
            _median(runs, "ended"),
        ]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def _median(runs: list[dict[str, Any]], key: str) -> str:
    values = [run[key] for run in runs if run[key] is not None]
    return f"{statistics.median(values):.1f}" if values else "–"


def side_by_side(cases: list[dict[str, Any]]) -> str:
    """Return the table of cases on several fleets: a line a fleet, sums over green runs."""
    by_name: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for case in cases:
        by_name[case["case"]].append(case)
    lines = [
        "| case | fleet | rows | answered | held for an hour | lost for good | calls "
        "| rows paid twice | rows paid, no answer | all answered (s) |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, all_runs in by_name.items():
        runs = [run for run in all_runs if run["outcome"] == "passed"]
        title = name.removeprefix("test_").replace("_", " ")
        heading = f"{title}: {len(runs)} of {len(all_runs)} runs green"
        for fleet, label in FLEETS.items():
            seen = [run["fleets"][fleet] for run in runs]
            keys = ("rows", "answered", "held", "lost", "calls", "paid_twice", "paid_in_vain")
            cells = [
                heading if fleet == "plain" else "",
                label,
                *(f"{sum(outcome[key] for outcome in seen):,}" for key in keys),
                _median(seen, "seconds"),
            ]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _replace(page: str, marker: str, text: str) -> str:
    """Return the page with ``text`` between `<!-- MARKER: … -->` and `<!-- end of MARKER -->`."""
    between = re.compile(rf"(<!-- {marker}:.*?-->\n).*?(<!-- end of {marker} -->)", re.DOTALL)
    return between.sub(lambda found: f"{found[1]}{text}\n{found[2]}", page)


def _marker(case: dict[str, Any]) -> str:
    """Return the marker of the table that a case belongs to."""
    if "fleets" in case:
        return "side by side"
    return "cases on a cluster" if case.get("place") == CLUSTER else "cases"


def written(page: str, cases: list[dict[str, Any]]) -> str:
    """Return the page with its tables made anew; one that there are no cases for stays."""
    by_marker: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for case in cases:
        by_marker[_marker(case)].append(case)
    for marker, those in by_marker.items():
        text = side_by_side(those) if marker == "side by side" else table(those)
        page = _replace(page, marker, text)
    return page


if __name__ == "__main__":
    runs = [run for file in sys.argv[1:] for run in json.loads(Path(file).read_text("utf-8"))]
    PAGE.write_text(written(PAGE.read_text("utf-8"), runs), "utf-8")
