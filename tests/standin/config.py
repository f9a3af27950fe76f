"""What the stand-in does, all of it changeable while it runs."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields, replace
from hashlib import blake2b
from typing import Any, Literal, get_args

Kind = Literal[
    "rate_limit",  # 429 with Retry-After and x-ratelimit headers
    "insufficient_quota",  # 429 that no waiting mends
    "resource_unavailable",  # 429 of the flex tier: nothing is free for it now
    "forbidden",  # 403 of a gateway, without a word of the reason
    "server_error",  # 500
    "unavailable",  # 503 with Retry-After
    "hang",  # no byte of an answer, ever
    "drop",  # headers and half of the body, then the connection is closed
    "drip",  # a right answer, one byte a second
    "invalid_json",  # 200, but the content is JSON cut short
    "refusal",  # 200, the model refuses
    "missing_field",  # 200, valid JSON without the schema's first field
    "wrong_type",  # 200, valid JSON whose first field is of another type
    "length",  # 200, cut off by the token limit
    "content_filter",  # 200, withheld by the content filter
    "verbatim",  # whatever `status`, `headers` and `text` say
    "closed",  # the connection is closed before any answer
    "reset",  # the same, by a reset
    "garbage",  # bytes that are no HTTP
]

KINDS: tuple[str, ...] = get_args(Kind)

#: Faults that come back at once, as the API's own refusals do; the others take the latency.
IMMEDIATE = frozenset({"rate_limit", "insufficient_quota", "resource_unavailable", "unavailable"})


def draw(*what: object) -> float:
    """Return a number in [0, 1) that depends on ``what`` alone, not on the order of arrival."""
    digest = blake2b("\0".join(map(str, what)).encode(), digest_size=7).digest()
    return int.from_bytes(digest) / (1 << 56)


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault that meets ``fraction`` of the requests it applies to."""

    kind: str
    fraction: float = 1.0
    #: Only these row numbers; None is every request.
    rows: tuple[int, ...] | None = None
    #: Only the first so many requests for a row; None is all of them.
    attempts: int | None = None
    #: Seconds to send as Retry-After with `rate_limit` and `unavailable`.
    retry_after: float = 1.0
    #: What `verbatim` answers.
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    text: str = ""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"fault {self.kind!r} is none of {', '.join(KINDS)}")
        if not 0 <= self.fraction <= 1:
            raise ValueError(f"fault {self.kind}: the fraction {self.fraction} is not in 0..1")
        if self.rows is not None:
            object.__setattr__(self, "rows", tuple(self.rows))

    def meets(self, row: int | None, attempt: int) -> bool:
        """Return whether a request for ``row``, its ``attempt``-th from 1, can get this fault."""
        return (self.rows is None or row in self.rows) and (
            self.attempts is None or attempt <= self.attempts
        )


@dataclass(frozen=True, slots=True)
class Config:
    """All that can be set. Raises ValueError, with a sentence, for what is impossible."""

    #: Seconds before each answer, or [least, most] for a uniform spread.
    latency: float | tuple[float, float] = 0.0
    #: One draw decides a request, so the fractions of the faults that meet it add up.
    faults: tuple[Fault, ...] = ()
    #: Another seed, other rows that get the faults.
    seed: int = 0
    #: The key to ask for; None lets every key in.
    api_key: str | None = None
    #: Models there are; None is every name. Others get 404.
    models: tuple[str, ...] | None = None
    #: Enforced limits. Tokens are the prompt's plus `max_completion_tokens`, or plus the answer's.
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    #: How many seconds' worth of its limit a bucket holds; it starts full.
    burst_seconds: float = 5.0
    #: Fixed usage instead of the estimate of four characters a token: any of `prompt_tokens`,
    #: `cached_tokens`, `completion_tokens`, `reasoning_tokens`.
    usage: dict[str, int] = field(default_factory=dict)
    #: Keep each request's whole body in the call log.
    keep_bodies: bool = False
    #: The Batch API: seconds a batch takes, also one that runs, and its limits; most requests in
    #: all that run, beyond which a batch fails with `token_limit_exceeded`. A row that meets `hang`
    #: expires.
    batch_seconds: float = 0.0
    batch_requests: int = 50_000
    batch_bytes: int = 200_000_000
    batch_waiting: int | None = None
    #: Kinds that the next requests of the Batch API meet, one each, in order, by what they do:
    #: `upload`, `create`, `list`, `retrieve`, `cancel`, `content`, `delete`, `list_files`. `drop`,
    #: `page` and `empty` do it, and do not say so; the others are refusals. For `validate`, which
    #: is done with each batch, the codes of the errors that the batches fail with.
    outages: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        faults = tuple(Fault(**f) if isinstance(f, dict) else f for f in self.faults)
        object.__setattr__(self, "faults", faults)
        if not isinstance(self.latency, (int, float)):
            least, most = self.latency
            object.__setattr__(self, "latency", (least, most))
        wrong = set(self.usage) - {
            "prompt_tokens",
            "cached_tokens",
            "completion_tokens",
            "reasoning_tokens",
        }
        if wrong:
            raise ValueError(f"usage has no {', '.join(sorted(wrong))}")

    def changed(self, changes: dict[str, Any]) -> Config:
        """Return the configuration with ``changes``; what they don't name stays."""
        names = {f.name for f in fields(self)}
        for name in changes:
            if name not in names:
                raise ValueError(f"{name!r} is not a setting; there are {', '.join(sorted(names))}")
        try:
            return replace(self, **changes)
        except TypeError as error:
            raise ValueError(str(error)) from None

    def as_json(self) -> dict[str, Any]:
        """Return the configuration as `changed` takes it."""
        return asdict(self)

    def fault_for(self, key: str, row: int | None, attempt: int) -> Fault | None:
        """Return the fault this request gets, the same for the same request and seed."""
        chance = draw("fault", self.seed, key, attempt)
        for fault in self.faults:
            if not fault.meets(row, attempt):
                continue
            chance -= fault.fraction
            if chance < 0:
                return fault
        return None

    def latency_for(self, key: str, attempt: int) -> float:
        """Return the seconds this request waits for its answer."""
        if isinstance(self.latency, tuple):
            least, most = self.latency
            return least + (most - least) * draw("latency", self.seed, key, attempt)
        return self.latency
