"""Following a batch through the Batch API: files up, remote batches watched, answers settled.

The ledger says how far each part is (`rowfleet.ledger.transitions.batch_api_parts`), so that
another follower can go on from there. This module keeps nothing that a crash may not forget.
"""

from __future__ import annotations

import logging
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import IO, Any, Final

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from rowfleet import cells, prices, retry
from rowfleet.analysis import (
    AnalysisError,
    Misconfigured,
    Permanent,
    Question,
    Transient,
    Usage,
)
from rowfleet.errors import InputError, ServiceError
from rowfleet.ledger.engine import is_unavailable, reading, unreachable
from rowfleet.ledger.queries import batch_records
from rowfleet.ledger.queries.parts import asked_within, get_part, parts_of, waiting_for_room
from rowfleet.ledger.records import ENDED, BatchRecord, Claimed, Outcome, Part, Spent
from rowfleet.ledger.transitions import batch_api_parts, finishing, in_chunks, settling, stopping
from rowfleet.openai_api import batch_files
from rowfleet.openai_api.doubts import Doubts
from rowfleet.openai_api.error_classes import Fate
from rowfleet.openai_api.failures import from_batch_error
from rowfleet.openai_api.requests import ENDPOINTS
from rowfleet.received import MAX_REPLY
from rowfleet.received import lines as lines_of
from rowfleet.recipes import loading
from submitter.batch_api.client import BatchAPI, NotFound, Remote, Unanswered

log = logging.getLogger(__name__)

#: What the ledger shows as the worker of a row that is with the Batch API.
WORKER: Final = "batch-api"

#: Rows taken from the ledger, and answers settled, in one transaction.
TAKE_CHUNK, SETTLE_GROUP = 1_000, 500

#: Looks at remote batches are spaced out by this factor, up to this multiple of the first pause.
BACK_OFF, LONGEST = 1.5, 6.0

#: The least seconds that a follower's claim on a batch lasts; else three looks' time.
LEAST_LEASE = 2.0

#: Failures in a row after which those who don't wait give up.
PATIENCE = 5

#: While the API has no room and none of our batches to wait for, it is asked again after the first
#: pause, then after twice as long, up to this multiple of it.
LONGEST_PATIENCE = 30.0

#: Times that files are tried to be deleted before a batch that has ended is left.
TIDY_TRIES = 3


@dataclass(frozen=True, slots=True)
class Limits:
    """How large a file may be, in rows and bytes; when to look, in seconds; how often to try."""

    file_rows: int
    file_bytes: int
    poll: float
    max_retries: int
    retry_delay: float


@dataclass(slots=True)
class _Split:
    """Rows of parts that were too large by themselves: how many a file, and how many are left."""

    rows: int
    left: int


