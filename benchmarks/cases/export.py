"""Writing the finished sheet: 100,000 rows of 20 columns, and ten times as many for memory."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.baselines import scripts
from benchmarks.harness import filled, services, sheets
from benchmarks.harness.figures import Figure, compared, flat, interleaved
from rowfleet.ledger.engine import open_ledger

ROWS = 100_000
SMALL = 10_000


def measure(rounds: int) -> Iterator[Figure]:
    """Yield time and memory, with the ledger in SQLite."""
    out = sheets.FOLDER / "finished.xlsx"
    sheets.FOLDER.mkdir(parents=True, exist_ok=True)
    answer = dict(zip(("refund", "why"), scripts.ANSWERS, strict=False))
    peaks: dict[int, list[float]] = {ROWS: [], SMALL: []}
    with services.ledgers("sqlite") as ledgers:
        urls = {}
        for rows in (ROWS, SMALL):
            urls[rows] = ledgers.new()
            engine = open_ledger(urls[rows])
            filled.finished(engine, rows, answer)
            engine.dispose()

        def export(rows: int) -> float:
            run = services.rowfleet("export", "b", out, env={"DATABASE_URL": urls[rows]})
            peaks[rows].append(run.peak_mb)
            return run.seconds

        def bare() -> float:
            return services.program(
                "-m", "benchmarks.baselines.scripts", "write", ROWS, out
            ).seconds

        ours, theirs = interleaved(rounds, lambda: export(ROWS), bare)
        export(SMALL)
    out.unlink()
    yield compared(
        "export",
        "export 100,000 rows × 20 columns",
        ours,
        theirs,
        unit="s",
        beside="bare openpyxl write-only",
        at_most=1.3,
    )
    yield flat(
        "export_memory",
        "export's peak memory, 100,000 rows",
        peaks[ROWS],
        peaks[SMALL],
        unit="MB",
        beside="10,000 rows",
        at_most=150,
    )
