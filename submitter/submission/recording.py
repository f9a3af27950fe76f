"""Submitting: a validated sheet becomes a batch in the ledger, and its rows go to the queue."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any

from pydantic import ValidationError
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from rowfleet.cells import Cell, encode_all
from rowfleet.errors import InputError, ServiceError
from rowfleet.feeding.feeder import Feeder
from rowfleet.ledger import records
from rowfleet.ledger.engine import is_unavailable, reading, unreachable
from rowfleet.ledger.queries import batch_records
from rowfleet.ledger.queries.rows import last_recorded, recorded_cells
from rowfleet.ledger.records import BatchRecord
from rowfleet.ledger.transitions import recording, stopping
from rowfleet.recipes.recipe import Recipe
from submitter.submission.identity import Identity
from submitter.submission.identity import sent as _sent
from submitter.submission.submission import Submission
from submitter.submission.takeover import QueueFor

log = logging.getLogger(__name__)

#: Seconds between tries while the ledger is away.
PAUSE = 1.0

#: Seconds until a service is asked again that was away when the queue was to be fed.
FEED_AGAIN = 10.0

#: Seconds without a new row after which the submitter of another batch counts as gone.
STALLED = 30.0

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
    engine: Engine, submission: Submission, queue_for: QueueFor | None = None
) -> tuple[Submission, BatchRecord | None]:
    """Find the submission's batch, or make it without rows; `fill` records them.

    Return the submission with the batch's id and queue, and the batch that was found, if one was.
    ``queue_for`` chooses the queue; None: the submission's. Raises InputError, and changes nothing,
    if the id belongs to other content, to a batch of another tier, to a cancelled batch, to one
    that another process runs, or to one whose rows were recorded without `dedupe` where that is
    asked for.
    """
    found, queue = _find_or_create(engine, submission, queue_for)
    batch_id = submission.batch_id if found is None else found.id
    return replace(submission, batch_id=batch_id, queue=queue), found


def fill(
    engine: Engine, feeder: Feeder | None, submission: Submission, found: BatchRecord | None
) -> None:
    """Record the rows that the batch lacks, and feed the queue meanwhile if ``feeder`` is given.

    ``submission`` and ``found`` are those that `begin` returned.
    """
    feeding = _Feeding(feeder, submission.batch_id)
    if found is None or found.status in ("loading", "stopped"):
        _record_rows(engine, feeding, submission)
    feeding.step(last=True)


def _find_or_create(
    engine: Engine, submission: Submission, queue_for: QueueFor | None
) -> tuple[BatchRecord | None, str]:
    """Return the batch that has this content, ready to go on, and its queue.

    None stands for a new batch.

    Rows are compared between two transactions, so that nothing waits for that.
    """
    same: str | None = None
    others: set[str] = set()
    while True:
        with engine.begin() as connection:
            recording.submit_alone(connection)
            known = [b for b in _known(connection, submission) if b.id not in others]
            found = next((b for b in known if b.id == same or _is_same_file(b, submission)), None)
            if found is not None:
                return found, _resume(connection, found, submission, queue_for)
            if not known:
                if queue_for is not None:
                    queue = queue_for(connection, submission.batch_id, None)
                    submission = replace(submission, queue=queue)
                if recording.create_batch(connection, _new_batch(submission)):
                    return None, submission.queue
                taken = batch_records.get_batch(connection, submission.batch_id)
                raise InputError(
                    f"--batch-id {taken.id}: there is a batch of that id with another sheet, range "
                    f"or recipe ({taken.source}); choose another id"
                )
        same = next((b.id for b in known if _has_same_rows(engine, b, submission)), None)
        if same is None:
            others |= {batch.id for batch in known}


def _known(connection: Connection, submission: Submission) -> list[BatchRecord]:
    """Return the batches that ask the same of a sheet with the same header, the likeliest first."""
    own = batch_records.find_batch(connection, submission.batch_id)
    known = [] if own is None else [own]
    if not submission.is_named:
        analyzer = submission.recipe.analyzer
        assert analyzer is not None
        alike = batch_records.perhaps_same(connection, analyzer, submission.count)
        known += [batch for batch in alike if batch.id != submission.batch_id]
    return [batch for batch in known if _asks_the_same(batch, submission)]


def _asks_the_same(batch: BatchRecord, submission: Submission) -> bool:
    sheet, recipe = submission.sheet, submission.recipe
    if tuple(batch.header) != sheet.header or dict(batch.columns) != sheet.columns:
        return False
    try:
        recorded = Recipe.model_validate(batch.recipe)
    except ValidationError:  # of another version
        return False
    return recorded.question() == recipe.question()


def _is_same_file(batch: BatchRecord, submission: Submission) -> bool:
    """Tell whether the batch was recorded from the same range of the same file, without reading."""
    sheet, rows = submission.sheet, submission.rows
    return (
        (batch.file_hash, batch.start_row, batch.num_rows)
        == (sheet.sha256, rows.start_row, rows.num_rows)
    ) and (sheet.is_text or batch.sheet == sheet.title)


def _has_same_rows(engine: Engine, batch: BatchRecord, submission: Submission) -> bool:
    """Tell whether the batch has the same rows, cell by cell; see `_agree`."""
    with closing(
        submission.sheet.rows(submission.rows.start_row, submission.rows.num_rows)
    ) as ours:
        return _agree(engine, batch, ours, submission.count)


def _agree(
    engine: Engine, batch: BatchRecord, ours: Iterator[tuple[int, list[Cell]]], count: int
) -> bool:
    """Tell whether the batch has just the ``count`` rows that ``ours`` yields.

    Another submitter may be recording it: wait for its rows. Raises InputError if all rows there
    are agree and no more come: then the batches can't be told apart.
    """
    agreed = 0
    last, moved_at = -1, time.monotonic()
    while agreed < count:
        with reading(engine) as connection:
            current = batch_records.get_batch(
                connection, batch.id
            )  # first: its rows only become more
            recorded = recorded_cells(connection, batch.id, last, RECORD_CHUNK)
        is_whole = current.status not in ("loading", "stopped", "cancelled")
        if current.total > count or (is_whole and current.total != count):
            return False
        for (number, cells), (position, own) in zip(recorded, ours, strict=False):
            if number != position or not _is_same(cells, encode_all(own)):
                return False
        if recorded:
            agreed += len(recorded)
            last, moved_at = recorded[-1][0], time.monotonic()
        elif current.status == "cancelled":
            return False
        elif current.status == "stopped" or time.monotonic() - moved_at > STALLED:
            raise InputError(
                f"batch {batch.id} ({batch.source}) has the same rows up to row {last}, where its "
                f"submitter ended; submit {batch.source} again to complete it, or give this sheet "
                "a batch of its own with --batch-id"
            )
        else:
            time.sleep(PAUSE)
    return True


def _is_same(recorded: Sequence[Any], own: Sequence[Any]) -> bool:
    """Tell whether two rows of encoded cells are equal; True, 1 and 1.0 are sent differently."""
    return list(recorded) == own and list(map(type, recorded)) == list(map(type, own))


class _Feeding:
    """Feeds one batch while its rows are recorded.

    A service that is away is named once, and asked again only now and then: each try may take as
    long as a connect does. The next step, or a worker, feeds the rows that it leaves.
    """

    def __init__(self, feeder: Feeder | None, batch_id: str) -> None:
        self._feeder = feeder
        self._batch_id = batch_id
        self._away = False
        self._not_before = -math.inf

    def step(self, *, last: bool = False) -> None:
        """Feed what there is; ``last``: also if the service was away just now."""
        if self._feeder is None or (time.monotonic() < self._not_before and not last):
            return
        try:
            self._feeder.feed(only=self._batch_id)
            self._away = False
        except (ServiceError, DBAPIError) as error:
            if not self._away:
                log.warning("not feeding for now, no row is lost: %s", error)
            self._away = True
            self._not_before = time.monotonic() + FEED_AGAIN


def _resume(
    connection: Connection,
    found: BatchRecord,
    submission: Submission,
    queue_for: QueueFor | None,
) -> str:
    """Let the batch go on, on the queue that is returned."""
    if found.status == "cancelled":
        raise InputError(
            f"batch {found.id} was cancelled; submit with another --batch-id to start it anew"
        )
    terms = submission.terms
    if terms.dedupe and not found.dedupe:
        raise InputError(
            f"--dedupe: batch {found.id} was recorded without it; leave it out, or start anew with "
            "another --batch-id"
        )
    drawn = None if found.sample is None else len(found.sample)
    if terms.sample is not None and drawn and not found.dedupe:
        wanted = min(terms.sample, found.total)
        if drawn != wanted:
            raise InputError(
                f"--sample {terms.sample}: the sample of batch {found.id} has {drawn} rows, which "
                "can't be changed; leave --sample out to run all of them"
            )
    if terms.sample is None:
        stopping.end_sample(connection, found.id)
    if terms.max_cost is not None and terms.max_cost != found.max_cost:
        stopping.set_budget(connection, found.id, terms.max_cost)
    if submission.tier not in (None, found.tier):
        raise InputError(
            f"--tier {submission.tier}: batch {found.id} was submitted with --tier {found.tier}, "
            "which can't be changed; to run its sheet anew, choose another --batch-id"
        )
    queue = found.queue
    if found.tier == "workers":
        queue = submission.queue
        if queue_for is not None:
            queue = queue_for(connection, found.id, found)
        stopping.move_queue(connection, found.id, queue, urgent=submission.urgent)
    snapshot = submission.recipe.snapshot()
    if found.recipe != snapshot:  # other headers of result columns, say
        recording.describe(connection, found.id, {**snapshot, "model": found.model})
    stopping.reopen(connection, found.id)
    return queue


def _record_rows(engine: Engine, feeding: _Feeding, submission: Submission) -> None:
    batch_id = submission.batch_id
    with reading(engine) as connection:
        last = last_recorded(connection, batch_id)
        dedupe = batch_records.get_batch(connection, batch_id).dedupe
    rows = submission.sheet.rows(submission.rows.start_row, submission.rows.num_rows)
    fresh = rows if last is None else (row for row in rows if row[0] > last)
    identity = Identity(submission.recipe, submission.sheet.columns)
    columns = submission.sheet.columns
    size = FIRST_CHUNK
    while chunk := list(islice(fresh, size)):
        size = RECORD_CHUNK
        new = [(number, encode_all(cells), identity.of(cells)) for number, cells in chunk]
        sent = {number: _sent(columns, cells) for number, cells in chunk} if dedupe else None
        _patiently(engine, partial(recording.record_rows, batch_id=batch_id, rows=new, sent=sent))
        feeding.step()
    _patiently(engine, lambda connection: recording.finish_loading(connection, batch_id))


def _patiently(engine: Engine, work: Callable[[Connection], object]) -> None:
    """Do ``work`` in a transaction, again for as long as the ledger is away; say so once.

    ``work`` must change nothing the second time: a commit may have gone through unconfirmed.
    """
    away = False
    while True:
        try:
            with engine.begin() as connection:
                work(connection)
            return
        except DBAPIError as error:
            if not is_unavailable(error):
                raise
            if not away:
                log.warning("%s; waiting, no row is lost", unreachable(engine, error))
            away = True
            time.sleep(PAUSE)


def _new_batch(submission: Submission) -> records.NewBatch:
    sheet, recipe = submission.sheet, submission.recipe
    assert recipe.model is not None
    assert recipe.analyzer is not None
    terms = submission.terms
    start, number = submission.rows.start_row, submission.rows.num_rows
    sample = None
    if terms.sample is not None and terms.sample < sheet.count(start, number):
        sample = sheet.drawn(terms.sample, submission.batch_id, start, number)
    return records.NewBatch(
        id=submission.batch_id,
        source=sheet.name,
        content_hash=submission.content_hash,
        file_hash=sheet.sha256,
        sheet=sheet.title,
        start_row=submission.rows.start_row,
        num_rows=submission.rows.num_rows,
        header=list(sheet.header),
        formats=list(sheet.formats),
        widths=None if sheet.widths is None else list(sheet.widths),
        recipe=recipe.snapshot(),
        columns=dict(sheet.columns),
        model=recipe.model,
        analyzer=recipe.analyzer,
        queue=submission.queue,
        urgent=submission.urgent,
        price=None if terms.price is None else terms.price.model_dump(),
        max_cost=terms.max_cost,
        sample=sample,
        dedupe=terms.dedupe,
        tier=submission.tier or "workers",
    )
