"""The `openai` analyzer: one structured-output call a row, to any OpenAI-compatible endpoint.

All calls of a process run on one event loop in a thread of their own; slots wait for it. So a
deadline cancels a call wherever it hangs, on every pool, and an endpoint that sends a byte a
minute can't hold a slot.
"""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import Future
from typing import Any

import httpx2
import openai

from rowfleet import openai_api as wire
from worker.analyzers import Answer, Misconfigured, Permanent, Question, Transient, Usage

#: Seconds to wait for a connection; after that the endpoint counts as unreachable.
CONNECT_TIMEOUT = 10.0

#: Times a row is asked again, at once, when its answer is not valid.
RE_ASKS = 1


class OpenAIAnalyzer:
    """Asks a model. Thread-safe; connects on first use, so that it may be made before a fork."""

    name = "openai"

    def __init__(self, api_key: str | None, base_url: str | None = None) -> None:
        """``base_url`` of None is OpenAI's own."""
        self._api_key = api_key
        self._base_url = base_url
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
                    http_client=openai.DefaultAsyncHttpxClient(
                        limits=httpx2.Limits(max_connections=None, max_keepalive_connections=None)
                    ),
                )
                self._loop = loop
            return self._loop

    async def _answer(self, question: Question) -> Answer:
        used = Usage()
        messages = wire.messages(question)
        deadline = time.monotonic() + question.time_limit
        try:
            async with asyncio.timeout(question.time_limit):
                for asked in range(RE_ASKS + 1):
                    text, usage = await self._ask(question, messages, deadline, used)
                    used += usage
                    output, problem = wire.parse(text, question.recipe)
                    if output is not None:
                        return Answer(output, used)
                    if asked < RE_ASKS:
                        messages = [*messages, *wire.re_ask(text, problem)]
        except TimeoutError:
            raise Transient(f"no answer within {question.time_limit:g} s", used) from None
        raise Permanent(f"the answer was not valid, twice: {problem}", used)

    async def _ask(
        self, question: Question, messages: list[Any], deadline: float, used: Usage
    ) -> tuple[str, Usage]:
        assert self._client is not None
        timeout = httpx2.Timeout(max(0.1, deadline - time.monotonic()), connect=CONNECT_TIMEOUT)
        try:
            if question.recipe.api == "responses":
                response = await self._client.responses.create(
                    **wire.responses_request(question, messages), timeout=timeout
                )
                return wire.of_response(response, used)
            completion = await self._client.chat.completions.create(
                **wire.chat_request(question, messages), timeout=timeout
            )
            return wire.of_completion(completion, used)
        except openai.APIStatusError as error:
            raise wire.of_status(error, used, question.model) from None
        except openai.APITimeoutError:
            raise Transient(f"no answer within {question.time_limit:g} s", used) from None
        except (openai.APIConnectionError, httpx2.HTTPError) as error:
            cause = error.__cause__ or error
            raise Transient(f"the connection failed: {wire.short(cause)}", used) from None
        except (openai.APIResponseValidationError, ValueError) as error:
            raise Transient(
                f"the API's reply could not be read: {wire.short(error)}", used
            ) from None
