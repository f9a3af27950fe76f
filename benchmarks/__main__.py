"""`make bench`: run every benchmark, print a table, write `benchmarks/results/*.json`."""

from __future__ import annotations

import json
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import feeding

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    """Measure and report."""
    RESULTS.mkdir(exist_ok=True)
    table = Table("figure", "ours", "baseline", "ratio", "unit")
    for figure in [feeding.measure()]:
        (RESULTS / f"{figure['name']}.json").write_text(json.dumps(figure, indent=2) + "\n")
        table.add_row(
            str(figure["name"]),
            f"{figure['value']:,.0f}",
            f"{figure['baseline']:,.0f}",
            f"{figure['ratio']:.1f}",
            str(figure["unit"]),
        )
    Console().print(table)


main()
