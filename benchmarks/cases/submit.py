"""Submitting 100,000 rows of 15 columns: read, recorded in the ledger, fed up to the window."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.harness import services, sheets
from benchmarks.harness.figures import Figure, compared, interleaved

ROWS = 100_000
#: The naive way takes a minute or more; one run in so many rounds is enough for its factor.
NAIVE_EVERY = 3


def measure(rounds: int) -> Iterator[Figure]:
    """Yield a figure for each kind of ledger, and one beside the naive way."""
    sheet = sheets.master(ROWS)
    with (
        services.broker() as broker,
        services.ledgers("postgresql") as postgresql,
        services.ledgers("sqlite") as sqlite,
    ):

        def submit(to: services.Ledgers) -> float:
            services.client(broker).flushall()
            ledger = to.new()
            seconds = services.submit(sheet, ledger, broker).seconds
            to.drop(ledger)
            return seconds

        def bare() -> float:
            return services.program("-m", "benchmarks.baselines.scripts", "read", sheet).seconds

        def naive() -> float:
            services.client(broker).flushall()
            packages = {"PYTHONPATH": f"{services.ROOT}:{services.BASELINE_PACKAGES}"}
            words = ("-m", "benchmarks.baselines.scripts", "naive", sheet, broker)
            return services.program(*words, env=packages).seconds

        in_postgresql, in_sqlite, read = interleaved(
            rounds, lambda: submit(postgresql), lambda: submit(sqlite), bare
        )
        for kind, runs in (("PostgreSQL", in_postgresql), ("SQLite", in_sqlite)):
            yield compared(
                f"submit_{kind.lower()}",
                f"submit 100,000 rows × 15 columns, {kind}",
                runs,
                read,
                unit="s",
                beside="bare openpyxl read",
                at_most=1.3,
            )
        again, one_by_one = interleaved(
            max(1, rounds // NAIVE_EVERY), lambda: submit(postgresql), naive, warm_up=False
        )
        yield compared(
            "submit_naive",
            "submit 100,000 rows × 15 columns, PostgreSQL",
            again,
            one_by_one,
            unit="s",
            beside="pandas and one `send_task` a row",
            at_most=0.25,
        )
