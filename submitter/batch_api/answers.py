"""Answers on their way down: remote batches are looked at, fetched, and their rows settled."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterable, Iterator

from rowfleet import retry, spending
from rowfleet.analysis import (
    AnalysisError,
    Answer,
    Misconfigured,
    Permanent,
    Transient,
    Usage,
    answer_of,
)
from rowfleet.answers.judging import judge
from rowfleet.ledger.engine import writing
from rowfleet.ledger.part_records import Part
from rowfleet.ledger.records import Claimed, Outcome, Spent
from rowfleet.ledger.statuses import REMOTE_ENDED, BatchStatus, RemoteStatus
from rowfleet.ledger.transitions import batch_api_parts, settling
from rowfleet.openai_api import batch_files
from rowfleet.openai_api.doubts import Doubts
from rowfleet.openai_api.error_classes import Fate
from rowfleet.openai_api.failures import from_batch_error
from rowfleet.received import MAX_REPLY
from rowfleet.received import lines as lines_of
from submitter.batch_api.client import BatchAPI, NotFound, Remote, Unanswered
from submitter.batch_api.files import tidy
from submitter.batch_api.followed import Followed
from submitter.batch_api.room import Room, is_refused

log = logging.getLogger(__name__)

#: Answers settled in one transaction.
SETTLE_GROUP = 500


class Answers:
    """Fetches the answers to one batch's rows, and settles the rows."""

    def __init__(
        self, batch: Followed, api: BatchAPI, room: Room, say: Callable[[str], None]
    ) -> None:
        """``say`` is told in a sentence when a remote batch has ended."""
        self._batch = batch
        self._engine = batch.engine
        self._api = api
        self._room = room
        self._say = say

    # --- a remote batch

    def look(self, part: Part) -> bool:
        """See how a remote batch is, and settle its rows if it has ended."""
        assert part.remote_id is not None
        cancelled = self._batch.record().status == BatchStatus.CANCELLED
        try:
            seen = self._api.retrieve(part.remote_id)
        except NotFound:
            if not cancelled:
                raise
            seen = Remote(part.remote_id, RemoteStatus.CANCELLED, None, None, 0, 0, ())
        if seen.status != part.remote_status:
            with writing(self._engine) as connection:
                batch_api_parts.seen(connection, part.token, seen.status)
        if is_refused(seen) and not cancelled:
            self._wait_for_room(part, seen)
            return False
        if part.remote_status == RemoteStatus.VALIDATING and seen.status != RemoteStatus.VALIDATING:
            self._room.accepted()
        if seen.status in REMOTE_ENDED:
            self._collect(part, seen)
            return True
        if cancelled and seen.status != RemoteStatus.CANCELLING:
            self._api.cancel(part.remote_id)
        return seen.status != part.remote_status

    def _wait_for_room(self, part: Part, seen: Remote) -> None:
        """Keep a refused part's file until there is room, or split a part that is too large."""
        others = [p for p in self._batch.parts() if p.is_at_api and p.token != part.token]
        if others or self._api.had_company(seen):
            self._room.refused(is_empty=not others)
            with writing(self._engine) as connection:
                batch_api_parts.no_room(connection, part.token)
            return
        message = seen.problems[0][1]
        with writing(self._engine) as connection:
            batch_api_parts.no_room(connection, part.token)
            batch_api_parts.release(connection, self._batch.batch_id, part.token)
        smaller = self._room.too_large(part.row_count)
        if not smaller:
            self._batch.stop_batch(f"the API takes not even one row at a time: {message}")
            return
        log.warning("%s; sending its rows %d at a time", message, smaller)

    def _collect(self, part: Part, seen: Remote) -> None:
        reasons: list[str] = []
        if seen.status == RemoteStatus.COMPLETED and seen.completed and not seen.output_file_id:
            raise Unanswered(f"the API does not name the file of the answers of {seen.id}")
        for file_id in (seen.output_file_id, seen.error_file_id):
            if file_id:
                reasons += self._settle_file(part, file_id, seen)
        cancelled = self._batch.record().status == BatchStatus.CANCELLED
        match seen.status:
            case RemoteStatus.FAILED:
                reasons += self._settle_failed(part, seen)
            case RemoteStatus.CANCELLED:
                self._give_all_back(part)
                if not cancelled:
                    reasons.append(f"its remote batch {seen.id} was cancelled at the API")
            case RemoteStatus.EXPIRED:
                self._settle_rest(part, "not answered within 24 hours by the Batch API")
            case _:
                self._settle_rest(part, "the Batch API's files have no answer for this row")
        with writing(self._engine) as connection:
            batch_api_parts.settled(connection, part.token)
        self._room.freed()
        self._say(
            f"part {part.part}: {seen.status}, "
            f"{seen.completed:,} of {part.row_count:,} rows are answered"
        )
        tidy(self._batch, self._api, part, seen)
        if reasons:
            self._batch.stop_batch(reasons[0])

    # --- its rows

    def _settle_file(self, part: Part, file_id: str, seen: Remote) -> list[str]:
        """Settle the rows in a file of answers or errors. Return why the batch must stop, if so."""
        reasons: list[str] = []
        doubts = None if seen.completed else Doubts()
        is_read = False
        with tempfile.TemporaryFile(prefix="rowfleet-") as file:
            try:
                self._api.download(file_id, file)
            except NotFound:
                if self._batch.record().status != BatchStatus.CANCELLED:
                    raise
                return reasons
            file.seek(0)
            for lines in _grouped(lines_of(file), SETTLE_GROUP):
                self._batch.go_on()
                said = [batch_files.read_batch_line(line) for line in lines]
                is_read = is_read or any(said)
                results = {one.row_number: one for one in said if one and not one.was_not_made}
                with writing(self._engine) as connection:
                    rows = batch_api_parts.held(
                        connection,
                        self._batch.batch_id,
                        list(results),
                        claim=part.token,
                        with_cells=self._batch.recipe.judges_answers,
                    )
                    outcomes = [
                        self._outcome(row, before, results[number], reasons, doubts)
                        for number, (row, before) in rows.items()
                    ]
                    settling.settle(connection, outcomes, holder=part.token)
        has_answers = file_id == seen.output_file_id and seen.completed
        if has_answers and not is_read:  # a gateway's page, say: they must not be paid for again
            raise Unanswered(f"the API's file {file_id} has no answer in it")
        return reasons

    def _settle_failed(self, part: Part, seen: Remote) -> list[str]:
        """Settle the rest of a part that the API refused as a whole. Return why the batch must
        stop, if so."""
        code, message = next(iter(seen.problems), ("", "it does not say why"))
        match from_batch_error(code):
            case Fate.WAIT:
                self._give_all_back(part)
                return []
            case Fate.RETRY:
                self._settle_rest(part, f"the Batch API failed ({code})")
                return []
        self._give_all_back(part)
        return [f"the API refused the file of part {part.part}: {message} ({code or seen.id})"]

    def _settle_rest(self, part: Part, reason: str) -> None:
        """Let rows that got no answer be tried again, as after any transient error."""
        batch_id = self._batch.batch_id
        while True:
            self._batch.go_on()
            with writing(self._engine) as connection:
                numbers = batch_api_parts.held_numbers(
                    connection, batch_id, SETTLE_GROUP, claim=part.token
                )
                rows = batch_api_parts.held(connection, batch_id, numbers, claim=part.token)
                outcomes = [self._failure(row, Transient(reason)) for row, _ in rows.values()]
                settling.settle(connection, outcomes, holder=part.token)
            if not numbers:
                return

    def _give_all_back(self, part: Part) -> None:
        with writing(self._engine) as connection:
            batch_api_parts.give_back(connection, self._batch.batch_id, claim=part.token)

    # --- one row

    def _outcome(
        self,
        row: Claimed,
        before: str | None,
        result: batch_files.BatchResult,
        reasons: list[str],
        doubts: Doubts | None,
    ) -> Outcome:
        try:
            answer = self._judged(row, before, result.answer(self._batch.recipe, self._batch.model))
        except AnalysisError as failure:
            error = doubts.judged(self._batch.batch_id, failure) if doubts else failure
            if isinstance(error, Misconfigured):
                reasons.append(str(error))
            return self._failure(row, _second_of_its_kind(error, before))
        return retry.after_answer(row, answer, self._spent(answer.usage), None)

    def _judged(self, row: Claimed, before: str | None, answer: Answer) -> Answer:
        """Return the answer with reasons to review. Raises Transient if it is to be mended.

        It is asked for once more in a later part, as an answer is that does not fit the schema.
        """
        judged = judge(self._batch.question(row.key[1], row.cells), answer.output)
        has_a_try = row.retries < self._batch.limits.retries.max_retries
        if judged.to_mend and has_a_try and not _is_invalid(before):
            said = "; ".join(reason.message for reason in judged.to_mend)
            raise Transient(batch_files.INVALID, answer.usage, said=said)
        return answer_of(judged, answer.usage)

    def _failure(self, row: Claimed, error: AnalysisError) -> Outcome:
        return retry.after_failure(
            row,
            error,
            self._spent(error.usage),
            None,
            self._batch.limits.retries,
        )

    def _spent(self, usage: Usage) -> Spent:
        if not usage.calls:
            return Spent()
        batch = self._batch
        return spending.spent(
            batch.kind, usage, model=batch.model, price=batch.price, processing="batch"
        )


def _is_invalid(error: str | None) -> bool:
    return error is not None and error.startswith(batch_files.INVALID)


def _second_of_its_kind(error: AnalysisError, before: str | None) -> AnalysisError:
    """Return ``error``, final if it is the second answer in a row that is not valid."""
    said = str(error)
    if _is_invalid(said) and _is_invalid(before):
        return Permanent(
            said.replace(batch_files.INVALID, f"{batch_files.INVALID}, twice", 1), error.usage
        )
    return error


def _grouped(lines: Iterable[bytes], size: int) -> Iterator[list[bytes]]:
    """Yield ``size`` lines at a time, or fewer if they are long."""
    group: list[bytes] = []
    held = 0
    for line in lines:
        group.append(line)
        held += len(line)
        if len(group) == size or held > MAX_REPLY:
            yield group
            group, held = [], 0
    if group:
        yield group
