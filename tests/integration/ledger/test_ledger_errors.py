"""What a database says reaches callers as errors of the ledger; one that is away is waited for."""

from __future__ import annotations

import logging
import pickle
from pathlib import Path

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import OperationalError

from rowfleet.errors import InputError, ServiceError
from rowfleet.ledger import patience
from rowfleet.ledger.engine import looking, open_ledger, reading, writing
from rowfleet.ledger.ledger_errors import (
    LedgerDenied,
    LedgerLacksSchema,
    LedgerRefused,
    LedgerUnavailable,
)
from rowfleet.ledger.patience import Absence, patiently
from tests.support.ledger import make_batch, statuses

LOG = logging.getLogger("tests")


@pytest.mark.parametrize("transaction", [reading, looking, writing])
def test_every_transaction_raises_errors_of_the_ledger(engine: Engine, transaction) -> None:
    with pytest.raises(LedgerLacksSchema, match="lacks tables"), transaction(engine) as connection:
        connection.execute(text("SELECT * FROM no_such_table"))


def test_a_refused_value_is_not_quoted_and_nothing_is_written(engine: Engine) -> None:
    make_batch(engine, 1)
    insert = "INSERT INTO rows (batch_id, number, cells) VALUES ('b', 0, '\"hunter2\"')"
    with pytest.raises(LedgerRefused) as caught:
        _write(engine, "UPDATE rows SET status = 'done'", insert)
    assert str(caught.value).startswith("the ledger failed: ")
    assert caught.value.kind == "IntegrityError"
    assert "hunter2" not in str(caught.value)
    assert caught.value.__suppress_context__
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    assert statuses(engine) == ["pending"]


def test_a_server_that_is_away_is_unavailable() -> None:
    engine = open_ledger("postgresql://u:hunter2@127.0.0.1:1/db")
    with pytest.raises(LedgerUnavailable, match=r"127\.0\.0\.1:1.*can't be reached") as caught:
        _write(engine)
    assert isinstance(caught.value, ServiceError)
    assert "hunter2" not in str(caught.value)


def test_a_right_that_a_role_lacks_is_denied(postgres_url: str) -> None:
    engine = open_ledger(postgres_url)
    _write(engine, "CREATE TABLE owned (id int)")
    with pytest.raises(LedgerDenied, match="may not do that"):
        _write(engine, "SET LOCAL ROLE pg_monitor", "DELETE FROM owned")
    engine.dispose()


def _write(engine: Engine, *statements: str) -> None:
    with writing(engine) as connection:
        for statement in statements:
            connection.execute(text(statement))


def test_a_file_of_another_kind_is_the_users_to_mend(tmp_path: Path) -> None:
    file = tmp_path / "notes.db"
    file.write_text("not a database, but long enough to be looked at as if it were one" * 9)
    with (
        pytest.raises(InputError, match="is not an SQLite database"),
        reading(open_ledger(f"sqlite:///{file}")) as connection,
    ):
        connection.execute(text("SELECT * FROM rows"))


def test_work_is_done_again_until_the_ledger_answers(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(patience.time, "sleep", pauses.append)
    tries = 0

    def work() -> str:
        nonlocal tries
        tries += 1
        with writing(engine):
            if tries < 4:
                raise OperationalError("UPDATE", {}, Exception("database is locked"))
        return "done"

    assert patiently(work, LOG) == "done"
    assert pauses == [patience.PAUSE] * 3
    assert caplog.text.count("database is locked; waiting, no row is lost") == 1


def test_what_waiting_does_not_mend_is_not_waited_for(engine: Engine) -> None:
    def work() -> None:
        with writing(engine) as connection:
            connection.execute(text("SELECT * FROM no_such_table"))

    with pytest.raises(LedgerLacksSchema):
        patiently(work, LOG)


def test_each_other_problem_is_named_where_that_is_asked_for(
    caplog: pytest.LogCaptureFixture,
) -> None:
    absence = Absence(LOG, "%s; waiting", names_each=True)
    for problem in ("away", "away", "without tables", "without tables", "away"):
        absence.goes_on(problem)
    assert caplog.messages == [
        "away; waiting",
        "without tables; waiting",
        "away; waiting",
    ]


def test_an_absence_is_named_once_each_time_and_its_pauses_grow_to_a_bound(
    caplog: pytest.LogCaptureFixture,
) -> None:
    absence = Absence(LOG, "%s; waiting", pause=0.5, longest=3)
    assert [absence.goes_on("away") for _ in range(5)] == [0.5, 1, 2, 3, 3]
    assert absence.tries == 5
    assert absence.ends()
    assert not absence.ends()
    assert absence.goes_on("away again") == 0.5
    assert [record.message for record in caplog.records] == ["away; waiting", "away again; waiting"]
