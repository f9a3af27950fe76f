"""The ledger's transitions, on both databases, alone and under concurrency."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Engine, text, update
from sqlalchemy.exc import DBAPIError

from rowfleet.errors import InputError, ServiceError
from rowfleet.ledger import records, schema
from rowfleet.ledger.clock import in_seconds
from rowfleet.ledger.engine import check_ledger, open_ledger, reading
from rowfleet.ledger.ledger_errors import is_unavailable
from rowfleet.ledger.models import Base, Row
from rowfleet.ledger.queries import rows
from rowfleet.ledger.queries.progress import progress_of
from rowfleet.ledger.records import Outcome, Spent
from rowfleet.ledger.transitions import claiming, feeding, finishing, recording, settling, stopping
from rowfleet.ledger.transitions.recording import copy_rows
from tests.support.ledger import make_batch, statuses


def claim(engine: Engine, *numbers: int, holder: str = "h1", lease: float = 60) -> set[int]:
    with engine.begin() as connection:
        got = claiming.claim(
            connection,
            [("b", n) for n in numbers],
            holder=holder,
            worker=f"w-{holder}",
            lease=lease,
        )
    return {number for _, number in got}


def settle(engine: Engine, *outcomes: Outcome, holder: str = "h1") -> set[int]:
    with engine.begin() as connection:
        return {n for _, n in settling.settle(connection, outcomes, holder=holder)}


def feed(engine: Engine, limit: int = 100) -> list[int]:
    with engine.begin() as connection:
        return feeding.feed(connection, "b", limit)


def progress(engine: Engine) -> records.Progress:
    with engine.connect() as connection:
        return progress_of(connection, "b")


def outlive_leases(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(
            update(Row).where(Row.status == "running").values(lease_until=in_seconds(-3600))
        )


def test_schema_is_what_the_models_say(engine: Engine) -> None:
    with engine.connect() as connection:
        context = MigrationContext.configure(connection)
        assert schema.current(connection) == schema.head() == context.get_current_revision()
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []


def test_migration_is_safe_when_several_run_at_once(database_url: str) -> None:
    engines = [open_ledger(database_url) for _ in range(6)]
    with ThreadPoolExecutor(6) as threads:
        list(threads.map(schema.migrate, engines))
    with engines[0].connect() as connection:
        assert schema.current(connection) == schema.head()


def test_schema_of_a_newer_version_is_left_alone(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(ServiceError, match="9999 of a newer Rowfleet"):
        schema.migrate(engine)


def test_worker_waits_for_its_schema_and_says_so(
    database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    engine = open_ledger(database_url)
    waiter = threading.Thread(target=schema.wait_for_schema, args=(engine,), kwargs={"poll": 0.05})
    waiter.start()
    time.sleep(0.3)
    assert waiter.is_alive()
    schema.migrate(engine)
    waiter.join(10)
    assert not waiter.is_alive()
    said = [r.getMessage() for r in caplog.records if "waiting" in r.getMessage()]
    assert len(said) == 1
    assert "has no schema yet" in said[0]
    assert caplog.messages[-1] == "the ledger is ready; going on"


def test_a_transaction_ends_with_its_block(engine: Engine) -> None:
    for _ in range(2):  # the second one gets the first one's connection
        with engine.begin() as connection:
            connection.execute(text("UPDATE alembic_version SET version_num = version_num"))
        with reading(engine) as connection:
            assert schema.current(connection) == schema.head()
    other = open_ledger(engine.url.render_as_string(hide_password=False))
    with other.begin() as connection:  # no transaction holds a lock
        connection.execute(text("UPDATE alembic_version SET version_num = version_num"))
    raw = engine.raw_connection()
    if engine.dialect.name == "sqlite":
        assert raw.driver_connection.in_transaction is False
    raw.close()
    other.dispose()


def test_worker_does_not_wait_for_a_newer_schema(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(ServiceError, match="9999 of a newer Rowfleet"):
        schema.wait_for_schema(engine)


def test_a_row_goes_from_pending_to_done(engine: Engine) -> None:
    make_batch(engine, 3)
    assert feed(engine, 2) == [0, 1]
    assert statuses(engine) == ["queued", "queued", "pending"]
    assert claim(engine, 0) == {0}
    spent = Spent(calls=1, prompt_tokens=100, completion_tokens=20, cost_usd=0.25)
    done = Outcome(("b", 0), 1, "done", output={"answer": "x"}, spent=spent, latency=0.5)
    assert settle(engine, done) == {0}
    assert statuses(engine) == ["done", "queued", "pending"]
    now = progress(engine)
    assert (now.total, now.done, now.queued, now.pending, now.running) == (3, 1, 1, 1, 0)
    assert (now.prompt_tokens, now.completion_tokens, now.cost_usd) == (100, 20, 0.25)


def test_a_row_is_claimed_by_one_of_many_at_once(engine: Engine) -> None:
    make_batch(engine, 40)
    feed(engine)

    def grab(holder: int) -> set[int]:
        got: set[int] = set()
        for number in range(40):
            got |= claim(engine, number, holder=f"h{holder}")
        return got

    with ThreadPoolExecutor(4) as threads:
        shares = list(threads.map(grab, range(4)))
    assert sorted(n for share in shares for n in share) == list(range(40))


def test_many_feeders_feed_each_row_once(engine: Engine) -> None:
    make_batch(engine, 60)
    with ThreadPoolExecutor(4) as threads:
        fed = [n for part in threads.map(lambda _: feed(engine, 15), range(8)) for n in part]
    assert sorted(fed) == list(range(60))


def test_a_finished_row_is_not_claimed_again(engine: Engine) -> None:
    make_batch(engine, 1)
    claim(engine, 0)
    settle(engine, Outcome(("b", 0), 1, "done", output={}))
    assert claim(engine, 0, holder="h2") == set()


def test_a_row_that_another_worker_holds_is_not_claimed(engine: Engine) -> None:
    make_batch(engine, 1)
    claim(engine, 0)
    assert claim(engine, 0, holder="h2") == set()


def test_a_stale_lease_is_taken_over_and_the_late_result_dropped(engine: Engine) -> None:
    make_batch(engine, 1)
    claim(engine, 0, holder="h1")
    outlive_leases(engine)
    assert claim(engine, 0, holder="h2") == {0}
    late = Outcome(("b", 0), 1, "done", output={"answer": "late"})
    assert settle(engine, late, holder="h1") == set()
    assert settle(engine, Outcome(("b", 0), 2, "done", output={"answer": "ours"}), holder="h2")
    with engine.connect() as connection:
        (row,) = rows.recorded_rows(connection, "b")
    assert row.output == {"answer": "ours"}
    assert progress(engine).done == 1


def test_a_paid_answer_counts_while_no_worker_has_begun_the_row_again(engine: Engine) -> None:
    make_batch(engine, 1)
    claim(engine, 0)
    outlive_leases(engine)
    with engine.begin() as connection:
        assert claiming.expire(connection, "b", grace=0, by="k") == 1
    feed(engine)
    assert settle(engine, Outcome(("b", 0), 1, "done", output={})) == {0}
    assert statuses(engine) == ["done"]


def test_renewed_leases_hold(engine: Engine) -> None:
    make_batch(engine, 2)
    claim(engine, 0, 1)
    outlive_leases(engine)
    with engine.begin() as connection:
        claiming.renew(connection, [("b", 0)], holder="h1", lease=60)
    assert claim(engine, 0, 1, holder="h2") == {1}


def test_a_retry_waits_in_the_ledger_until_it_is_due(engine: Engine) -> None:
    make_batch(engine, 2)
    feed(engine)
    claim(engine, 0, 1)
    settle(
        engine,
        Outcome(("b", 0), 1, "pending", error="429", delay=3600),
        Outcome(("b", 1), 1, "pending", error="429", delay=0),
    )
    assert feed(engine) == [1]
    assert progress(engine).pending == 1


def test_a_row_that_kills_its_workers_fails_with_that_as_its_reason(engine: Engine) -> None:
    make_batch(engine, 1)
    for holder in ("h1", "h2", "h3"):
        assert claim(engine, 0, holder=holder) == {0}
        outlive_leases(engine)
    assert claim(engine, 0, holder="h4") == set()
    with engine.connect() as connection:
        (row,) = rows.failed_rows(connection, "b")
    assert row.error == "its worker vanished 3 times while it ran this row"
    assert row.attempts == 3
    assert progress(engine).failed == 1


def test_a_dead_workers_rows_are_free_at_once(engine: Engine) -> None:
    make_batch(engine, 2)
    claim(engine, 0, holder="h1")
    claim(engine, 1, holder="h2")
    with engine.begin() as connection:
        assert claiming.give_up(connection, worker="w-h1", by="k") == 1
    assert statuses(engine) == ["pending", "running"]


def test_cancel_drops_what_waits_and_lets_running_rows_finish(engine: Engine) -> None:
    make_batch(engine, 4)
    feed(engine, 2)
    claim(engine, 0)
    with engine.begin() as connection:
        assert stopping.cancel(connection, "b", by="k")
        assert not stopping.cancel(connection, "b", by="k")
    assert statuses(engine) == ["running", "cancelled", "cancelled", "cancelled"]
    assert claim(engine, 1) == set()
    assert feed(engine) == []
    settle(engine, Outcome(("b", 0), 1, "done", output={}))
    assert (progress(engine).done, progress(engine).cancelled) == (1, 3)


def test_a_retry_in_a_cancelled_batch_ends_cancelled(engine: Engine) -> None:
    make_batch(engine, 1)
    claim(engine, 0)
    with engine.begin() as connection:
        stopping.cancel(connection, "b", by="k")
    settle(engine, Outcome(("b", 0), 1, "pending", error="500", delay=60))
    assert statuses(engine) == ["cancelled"]
    assert progress(engine).cancelled == 1


def test_a_stopped_batch_is_not_worked_on_until_it_is_reopened(engine: Engine) -> None:
    make_batch(engine, 2)
    feed(engine)
    with engine.begin() as connection:
        assert stopping.stop(connection, "b", "no key")
        assert not stopping.stop(connection, "b", "again")
    assert claim(engine, 0) == set()
    assert progress(engine).reason == "no key"
    with engine.begin() as connection:
        assert stopping.reopen(connection, "b")
    assert claim(engine, 0) == {0}


def test_failed_rows_run_again_when_asked_for(engine: Engine) -> None:
    make_batch(engine, 3)
    claim(engine, 0, 1, 2)
    settle(engine, *(Outcome(("b", n), 1, "failed", error="bad") for n in (0, 2)))
    settle(engine, Outcome(("b", 1), 1, "done", output={}))
    with engine.begin() as connection:
        assert finishing.finish_batch(connection, "b")
        assert stopping.retry_failed(connection, "b", [2], by="k") == [2]
    assert statuses(engine) == ["failed", "done", "pending"]
    assert (progress(engine).status, progress(engine).failed) == ("running", 1)


def test_a_batch_is_finished_only_when_every_row_has_ended(engine: Engine) -> None:
    make_batch(engine, 2)
    claim(engine, 0, 1)
    settle(engine, Outcome(("b", 0), 1, "done", output={}))
    with engine.begin() as connection:
        assert not finishing.finish_batch(connection, "b")
    settle(engine, Outcome(("b", 1), 1, "failed", error="bad"))
    with engine.begin() as connection:
        assert finishing.finish_batch(connection, "b")
    assert progress(engine).status == "finished"


def test_recording_the_same_rows_twice_records_them_once(engine: Engine) -> None:
    make_batch(engine, 3)
    with engine.begin() as connection:
        assert (
            recording.record_rows(connection, "b", [(2, ["again"], None), (3, ["new"], None)]) == 1
        )
    assert progress(engine).total == 4
    with engine.connect() as connection:
        assert [r.cells for r in rows.recorded_rows(connection, "b", chunk=2)] == [
            ["row 0"],
            ["row 1"],
            ["row 2"],
            ["new"],
        ]


def test_a_connection_lost_while_rows_are_recorded_is_an_unavailable_database(
    postgres_url: str,
) -> None:
    engine = open_ledger(postgres_url, connections=2)
    schema.migrate(engine)
    make_batch(engine, 1)

    def lose_it() -> None:
        with engine.begin() as connection:
            server = connection.scalar(text("SELECT pg_backend_pid()"))
            with engine.connect() as other:
                other.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": server})
            copy_rows(connection, [{"batch_id": "b", "number": 1, "cells": ["x"]}])

    with pytest.raises(DBAPIError) as caught:
        lose_it()
    assert is_unavailable(caught.value)
    with engine.begin() as connection:
        assert recording.record_rows(connection, "b", [(1, ["x"], None)]) == 1
    engine.dispose()


def test_rows_are_not_recorded_into_a_cancelled_batch(engine: Engine) -> None:
    make_batch(engine, 1)
    with engine.begin() as connection:
        stopping.cancel(connection, "b", by="k")
    with pytest.raises(InputError, match="was cancelled"), engine.begin() as connection:
        recording.record_rows(connection, "b", [(1, ["x"], None)])
    assert statuses(engine) == ["cancelled"]


def test_duplicates_are_earlier_rows_of_the_same_identity(engine: Engine) -> None:
    make_batch(engine, 4, identities=["a", "b", "a", "a"])
    with engine.connect() as connection:
        assert rows.earlier_duplicates(connection, "b", "a", 3) == [0, 2]
        assert rows.earlier_duplicates(connection, "b", "a", 0) == []


def test_cost_is_unknown_as_soon_as_one_call_has_no_price(engine: Engine) -> None:
    make_batch(engine, 2)
    claim(engine, 0, 1)
    settle(engine, Outcome(("b", 0), 1, "done", output={}, spent=Spent(calls=1, cost_usd=1.0)))
    assert progress(engine).cost_usd == 1.0
    settle(engine, Outcome(("b", 1), 1, "done", output={}, spent=Spent(calls=1, cost_usd=None)))
    assert progress(engine).cost_usd is None


def test_text_that_a_database_can_not_hold_does_no_harm(engine: Engine) -> None:
    make_batch(engine, 1)
    claim(engine, 0)
    settle(engine, Outcome(("b", 0), 1, "failed", output={"answer": "a\0b"}, error="nul \0 byte"))
    with engine.connect() as connection:
        (row,) = rows.recorded_rows(connection, "b")
    assert row.output == {"answer": "a\0b"}
    assert row.error == "nul � byte"


def test_unknown_batch_is_named(engine: Engine) -> None:
    with engine.connect() as connection, pytest.raises(InputError, match="no batch 'nope'"):
        progress_of(connection, "nope")


def test_unreachable_database_is_named_without_its_password() -> None:
    engine = open_ledger("postgresql://u:hunter2@127.0.0.1:1/db")
    with pytest.raises(ServiceError) as caught:
        check_ledger(engine)
    assert "127.0.0.1:1" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_an_sqlite_ledger_and_the_files_beside_it_are_its_users_alone(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "ledger.db"
    before = os.umask(0)
    try:
        engine = open_ledger(f"sqlite:///{path}")
        schema.migrate(engine)
        with engine.connect():
            modes = {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()}
        engine.dispose()
    finally:
        os.umask(before)
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert modes == dict.fromkeys(("ledger.db", "ledger.db-wal", "ledger.db-shm"), 0o600)
