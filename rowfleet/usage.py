"""What a row's calls used."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Usage:
    """What a row's calls used, as the API counts it; ``calls`` are requests it answered.

    Cached and cache-writing tokens are part of the prompt's, reasoning tokens of the completion's.
    """

    calls: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int = 0
    cache_write_tokens: int = 0
    #: The tier that the last answer was made on; None where the API does not say.
    service_tier: str | None = None
    #: Requests that were sent and ended without an answer: the API may have done their work, and
    #: bill it.
    possibly_billed: int = 0
    #: Calls among ``calls`` whose answer does not say, or not credibly, what they used. Their cost
    #: is not known.
    uncounted: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.calls + other.calls,
            self.prompt_tokens + other.prompt_tokens,
            self.cached_tokens + other.cached_tokens,
            self.completion_tokens + other.completion_tokens,
            self.reasoning_tokens + other.reasoning_tokens,
            self.cache_write_tokens + other.cache_write_tokens,
            other.service_tier or self.service_tier,
            self.possibly_billed + other.possibly_billed,
            self.uncounted + other.uncounted,
        )


#: The usage of a request that was sent and ended without an answer.
UNANSWERED = Usage(possibly_billed=1)
