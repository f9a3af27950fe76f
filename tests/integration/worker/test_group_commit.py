"""The pauses of a process whose ledger is away, or refuses its leases."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import SimpleNamespace

import pytest
from sqlalchemy import Engine, text

from tests.integration.worker.test_bookkeeper import refusing
from tests.support.ledger import make_batch, statuses
from worker import group_commit
from worker.group_commit import FIRST_PAUSE, LONGEST_PAUSE, GroupCommit
from worker.running_rows import RunningRows
from worker.slot_requests import Request, SlotRequests


def group_commits(
    engine: Engine, lease: float = 60.0, is_ending: Callable[[], bool] = lambda: False
) -> GroupCommit:
    return GroupCommit(
        engine,
        SlotRequests(),
        RunningRows(60.0),
        holder="h",
        worker="w",
        lease=lease,
        is_ending=is_ending,
    )


def test_leases_that_are_refused_are_asked_for_after_a_pause(engine: Engine) -> None:
    """Without it the process would ask the database all the time."""
    commits = group_commits(engine)
    before = time.monotonic()
    with refusing(engine, "UPDATE"):
        commits.commit([], [])
    assert before + LONGEST_PAUSE <= commits.renew_at <= time.monotonic() + LONGEST_PAUSE


def test_a_mistake_of_the_program_pauses_the_renewals_and_brings_none_forward(
    engine: Engine,
) -> None:
    commits = group_commits(engine)
    before = time.monotonic()
    commits.pause_renewals()
    assert before + FIRST_PAUSE <= commits.renew_at <= time.monotonic() + FIRST_PAUSE
    commits.renew_at = later = before + 1000
    commits.pause_renewals()
    assert commits.renew_at == later


@pytest.mark.parametrize(
    ("lease", "pauses"),
    [(60.0, [0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]), (4.0, [0.2, 0.4, 0.8, 1.0, 1.0])],
)
def test_a_ledger_that_is_away_is_asked_less_and_less_often_but_within_a_lease(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, lease: float, pauses: list[float]
) -> None:
    make_batch(engine, 1)
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == len(pauses):
            with engine.begin() as connection:
                connection.execute(text("ALTER TABLE elsewhere RENAME TO rows"))

    clock = SimpleNamespace(monotonic=time.monotonic, sleep=sleep)
    monkeypatch.setattr(group_commit, "time", clock)
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE rows RENAME TO elsewhere"))
    request = Request("claim", ("b", 0))
    group_commits(engine, lease).commit([request], [])
    assert slept == pytest.approx(pauses)
    assert request.future.result(0).row.key == ("b", 0)
    assert statuses(engine) == ["running"]
