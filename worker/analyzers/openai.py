"""The `openai` analyzer: one structured-output call a row, to any OpenAI-compatible endpoint.

All calls of a process run on one event loop in a thread of their own; slots wait for it. So a
deadline cancels a call wherever it hangs, on every pool, and an endpoint that sends a byte a
minute can't hold a slot.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import httpx2
import openai

from rowfleet import openai_api as wire
from rowfleet.queue import LONGEST_WAIT
from rowfleet.settings import MOST_SLOTS
from worker.analyzers import Answer, Misconfigured, Permanent, Postponed, Question, Transient, Usage
from worker.limiter import Limiter, Turn

#: Seconds to wait for a connection; after that the endpoint counts as unreachable.
CONNECT_TIMEOUT = 10.0

#: Times a row is asked again, at once, when its answer is not valid.
RE_ASKS = 1

#: Times a row waits and asks again, in its slot, after a 429; then it goes back to the ledger.
REFUSALS = 5


class OpenAIAnalyzer:
    """Asks a model. Thread-safe; connects on first use, so that it may be made before a fork."""

    name = "openai"

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
        self._client: openai.AsyncOpenAI | None = None

    def answer(self, question: Question) -> Answer:
        """Return the model's answer, valid against the recipe's schema."""
        if not self._api_key:
            raise Misconfigured(
                "OPENAI_API_KEY is not set where the workers run; set it there, or submit with "
                "--analyzer rules"
            )
        loop = self._started()
        future: Future[Answer] = asyncio.run_coroutine_threadsafe(self._answer(question), loop)
        return future.result()

    def _started(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                loop = asyncio.new_event_loop()
                threading.Thread(target=loop.run_forever, name="openai", daemon=True).start()
                self._client = openai.AsyncOpenAI(
                    api_key=self._api_key,
                    base_url=self._base_url,
                    max_retries=0,  # retries are the row's, in the ledger
                    # On aiohttp: half the CPU of the SDK's default, whose pool looks at all of its
                    # connections for each request.
                    http_client=openai.DefaultAioHttpClient(
                        limits=httpx2.Limits(max_connections=MOST_SLOTS)
                    ),
                )
                self._loop = loop
            return self._loop

    async def _answer(self, question: Question) -> Answer:
        used = Usage()
        messages = wire.messages(question)
        wait = _Patience()
        for asked in range(RE_ASKS + 1):
            text, usage = await self._ask(question, messages, used, wait)
            used += usage
            output, problem = wire.parse(text, question.recipe)
            if output is not None:
                return Answer(output, used)
            if asked < RE_ASKS:
                messages = [*messages, *wire.re_ask(text, problem)]
        raise Permanent(f"the answer was not valid, twice: {problem}", used)

    async def _ask(
        self, question: Question, messages: list[Any], used: Usage, wait: _Patience
    ) -> tuple[str, Usage]:
        """Ask once, when it is the question's turn; a 429 takes it back to the line."""
        request = _request(question, messages)
        refusals = 0
        while True:
            turn = await self._turn(question, request, used, wait, again=refusals > 0)
            try:
                return await self._call(question, request, turn, used)
            except openai.RateLimitError as error:
                failure = wire.of_status(error, used, question.model)
                # The flex tier has nothing free for this call; a limit of ours is not what is hit.
                if not isinstance(failure, Transient) or error.code == "resource_unavailable":
                    raise failure from None
                refusals += 1
                pause = self._limiter.refused(turn, error.response.headers)
                if refusals > REFUSALS or pause > wait.left():
                    raise Postponed(str(failure), used, pause) from None

    async def _turn(
        self,
        question: Question,
        request: dict[str, Any],
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
                _size(request),
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

    async def _call(
        self, question: Question, request: dict[str, Any], turn: Turn, used: Usage
    ) -> tuple[str, Usage]:
        began = time.monotonic()
        left = max(0.1, question.time_limit - question.clock.seconds())
        try:
            async with asyncio.timeout(left):
                headers, content = await self._send(question.recipe.api, request, left)
        except openai.RateLimitError:
            raise
        except openai.APIStatusError as error:
            raise wire.of_status(error, used, question.model) from None
        except TimeoutError:
            raise Transient(f"no answer within {question.time_limit:g} s", used) from None
        except (openai.APIConnectionError, httpx2.HTTPError) as error:
            if _is_overdue(error):
                raise Transient(f"no answer within {question.time_limit:g} s", used) from None
            raise Transient(f"the connection failed: {wire.short(_root(error))}", used) from None
        try:
            body = json.loads(content)
            usage = wire.usage_of(body, question.recipe.api)
            self._limiter.answered(turn, usage, time.monotonic() - began, headers)
            return wire.text_of(body, question.recipe.api, used + usage), usage
        except ValueError as error:
            raise Transient(
                f"the API's reply could not be read: {wire.short(error)}", used
            ) from None

    async def _send(
        self, api: str, request: dict[str, Any], seconds: float
    ) -> tuple[httpx2.Headers, bytes]:
        """Return the headers and the body of the answer.

        The SDK's own methods check and convert what is sent and what comes back, which takes half
        the time of a call here; so this is the one they call.
        """
        assert self._client is not None
        timeout = httpx2.Timeout(seconds, connect=CONNECT_TIMEOUT)
        path = wire.ENDPOINTS[api].removeprefix("/v1")
        response = await self._client.post(
            path, cast_to=httpx2.Response, body=request, options={"timeout": timeout}
        )
        return response.headers, response.content


def _is_overdue(error: BaseException) -> bool:
    """Tell whether a time limit has ended the call, and not the other side or the network."""
    root = _root(error)
    return isinstance(root, (TimeoutError, httpx2.TimeoutException))


def _root(error: BaseException) -> BaseException:
    """Return what was wrong at first: aiohttp's error, which httpx2 and the SDK give others' names."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


@dataclass(slots=True)
class _Patience:
    """How long a row waits in its slot, all its turns together."""

    spent: float = 0.0

    def left(self) -> float:
        return max(0.0, LONGEST_WAIT - self.spent)


def _request(question: Question, messages: list[Any]) -> dict[str, Any]:
    if question.recipe.api == "responses":
        return wire.responses_request(question, messages)
    return wire.chat_request(question, messages)


def _size(request: dict[str, Any]) -> int:
    """Return the bytes of what the API counts the tokens of, and a little more."""
    return len(json.dumps(request, ensure_ascii=False).encode("utf-8", "replace"))
