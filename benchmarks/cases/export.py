"""Writing the finished sheet: 100,000 rows of 20 columns, and a tenth of them for memory.

The answers go into the user's own workbook, and with `--plain` into a new one.
"""

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
    peaks: dict[tuple[str | int, ...], list[float]] = {}
    with services.ledgers("sqlite") as ledgers:
        urls = {}
        for rows in (ROWS, SMALL):
            urls[rows] = ledgers.new()
            engine = open_ledger(urls[rows])
            filled.finished(engine, rows, answer, sheets.master(rows))
            engine.dispose()

        def export(rows: int, *options: str) -> float:
            command = ("export", "b", out, "--overwrite", *options)
            run = services.rowfleet(*command, env={"DATABASE_URL": urls[rows]})
            peaks.setdefault((*options, rows), []).append(run.peak_mb)
            return run.seconds

        def bare() -> float:
            return services.program(
                "-m", "benchmarks.baselines.scripts", "write", ROWS, out
            ).seconds

        own, plain, theirs = interleaved(
            rounds, lambda: export(ROWS), lambda: export(ROWS, "--plain"), bare
        )
        export(SMALL)
        export(SMALL, "--plain")
    out.unlink()
    yield compared(
        "write_back",
        "export 100,000 rows × 21 columns into the user's own workbook",
        own,
        plain,
        unit="s",
        beside="a new workbook, `--plain`",
        at_most=1.5,
    )
    yield compared(
        "export",
        "export 100,000 rows × 20 columns",
        plain,
        theirs,
        unit="s",
        beside="bare openpyxl write-only",
        at_most=1.3,
    )
    for name, title, of in (
        ("write_back_memory", "peak memory of an export into the user's own workbook", ()),
        ("export_memory", "export's peak memory", ("--plain",)),
    ):
        yield flat(
            name,
            f"{title}, 100,000 rows",
            peaks[*of, ROWS],
            peaks[*of, SMALL],
            unit="MB",
            beside="10,000 rows",
            at_most=150,
        )
