"""Moves of documents: each is read once, for whatever rows name it."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Connection, Engine, func, select, update

from rowfleet.documents.unread import Unread
from rowfleet.ledger.clock import in_seconds
from rowfleet.ledger.document_records import ClaimedDocument, NewText, ReadOutcome
from rowfleet.ledger.models import Document, DocumentText, Row
from rowfleet.ledger.queries import document_facts
from rowfleet.ledger.statuses import DocumentState
from rowfleet.ledger.transitions import stopping
from rowfleet.ledger.transitions.documents import extracting, releasing, wanting
from tests.support.ledger import statuses
from tests.support.named_documents import make_batch_with, states


def feed(engine: Engine, queue: str = "q", limit: int = 100) -> list[str]:
    with engine.begin() as connection:
        return wanting.feed(connection, queue, limit)


def claim(engine: Engine, document_id: str, holder: str = "x1") -> ClaimedDocument | None:
    with engine.begin() as connection:
        return extracting.claim(connection, document_id, holder=holder, worker=holder, lease=60)


def settle(engine: Engine, outcome: ReadOutcome, holder: str = "x1", **text: Any) -> bool:
    new = NewText(**text) if text else None
    with engine.begin() as connection:
        return extracting.settle(connection, outcome, new, holder=holder)


def release(engine: Engine, limit: int = 100) -> int:
    with engine.begin() as connection:
        return releasing.release(connection, by="feeder", limit=limit)[0]


def read(engine: Engine, document_id: str) -> None:
    """Let an extractor read the document."""
    claimed = claim(engine, document_id)
    assert claimed is not None
    done = ReadOutcome(document_id, claimed.attempts, DocumentState.READY, text_id="t", pages=1)
    assert settle(engine, done, id="t", text=b"text", pages=1)


def ids_by_path(connection: Connection) -> dict[str, str]:
    return {row.path: row.id for row in connection.execute(select(Document.path, Document.id))}


def forget_leases(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(update(Document).values(lease_until=in_seconds(-3600)))


def test_a_row_is_due_once_the_last_of_its_documents_has_ended(engine: Engine) -> None:
    make_batch_with(engine, [["a", "b"], ["a"], [], ["c"]])
    assert statuses(engine) == ["waiting", "waiting", "pending", "waiting"]
    assert len(feed(engine)) == 3
    with engine.connect() as connection:
        ids = ids_by_path(connection)
    read(engine, ids["a"])
    assert statuses(engine) == ["waiting", "waiting", "pending", "waiting"]
    assert release(engine) == 1
    assert statuses(engine) == ["waiting", "pending", "pending", "waiting"]
    claimed = claim(engine, ids["b"])
    assert claimed is not None
    failed = ReadOutcome(ids["b"], claimed.attempts, DocumentState.FAILED, reason=Unread.CORRUPT)
    assert settle(engine, failed)
    assert release(engine) == 1
    assert statuses(engine) == ["pending", "pending", "pending", "waiting"]
    assert release(engine) == 0
    with engine.connect() as connection:
        found = document_facts.of_row(connection, "b", 0)
    assert [(each.path, each.state, each.reason) for each in found] == [
        ("a", "ready", None),
        ("b", "failed", "corrupt"),
    ]


def test_later_rows_that_name_a_document_of_before_wait_for_no_reading(engine: Engine) -> None:
    make_batch_with(engine, [["a"]])
    (document_id,) = feed(engine)
    read(engine, document_id)
    assert release(engine) == 1
    make_batch_with(engine, [["a"], ["a"]], batch_id="later")
    assert feed(engine) == []
    assert release(engine) == 2
    assert statuses(engine, "later") == ["pending", "pending"]


def test_a_reference_that_leads_nowhere_is_never_read(engine: Engine) -> None:
    make_batch_with(engine, [["../a", "b"], ["../a"]])
    assert states(engine) == {"../a": "failed", "b": "pending"}
    (document_id,) = feed(engine)
    assert release(engine) == 1
    read(engine, document_id)
    assert release(engine) == 1
    with engine.connect() as connection:
        first, _ = document_facts.of_row(connection, "b", 0)
    assert (first.reason, first.error) == ("outside_root", "it lies outside")


def test_rows_are_told_in_parts(engine: Engine) -> None:
    make_batch_with(engine, [["a"]] * 5)
    (document_id,) = feed(engine)
    read(engine, document_id)
    assert [release(engine, 2) for _ in range(4)] == [2, 2, 1, 0]


def test_a_document_that_loses_three_extractors_is_given_up(engine: Engine) -> None:
    make_batch_with(engine, [["a"]])
    (document_id,) = feed(engine)
    assert claim(engine, document_id, "x1")
    assert claim(engine, document_id, "x2") is None, "x1 has it"
    for holder in ("x2", "x3"):
        forget_leases(engine)
        assert claim(engine, document_id, holder)
    forget_leases(engine)
    assert claim(engine, document_id, "x4") is None
    assert states(engine) == {"a": "failed"}
    assert release(engine) == 1
    with engine.connect() as connection:
        (document,) = document_facts.of_row(connection, "b", 0)
    assert document.reason == Unread.LOST_WORKERS


@pytest.mark.parametrize("how", ["expire", "give_up", "crash"])
def test_each_way_to_lose_an_extractor_counts(engine: Engine, how: str) -> None:
    make_batch_with(engine, [["a"]])
    (document_id,) = feed(engine)
    for loss in range(3):
        claimed = claim(engine, document_id, f"x{loss}")
        assert claimed is not None
        forget_leases(engine)
        with engine.begin() as connection:
            if how == "expire":
                assert extracting.expire(connection, grace=75, limit=10) == 1
            elif how == "give_up":
                assert extracting.give_up(connection, worker=f"x{loss}") == 1
            else:
                crash = ReadOutcome(
                    document_id, claimed.attempts, DocumentState.PENDING, is_loss=True
                )
                assert extracting.settle(connection, crash, holder=f"x{loss}")
        assert states(engine) == {"a": "pending" if loss < 2 else "failed"}
    assert release(engine) == 1


def test_an_extractor_that_comes_back_changes_nothing(engine: Engine) -> None:
    make_batch_with(engine, [["a"]])
    (document_id,) = feed(engine)
    late = claim(engine, document_id, "x1")
    forget_leases(engine)
    assert claim(engine, document_id, "x2")
    assert late is not None
    done = ReadOutcome(document_id, late.attempts, DocumentState.READY, text_id="t")
    assert not settle(engine, done, "x1")
    assert states(engine) == {"a": "running"}


def test_a_text_is_taken_of_a_document_that_was_put_back(engine: Engine) -> None:
    """It is read, though its extractor's lease ran out."""
    make_batch_with(engine, [["a"]])
    (document_id,) = feed(engine)
    claimed = claim(engine, document_id)
    assert claimed is not None
    forget_leases(engine)
    with engine.begin() as connection:
        assert extracting.expire(connection, grace=75, limit=10) == 1
    done = ReadOutcome(document_id, claimed.attempts, DocumentState.READY, text_id="t")
    assert settle(engine, done)
    assert states(engine) == {"a": "ready"}


