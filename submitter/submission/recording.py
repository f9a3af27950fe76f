"""Submitting: a validated sheet becomes a batch in the ledger, and its rows go to the queue."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import islice

from rowfleet.cells import encode_all
from rowfleet.errors import InputError, ServiceError
from rowfleet.feeding.feeder import Feeder
from rowfleet.ledger.engine import Connection, Engine, reading, writing
from rowfleet.ledger.patience import Absence, patiently
from rowfleet.ledger.queries import batch_records
from rowfleet.ledger.queries.rows import last_recorded
from rowfleet.ledger.records import BatchRecord
from rowfleet.ledger.statuses import RECORDABLE
from rowfleet.ledger.transitions import recording
from submitter.submission import matching
from submitter.submission.identity import Identity
from submitter.submission.identity import sent as _sent
from submitter.submission.named_files import NamedFiles
from submitter.submission.resuming import resume
from submitter.submission.submission import Submission, new_batch
from submitter.submission.takeover import QueueFor

log = logging.getLogger(__name__)

#: Seconds until a service is asked again that was away when the queue was to be fed.
FEED_AGAIN = 10.0

#: Rows recorded in the first transaction, so that the queue has something at once, and in each of
#: the next: large enough that commits vanish, small enough to hold in memory.
FIRST_CHUNK, RECORD_CHUNK = 100, 1_000


def record(engine: Engine, feeder: Feeder | None, submission: Submission) -> BatchRecord | None:
    """Record the batch and its rows, and feed the queue meanwhile if ``feeder`` is given.

    Return None for a new batch, the one found for content submitted before, which goes on under
    the id that it has: a submitter that died in the middle resumes behind the last row it recorded.
    Raises InputError as `begin` does.
    """
    submission, found = begin(engine, submission)
    fill(engine, feeder, submission, found)
    return found


def begin(
    engine: Engine,
    submission: Submission,
    queue_for: QueueFor | None = None,
    allow: Callable[[Connection, str], None] | None = None,
) -> tuple[Submission, BatchRecord | None]:
    """Find the submission's batch, or make it without rows; `fill` records them.

    Return the submission with the batch's id and queue, and the batch that was found, if one was.
    ``queue_for`` chooses the queue; None: the submission's. ``allow`` is told the id, and raises if
    the batch must not go on. Raises InputError, and changes nothing, if the id belongs to other
    content, to a batch of another tier, to a cancelled batch, to one that another process runs, or
    to one whose rows were recorded without `dedupe` where that is asked for.
    """
    same: str | None = None
    others: set[str] = set()
    while True:
        with writing(engine) as connection:
            recording.submit_alone(connection)
            alike = matching.asking_the_same(connection, submission)
            known = [batch for batch in alike if batch.id not in others]
            found = next(
                (b for b in known if b.id == same or matching.is_same_file(b, submission)), None
            )
            if allow is not None and (found is not None or not known):
                allow(connection, submission.batch_id if found is None else found.id)
            if found is not None:
                queue = resume(connection, found, submission, queue_for)
                return replace(submission, batch_id=found.id, queue=queue), found
            if not known:
                return _create(connection, submission, queue_for), None
        # Rows are compared between two transactions, so that nothing waits for that.
        same = next((b.id for b in known if matching.has_same_rows(engine, b, submission)), None)
        if same is None:
            others |= {batch.id for batch in known}


def _create(
    connection: Connection, submission: Submission, queue_for: QueueFor | None
) -> Submission:
    if queue_for is not None:
        queue = queue_for(connection, submission.batch_id, None)
        submission = replace(submission, queue=queue)
    if recording.create_batch(connection, new_batch(submission)):
        return submission
    taken = batch_records.get_batch(connection, submission.batch_id)
    raise InputError(
        f"--batch-id {taken.id}: there is a batch of that id with another sheet, range "
        f"or recipe ({taken.source}); choose another id"
    )


def fill(
    engine: Engine, feeder: Feeder | None, submission: Submission, found: BatchRecord | None
) -> None:
    """Record the rows that the batch lacks, and feed the queue meanwhile if ``feeder`` is given.

    ``submission`` and ``found`` are those that `begin` returned.
    """
    feeding = _Feeding(feeder, submission.batch_id)
    if found is None or found.status in RECORDABLE:
        _record_rows(engine, feeding, submission)
    feeding.step(last=True)


def _record_rows(engine: Engine, feeding: _Feeding, submission: Submission) -> None:
    batch_id = submission.batch_id
    with reading(engine) as connection:
        last = last_recorded(connection, batch_id)
        batch = batch_records.get_batch(connection, batch_id)
    dedupe = batch.dedupe
    rows = submission.sheet.rows(submission.rows.start_row, submission.rows.num_rows)
    fresh = rows if last is None else (row for row in rows if row[0] > last)
    identity = Identity(submission.recipe, submission.sheet.columns)
    columns, ranks = submission.sheet.columns, submission.selection.ranks
    files = None
    if submission.documents is not None and submission.recipe.documents is not None:
        files = NamedFiles(submission.recipe.documents, columns, submission.documents)
    size = FIRST_CHUNK
    while chunk := list(islice(fresh, size)):
        size = RECORD_CHUNK
        new = [(number, encode_all(cells), identity.of(cells)) for number, cells in chunk]
        sent = {number: _sent(columns, cells) for number, cells in chunk} if dedupe else None
        ranked = None if ranks is None else {number: ranks[number] for number, _ in chunk}
        named = None if files is None else files.named(chunk, submission.queue, batch.sample)
        _patiently(
            engine,
            partial(
                recording.record_rows,
                batch_id=batch_id,
                rows=new,
                sent=sent,
                ranks=ranked,
                named=named,
            ),
        )
        feeding.step()
    _patiently(engine, lambda connection: recording.finish_loading(connection, batch_id))


class _Feeding:
    """Feeds one batch while its rows are recorded.

    A service that is away is named once, and asked again only now and then: each try may take as
    long as a connect does. The next step, or a worker, feeds the rows that it leaves.
    """

    def __init__(self, feeder: Feeder | None, batch_id: str) -> None:
        self._feeder = feeder
        self._batch_id = batch_id
        self._absence = Absence(log, "not feeding for now, no row is lost: %s", pause=FEED_AGAIN)
        self._not_before = -math.inf

    def step(self, *, last: bool = False) -> None:
        """Feed what there is; ``last``: also if the service was away just now."""
        if self._feeder is None or (time.monotonic() < self._not_before and not last):
            return
        try:
            self._feeder.feed(only=self._batch_id)
            self._absence.ends()
        except ServiceError as error:
            self._not_before = time.monotonic() + self._absence.goes_on(error)


def _patiently(engine: Engine, work: Callable[[Connection], object]) -> None:
    """Do ``work`` in a transaction, again for as long as the ledger is away.

    ``work`` must change nothing the second time: a commit may have gone through unconfirmed.
    """

    def once() -> None:
        with writing(engine) as connection:
            work(connection)

    patiently(once, log)
