"""What a benchmark gives: a figure, what it is measured beside, and what was wanted."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

RESULTS = Path(__file__).parents[1] / "results"


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table. ``value`` and ``baseline`` are medians of ``runs``."""

    name: str
    title: str
    value: float
    unit: str
    wanted: str
    met: bool
    beside: str = ""
    baseline: float | None = None
    ratio: float | None = None
    runs: dict[str, list[float]] = field(default_factory=dict)
    note: str = ""

    def save(self) -> None:
        """Write `results/NAME.json`."""
        RESULTS.mkdir(exist_ok=True)
        machine = (
            f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
        )
        content = {**asdict(self), "machine": machine, "measured_at": f"{datetime.now(UTC):%F %R}"}
        (RESULTS / f"{self.name}.json").write_text(json.dumps(content, indent=2) + "\n")


def saved() -> list[Figure]:
    """Return the figures in `results`, by name; reports of another kind are left out."""
    contents = [json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))]
    return [
        Figure(**{key: content[key] for key in Figure.__slots__})
        for content in contents
        if content.keys() >= set(Figure.__slots__)
    ]


def interleaved(
    rounds: int, *things: Callable[[], float], warm_up: bool = True
) -> list[list[float]]:
    """Measure things in turn, so that all see the same machine; return each one's values.

    ``warm_up`` does one round more, first, that does not count: caches of files and bytecode.
    """
    runs: list[list[float]] = [[] for _ in things]
    for number in range(rounds + warm_up):
        for thing, values in zip(things, runs, strict=True):
            value = thing()
            if number >= warm_up:
                values.append(value)
    return runs


def compared(
    name: str,
    title: str,
    ours: Sequence[float],
    theirs: Sequence[float],
    *,
    unit: str,
    beside: str,
    at_most: float | None = None,
    at_least: float | None = None,
    note: str = "",
) -> Figure:
    """Return the figure for two series; ``at_most`` and ``at_least`` bound ours ÷ theirs."""
    value, baseline = median(ours), median(theirs)
    ratio = value / baseline
    met = ratio <= at_most if at_most is not None else ratio >= (at_least or 0)
    wanted = f"≤ {at_most:g} ×" if at_most is not None else f"≥ {at_least:g} ×"
    runs = {"ours": list(ours), "baseline": list(theirs)}
    return Figure(name, title, value, unit, wanted, met, beside, baseline, ratio, runs, note)


def alone(
    name: str, title: str, ours: Sequence[float], *, unit: str, at_most: float, note: str = ""
) -> Figure:
    """Return the figure for one series, whose median must be ``at_most`` so much."""
    value = median(ours)
    wanted = f"≤ {at_most:g} {unit}"
    return Figure(
        name, title, value, unit, wanted, value <= at_most, runs={"ours": list(ours)}, note=note
    )


def flat(
    name: str,
    title: str,
    large: Sequence[float],
    small: Sequence[float],
    *,
    unit: str,
    beside: str,
    at_most: float,
    growth: float = 1.15,
    note: str = "",
) -> Figure:
    """Return the figure for something that must stay ``at_most`` so much, and must not grow.

    ``growth`` is how much more of it the large case may take than the small one.
    """
    value, baseline = median(large), median(small)
    ratio = value / baseline
    return Figure(
        name,
        title,
        value,
        unit,
        f"≤ {at_most:g} {unit}, ≤ {growth:g} ×",
        value <= at_most and ratio <= growth,
        beside,
        baseline,
        ratio,
        {"ours": list(large), "baseline": list(small)},
        note,
    )
