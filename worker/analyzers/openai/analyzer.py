"""The `openai` analyzer: one structured-output call a row, to any OpenAI-compatible endpoint.

All calls of a process run on one event loop in a thread of their own; slots wait for it. So a
deadline cancels a call wherever it hangs, on every pool, and an endpoint that sends a byte a
minute can't hold a slot.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
import weakref
from concurrent.futures import Future
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from rowfleet.analysis import (
    UNANSWERED,
    AnalysisError,
    Answer,
    Misconfigured,
    Permanent,
    Postponed,
    Question,
    Transient,
    Usage,
    answer_of,
)
from rowfleet.answers.judging import Judged, judge
from rowfleet.openai_api import failures, replies, requests
from rowfleet.openai_api.error_classes import Fate
from rowfleet.queue.app import LONGEST_WAIT
from rowfleet.rate_limits.lane import MOST_PAUSE
from rowfleet.received import read_json
from worker.analyzers.openai.endpoint import Endpoint, Reply, Unreachable
from worker.analyzers.openai.lane import Turn
from worker.analyzers.openai.limiter import Limiter

log = logging.getLogger(__name__)

#: Times a row is asked again, at once, when its answer is not valid.
RE_ASKS = 1

#: Times a row waits and asks again, in its slot, after a 429; then it goes back to the ledger.
REFUSALS = 5

#: Seconds for connections to be closed at the end of the process.
END_WITHIN = 1.0


class OpenAIAnalyzer:
    """Asks a model. Thread-safe; connects on first use, so that it may be made before a fork."""

    def __init__(
        self,
        api_key: str | None,
        base_url: str | None = None,
        limiter: Limiter | None = None,
    ) -> None:
        """``base_url`` of None is OpenAI's own. Without ``limiter`` it heeds no one's limits."""
        self._api_key = api_key
        self._base_url = base_url
        self._limiter = limiter or Limiter()
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._endpoint: Endpoint | None = None
        self._asked: set[Future[Answer]] = set()

    def answer(self, question: Question) -> Answer:
        """Return the model's answer, valid against the recipe's schema."""
        if not self._api_key:
            raise Misconfigured(
                "OPENAI_API_KEY is not set where the workers run; set it there, or submit with "
                "--analyzer rules"
            )
        loop = self._started()
        future: Future[Answer] = asyncio.run_coroutine_threadsafe(self._answer(question), loop)
        self._asked.add(future)
        try:
            return future.result()
        except BaseException:  # a slot that is interrupted waits no longer for the call
            future.cancel()
            raise
        finally:
            self._asked.discard(future)

    def _started(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._endpoint = Endpoint(self._api_key or "", self._base_url)
                self._loop = asyncio.new_event_loop()
                thread = threading.Thread(
                    target=_run, args=(self._loop,), name="openai", daemon=True
                )
                thread.start()
                # At the end of the process, too: aiohttp complains of connections left open.
                weakref.finalize(
                    self, _end, self._endpoint, self._loop, thread, self._asked, os.getpid()
                )
            return self._loop

    async def _answer(self, question: Question) -> Answer:
        used = Usage()
        judged: Judged | None = None
        try:
            messages = requests.messages(question)
            wait = _Patience()
            for asked in range(RE_ASKS + 1):
                text, usage = await self._ask(question, messages, used, wait)
                used += usage
                output, problem = replies.parse(text, question.recipe, used)
                if output is not None:
                    judged = judge(question, output)
                    if not judged.to_mend:
                        break
                    problem = "; ".join(reason.message for reason in judged.to_mend)
                if asked < RE_ASKS:
                    messages = [*messages, *requests.re_ask(text, problem)]
        except AnalysisError as error:
            if judged is None:
                raise
            used = error.usage  # it is paid for, so it is kept with its reasons to review
        except Exception as error:  # the calls that were paid must be known
            log.exception("row %d ended unexpectedly", question.row_number)
            raise Permanent(
                f"an unexpected {type(error).__name__} while it was asked about; the worker's log "
                "says where",
                used,
            ) from error
        if judged is None:
            raise Permanent("the answer was not valid, twice", used, said=problem)
        return answer_of(judged, used)

    async def _ask(
        self, question: Question, messages: list[Any], used: Usage, wait: _Patience
    ) -> tuple[str, Usage]:
        """Ask once, when it is the question's turn; a 429 takes it back to the line."""
        body = requests.encoded(requests.request(question, messages))
        size = requests.size(body, messages)
        refusals = 0
        while True:
            turn = await self._turn(question, size, used, wait, again=refusals > 0)
            began = time.monotonic()
            reply = await self._send(question, body, used)
            if HTTPStatus.OK <= reply.status < HTTPStatus.MULTIPLE_CHOICES:
                return self._read(question, reply, turn, used, time.monotonic() - began)
            failure, found = failures.from_reply(
                reply.status, reply.headers, reply.content, used, question.model
            )
            if found.fate is not Fate.WAIT:
                if found.may_be_billed:
                    failure.usage += UNANSWERED
                raise failure
            refusals += 1
            pause = self._limiter.refused(turn, reply.headers)
            if refusals > REFUSALS or pause > min(wait.left(), MOST_PAUSE):
                raise Postponed(failure.reason, used, pause, said=failure.said)

    async def _turn(
        self,
        question: Question,
        size: int,
        used: Usage,
        wait: _Patience,
        *,
        again: bool,
    ) -> Turn:
        options = question.recipe.options
        began = time.monotonic()
        question.clock.pause()
        try:
            return await self._limiter.turn(
                question.model,
                size,
                options.max_completion_tokens,
                longest=wait.left(),
                again=again,
                is_called_off=lambda: question.clock.is_called_off,
            )
        except Postponed as postponed:
            raise Postponed(str(postponed), used, postponed.delay) from None
        finally:
            question.clock.resume()
            wait.spent += time.monotonic() - began

    async def _send(self, question: Question, body: bytes, used: Usage) -> Reply:
        assert self._endpoint is not None
        path = requests.ENDPOINTS[question.recipe.api].removeprefix("/v1/")
        left = max(0.1, question.time_limit - question.clock.seconds())
        try:
            async with asyncio.timeout(left):
                return await self._endpoint.post(path, body, left)
        except TimeoutError:
            late = f"no answer within {question.time_limit:g} s"
            raise Transient(late, used + UNANSWERED) from None
        except Unreachable as error:
            if error.was_sent:
                used += UNANSWERED
            raise Transient(
                "the connection failed", used, said=failures.one_line_of(error)
            ) from None

    def _read(
        self, question: Question, reply: Reply, turn: Turn, used: Usage, seconds: float
    ) -> tuple[str, Usage]:
        api = question.recipe.api
        paid = used + UNANSWERED  # until it says what it used
        try:
            body = read_json(reply.content)
            usage = replies.usage_of(body, api)
            self._limiter.answered(turn, usage, seconds, reply.headers)
            paid = used + usage
            return replies.text_of(body, api, paid, question.model), usage
        except ValueError as error:
            raise Transient(
                "the API's reply could not be read", paid, said=failures.one_line_of(error)
            ) from None


def _run(loop: asyncio.AbstractEventLoop) -> None:
    loop.run_forever()
    loop.close()


def _end(
    endpoint: Endpoint,
    loop: asyncio.AbstractEventLoop,
    thread: threading.Thread,
    asked: set[Future[Answer]],
    process: int,
) -> None:
    """Close all connections and end the loop, in the process that began it.

    A process that ends with calls under way was told to end at once. Its rows' leases will run
    out; if their calls were broken off, that would count as a try.
    """
    if os.getpid() != process or asked:
        return

    async def close() -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await endpoint.close()
        loop.stop()

    asyncio.run_coroutine_threadsafe(close(), loop)
    if threading.current_thread() is not thread:
        thread.join(END_WITHIN)


@dataclass(slots=True)
class _Patience:
    """How long a row waits in its slot, all its turns together."""

    spent: float = 0.0

    def left(self) -> float:
        return max(0.0, LONGEST_WAIT - self.spent)
