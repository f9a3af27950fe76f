"""Following a batch through the Batch API: files up, remote batches watched, answers settled.

The ledger says how far each part is (`rowfleet.ledger.transitions.batch_api_parts`), so that
another follower can go on from there. This module keeps nothing that a crash may not forget.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable
from contextlib import suppress

from rowfleet.analysis import Misconfigured, Permanent, Transient
from rowfleet.errors import ServiceError
from rowfleet.ledger.engine import Engine, writing
from rowfleet.ledger.ledger_errors import LedgerUnavailable
from rowfleet.ledger.patience import Absence
from rowfleet.ledger.statuses import BatchStatus
from rowfleet.ledger.transitions import batch_api_parts, finishing, in_chunks
from submitter.batch_api.answers import Answers
from submitter.batch_api.client import BatchAPI, NotFound
from submitter.batch_api.files import tidy
from submitter.batch_api.followed import Followed, FollowingStopped, Limits
from submitter.batch_api.room import Room, last_to_check
from submitter.batch_api.uploads import Uploads

log = logging.getLogger(__name__)

#: Looks at remote batches are spaced out by this factor, up to this multiple of the first pause.
BACK_OFF, LONGEST = 1.5, 6.0

#: Failures in a row after which a follower that does not wait gives up.
PATIENCE = 5

#: Times that files are tried to be deleted before a batch that has ended is left.
TIDY_TRIES = 3


class Follower:
    """Brings one batch through the Batch API. One process at a time does."""

    def __init__(
        self,
        engine: Engine,
        api: BatchAPI,
        batch_id: str,
        limits: Limits,
        *,
        say: Callable[[str], None] = log.info,
    ) -> None:
        """``say`` is told in a sentence when a remote batch is made or has ended."""
        self.batch = Followed(engine, batch_id, limits)
        self._engine = engine
        self._api = api
        self._poll = limits.poll
        self._room = Room(file_rows=limits.file_rows, poll=limits.poll)
        self._uploads = Uploads(self.batch, api, self._room, say)
        self._answers = Answers(self.batch, api, self._room, say)
        self._moved = False
        self._tidy_tries = 0
        self._has_reopened = False

    def run(self, *, wait: bool) -> None:
        """Follow the batch to its end, or with ``wait`` False until all rows are with the API.

        What is away is waited for; that is said once. Without ``wait`` a ServiceError is raised
        after a while instead.
        """
        with suppress(FollowingStopped):
            pause, absence = self._poll, Absence(log)
            while True:
                failure = self._try_round()
                if failure is None and self._may_leave(wait=wait):
                    return
                moved, delay = failure is None and self._moved, pause
                if failure is not None:
                    absence.goes_on(failure)
                    if absence.tries >= PATIENCE and not wait:
                        raise ServiceError(f"{failure}; the same again goes on")
                    delay = max(pause, getattr(failure, "retry_after", None) or 0)
                else:
                    absence.ends()
                pause = self._poll if moved else self._slower(pause)
                if self.batch.pause(delay):
                    return

    def _slower(self, pause: float) -> float:
        return min(pause * BACK_OFF, self._poll * LONGEST)

    def _try_round(self) -> Exception | None:
        """Do all that can be done now; return the obstacle, if it may pass."""
        try:
            self._moved = self._round()
        except (Transient, LedgerUnavailable) as error:
            return error
        except (Misconfigured, Permanent) as error:
            self.batch.stop_batch(str(error))
        except OSError as error:
            raise ServiceError(
                f"a file of rows can't be written to {tempfile.gettempdir()}: {error.strerror}"
            ) from None
        return None

    def _round(self) -> bool:
        if not self._has_reopened:
            with writing(self._engine) as connection:
                batch_api_parts.reopen(connection, self.batch.batch_id)
            self._has_reopened = True
        moved = False
        for part in self.batch.parts():
            self.batch.go_on()
            if part.is_settled:
                tidy(self.batch, self._api, part)
            elif part.remote_id is not None:
                moved |= self._answers.look(part)
            elif not part.waits_for_room or part.asked_at is not None:
                moved |= self._uploads.take_up(part)
            elif self.batch.record().status == BatchStatus.CANCELLED:
                self.batch.give_up(part)
        moved |= self._send()
        with writing(self._engine) as connection:
            finishing.finish_batch(connection, self.batch.batch_id)
        in_chunks.sweep(self._engine, self.batch.batch_id, by=self.batch.follower_id)
        return moved

    def _send(self) -> bool:
        """Hand over what the API has room for. Return whether there are new parts."""
        moved = False
        while self._has_room():
            waiting = next((part for part in self.batch.parts() if part.waits_for_room), None)
            if waiting is not None and not self._room.is_split:
                if not self._uploads.create(waiting):
                    break
            elif not self._uploads.has_rows() or not self._uploads.assemble():
                break
            else:
                moved = True
        return moved

    def _has_room(self) -> bool:
        """Tell whether the API may take another part; looks at the last one first."""
        self.batch.go_on()
        parts = self.batch.parts()
        if self._room.is_limited(parts):
            return self._room.may_take_one(parts)
        if (last := last_to_check(parts)) is not None:
            self._answers.look(last)
        return not self._room.is_full

    def _may_leave(self, *, wait: bool) -> bool:
        status = self.batch.record().status
        parts = self.batch.parts()
        left = [part for part in parts if not part.is_settled]
        if status == BatchStatus.STOPPED:
            return True
        if status == BatchStatus.FINISHED or (status == BatchStatus.CANCELLED and not left):
            self._tidy_tries += 1
            if parts and self._tidy_tries < TIDY_TRIES:
                return False
            if parts:
                log.warning(
                    "files of batch %s stay with the API; rowfleet collect tries again",
                    self.batch.batch_id,
                )
            return True
        there = all(part.remote_id or part.waits_for_room for part in left)
        return not wait and there and not self._uploads.may_assemble(parts)

    def cancel_remote(self) -> None:
        """Cancel the remote batches of a batch that is cancelled. Raises as `BatchAPI` does."""
        for part in self.batch.parts():
            if part.is_at_api:
                assert part.remote_id is not None
                with suppress(NotFound):
                    self._api.cancel(part.remote_id)
