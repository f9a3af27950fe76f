"""Questions on their way up: rows are taken, written to a file and sent, and the API is asked."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import IO, Final

from rowfleet.analysis import AnalysisError, Transient
from rowfleet.ledger.engine import reading, writing
from rowfleet.ledger.part_records import Part
from rowfleet.ledger.queries.parts import asked_within, get_part, waiting_for_room
from rowfleet.ledger.statuses import BatchStatus
from rowfleet.ledger.transitions import batch_api_parts
from rowfleet.openai_api import batch_files
from rowfleet.openai_api.requests import ENDPOINTS
from submitter.batch_api.client import BatchAPI, Remote, Unanswered
from submitter.batch_api.files import name_of
from submitter.batch_api.followed import Followed
from submitter.batch_api.room import Room, is_refused

#: What the ledger shows as the worker of a row that is with the Batch API.
WORKER: Final = "batch-api"

#: Rows taken from the ledger in one transaction.
TAKE_CHUNK = 1_000


class Uploads:
    """Brings the rows of one batch to the API, a part at a time."""

    def __init__(
        self, batch: Followed, api: BatchAPI, room: Room, say: Callable[[str], None]
    ) -> None:
        """``say`` is told in a sentence when a remote batch is made."""
        self._batch = batch
        self._engine = batch.engine
        self._api = api
        self._room = room
        self._say = say

    # --- rows that no part has yet

    def may_assemble(self, parts: Sequence[Part]) -> bool:
        """Tell whether another file of rows may be sent, as far as ``parts`` and the room go."""
        has_waiting = any(part.waits_for_room for part in parts)
        return not has_waiting and not self._room.is_full and self.has_rows()

    def has_rows(self) -> bool:
        """Tell whether there are rows to send now."""
        if self._batch.record().status != BatchStatus.RUNNING:
            return False
        file_rows = self._room.file_rows
        with reading(self._engine) as connection:
            due, later = waiting_for_room(connection, self._batch.batch_id, file_rows)
        # Retries are gathered, so that they don't trickle away in a file each.
        return bool(due) and (not later or due >= file_rows)

    def assemble(self) -> bool:
        """Send the next file of rows. Return False if there was nothing to send."""
        token = uuid.uuid4().hex
        with writing(self._engine) as connection:
            if not batch_api_parts.open_part(
                connection,
                self._batch.batch_id,
                token=token,
                follower=self._batch.follower_id,
            ):
                return False
            part = get_part(connection, token)
        with tempfile.TemporaryFile(prefix="rowfleet-") as file:
            numbers = self._write(file, token)
            if numbers is None:
                with writing(self._engine) as connection:
                    batch_api_parts.end(connection, token)
                return False
            count, first, last = numbers
            try:
                file_id = self._api.upload(name_of(part), file)
            except AnalysisError:
                self._batch.give_up(part)
                raise
        self._batch.go_on()
        with writing(self._engine) as connection:
            recorded = batch_api_parts.uploaded(
                connection, token, file_id=file_id, rows=count, first=first, last=last
            )
        if not recorded:  # another process has taken over, and the rows wait again
            self._api.delete(file_id)
            return False
        self._room.sent(count)
        return self.create(replace(part, input_file_id=file_id, row_count=count))

    def _write(self, file: IO[bytes], token: str) -> tuple[int, int, int] | None:
        """Take rows until ``file`` is full. Return how many, the first and the last."""
        batch_id = self._batch.batch_id
        size = 0
        written: list[int] = []
        while (left := self._room.file_rows - len(written)) > 0:
            self._batch.go_on()
            with writing(self._engine) as connection:
                rows = batch_api_parts.take(
                    connection, batch_id, min(TAKE_CHUNK, left), token=token, worker=WORKER
                )
            for at, (number, encoded) in enumerate(rows):
                line = batch_files.batch_line(self._batch.question(number, encoded), number)
                if written and size + len(line) > self._batch.limits.file_bytes:
                    over = [row[0] for row in rows[at:]]
                    with writing(self._engine) as connection:
                        batch_api_parts.give_back(connection, batch_id, over, claim=token)
                    return len(written), written[0], written[-1]
                file.write(line)
                size += len(line)
                written.append(number)
            if not rows:
                break
        return (len(written), written[0], written[-1]) if written else None

    # --- parts that the API has no batch of yet

    def take_up(self, part: Part) -> bool:
        """Go on with a part that has no remote batch that is known of."""
        if part.input_file_id is None:  # its file went with the process that wrote it
            self._batch.give_up(part)
            return True
        return self.create(part)

    def create(self, part: Part) -> bool:
        """Ask for the part's remote batch, unless it is found to be there. Return whether it is."""
        made = self._find(part)
        if made is None and self._batch.record().status != BatchStatus.RUNNING:
            with reading(self._engine) as connection:
                if asked_within(connection, part.token, self._batch.lease):
                    return False  # it may still appear
            self._batch.give_up(part)
            return True
        if made is None:
            with writing(self._engine) as connection:
                if not batch_api_parts.ask(
                    connection,
                    part.token,
                    follower=self._batch.follower_id,
                    again_after=self._batch.lease,
                ):
                    return False
            self._batch.go_on()
            made = self._ask(part)
        with writing(self._engine) as connection:
            batch_api_parts.created(connection, part.token, remote_id=made.id, status=made.status)
        self._say(f"part {part.part}: {part.row_count:,} rows are with the API as {made.id}")
        return True

    def _find(self, part: Part) -> Remote | None:
        """Return the remote batch that the API was asked for before, if it made one."""
        if part.asked_at is None:
            return None
        made = self._api.find(part.token, part.asked_at.timestamp())
        if made is not None and is_refused(made):  # not the one that was asked for last
            return None
        return made

    def _ask(self, part: Part) -> Remote:
        assert part.input_file_id is not None
        try:
            return self._api.create(
                part.input_file_id,
                ENDPOINTS[self._batch.recipe.api],
                batch_id=self._batch.batch_id,
                part=part.part,
                token=part.token,
            )
        except Unanswered:
            raise
        except Transient:
            with writing(self._engine) as connection:
                batch_api_parts.refused(connection, part.token)
            raise
        except AnalysisError:
            self._batch.give_up(part)
            raise
