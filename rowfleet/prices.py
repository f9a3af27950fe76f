"""What calls cost: a user's own prices, or `genai-prices`' table of list prices.

The table ships inside that package and is never fetched: only its `UpdatePrices` would, which
nothing here calls.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

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
    ``processing`` is `batch` for what goes through the Batch API.
    """
    if price is not None:
        cached = min(cached_tokens, prompt_tokens)
        for_cached = price.input if price.cached is None else price.cached
        return (
            (prompt_tokens - cached) * price.input
            + cached * for_cached
            + completion_tokens * price.output
        ) / _MILLION
    # Half a second to import, and only who asks for a listed price needs it.
    from genai_prices import Usage, calc_price

    usage = Usage(
        input_tokens=prompt_tokens,
        cache_read_tokens=cached_tokens,
        cache_write_tokens=cache_write_tokens,
        output_tokens=completion_tokens,
    )
    standard = service_tier in STANDARD_TIERS
    facts = {"service_tier": None if standard else service_tier, "processing": processing}
    context = {name: fact for name, fact in facts.items() if fact} or None
    try:
        found = calc_price(usage, model, provider_id="openai", price_context=context)
    except (LookupError, ValueError):  # no such model; or a usage that contradicts itself
        return None
    if not standard and not any(
        variant.when.get("service_tier") == service_tier
        for variant in found.model.price_variants or ()
    ):
        return None  # the table would give the standard price for a tier that it does not know
    return float(found.total_price)


def is_known(model: str, service_tier: str | None = None, price: Price | None = None) -> bool:
    """Tell whether a call to ``model`` has a known price."""
    return (
        dollars(model, prompt_tokens=1, completion_tokens=1, service_tier=service_tier, price=price)
        is not None
    )


def in_words(dollars: float) -> str:
    """Return an amount as people write it: cents, and below ten dollars what small rows cost."""
    digits = 2 if dollars >= 10 or dollars == 0 else 4 if dollars >= 0.01 else 6
    return f"${dollars:,.{digits}f}"
