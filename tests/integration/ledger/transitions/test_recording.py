"""Which rows of a sheet are recorded."""

from __future__ import annotations

import pytest
from sqlalchemy import Connection, Engine, select, update

from rowfleet.errors import InputError
from rowfleet.ledger.models import Batch, Row
from rowfleet.ledger.statuses import BatchStatus
from rowfleet.ledger.transitions import recording
from tests.support.changes import changed_by, make_ledger


def test_recording_rows(engine: Engine) -> None:
    """Rows that are there stay, of those that are new the first with a hash is asked about."""
    make_ledger(engine, "loading")
    with engine.begin() as connection:  # other batches' rows are answered apart
        connection.execute(update(Row).where(Row.batch_id != "b", Row.number == 0).values(sent="t"))
    new = [(n, ["y"], f"i{n}") for n in (19, 20, 21, 22)]
    sent = {19: "s", 20: "t", 21: "t", 22: "t"}
    made, changes = changed_by(engine, lambda c: recording.record_rows(c, "b", new, sent))
    assert made == 3
    assert changes.pop("b") == {"total": 23}
    assert {key: (row.get("sent"), row.get("same_as")) for key, row in changes.items()} == {
        ("b", 20): ("t", None),
        ("b", 21): (None, 20),
        ("b", 22): (None, 20),
    }
    further = [(n, ["y"], None) for n in (23, 24)]
    made, changes = changed_by(
        engine, lambda c: recording.record_rows(c, "b", further, {23: "u", 24: "t"})
    )
    assert made == 2
    assert {key: (row.get("sent"), row.get("same_as")) for key, row in changes.items()} == {
        ("b", 23): ("u", None),
        ("b", 24): (None, 20),
        "b": (None, None),
    }
    assert changed_by(engine, lambda c: recording.record_rows(c, "b", [], {})) == (0, {})
    for numbers, new in (
        ([30], [30]),
        ([29, 30, 31], [29, 31]),
        ([31, 32], [32]),
        ([28, 29], [28]),
    ):
        rows_of = [(n, ["y"], None) for n in numbers]
        made, changes = changed_by(engine, lambda c, r=rows_of: recording.record_rows(c, "b", r))
        assert made == len(new)
        assert set(changes) == {"b", *(("b", n) for n in new)}


@pytest.mark.parametrize("status", BatchStatus)
def test_rows_come_into_a_batch_that_is_not_cancelled(engine: Engine, status: str) -> None:
    """Numbers and ranks are far apart, and each number comes from a place of its own."""
    make_ledger(engine, status)

    def record(connection: Connection) -> int:
        new = [(int(n), ["y"], None) for n in ("1000", "1001")]
        sent, ranks = ({int(n): n for n in ("1000", "1001")}, {1000: 2, 1001: 1})
        return recording.record_rows(connection, "b", new, sent, ranks)

    if status == "cancelled":
        with pytest.raises(InputError, match="batch b was cancelled"):
            changed_by(engine, record)
        return
    made, changes = changed_by(engine, record)
    assert (made, changes.pop("b")) == (2, {"total": 22})
    assert {
        key[1]: (row["sent"], row["rank"], row.get("same_as")) for key, row in changes.items()
    } == {
        1000: ("1000", 2, None),
        1001: ("1001", 1, None),
    }


@pytest.mark.parametrize("status", BatchStatus)
def test_a_batch_is_loaded_alone_and_only_if_it_loads(engine: Engine, status: str) -> None:
    make_ledger(engine, status)
    with engine.begin() as connection:
        connection.execute(update(Batch).where(Batch.id != "b").values(status="loading"))
    _, changes = changed_by(engine, lambda c: recording.finish_loading(c, "b"))
    assert set(changes) == ({"b"} if status == "loading" else set())
    assert status != "loading" or changes["b"]["status"] == "running"


def test_the_rows_of_others_samples_stay_with_them(engine: Engine) -> None:
    """Only a batch that asks once about equal rows has leaders, and its sample is its own."""
    make_ledger(engine, "loading")
    with engine.begin() as connection:
        connection.execute(update(Batch).values(sample=[10], dedupe=True))
        connection.execute(update(Batch).where(Batch.id == "b").values(sample=[11], dedupe=False))
    _, changes = changed_by(engine, lambda c: recording.finish_loading(c, "b"))
    assert {name: batch["status"] for name, batch in changes.items()} == {"b": "running"}
    with engine.connect() as connection:
        samples = connection.execute(select(Batch.id, Batch.sample)).all()
    assert dict(map(tuple, samples)) == {"a": [10], "b": [11], "c": [10]}
