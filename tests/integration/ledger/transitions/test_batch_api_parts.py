"""Which rows a part of the Batch API takes, holds and gives back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, insert, select, update
from sqlalchemy.exc import OperationalError

from rowfleet.ledger.clock import in_seconds, now
from rowfleet.ledger.engine import open_ledger
from rowfleet.ledger.models import Batch, RemoteBatch, Row
from rowfleet.ledger.records import Claimed
from rowfleet.ledger.schema import migrate
from rowfleet.ledger.statuses import BatchStatus, RemoteStatus
from rowfleet.ledger.transitions import batch_api_parts, claiming
from tests.support.changes import (
    CANCELLED,
    HOUR,
    NUMBERS,
    Changes,
    changed_by,
    make_ledger,
    of_b,
    picture,
)


@pytest.mark.parametrize("status", BatchStatus)
def test_taking(engine: Engine, status: str) -> None:
    make_ledger(engine, status)
    taken, changes = changed_by(
        engine, lambda c: batch_api_parts.take_rows(c, "b", 100, claim="h9", worker="w9")
    )
    if status in ("loading", "running"):
        runs = {"status": "running", "claim": "h9", "worker": "w9"}
        assert taken == [(0, ["x"]), (14, ["x"]), (16, ["x"])]
        assert changes == of_b(
            {
                0: {**runs, "attempts": 1, "started_at": "past"},
                14: {**runs, "attempts": 2},
                16: {**runs, "attempts": 1, "started_at": "past"},
            }
        )
    else:
        assert (taken, changes) == ([], {})


def test_a_row_that_is_taken_has_no_lease_of_a_worker_that_is_gone(engine: Engine) -> None:
    """By that it would be put back at once, and be paid for twice."""
    make_ledger(engine)
    row = (Row.batch_id == "b", Row.number == 14)
    with engine.begin() as connection:
        connection.execute(update(Row).where(*row).values(lease_until=in_seconds(-HOUR)))
        batch_api_parts.take_rows(connection, "b", 100, claim="h9", worker="w9")
        claiming.expire(connection, "b", grace=0, by="f")
        held = connection.execute(select(Row.status, Row.claim, Row.lease_until).where(*row)).one()
    assert tuple(held) == ("running", "h9", None)


def test_what_a_claim_holds(engine: Engine) -> None:
    make_ledger(engine)
    with engine.begin() as connection:
        of_others = update(Row).where(Row.batch_id != "b", Row.status == "running")
        connection.execute(of_others.values(claim="h1", attempts=7, error="not b's"))
        connection.execute(
            update(Row).where(Row.batch_id == "b", Row.number == 4).values(retries=2, error="so")
        )
        for number, claim in ((5, "a"), (6, "z")):
            other = update(Row).where(Row.batch_id == "b", Row.number == number)
            connection.execute(other.values(claim=claim))
    with engine.connect() as connection:
        found = batch_api_parts.held(connection, "b", NUMBERS, claim="h1")
        assert found == {
            3: (Claimed(("b", 3), (), None, 1, 0), None),
            4: (Claimed(("b", 4), (), None, 1, 2), "so"),
        }
        assert list(batch_api_parts.held(connection, "b", [4, 5], claim="h1")) == [4]
        assert batch_api_parts.held_numbers(connection, "b", 100, claim="h1") == [3, 4]
        assert batch_api_parts.held_numbers(connection, "b", 1, claim="h1") == [3]


@pytest.mark.parametrize("numbers", [None, [3, 5]])
@pytest.mark.parametrize("status", ["running", "cancelled"])
def test_giving_back(engine: Engine, status: str, numbers: list[int] | None) -> None:
    make_ledger(engine, status)
    moved, changes = changed_by(
        engine, lambda c: batch_api_parts.give_back(c, "b", numbers, claim="h1")
    )
    expected = [3] if numbers else [3, 4]
    back = {"attempts": 0, "claim": None}
    assert moved == len(expected)
    if status == "running":
        pending = {**back, "status": "pending"}
        assert changes == of_b(dict.fromkeys(expected, pending))
    else:
        ended = {**back, **CANCELLED}
        assert changes == of_b(dict.fromkeys(expected, ended), cancelled=len(expected))


def test_parts_of_a_batch_are_counted_from_one(engine: Engine) -> None:
    make_ledger(engine)
    with engine.begin() as connection:
        connection.execute(update(Batch).values(follower="f"))
        for batch_id, part in (("a", 1), ("a", 2), ("b", 1), ("b", 2), ("a", 3)):
            token = f"{batch_id}{part}"
            assert batch_api_parts.open_part(connection, batch_id, token=token, follower="f")
            number = select(RemoteBatch.part).where(RemoteBatch.token == token)
            assert connection.execute(number).scalar_one() == part
        assert not batch_api_parts.open_part(connection, "b", token="t", follower="g")


def test_one_process_follows_a_batch_at_a_time(engine: Engine) -> None:
    make_ledger(engine)

    def hold(follower: str, lease: float = HOUR) -> tuple[bool, Changes]:
        return changed_by(
            engine, lambda c: batch_api_parts.hold(c, "b", follower=follower, lease=lease)
        )

    def let_go(follower: str) -> Changes:
        return changed_by(engine, lambda c: batch_api_parts.let_go(c, "b", follower=follower))[1]

    assert hold("m") == (True, {"b": {"follower": "m", "followed_until": "future"}})
    assert [hold(other) for other in ("a", "z")] == [(False, {})] * 2
    assert hold("m", -HOUR) == (True, {"b": {"followed_until": "past"}})
    assert hold("a") == (True, {"b": {"follower": "a", "followed_until": "future"}})
    with engine.begin() as connection:
        connection.execute(update(Batch).values(follower="m", followed_until=in_seconds(HOUR)))
    assert [let_go(other) for other in ("a", "z")] == [{}] * 2
    assert let_go("m") == {"b": {"follower": None, "followed_until": None}}


#: Parts of each batch, by what their tokens begin with; the batch's name follows.
PARTS: dict[str, dict[str, object]] = {
    "1-open": {},
    "2-asked": {"input_file_id": "f", "asked_at": in_seconds(-HOUR)},
    "3-waits": {"input_file_id": "f", "remote_status": RemoteStatus.NO_ROOM},
    "4-runs": {"input_file_id": "f", "remote_id": "r", "remote_status": "in_progress"},
    "5-settled": {"input_file_id": "f", "remote_id": "r", "remote_status": RemoteStatus.SETTLED},
    "6-given up": {"remote_status": RemoteStatus.SETTLED},
    "7-ended": {"remote_id": "r", "remote_status": RemoteStatus.SETTLED, "finished_at": now()},
    "8-old": {"remote_id": "r", "remote_status": "completed", "finished_at": now()},
    "9-old": {"remote_status": "completed", "finished_at": now()},
}


def make_parts(engine: Engine) -> None:
    """Record the parts of batches that the process ``m`` follows. Part 1 runs two rows."""
    make_ledger(engine)
    with engine.begin() as connection:
        connection.execute(update(Batch).values(follower="m"))
        for batch_id in "abc":
            for part, (token, values) in enumerate(PARTS.items(), 1):
                unset = {"batch_id": batch_id, "part": part, "created_at": now()}
                new = {"token": token + batch_id, **unset, **values}
                connection.execute(insert(RemoteBatch).values(new))
            claimed = update(Row).where(Row.batch_id == batch_id, Row.number.in_([3, 4]))
            connection.execute(claimed.values(claim=f"1-open{batch_id}", lease_until=None))


def tried(
    engine: Engine, change: Callable[[Connection, str], Any]
) -> dict[str, tuple[Any, Changes]]:
    """Make the change to each part of batch b; return its results and what it changed."""
    return {part: changed_by(engine, lambda c, t=f"{part}b": change(c, t)) for part in PARTS}


@pytest.mark.parametrize("status", ["running", "cancelled"])
def test_releasing_a_part(engine: Engine, status: str) -> None:
    make_parts(engine)
    with engine.begin() as connection:
        connection.execute(update(Batch).where(Batch.id == "b").values(status=status))
    found = tried(engine, lambda c, token: batch_api_parts.release(c, "b", token))
    back = {"attempts": 0, "claim": None}
    back |= {"status": "pending"} if status == "running" else CANCELLED
    rows = of_b({3: back, 4: back}, **({} if status == "running" else {"cancelled": 2}))
    for part, (_, changes) in found.items():
        is_released = part in ("1-open", "2-asked", "3-waits", "9-old")
        expected = (
            {("part", f"{part}b"): {"remote_status": RemoteStatus.SETTLED}} if is_released else {}
        )
        assert changes == expected | (rows if part == "1-open" else {})


def test_only_a_part_that_is_not_settled_takes_rows(engine: Engine) -> None:
    make_parts(engine)

    def take(token: str) -> tuple[object, Changes]:
        return changed_by(
            engine, lambda c: batch_api_parts.take(c, "b", 1, token=token, worker="w9")
        )

    for settled in ("5-settled", "6-given up", "7-ended"):
        assert take(f"{settled}b") == ([], {})
    assert take("no such part") == ([], {})
    runs = {"status": "running", "worker": "w9", "attempts": 1, "started_at": "past"}
    assert take("1-openb") == ([(0, ["x"])], of_b({0: {**runs, "claim": "1-openb"}}))


def test_what_is_recorded_of_a_part(engine: Engine) -> None:
    """Of that part alone, and of one that was released meanwhile no upload."""
    make_parts(engine)
    parts = batch_api_parts
    uploaded = {"input_file_id": "n", "row_count": 5, "first_row": 2, "last_row": 9}
    found = tried(
        engine, lambda c, token: parts.uploaded(c, token, file_id="n", rows=5, first=2, last=9)
    )
    for part, (result, changes) in found.items():
        is_settled = part in ("5-settled", "6-given up", "7-ended")
        assert result is not is_settled
        assert changes == ({} if is_settled else {("part", f"{part}b"): uploaded})
    of_part = ("part", "2-askedb")

    def changed(change: Callable[..., None], *arguments: str, **options: str) -> Changes:
        return changed_by(engine, lambda c: change(c, of_part[1], *arguments, **options))[1]

    assert changed(parts.refused) == {of_part: {"asked_at": None}}
    made = {"remote_id": "r2", "remote_status": "validating"}
    assert changed(parts.created, remote_id="r2", status="validating") == {of_part: made}
    assert changed(parts.seen, "in_progress") == {of_part: {"remote_status": "in_progress"}}
    with engine.begin() as connection:
        asked = update(RemoteBatch).where(RemoteBatch.token == of_part[1])
        connection.execute(asked.values(asked_at=now()))
    nothing = {"remote_id": None, "remote_status": RemoteStatus.NO_ROOM, "asked_at": None}
    assert changed(parts.no_room) == {of_part: nothing}
    assert changed(parts.settled) == {of_part: {"remote_status": RemoteStatus.SETTLED}}


def test_the_api_is_asked_for_a_part_by_its_follower_and_not_twice_at_once(engine: Engine) -> None:
    make_parts(engine)

    def asked(follower: str = "m", again_after: float = HOUR / 2) -> set[str]:
        found = tried(
            engine,
            lambda c, token: batch_api_parts.ask(
                c, token, follower=follower, again_after=again_after
            ),
        )
        for part, (may_ask, changes) in found.items():
            assert set(changes) <= {("part", f"{part}b")}
            assert may_ask or not changes
        return {part for part, (may_ask, _) in found.items() if may_ask}

    without_id = {part for part, values in PARTS.items() if "remote_id" not in values}
    with engine.begin() as connection:
        connection.execute(update(Batch).where(Batch.id != "b").values(follower="a"))
    assert asked("a") == asked("z") == set()
    assert asked(again_after=2 * HOUR) == without_id - {"2-asked"}
    assert asked() == {"2-asked"}
    assert asked() == set()
    assert asked(again_after=-60) == without_id


def test_parts_that_an_older_version_ended_are_taken_up_again(engine: Engine) -> None:
    make_parts(engine)
    changes = changed_by(engine, lambda c: batch_api_parts.reopen(c, "b"))[1]
    assert changes == {
        ("part", "8-oldb"): {"remote_status": RemoteStatus.SETTLED, "finished_at": None}
    }


def test_a_part_ends_or_is_forgotten_if_it_never_ran(engine: Engine) -> None:
    make_parts(engine)
    with engine.begin() as connection:
        connection.execute(update(RemoteBatch).values(finished_at=None))
    for part, (_, changes) in tried(engine, batch_api_parts.end).items():
        has_run = "remote_id" in PARTS[part]
        assert changes == {("part", f"{part}b"): {"finished_at": "past"} if has_run else {}}
    assert {key[1] for key in picture(engine) if key[0] == "part"} >= {f"{p}a" for p in PARTS}


def test_a_batch_stays_as_it_is_while_rows_are_given_back_or_a_part_is_opened(
    postgres_url: str,
) -> None:
    """No other batch is held up by that."""
    engine, other = open_ledger(postgres_url, connections=2), open_ledger(postgres_url)
    migrate(engine)
    make_parts(engine)

    def is_free(batch_id: str) -> bool:
        free = select(Batch.id).where(Batch.id == batch_id).with_for_update(nowait=True)
        try:
            with other.begin() as connection:
                return connection.execute(free).scalar() == batch_id
        except OperationalError:
            return False

    def give_back(connection: Connection) -> None:
        assert batch_api_parts.give_back(connection, "b", claim="1-openb") == 2

    def open_part(connection: Connection) -> None:
        assert batch_api_parts.open_part(connection, "b", token="t", follower="m")

    for transition in (give_back, open_part):
        with engine.begin() as connection:
            transition(connection)
            assert [batch_id for batch_id in "abc" if is_free(batch_id)] == ["a", "c"]
    other.dispose()
    engine.dispose()
