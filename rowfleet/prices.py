"""What calls cost: a user's own prices, or `genai-prices`' table of list prices.

The table ships inside that package and is never fetched: only its `UpdatePrices` would, which
nothing here calls.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from genai_prices.types import PriceCalculation

#: Tiers that are paid at the standard price. `auto` is what the API's project is set to; the
#: answer says which tier that was.
STANDARD_TIERS = (None, "auto", "default")

_MILLION = 1_000_000


class Price(BaseModel):
    """What a model costs, in USD per million tokens. ``cached`` of None: as much as ``input``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    input: float = Field(ge=0, le=1_000_000)
    cached: float | None = Field(default=None, ge=0, le=1_000_000)
    output: float = Field(ge=0, le=1_000_000)


def dollars(
    model: str,
    *,
    prompt_tokens: int,
    completion_tokens: int,
    cached_tokens: int = 0,
    cache_write_tokens: int = 0,
    service_tier: str | None = None,
    price: Price | None = None,
    processing: str | None = None,
) -> float | None:
    """Return what one call's tokens cost in USD, None if the price is not known.

    ``prompt_tokens`` includes cached and cache-writing ones, ``completion_tokens`` includes
    reasoning, as in the API's own `usage`. A ``price`` is taken as it is, whatever the tier. From
    the table, a tier other than the standard one is known only where the table names it.
    ``processing`` is `batch` for calls through the Batch API.
    """
    if price is not None:
        cached = min(cached_tokens, prompt_tokens)
        for_cached = price.input if price.cached is None else price.cached
        return (
            (prompt_tokens - cached) * price.input
            + cached * for_cached
            + completion_tokens * price.output
        ) / _MILLION
    standard = service_tier in STANDARD_TIERS
    tier = None if standard else service_tier
    minute = int(time.time() // 60)
    uncached = prompt_tokens - cached_tokens - cache_write_tokens
    if min(uncached, cached_tokens, cache_write_tokens, completion_tokens) >= 0:
        rates = _rates(model, tier, processing, minute)
        if rates is not None:
            return float(
                rates.call
                + uncached * rates.uncached
                + cached_tokens * rates.cached
                + cache_write_tokens * rates.cache_write
                + completion_tokens * rates.completion
            )
    found = _listed(
        model,
        tier,
        processing,
        input_tokens=prompt_tokens,
        cache_read_tokens=cached_tokens,
        cache_write_tokens=cache_write_tokens,
        output_tokens=completion_tokens,
    )
    return None if found is None else float(found.total_price)


@dataclass(frozen=True, slots=True)
class _Rates:
    """What a call costs by itself, and each token of it, in USD."""

    call: Decimal
    uncached: Decimal
    cached: Decimal
    cache_write: Decimal
    completion: Decimal


@lru_cache(maxsize=256)
def _rates(model: str, tier: str | None, processing: str | None, minute: int) -> _Rates | None:
    """Return the table's rates, None if it has none or if they depend on how much is used.

    Found out by asking it, which takes longer than a row may. ``minute`` is the present one:
    prices may change with the time.
    """
    del minute

    def price(**tokens: int) -> Decimal:
        found = _listed(model, tier, processing, **tokens)
        assert found is not None  # it was, with no tokens
        return found.total_price

    nothing = _listed(model, tier, processing, input_tokens=0, output_tokens=0)
    if nothing is None or not all(
        isinstance(rate, Decimal) for rate in vars(nothing.model_price).values() if rate is not None
    ):
        return None
    call, n = nothing.total_price, _MILLION
    return _Rates(
        call,
        (price(input_tokens=n) - call) / n,
        (price(input_tokens=n, cache_read_tokens=n) - call) / n,
        (price(input_tokens=n, cache_write_tokens=n) - call) / n,
        (price(output_tokens=n) - call) / n,
    )


def _listed(
    model: str, tier: str | None, processing: str | None, **tokens: int
) -> PriceCalculation | None:
    """Return what the table says, None if it does not know the model or the tier."""
    # Half a second to import, and only a listed price needs it.
    from genai_prices import Usage, calc_price

    facts = {"service_tier": tier, "processing": processing}
    context = {name: fact for name, fact in facts.items() if fact} or None
    try:
        found = calc_price(Usage(**tokens), model, provider_id="openai", price_context=context)
    except (LookupError, ValueError):  # no such model; or a usage that contradicts itself
        return None
    if tier and not any(
        variant.when.get("service_tier") == tier for variant in found.model.price_variants or ()
    ):
        return None  # the table would give the standard price for a tier that it does not know
    return found


def is_known(model: str, service_tier: str | None = None, price: Price | None = None) -> bool:
    """Tell whether a call to ``model`` has a known price."""
    return (
        dollars(model, prompt_tokens=1, completion_tokens=1, service_tier=service_tier, price=price)
        is not None
    )


def format_dollars(dollars: float) -> str:
    """Return an amount as people write it: cents, and below ten dollars what small rows cost."""
    digits = 2 if dollars >= 10 or dollars == 0 else 4 if dollars >= 0.01 else 6
    return f"${dollars:,.{digits}f}"


#: A row of a cheap model costs some hundred times the least; the most is what the ledger can hold.
LEAST_DOLLARS, MOST_DOLLARS = 0.000001, 10_000_000