def test_files_with_the_same_content_share_a_text(engine: Engine) -> None:
    make_batch_with(engine, [["a"], ["b"]])
    for document_id in feed(engine):
        read(engine, document_id)
    with engine.connect() as connection:
        assert connection.execute(select(func.count()).select_from(DocumentText)).scalar() == 1
        assert extracting.has_text(connection, "t") == 1
        assert document_facts.text_of(connection, "t") == b"text"


def test_documents_of_a_cancelled_batch_are_left_until_another_names_them(engine: Engine) -> None:
    make_batch_with(engine, [["a"], ["b"]])
    (first, second) = feed(engine)
    with engine.begin() as connection:
        assert stopping.cancel(connection, "b", by="cli")
        assert wanting.put_back(connection, [second]) == 1
    assert statuses(engine) == ["cancelled", "cancelled"]
    assert claim(engine, first) is None, "no batch needs it"
    assert set(states(engine).values()) == {"pending"}
    assert feed(engine) == []
    make_batch_with(engine, [["b"]], batch_id="later")
    assert len(feed(engine)) == 1


def test_a_sample_has_only_its_own_documents_read(engine: Engine) -> None:
    make_batch_with(engine, [["a"], ["b"], ["c"]], sample=[1])
    (document_id,) = feed(engine)
    read(engine, document_id)
    assert states(engine) == {"a": "pending", "b": "ready", "c": "pending"}
    assert release(engine) == 1
    with engine.begin() as connection:
        assert wanting.want(connection, "b", "q", sample=[1], limit=10) == 0
        stopping.end_sample(connection, "b")
        assert wanting.want(connection, "b", "q", limit=10) == 2
    assert len(feed(engine)) == 2


