"""Whatever happens to documents, in whatever order: each is read once, and no row waits for ever.

Hypothesis makes up the histories, as for rows: see test_states.py, whose world this is. Submitters,
feeders, extractors and people act in turn, on a real broker and both databases.

`STATES_EXAMPLES=5000 pytest tests/integration/ledger/test_document_states.py` tries that many.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule
from sqlalchemy import Connection, Engine, and_, exists, select, update

from rowfleet.documents.unread import Unread
from rowfleet.ledger.clock import in_seconds
from rowfleet.ledger.document_records import NewText, ReadOutcome
from rowfleet.ledger.models import Batch, Document, Row, RowDocument
from rowfleet.ledger.queries.progress import progress_of
from rowfleet.ledger.statuses import DocumentState
from rowfleet.ledger.transitions import in_chunks, recording, stopping
from rowfleet.ledger.transitions.documents import extracting, releasing, wanting
from rowfleet.settings import Settings
from tests.support.histories.running import try_histories
from tests.support.histories.world import WHICH, World
from tests.support.named_documents import make_batch_with

#: Documents of a history. Batches name the same ones.
PATHS = tuple("abcd")
ENDED = ("ready", "failed")


@dataclass
class Extractor:
    """A process that reads documents: the attempt at each, and the messages it holds."""

    name: str
    reads: dict[str, int] = field(default_factory=dict)
    hands: list[str] = field(default_factory=list)
    #: Documents that others may have by now, since the lease ran out while it stood still.
    late: set[str] = field(default_factory=set)
    is_alive: bool = True


class Documents(World):
    """Submitters, a feeder, extractors and people, and what they may rely on."""

    def __init__(self) -> None:
        super().__init__()
        self.messages = self.queue.of_documents()
        self.extractors: list[Extractor] = []
        #: Texts written of each document, and how many there may be beyond the first.
        self.read: Counter[str] = Counter()
        self.again: Counter[str] = Counter()

    # --- submitters

    @initialize(rows=st.lists(st.lists(st.sampled_from(PATHS), max_size=3), min_size=1, max_size=4))
    def submit_first(self, rows: list[list[str]]) -> None:
        self.submit(rows, loaded=True, is_sample=False)
        self.extractors.append(Extractor(f"{self.id}-x{next(self.names)}"))

    @precondition(lambda self: len(self.batches) < 3 and not self.open)
    @rule(
        rows=st.lists(st.lists(st.sampled_from(PATHS), max_size=3), min_size=1, max_size=4),
        loaded=st.booleans(),
        is_sample=st.booleans(),
    )
    def submit(self, rows: list[list[str]], loaded: bool, is_sample: bool) -> None:
        batch_id = f"{self.id}-{len(self.batches)}"
        paths = [[f"{self.id}/{path}" for path in row] for row in rows]
        before = self.documents("failed")
        make_batch_with(
            self.engine,
            paths,
            batch_id=batch_id,
            queue=self.queue.name,
            loaded=loaded,
            sample=[0] if is_sample else None,
        )
        self.batches.append(batch_id)
        self.note_again(before - self.documents("failed"))

    # --- the feeder

    @rule()
    def feed(self) -> None:
        self.unless_in_the_way(self.feeder.feed)

    @rule(thorough=st.booleans())
    def repair(self, thorough: bool) -> None:
        self.unless_in_the_way(lambda: self.feeder._documents.repair(thorough=thorough))
        self.unless_in_the_way(lambda: self.feeder.repair(thorough=thorough))

    @rule(what=st.sampled_from(["release", "feed", "expire"]), is_told=st.booleans())
    def tend(self, what: str, is_told: bool) -> None:
        """One transaction of the feeder's, which dies after it unless it ``is_told``."""

        def work(connection: Connection) -> Any:
            if what == "release":
                return releasing.release(connection, by="feeder", limit=1)
            if what == "feed":
                return wanting.feed(connection, self.queue.name, 2)
            return extracting.expire(connection, grace=75, limit=1)

        def then(result: Any) -> None:
            if what == "feed" and is_told:
                self.messages.push_all([(document_id, 0) for document_id in result])

        self.do(work, then, stays_open=True)

    @rule(messages_are_lost=st.booleans())
    def let_time_pass(self, messages_are_lost: bool = False) -> None:
        if messages_are_lost:
            self.redis.delete(self.messages.name)

        def work(connection: Connection) -> None:
            for state, values in (
                ("pending", {"due_at": in_seconds(-1)}),
                ("queued", {"queued_at": in_seconds(-3600)}),
            ):
                mine = (Document.path.startswith(f"{self.id}/"), Document.state == state)
                connection.execute(update(Document).where(*mine).values(**values))

        self.do(work)
        for extractor in self.extractors:
            if not extractor.is_alive:
                self.outlive_extractor(extractor)

    # --- extractors

    @precondition(lambda self: len(self.at_work()) < 2)
    @rule()
    def start_extractor(self) -> None:
        self.extractors.append(Extractor(f"{self.id}-x{next(self.names)}"))

    @precondition(lambda self: self.at_work())
    @rule(which=WHICH, stays_open=st.booleans())
    def deliver(self, which: int, stays_open: bool) -> None:
        extractor = self.at_work()[which % len(self.at_work())]
        if not self.messages.waiting():
            self.feed()
        for document_id, _ in self.messages.take_back(1):
            extractor.hands.append(document_id)
            self.claim(extractor, document_id, stays_open=stays_open)

    def claim(self, extractor: Extractor, document_id: str, *, stays_open: bool = False) -> None:
        if document_id in extractor.reads:
            return

        def then(claimed: Any) -> None:
            if claimed is None:
                return
            if not extractor.is_alive:
                self.again[document_id] += 1
                return
            extractor.reads[document_id] = claimed.attempts
            extractor.late.discard(document_id)

        def work(connection: Connection) -> Any:
            return extracting.claim(
                connection, document_id, holder=extractor.name, worker=extractor.name, lease=3600
            )

        if not self.do(work, then, stays_open=stays_open):
            self.deliver_again(extractor)

    def deliver_again(self, extractor: Extractor) -> None:
        self.messages.push_all([(document_id, 0) for document_id in extractor.hands])
        extractor.hands.clear()

    def at_work(self) -> list[Extractor]:
        return [extractor for extractor in self.extractors if extractor.is_alive]

    def reading(self) -> list[tuple[Extractor, str]]:
        return [(extractor, each) for extractor in self.at_work() for each in extractor.reads]

    @precondition(lambda self: self.reading())
    @rule(
        which=WHICH,
        how=st.sampled_from(["ready", "ready", "failed", "missing", "away", "later", "crashed"]),
        stays_open=st.booleans(),
    )
    def settle(self, which: int, how: str, stays_open: bool) -> None:
        extractor, document_id = self.reading()[which % len(self.reading())]
        attempt = extractor.reads[document_id]
        pending = DocumentState.PENDING
        outcome = {
            "ready": ReadOutcome(document_id, attempt, DocumentState.READY, text_id=document_id),
            "failed": ReadOutcome(
                document_id, attempt, DocumentState.FAILED, reason=Unread.CORRUPT
            ),
            "missing": ReadOutcome(
                document_id, attempt, DocumentState.FAILED, reason=Unread.MISSING
            ),
            "away": ReadOutcome(document_id, attempt, pending, counts=True),
            "later": ReadOutcome(document_id, attempt, pending, delay=60),
            "crashed": ReadOutcome(document_id, attempt, pending, is_loss=True),
        }[how]
        is_late = document_id in extractor.late
        text = NewText(document_id, b"text", 1) if how == "ready" else None

        def then(counted: bool) -> None:
            assert counted or is_late or not extractor.is_alive, f"{how} of {document_id} is lost"
            if how == "ready":
                self.read[document_id] += 1
                most = 1 + self.again[document_id]
                assert self.read[document_id] <= most, f"{document_id} is read twice"

        def work(connection: Connection) -> bool:
            return extracting.settle(connection, outcome, text, holder=extractor.name)

        if self.do(work, then, stays_open=stays_open):
            # If it does not commit, the process has died over it.
            del extractor.reads[document_id]
            extractor.hands = [each for each in extractor.hands if each != document_id]
            if stays_open and self.holds:
                self.again[document_id] += 1

    @precondition(lambda self: self.at_work())
    @rule(which=WHICH, how=st.sampled_from(["messages return", "messages are lost", "known"]))
    def kill(self, which: int, how: str) -> None:
        extractor = self.at_work()[which % len(self.at_work())]
        extractor.is_alive = False
        self.outlive_extractor(extractor)
        self.note_again(extractor.reads)
        extractor.reads.clear()
        if how != "messages are lost":
            self.deliver_again(extractor)
        if how == "known":
            self.do(lambda connection: extracting.give_up(connection, worker=extractor.name))

    @precondition(lambda self: self.reading())
    @rule(which=WHICH, renews=st.booleans())
    def stand_still(self, which: int, renews: bool) -> None:
        extractor, document_id = self.reading()[which % len(self.reading())]
        if renews:
            self.do(
                lambda connection: extracting.renew(
                    connection, document_id, holder=extractor.name, lease=3600
                )
            )
            return
        if self.outlive_extractor(extractor):
            self.note_again(set(extractor.reads) - extractor.late)
            extractor.late |= set(extractor.reads)
            self.deliver_again(extractor)

    def outlive_extractor(self, extractor: Extractor) -> bool:
        return self.do(
            lambda connection: connection.execute(
                update(Document)
                .where(Document.claim == extractor.name, Document.state == "running")
                .values(lease_until=in_seconds(-3600))
            )
        )

    # --- people

    @rule(which=WHICH, limit=st.integers(0, 2), whole=st.booleans())
    def cancel(self, which: int, limit: int, whole: bool) -> None:
        batch_id = self.batches[which % len(self.batches)]

        def then(was_cancelled: bool) -> None:
            if was_cancelled and whole:  # else the process dies here
                self.unless_in_the_way(lambda: in_chunks.sweep(self.engine, batch_id, by="cli"))

        self.do(
            lambda connection: stopping.cancel(connection, batch_id, by="cli", limit=limit),
            then,
            stays_open=True,
        )

    @rule(which=WHICH, what=st.sampled_from(["stop", "submit again", "resume"]))
    def decide(self, which: int, what: str) -> None:
        batch_id = self.batches[which % len(self.batches)]

        def work(connection: Connection) -> None:
            if what == "stop":
                stopping.stop(connection, batch_id, "the key is wrong")
            elif what == "submit again":
                stopping.reopen(connection, batch_id)
                recording.finish_loading(connection, batch_id)
            else:
                stopping.end_sample(connection, batch_id)

        self.do(work, stays_open=True)

    @precondition(lambda self: not self.open)
    @rule(which=WHICH)
    def retry(self, which: int) -> None:
        """A worker fails the rows that have a failed document; then a person retries them."""
        batch_id = self.batches[which % len(self.batches)]
        failed = exists().where(
            RowDocument.batch_id == Row.batch_id,
            RowDocument.number == Row.number,
            RowDocument.document_id == Document.id,
            Document.state == "failed",
        )
        with self.engine.begin() as connection:
            connection.execute(
                update(Row)
                .where(Row.batch_id == batch_id, Row.status.in_(("pending", "queued")), failed)
                .values(status="failed", finished_at=in_seconds(0))
            )
        before = self.documents("failed")
        self.unless_in_the_way(
            lambda: in_chunks.retry_failed(self.engine, batch_id, None, by="cli")
        )
        self.note_again(before - self.documents("failed"))

    def note_again(self, ids: Any) -> None:
        for document_id in ids:
            self.again[document_id] += 1

    def documents(self, state: str) -> set[str]:
        with self.engine.connect() as connection:
            mine = (Document.path.startswith(f"{self.id}/"), Document.state == state)
            return set(connection.execute(select(Document.id).where(*mine)).scalars())

    # --- what always holds

    @invariant()
    def no_row_is_due_before_its_documents(self) -> None:
        """But for documents that were to be read again after the row had become due."""
        open_document = exists().where(
            RowDocument.batch_id == Row.batch_id,
            RowDocument.number == Row.number,
            RowDocument.document_id == Document.id,
            Document.state.not_in(ENDED),
            Document.id.not_in([each for each, count in self.again.items() if count]),
        )
        with self.engine.connect() as connection:
            early = connection.execute(
                select(Row.number).where(
                    Row.batch_id.in_(self.batches),
                    Row.status.in_(("pending", "queued", "running")),
                    open_document,
                )
            ).all()
        assert not early

    def teardown(self) -> None:
        """Everybody dies. The fleet that comes after reads what rows wait for."""
        try:
            while self.open:
                self.end(0)
            for _ in self.at_work():
                self.kill(0, "messages are lost")
            self.drain()
            for batch_id in self.batches:
                self.decide(self.batches.index(batch_id), "submit again")
                self.decide(self.batches.index(batch_id), "resume")
            while self.open:
                self.end(0)
            self.drain()
            self.no_row_is_due_before_its_documents()
            for batch_id in self.batches:
                with self.engine.connect() as connection:
                    progress = progress_of(connection, batch_id)
                if progress.status == "cancelled":
                    assert progress.cancelled + progress.failed == progress.total, progress
        finally:
            while self.open:
                self.end(0, commits=False)
            with self.engine.begin() as connection:
                connection.execute(
                    RowDocument.__table__.delete().where(RowDocument.batch_id.in_(self.batches))
                )
                connection.execute(
                    Document.__table__.delete().where(Document.path.startswith(f"{self.id}/"))
                )
                connection.execute(Batch.__table__.delete().where(Batch.id.in_(self.batches)))
            self.redis.close()

    def drain(self) -> None:
        extractor = Extractor(f"{self.id}-x{next(self.names)}")
        for batch_id in self.batches:  # as the submitter does that comes back
            self.do(lambda connection, b=batch_id: recording.finish_loading(connection, b))
        for _ in range(40):
            self.let_time_pass()
            self.feeder._documents.repair()
            self.feeder.repair()
            self.feeder.feed()
            messages = self.messages.take_back(100)
            for document_id, _ in messages:
                self.claim(extractor, document_id)
            for document_id, attempt in list(extractor.reads.items()):
                outcome = ReadOutcome(
                    document_id, attempt, DocumentState.READY, text_id=document_id
                )
                with self.engine.begin() as connection:
                    assert extracting.settle(
                        connection, outcome, NewText(document_id, b"text", 1), holder=extractor.name
                    )
                self.read[document_id] += 1
                assert self.read[document_id] <= 1 + self.again[document_id]
            extractor.reads.clear()
            if not messages and not self.waits():
                return
        pytest.fail(f"rows wait for ever: {self.waits()}")

    def waits(self) -> list[tuple[str, int]]:
        """Return the rows that wait in batches which run, or are cancelled."""
        sampled = and_(Batch.sample.is_not(None), Row.number != 0, Batch.status != "cancelled")
        with self.engine.connect() as connection:
            rows = connection.execute(
                select(Row.batch_id, Row.number)
                .join(Batch, Batch.id == Row.batch_id)
                .where(
                    Batch.id.in_(self.batches),
                    Row.status == "waiting",
                    Batch.status.in_(("loading", "running", "cancelled")),
                    ~sampled,
                )
            )
            return [(row.batch_id, row.number) for row in rows]


def test_every_document_is_read_once_and_no_row_waits_for_ever(
    engine: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rowfleet.feeding.document_feeder.SECOND_LOOK", 0.0)
    monkeypatch.setattr("rowfleet.feeding.document_feeder.ROWS_AT_ONCE", 2)
    monkeypatch.setattr("rowfleet.feeding.document_feeder.DOCUMENTS_AT_ONCE", 2)
    monkeypatch.setattr(releasing, "DOCUMENTS_AT_ONCE", 1)
    monkeypatch.setattr(in_chunks, "ROWS_AT_ONCE", 2)
    try_histories(Documents, engine, settings)
