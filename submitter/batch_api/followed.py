"""The batch that is followed: its record, its terms, the follower's lease on it, and the stop."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from rowfleet import analyzer_kinds, cells, prices
from rowfleet.analysis import Question
from rowfleet.errors import InputError
from rowfleet.ledger.engine import Engine, reading, writing
from rowfleet.ledger.ledger_errors import LedgerError
from rowfleet.ledger.part_records import Part
from rowfleet.ledger.queries import batch_records
from rowfleet.ledger.queries.parts import parts_of
from rowfleet.ledger.records import BatchRecord, sheet_row
from rowfleet.ledger.statuses import BatchStatus
from rowfleet.ledger.transitions import batch_api_parts, stopping
from rowfleet.recipes import loading
from rowfleet.retry import RetryPolicy

#: The least seconds that a follower's claim on a batch lasts; else three looks' time.
LEAST_LEASE = 2.0


@dataclass(frozen=True, slots=True)
class Limits:
    """How large a file may be, in rows and bytes; when to look, in seconds; how to try again."""

    file_rows: int
    file_bytes: int
    poll: float
    retries: RetryPolicy


class FollowingStopped(Exception):
    """The process ends; the ledger has all that is needed to go on."""


class Followed:
    """A batch as one process follows it. Nothing here is lost in a crash: the ledger has it all."""

    def __init__(self, engine: Engine, batch_id: str, limits: Limits) -> None:
        self.engine = engine
        self.batch_id = batch_id
        self.limits = limits
        #: Seconds that a claim on the batch lasts.
        self.lease = max(LEAST_LEASE, 3 * limits.poll)
        #: The name under which this process follows the batch.
        self.follower_id = uuid.uuid4().hex
        self._stopping = threading.Event()
        record = self.record()
        recipe = loading.again(record.recipe, batch_id)
        # A tier of the ordinary API; the Batch API is one of its own.
        options = recipe.options.model_copy(update={"service_tier": None})
        self.recipe = recipe.model_copy(update={"options": options})
        self.kind = analyzer_kinds.get(record.analyzer)
        self.model = record.model
        self.price = None if record.price is None else prices.Price.model_validate(record.price)
        self.columns = record.columns
        self.first_row = record.first_row

    # --- its record

    def record(self) -> BatchRecord:
        """Read the batch as the ledger has it now."""
        with reading(self.engine) as connection:
            return batch_records.get_batch(connection, self.batch_id)

    def parts(self) -> list[Part]:
        """Read the batch's parts that have not ended, in order."""
        with reading(self.engine) as connection:
            return parts_of(connection, self.batch_id)

    def stop_batch(self, reason: str) -> None:
        """Stop the batch with ``reason``. Raises InputError if it is cancelled already."""
        with writing(self.engine) as connection:
            stopped = stopping.stop(connection, self.batch_id, reason)
        if not stopped and self.record().status == BatchStatus.CANCELLED:
            raise InputError(
                f"batch {self.batch_id} is cancelled, its remote batches not: {reason}"
            )

    def give_up(self, part: Part) -> None:
        """Let the rows of a part that the API has not got wait again; its file is deleted next."""
        with writing(self.engine) as connection:
            batch_api_parts.release(connection, self.batch_id, part.token)

    def question(self, number: int, encoded: Sequence[Any]) -> Question:
        """Return the question about a row, by its number and encoded cells."""
        return Question(
            recipe=self.recipe,
            model=self.model,
            row_number=sheet_row(number, self.first_row),
            cells=cells.sent(self.columns, encoded),
            shown=cells.shown(self.columns, encoded),
        )

    # --- the lease

    def hold(self) -> bool:
        """Claim the batch, or go on claiming it, for a lease. False: another process follows it."""
        with writing(self.engine) as connection:
            return batch_api_parts.hold(
                connection, self.batch_id, follower=self.follower_id, lease=self.lease
            )

    def release(self) -> None:
        """Let other processes follow the batch at once."""
        with suppress(LedgerError), writing(self.engine) as connection:
            batch_api_parts.let_go(connection, self.batch_id, follower=self.follower_id)

    # --- the stop

    def stop(self) -> None:
        """Let the follower end at its next step."""
        self._stopping.set()

    def go_on(self) -> None:
        """Raise FollowingStopped if the follower is to end."""
        if self._stopping.is_set():
            raise FollowingStopped

    def pause(self, seconds: float) -> bool:
        """Wait for ``seconds``, or until the follower is to end. Return whether it is."""
        return self._stopping.wait(seconds)
