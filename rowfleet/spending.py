"""What an attempt's calls cost: usage → dollars, for the ledger."""

from __future__ import annotations

from rowfleet.analyzer_kinds import Kind
from rowfleet.ledger.records import Spent
from rowfleet.prices import Price
from rowfleet.usage import Usage


def spent(
    kind: Kind,
    usage: Usage,
    *,
    model: str,
    service_tier: str | None = None,
    price: Price | None = None,
    processing: str | None = None,
) -> Spent:
    """Return ``usage`` with what it costs, None where no price is known or not all was counted.

    ``service_tier`` is the one that was asked for; the tier that the answer names wins over it.
    ``price`` is the user's own for ``model``. ``processing`` is `batch` for the
    Batch API, which is a tier of its own.
    """
    cost = None
    asked_tier = None if processing else usage.service_tier or service_tier
    if kind.dollars is None:
        cost = 0.0
    elif usage.calls and not usage.uncounted:
        cost = kind.dollars(
            usage,
            model=model,
            service_tier=asked_tier,
            price=price,
            processing=processing,
        )
    return Spent(
        calls=usage.calls,
        prompt_tokens=usage.prompt_tokens,
        cached_tokens=usage.cached_tokens,
        completion_tokens=usage.completion_tokens,
        reasoning_tokens=usage.reasoning_tokens,
        cost_usd=cost,
        possibly_billed=usage.possibly_billed,
    )