class _Stop(Exception):
    """The process ends; the ledger has all that is needed to go on."""


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
        self.batch_id = batch_id
        self.lease = max(LEAST_LEASE, 3 * limits.poll)
        self._engine = engine
        self._api = api
        self._limits = limits
        self._say = say
        self._id = uuid.uuid4().hex
        self._stopping = threading.Event()
        self._moved = False
        #: What this process has seen of the API's room for waiting tokens.
        self._is_limited = self._is_full = False
        self._patience, self._again_at = 0.0, 0.0
        self._split: _Split | None = None
        self._tidy_tries = 0
        self._has_reopened = False
        with reading(engine) as connection:
            record = batch_records.get_batch(connection, batch_id)
        recipe = loading.again(record.recipe, batch_id)
        # A tier of the ordinary API; the Batch API is one of its own.
        options = recipe.options.model_copy(update={"service_tier": None})
        self._recipe = recipe.model_copy(update={"options": options})
        self._model = record.model
        self._price = None if record.price is None else prices.Price.model_validate(record.price)
        self._columns = record.columns

    # --- whose turn it is

    def hold(self) -> bool:
        """Claim the batch, or go on claiming it, for a lease. False: another process follows it."""
        with self._engine.begin() as connection:
            return batch_api_parts.hold(
                connection, self.batch_id, follower=self._id, lease=self.lease
            )

    def release(self) -> None:
        """Let others follow the batch at once."""
        with suppress(DBAPIError), self._engine.begin() as connection:
            batch_api_parts.let_go(connection, self.batch_id, follower=self._id)

    def stop(self) -> None:
        """Let `run` end at the next step."""
        self._stopping.set()

    # --- the work

    def run(self, *, wait: bool) -> None:
        """Follow the batch to its end, or with ``wait`` False until all rows are with the API.

        What is away is waited for; that is said once. Without ``wait`` a ServiceError is raised
        after a while instead.
        """
        with suppress(_Stop):
            pause, failures = self._limits.poll, 0
            while True:
                failure = self._try_round()
                if failure is None and self._may_leave(wait=wait):
                    return
                moved, delay = failure is None and self._moved, pause
                if failure is not None:
                    failures += 1
                    if failures == 1:
                        log.warning("%s; waiting, no row is lost", failure)
                    if failures >= PATIENCE and not wait:
                        raise ServiceError(f"{failure}; the same again goes on")
                    delay = max(pause, getattr(failure, "retry_after", None) or 0)
                else:
                    failures = 0
                pause = self._limits.poll if moved else self._slower(pause)
                if self._stopping.wait(delay):
                    return

    def _slower(self, pause: float) -> float:
        return min(pause * BACK_OFF, self._limits.poll * LONGEST)

    def _try_round(self) -> Exception | None:
        """Do all that can be done now; return what was in the way, if it may pass."""
        try:
            self._moved = self._round()
        except Transient as error:
            return error
        except (Misconfigured, Permanent) as error:
            self._stop_batch(str(error))
        except DBAPIError as error:
            if not is_unavailable(error):
                raise
            return unreachable(self._engine, error)
        except OSError as error:
            raise ServiceError(
                f"a file of rows can't be written to {tempfile.gettempdir()}: {error.strerror}"
            ) from None
        return None

    def _round(self) -> bool:
        if not self._has_reopened:
            with self._engine.begin() as connection:
                batch_api_parts.reopen(connection, self.batch_id)
            self._has_reopened = True
        moved = False
        for part in self._parts():
            self._go_on()
            if part.is_settled:
                self._tidy(part)
            elif part.remote_id is not None:
                moved |= self._look(part)
            elif not part.waits_for_room or part.asked_at is not None:
                moved |= self._take_up(part)
            elif self._record().status == "cancelled":
                self._give_up(part)
        moved |= self._send()
        with self._engine.begin() as connection:
            finishing.finish_batch(connection, self.batch_id)
        in_chunks.sweep(self._engine, self.batch_id, by=self._id)
        return moved

    def _may_leave(self, *, wait: bool) -> bool:
        status = self._record().status
        parts = self._parts()
        left = [part for part in parts if not part.is_settled]
        if status == "stopped":
            return True
        if status == "finished" or (status == "cancelled" and not left):
            self._tidy_tries += 1
            if parts and self._tidy_tries < TIDY_TRIES:
                return False
            if parts:
                log.warning(
                    "files of batch %s stay with the API; rowfleet collect tries again",
                    self.batch_id,
                )
            return True
        there = all(part.remote_id or part.waits_for_room for part in left)
        return not wait and there and not self._may_assemble()

    def cancel_remote(self) -> None:
        """Cancel the remote batches of a batch that is cancelled. Raises as `BatchAPI` does."""
        for part in self._parts():
            if part.is_at_api:
                assert part.remote_id is not None
                with suppress(NotFound):
                    self._api.cancel(part.remote_id)

    # --- files up

    def _send(self) -> bool:
        """Hand over what the API has room for. Return whether there are new parts."""
        moved = False
        while self._has_room():
            waiting = next((part for part in self._parts() if part.waits_for_room), None)
            if waiting is not None and self._split is None:
                if not self._create(waiting):
                    break
            elif not self._may_send_rows() or not self._assemble():
                break
            else:
                moved = True
        return moved

    def _has_room(self) -> bool:
        """Tell whether the API may take another part; looks at the last one first.

        Once it has refused one, parts are handed over one after the other: a file must not be sent
        in vain, and no more of them wait there than must.
        """
        self._go_on()
        parts = self._parts()
        there = [part for part in parts if part.is_at_api]
        checked = [part for part in there if part.remote_status == "validating"]
        if self._is_limited or any(part.waits_for_room for part in parts):
            if checked:
                return False
            return not self._is_full if there else time.monotonic() >= self._again_at
        if checked and checked[-1] is there[-1]:
            self._look(checked[-1])
        return not self._is_full

    def _may_send_rows(self) -> bool:
        if self._record().status != "running":
            return False
        with reading(self._engine) as connection:
            due, later = waiting_for_room(connection, self.batch_id, self._file_rows())
        # Retries are gathered, so that they don't trickle away in a file each.
        return bool(due) and (not later or due >= self._file_rows())

    def _may_assemble(self) -> bool:
        has_waiting = any(part.waits_for_room for part in self._parts())
        return not has_waiting and not self._is_full and self._may_send_rows()

    def _file_rows(self) -> int:
        return self._split.rows if self._split else self._limits.file_rows

    def _assemble(self) -> bool:
        """Send the next file of rows. Return False if there was nothing to send."""
        token = uuid.uuid4().hex
        with self._engine.begin() as connection:
            if not batch_api_parts.open_part(
                connection, self.batch_id, token=token, follower=self._id
            ):
                return False
            part = get_part(connection, token)
        with tempfile.TemporaryFile(prefix="rowfleet-") as file:
            numbers = self._write(file, token)
            if numbers is None:
                with self._engine.begin() as connection:
                    batch_api_parts.end(connection, token)
                return False
            count, first, last = numbers
            try:
                file_id = self._api.upload(self._file_name(part), file)
            except AnalysisError:
                self._give_up(part)
                raise
        self._go_on()
        with self._engine.begin() as connection:
            recorded = batch_api_parts.uploaded(
                connection, token, file_id=file_id, rows=count, first=first, last=last
            )
        part = replace(part, input_file_id=file_id, row_count=count)
        if not recorded:  # another process has taken over, and the rows wait again
            self._api.delete(file_id)
            return False
        if self._split:
            self._split.left -= count
            if self._split.left <= 0:
                self._split = None
        return self._create(part)

    def _file_name(self, part: Part) -> str:
        return f"{self.batch_id}-{part.part}-{part.token}.jsonl"

    def _write(self, file: IO[bytes], token: str) -> tuple[int, int, int] | None:
        """Take rows until ``file`` is full. Return how many, the first and the last."""
        size = 0
        written: list[int] = []
        while (left := self._file_rows() - len(written)) > 0:
            self._go_on()
            with self._engine.begin() as connection:
                rows = batch_api_parts.take(
                    connection, self.batch_id, min(TAKE_CHUNK, left), token=token, worker=WORKER
                )
            for at, (number, encoded) in enumerate(rows):
                line = batch_files.batch_line(self._question(number, encoded))
                if written and size + len(line) > self._limits.file_bytes:
                    over = [row[0] for row in rows[at:]]
                    with self._engine.begin() as connection:
                        batch_api_parts.give_back(connection, self.batch_id, over, claim=token)
                    return len(written), written[0], written[-1]
                file.write(line)
                size += len(line)
                written.append(number)
            if not rows:
                break
        return (len(written), written[0], written[-1]) if written else None

    def _question(self, number: int, encoded: Sequence[Any]) -> Question:
        return Question(
            recipe=self._recipe,
            model=self._model,
            row_number=number,
            cells=cells.sent(self._columns, encoded),
        )

    def _take_up(self, part: Part) -> bool:
        """Go on with a part that has no remote batch that is known of."""
        if part.input_file_id is None:  # its file went with the process that wrote it
            self._give_up(part)
            return True
        return self._create(part)

    def _create(self, part: Part) -> bool:
        """Ask for the part's remote batch, unless it is found to be there. Return whether it is."""
        assert part.input_file_id is not None
        made = None
        if part.asked_at is not None:
            made = self._api.find(part.token, part.asked_at.timestamp())
            if made is not None and self._is_refused(made):  # not the one that was asked for last
                made = None
        if made is None and self._record().status != "running":
            with reading(self._engine) as connection:
                if asked_within(connection, part.token, self.lease):
                    return False  # it may still appear
            self._give_up(part)
            return True
        if made is None:
            with self._engine.begin() as connection:
                if not batch_api_parts.ask(
                    connection, part.token, follower=self._id, again_after=self.lease
                ):
                    return False
            self._go_on()
            made = self._ask(part)
        with self._engine.begin() as connection:
            batch_api_parts.created(connection, part.token, remote_id=made.id, status=made.status)
        self._say(f"part {part.part}: {part.row_count:,} rows are with the API as {made.id}")
        return True

    def _ask(self, part: Part) -> Remote:
        assert part.input_file_id is not None
        try:
            return self._api.create(
                part.input_file_id,
                ENDPOINTS[self._recipe.api],
                batch_id=self.batch_id,
                part=part.part,
                token=part.token,
            )
        except Unanswered:
            raise
        except Transient:
            with self._engine.begin() as connection:
                batch_api_parts.refused(connection, part.token)
            raise
        except AnalysisError:
            self._give_up(part)
            raise

    def _give_up(self, part: Part) -> None:
        """Let the rows of a part that the API has not got wait again; its file is deleted next."""
        with self._engine.begin() as connection:
            batch_api_parts.release(connection, self.batch_id, part.token)

    # --- answers down

    def _look(self, part: Part) -> bool:
        """See how a remote batch is, and settle its rows if it has ended."""
        assert part.remote_id is not None
        cancelled = self._record().status == "cancelled"
        try:
            seen = self._api.retrieve(part.remote_id)
        except NotFound:
            if not cancelled:
                raise
            seen = Remote(part.remote_id, "cancelled", None, None, 0, 0, ())
        if seen.status != part.remote_status:
            with self._engine.begin() as connection:
                batch_api_parts.seen(connection, part.token, seen.status)
        if self._is_refused(seen) and not cancelled:
            self._wait_for_room(part, seen)
            return False
        if part.remote_status == "validating" and seen.status != "validating":
            self._is_full, self._patience = False, 0.0
        if seen.status in ENDED:
            self._collect(part, seen)
            return True
        if cancelled and seen.status != "cancelling":
            self._api.cancel(part.remote_id)
        return seen.status != part.remote_status

    @staticmethod
    def _is_refused(seen: Remote) -> bool:
        """Tell whether a remote batch was refused for want of room, and none of it was answered."""
        code = seen.problems[0][0] if seen.problems else ""
        answered = seen.output_file_id or seen.error_file_id
        return seen.status == "failed" and from_batch_error(code) is Fate.WAIT and not answered

    def _wait_for_room(self, part: Part, seen: Remote) -> None:
        """Keep a refused part's file until there is room, or split what is too large by itself."""
        others = [p for p in self._parts() if p.is_at_api and p.token != part.token]
        is_alone = not others and not self._api.had_company(seen)
        self._is_limited = True
        if not is_alone:
            self._is_full = True
            if not others:
                longest = self._limits.poll * LONGEST_PATIENCE
                self._patience = min(2 * self._patience or self._limits.poll, longest)
                self._again_at = time.monotonic() + self._patience
            with self._engine.begin() as connection:
                batch_api_parts.no_room(connection, part.token)
            return
        message = seen.problems[0][1]
        with self._engine.begin() as connection:
            batch_api_parts.no_room(connection, part.token)
            batch_api_parts.release(connection, self.batch_id, part.token)
        if part.row_count <= 1:
            self._stop_batch(f"the API takes not even one row at a time: {message}")
            return
        left = part.row_count + (self._split.left if self._split else 0)
        self._split = _Split(-(-part.row_count // 2), left)
        log.warning("%s; sending its rows %d at a time", message, self._split.rows)

    def _collect(self, part: Part, seen: Remote) -> None:
        reasons: list[str] = []
        for file_id in (seen.output_file_id, seen.error_file_id):
            if file_id:
                reasons += self._settle_file(part, file_id, seen)
        with self._engine.begin() as connection:
            cancelled = batch_records.get_batch(connection, self.batch_id).status == "cancelled"
        match seen.status:
            case "failed":
                reasons += self._settle_failed(part, seen)
            case "cancelled":
                self._give_all_back(part)
                if not cancelled:
                    reasons.append(f"its remote batch {seen.id} was cancelled at the API")
            case "expired":
                self._settle_rest(part, "not answered within 24 hours by the Batch API")
            case _:
                self._settle_rest(part, "the Batch API's files have no answer for this row")
        with self._engine.begin() as connection:
            batch_api_parts.settled(connection, part.token)
        self._is_full = False
        self._say(
            f"part {part.part}: {seen.status}, "
            f"{seen.completed:,} of {part.row_count:,} rows are answered"
        )
        self._tidy(part, seen)
        if reasons:
            self._stop_batch(reasons[0])

    def _settle_failed(self, part: Part, seen: Remote) -> list[str]:
        """Settle what is left of a part that the API refused as a whole. Return why the batch must
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

    def _tidy(self, part: Part, seen: Remote | None = None) -> None:
        """Delete a settled part's files at the API. If that fails, a later round tries again."""
        try:
            for file_id in self._files_of(part, seen):
                self._api.delete(file_id)
        except AnalysisError as error:
            log.info("files of part %d can't be deleted now: %s", part.part, error.reason)
            return
        with self._engine.begin() as connection:
            batch_api_parts.end(connection, part.token)

    def _files_of(self, part: Part, seen: Remote | None) -> list[str]:
        """Return the ids of the files that the API may have of a part."""
        found = [part.input_file_id] if part.input_file_id else []
        if part.remote_id is not None:
            with suppress(NotFound):
                seen = seen or self._api.retrieve(part.remote_id)
        elif not found:  # the process that sent it ended before it knew its id
            found = self._api.find_files(self._file_name(part), part.created_at.timestamp())
        outputs = (seen.output_file_id, seen.error_file_id) if seen else ()
        return found + [file_id for file_id in outputs if file_id]

    def _settle_file(self, part: Part, file_id: str, seen: Remote) -> list[str]:
        """Settle the rows in a file of answers or errors. Return why the batch must stop, if so."""
        reasons: list[str] = []
        doubts = None if seen.completed else Doubts()
        with tempfile.TemporaryFile(prefix="rowfleet-") as file:
            try:
                self._api.download(file_id, file)
            except NotFound:
                if self._record().status != "cancelled":
                    raise
                return reasons
            file.seek(0)
            for lines in _grouped(lines_of(file), SETTLE_GROUP):
                self._go_on()
                said = [batch_files.read_batch_line(line) for line in lines]
                results = {one.row_number: one for one in said if one and not one.was_not_made}
                with self._engine.begin() as connection:
                    rows = batch_api_parts.held(
                        connection, self.batch_id, list(results), claim=part.token
                    )
                    outcomes = [
                        self._outcome(row, before, results[number], reasons, doubts)
                        for number, (row, before) in rows.items()
                    ]
                    settling.settle(connection, outcomes, holder=part.token)
        return reasons

    def _outcome(
        self,
        row: Claimed,
        before: str | None,
        result: batch_files.BatchResult,
        reasons: list[str],
        doubts: Doubts | None,
    ) -> Outcome:
        try:
            answer = result.answer(self._recipe, self._model)
        except AnalysisError as failure:
            error = doubts.judged(self.batch_id, failure) if doubts else failure
            if isinstance(error, Misconfigured):
                reasons.append(str(error))
            return self._failure(row, _second_of_its_kind(error, before))
        return retry.after_answer(row, answer, self._spent(answer.usage), None)

    def _failure(self, row: Claimed, error: AnalysisError) -> Outcome:
        return retry.after_failure(
            row,
            error,
            self._spent(error.usage),
            None,
            max_retries=self._limits.max_retries,
            retry_delay=self._limits.retry_delay,
        )

    def _settle_rest(self, part: Part, reason: str) -> None:
        """Let rows that got no answer be tried again, as after any transient error."""
        while True:
            self._go_on()
            with self._engine.begin() as connection:
                numbers = batch_api_parts.held_numbers(
                    connection, self.batch_id, SETTLE_GROUP, claim=part.token
                )
                rows = batch_api_parts.held(connection, self.batch_id, numbers, claim=part.token)
                outcomes = [self._failure(row, Transient(reason)) for row, _ in rows.values()]
                settling.settle(connection, outcomes, holder=part.token)
            if not numbers:
                return

    def _give_all_back(self, part: Part) -> None:
        with self._engine.begin() as connection:
            batch_api_parts.give_back(connection, self.batch_id, claim=part.token)

    def _spent(self, usage: Usage) -> Spent:
        if not usage.calls:
            return Spent()
        cost = None
        if not usage.uncounted:
            cost = prices.dollars(
                self._model,
                prompt_tokens=usage.prompt_tokens,
                cached_tokens=usage.cached_tokens,
                cache_write_tokens=usage.cache_write_tokens,
                completion_tokens=usage.completion_tokens,
                processing="batch",
                price=self._price,
            )
        return Spent(
            calls=usage.calls,
            prompt_tokens=usage.prompt_tokens,
            cached_tokens=usage.cached_tokens,
            completion_tokens=usage.completion_tokens,
            reasoning_tokens=usage.reasoning_tokens,
            cost_usd=cost,
        )

    # --- odds and ends

    def _record(self) -> BatchRecord:
        with reading(self._engine) as connection:
            return batch_records.get_batch(connection, self.batch_id)

    def _parts(self) -> list[Part]:
        with reading(self._engine) as connection:
            return parts_of(connection, self.batch_id)

    def _stop_batch(self, reason: str) -> None:
        with self._engine.begin() as connection:
            stopped = stopping.stop(connection, self.batch_id, reason)
        if not stopped and self._record().status == "cancelled":
            raise InputError(
                f"batch {self.batch_id} is cancelled, its remote batches not: {reason}"
            )

    def _go_on(self) -> None:
        if self._stopping.is_set():
            raise _Stop


def _second_of_its_kind(error: AnalysisError, before: str | None) -> AnalysisError:
    """Return ``error``, final if it is the second answer in a row that is not valid."""
    said = str(error)
    if said.startswith(batch_files.INVALID) and (before or "").startswith(batch_files.INVALID):
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