def test_a_document_that_a_dead_fleets_queue_holds_is_read_by_another(engine: Engine) -> None:
    make_batch_with(engine, [["a"]], queue="local-gone")
    (document_id,) = feed(engine, "local-gone")
    make_batch_with(engine, [["a"]], batch_id="later", queue="q")
    assert feed(engine) == []
    with engine.begin() as connection:
        assert wanting.want(connection, "later", "q", limit=10) == 0, "it may still be there"
        connection.execute(update(Document).values(queued_at=in_seconds(-3600)))
        assert wanting.want(connection, "later", "q", limit=10) == 1
    assert feed(engine) == [document_id]


def test_retried_rows_have_their_failed_documents_read_again(engine: Engine) -> None:
    make_batch_with(engine, [["a", "b"], ["b"]])
    a, b = feed(engine)
    with engine.connect() as connection:
        paths = ids_by_path(connection)
    assert {a, b} == set(paths.values())
    claimed = claim(engine, paths["a"])
    assert claimed is not None
    settle(
        engine,
        ReadOutcome(paths["a"], claimed.attempts, DocumentState.FAILED, reason=Unread.ENCRYPTED),
    )
    read(engine, paths["b"])
    release(engine)
    with engine.begin() as connection:
        connection.execute(update(Row).values(status="failed"))
        assert stopping.retry_failed(connection, "b", None, by="cli") == [0, 1]
    assert statuses(engine) == ["waiting", "pending"]
    assert states(engine) == {"a": "pending", "b": "ready"}
    assert feed(engine) == [paths["a"]]


@pytest.mark.parametrize(
    ("reason", "again"),
    [(Unread.MISSING, True), (Unread.UNREACHABLE, True), (Unread.CORRUPT, False)],
)
def test_a_later_batch_has_a_file_looked_for_again(
    engine: Engine, reason: Unread, again: bool
) -> None:
    make_batch_with(engine, [["a"]])
    (document_id,) = feed(engine)
    claimed = claim(engine, document_id)
    assert claimed is not None
    settle(engine, ReadOutcome(document_id, claimed.attempts, DocumentState.FAILED, reason=reason))
    make_batch_with(engine, [["a"]], batch_id="later")
    assert feed(engine) == ([document_id] if again else [])


@pytest.mark.parametrize(
    ("named", "read", "again"),
    [("1", "1", False), ("1", "2", True), (None, "1", True), ("1", "", True)],
)
def test_a_later_batch_gets_no_text_of_another_version_of_its_file(
    engine: Engine, named: str | None, read: str, again: bool
) -> None:
    """The file was changed between the batch that named it first and its reading."""
    make_batch_with(engine, [["a"]])
    (document_id,) = feed(engine)
    with engine.begin() as connection:
        connection.execute(update(Document).values(version=named))
    claimed = claim(engine, document_id)
    assert claimed is not None
    outcome = ReadOutcome(document_id, claimed.attempts, DocumentState.READY, read_version=read)
    settle(engine, outcome)
    make_batch_with(engine, [["a"]], batch_id="later")
    assert feed(engine) == ([document_id] if again else [])


def test_the_word_for_the_autoscaler_says_when_an_extractor_is_needed(engine: Engine) -> None:
    def seconds() -> float | None:
        with engine.connect() as connection:
            return document_facts.seconds_to_next(connection, "q", 75)

    assert seconds() is None
    make_batch_with(engine, [["a"]])
    assert seconds() == pytest.approx(0, abs=30)
    (document_id,) = feed(engine)
    assert seconds() == pytest.approx(75, abs=30)
    claimed = claim(engine, document_id)
    assert claimed is not None
    assert seconds() == pytest.approx(60 + 75, abs=30)
    settle(
        engine,
        ReadOutcome(document_id, claimed.attempts, DocumentState.PENDING, delay=600, counts=True),
    )
    assert seconds() == pytest.approx(600, abs=30)
    with engine.begin() as connection:
        connection.execute(update(Document).values(due_at=None))
    read(engine, document_id)
    assert seconds() == pytest.approx(0, abs=30), "its row waits to be told"
    release(engine)
    assert seconds() is None
