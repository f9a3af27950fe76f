"""Which rows of a sheet are recorded."""

from __future__ import annotations

from sqlalchemy import Engine

from rowfleet.ledger.transitions import recording
from tests.support.changes import changed_by, make_ledger


def test_recording_rows(engine: Engine) -> None:
    """Rows that are there stay, of those that are new the first with a hash is asked about."""
    make_ledger(engine, "loading")
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
