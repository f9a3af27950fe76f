"""What calls cost, from `genai-prices`' table of list prices, which ships inside the package."""

from __future__ import annotations


def dollars(
    model: str,
    *,
    prompt_tokens: int,
    completion_tokens: int,
    cached_tokens: int = 0,
    service_tier: str | None = None,
    processing: str | None = None,
) -> float | None:
    """Return the list price of the tokens in USD, None if the model's price is not known.

    ``prompt_tokens`` includes ``cached_tokens``; ``completion_tokens`` includes reasoning, as in
    the API's own `usage`. ``processing`` is `batch` for what goes through the Batch API.
    """
    from genai_prices import Usage, calc_price

    usage = Usage(
        input_tokens=prompt_tokens,
        cache_read_tokens=cached_tokens,
        output_tokens=completion_tokens,
    )
    facts = {"service_tier": service_tier, "processing": processing}
    context = {name: fact for name, fact in facts.items() if fact} or None
    try:
        price = calc_price(usage, model, provider_id="openai", price_context=context)
    except LookupError:
        return None
    return float(price.total_price)
