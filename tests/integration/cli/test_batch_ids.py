"""How a user names a batch: by an id, or by its beginning."""

from __future__ import annotations

import os

import pytest
from sqlalchemy import update

from rowfleet.ledger.engine import open_ledger
from rowfleet.ledger.models import Row
from rowfleet.ledger.schema import migrate
from submitter.cli import console
from tests.support.commands import Call
from tests.support.ledger import make_batch


def made(*ids: str) -> None:
    url = f"sqlite:///{os.environ['XDG_STATE_HOME']}/rowfleet/ledger.db"
    engine = open_ledger(url, connections=1)
    migrate(engine)
    for batch_id in ids:
        make_batch(engine, 2, batch_id=batch_id)
        with engine.begin() as connection:
            connection.execute(update(Row).values(status="failed", error="no"))
    engine.dispose()


@pytest.mark.parametrize(
    "words",
    [
        ("progress", "ACME-2"),
        ("failed", "ACME-2"),
        ("export", "ACME-2", "out.xlsx", "--plain"),
        ("retry", "ACME-2"),
        ("resume", "ACME-2"),
        ("cancel", "ACME-2"),
    ],
)
def test_the_beginning_of_an_id_is_enough(call: Call, words: tuple[str, ...]) -> None:
    made("ACME-2025-0123456789ab", "acme-2025-0123456789ab")
    code, out, err = call(*words)
    assert code == 0, err
    assert "acme" not in out


def test_a_beginning_of_several_ids_lists_them(call: Call) -> None:
    made("acme-1", "acme-2", "acme", "zeta_1", "zetaX1")
    assert call("progress", "acme")[0] == 0  # the whole id of one of them
    code, out, err = call("cancel", "acme-")
    assert (code, out) == (2, "")
    assert err == "rowfleet: 2 batches begin with 'acme-': acme-1, acme-2; give more of it\n"
    assert call("progress", "zeta_")[0] == 0  # no wildcard
    for nothing in ("beta", ""):
        code, _, err = call("failed", nothing)
        assert code == 2
        assert f"there is no batch {nothing!r}" in err


@pytest.mark.parametrize("width", ["80", "200"])
def test_no_id_is_wrapped_or_cut(call: Call, monkeypatch: pytest.MonkeyPatch, width: str) -> None:
    ids = ["i" * 64, "master-refunds-2026-final-version-af7d9de885ee"]
    made(*ids)
    monkeypatch.setenv("COLUMNS", width)
    for force in ("", "1"):
        monkeypatch.setattr(console.out, "_force_terminal", bool(force))
        _, out, _ = call("batches")
        for batch_id in ids:
            assert batch_id in out
            assert batch_id in call("progress", batch_id)[1]
