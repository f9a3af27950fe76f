"""A second process that would run a batch joins it, is refused, or goes on after the first one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, event, select, update
from sqlalchemy.exc import OperationalError

from rowfleet.errors import InputError
from rowfleet.feeding.feeder import Feeder
from rowfleet.ledger import records
from rowfleet.ledger.engine import open_ledger
from rowfleet.ledger.models import Batch, Row
from rowfleet.ledger.schema import migrate
from rowfleet.ledger.transitions import claiming, recording, settling, stopping
from rowfleet.queue.client import Queue
from rowfleet.recipes.loading import bundled
from rowfleet.settings import Settings
from submitter.cli import run
from submitter.local.worker import Run
from submitter.progress import presence, watching
from submitter.results.export import Target
from submitter.sheets.opening import open_sheet
from submitter.sheets.selection import Choice
from submitter.submission import recording as batch
from submitter.submission import takeover
from submitter.submission.submission import prepare
from tests.support.ledger import make_batch
from tests.support.sheets import invoices, results

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def own_run(engine: Engine) -> Iterator[Run]:
    run = Run(engine)
    yield run
    run.end()


@pytest.fixture
def feeder(engine: Engine, settings: Settings) -> Feeder:
    return Feeder(engine, Queue(settings), window=100, redelivery=45)


def begin(engine: Engine, sheet: Path, queue_for: takeover.QueueFor | None) -> str:
    """Submit without recording rows. Return the queue the batch is on."""
    asked = bundled().model_copy(update={"analyzer": "rules", "model": "rules"})
    with open_sheet(sheet, None, recipe=asked) as opened:
        submission = prepare(opened, Choice(), asked, queue="fleet", batch_id=None)
        begun, _ = batch.begin(engine, submission, queue_for)
    assert queue_of(engine, begun.batch_id) == begun.queue
    return begun.queue


def queue_of(engine: Engine, batch_id: str) -> str:
    with engine.connect() as connection:
        return str(connection.execute(select(Batch.queue).where(Batch.id == batch_id)).scalar_one())


def test_local_is_refused_a_batch_that_a_fleet_runs_and_takes_one_that_nothing_runs(
    engine: Engine, own_run: Run, tmp_path: Path
) -> None:
    sheet = invoices(tmp_path / "a.xlsx", 2)
    assert begin(engine, sheet, takeover.for_fleet(engine, "fleet")) == "fleet"
    with engine.begin() as connection:
        (batch_id,) = connection.execute(select(Batch.id)).scalars()
        new = [(number, ["cell"], None) for number in range(2)]
        recording.record_rows(connection, batch_id=batch_id, rows=new, sent=None)
        claiming.claim(connection, [(batch_id, 0)], holder="h", worker="celery@pod", lease=45)
    with pytest.raises(InputError, match="is run by the workers of the queue 'fleet' now; follow"):
        begin(engine, sheet, takeover.for_local(engine, own_run))
    assert queue_of(engine, batch_id) == "fleet"
    assert begin(engine, sheet, takeover.for_fleet(engine, "fleet")) == "fleet"  # one more joins
    with engine.begin() as connection:
        connection.execute(update(Row).values(status="pending", lease_until=None, worker=None))
    assert begin(engine, sheet, takeover.for_local(engine, own_run)) == f"local-{batch_id}"


def test_a_finished_sheets_name_is_one_batchs_while_its_run_lives(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    first, same, other = (Run(engine) for _ in range(3))
    first.writes(Path("out.xlsx"), "b")
    same.writes(Path("out.xlsx"), "b")
    for name in (Path("out.xlsx"), tmp_path / "out.xlsx"):
        with pytest.raises(InputError, match=r"out\.xlsx: another `rowfleet local`"):
            other.writes(name, "c")
    other.writes(Path("other.xlsx"), "c")
    for each in (first, same, other):
        each.end()
    last = Run(engine)
    last.writes(Path("out.xlsx"), "c")
    last.end()


def test_a_run_elsewhere_is_known_by_the_rows_that_it_runs(
    engine: Engine, own_run: Run, tmp_path: Path
) -> None:
    sheet = invoices(tmp_path / "a.xlsx", 1)
    queue = begin(engine, sheet, takeover.for_local(engine, own_run))
    own_run.works_on("")  # as if it were on another machine
    with engine.begin() as connection:
        (batch_id,) = connection.execute(select(Batch.id)).scalars()
        recording.record_rows(connection, batch_id=batch_id, rows=[(0, ["a"], None)], sent=None)
        row, node = (batch_id, 0), "local-0f-1@elsewhere"
        claiming.claim(connection, [row], holder="h", worker=node, lease=45)
    with pytest.raises(InputError, match="is run by a `rowfleet local` on elsewhere now"):
        begin(engine, sheet, takeover.for_fleet(engine, "fleet"))
    assert queue_of(engine, batch_id) == queue


def test_who_waits_for_a_batch_on_another_queue_closes_it_and_says_so(
    engine: Engine, feeder: Feeder, caplog: pytest.LogCaptureFixture
) -> None:
    make_batch(engine, 2, queue="another")
    with engine.begin() as connection:
        rows = [("b", 0), ("b", 1)]
        claiming.claim(connection, rows, holder="h", worker="w", lease=45)
        outcomes = [records.Outcome(row, 1, "done", output={}) for row in rows]
        settling.settle(connection, outcomes, holder="h")
    ended = watching.until_ended(engine, "b", show=lambda _: None, feeder=feeder)
    assert ended.status == "finished"
    assert caplog.text.count("another run has taken batch b over, on the queue 'another'") == 1


def test_a_batch_that_nothing_works_on_comes_back_to_who_waits_for_it(
    engine: Engine, feeder: Feeder, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_batch(engine, 2, queue="another")
    with engine.begin() as connection:
        claiming.claim(connection, [("b", 0)], holder="h", worker="w", lease=45)
    monkeypatch.setattr(takeover, "UNWORKED", 0.0)
    waiting = takeover.Waiting(engine, feeder, "b")
    for _ in range(3):
        waiting.look()
    assert queue_of(engine, "b") == "another"  # its worker runs a row
    with engine.begin() as connection:
        claiming.give_up(connection, worker="w", by="w")
    waiting.look()
    assert queue_of(engine, "b") == feeder.queue_name
    assert feeder.feed() == 2


def test_a_batch_without_all_its_rows_is_not_shown_as_complete(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{tmp_path / 'own.db'}"
    monkeypatch.setenv("DATABASE_URL", url)
    engine = open_ledger(url, connections=1)
    migrate(engine)
    make_batch(engine, 3, queue="fleet", loaded=False)
    code, said, complaint = call("export", "b", "out.xlsx", "--plain")
    assert (code, "3 rows written" in said) == (1, True)
    assert "batch b is not wholly recorded" in complaint
    assert "submit test.xlsx again to record the rest" in " ".join(complaint.split())
    assert "not wholly recorded yet" in " ".join(call("progress", "b")[1].split())
    monkeypatch.setattr(presence, "RECORDING_STALLED", 0.5)
    code, _, complaint = call("progress", "b", "--watch")
    assert code == 1
    assert "it has 3 rows so far; if its submitter has ended, submit test.xlsx" in complaint
    engine.dispose()


def test_an_export_after_the_wait_outlasts_a_connection_that_breaks(
    engine: Engine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    make_batch(engine, 2)
    with engine.begin() as connection:
        stopping.cancel(connection, "b", by="t")
    monkeypatch.setattr("rowfleet.ledger.patience.PAUSE", 0.01)
    broken = []

    def breaks(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        if "cells" in statement and len(broken) < 2:
            broken.append(statement)
            raise OperationalError(statement, {}, Exception("terminated"))

    event.listen(engine, "before_cursor_execute", breaks)
    out = tmp_path / "out.xlsx"
    asked = Target(out, plain=True)
    code = run.conclude(engine, watching.read_progress(engine, "b"), asked, as_json=False)
    assert code == 1  # the batch's
    assert len(broken) == 2
    assert caplog.text.count("the export waits for it") == 1
    assert len(results(out)) == 2
    assert [path.name for path in tmp_path.glob("*.xlsx*")] == ["out.xlsx"]


def test_a_cancelled_batch_gives_no_reason_of_its_budget(engine: Engine) -> None:
    make_batch(engine, 1)
    with engine.begin() as connection:
        connection.execute(update(Batch).values(status="budget_exhausted", reason="spent"))
        stopping.cancel(connection, "b", by="t")
    assert watching.read_progress(engine, "b").reason is None
