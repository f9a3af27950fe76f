"""What a batch would cost, before it runs: rows' tokens counted, answers' tokens guessed."""

from __future__ import annotations

import json
import statistics
from dataclasses import dataclass
from functools import partial

from rowfleet import analyzer_kinds, spending
from rowfleet.analyzer_kinds import Kind
from rowfleet.cells import plain
from rowfleet.ledger.records import History
from rowfleet.ledger.statuses import Tier
from rowfleet.prices import Price
from rowfleet.recipes.recipe import Recipe
from rowfleet.usage import Usage
from submitter.costs import tokens
from submitter.sheets.sheet import Sheet

#: Rows that are counted, spread at random over the sheet.
SAMPLE = 200

#: Tokens around a recipe's prompt and a row: the rule that cells are data (62), the
#: row's tags (11), and what the API puts between messages.
OVERHEAD = 85

#: Tokens of one property of an answer, its name and punctuation included: an explanation has
#: sixty, a flag five. The range goes from half to twice of it.
TOKENS_PER_FIELD = 25

#: Tokens of reasoning in an answer by effort: a guess in the middle, least and most. They depend
#: on the question more than on anything else.
REASONING = {
    "none": (0, 0, 0),
    "minimal": (50, 0, 200),
    "low": (200, 50, 800),
    "medium": (600, 100, 2_500),
    "high": (1_500, 300, 8_000),
    "xhigh": (3_000, 500, 16_000),
}

#: How far a new batch's answers may be from those of earlier ones, up and down.
HISTORY_SPREAD = 0.25

#: Tokens that a prompt must have before the API caches it, and the steps it caches in.
#: https://platform.openai.com/docs/guides/prompt-caching
CACHED_FROM, CACHED_STEP = 1_024, 128


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a batch would take; dollars are None if the model's price is not known.

    The range holds the spread of the rows that were counted, and the uncertainty of the answers.
    """

    rows: int
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float | None
    cost_low_usd: float | None
    cost_high_usd: float | None
    #: Rows that were counted.
    sampled_rows: int
    #: Answered calls of earlier batches that the answers' length is from; 0: it is a guess.
    earlier_calls: int


@dataclass(frozen=True, slots=True)
class _Range:
    middle: float
    low: float
    high: float


def estimate(
    sheet: Sheet,
    start_row: int,
    num_rows: int | None,
    recipe: Recipe,
    *,
    price: Price | None = None,
    history: History | None = None,
    tier: Tier | None = None,
    document_tokens: int = 0,
) -> Estimate:
    """Return what the range of rows would take, by the workers or another ``tier``.

    ``history`` is what earlier batches of the same recipe and model took, if there were any;
    ``document_tokens`` are those of the documents of all rows.
    """
    total = sheet.count(start_row, num_rows)
    assert recipe.analyzer is not None
    assert recipe.model is not None
    kind = analyzer_kinds.get(recipe.analyzer)
    if not kind.asks_a_model:
        cost = _total(kind, Usage(calls=1), recipe.model, total, price=price)
        return Estimate(total, 0, 0, cost, cost, cost, 0, 0)
    counted = _row_tokens(sheet, start_row, num_rows, recipe, recipe.model)
    fixed = OVERHEAD + tokens.count(
        recipe.instructions()
        + json.dumps(recipe.strict_schema(), separators=(",", ":"))
        + "".join(json.dumps([each.row, each.answer]) for each in recipe.examples),
        recipe.model,
    )
    mean = statistics.fmean(counted) + document_tokens / total
    # Twice the standard error of the mean: it is further off in one sheet of twenty.
    error = 2 * statistics.stdev(counted) / len(counted) ** 0.5 if len(counted) > 1 else 0.0
    error *= (1 - len(counted) / total) ** 0.5  # nothing is left to be wrong about at the end
    prompt = _Range(fixed + mean, fixed + mean - error, fixed + mean + error)
    completion = _completion(recipe, recipe.model, history)
    cached = _cached(fixed, prompt.middle, history)
    cost_of = partial(
        _cost,
        kind,
        recipe.model,
        total,
        service_tier=None if tier == Tier.BATCH else recipe.options.service_tier,
        processing="batch" if tier == Tier.BATCH else None,
        price=price,
    )
    return Estimate(
        rows=total,
        prompt_tokens=round(total * prompt.middle),
        completion_tokens=round(total * completion.middle),
        cost_usd=cost_of(prompt.middle, cached.middle, completion.middle),
        cost_low_usd=cost_of(prompt.low, cached.high, completion.low),
        cost_high_usd=cost_of(prompt.high, cached.low, completion.high),
        sampled_rows=len(counted),
        earlier_calls=history.calls if history else 0,
    )


def _row_tokens(
    sheet: Sheet, start_row: int, num_rows: int | None, recipe: Recipe, model: str
) -> list[int]:
    chosen = set(sheet.drawn(SAMPLE, sheet.sha256, start_row, num_rows))
    counted = []
    for number, cells in sheet.rows(start_row, num_rows):
        if number not in chosen:
            continue
        sent = {name: cells[index] for name, index in sheet.columns.items()}
        row = {name: plain(cell) for name, cell in sent.items()} | recipe.joined(sent)
        counted.append(tokens.count(json.dumps(row, ensure_ascii=False), model))
        if len(counted) == len(chosen):
            break
    return counted


def _completion(recipe: Recipe, model: str, history: History | None) -> _Range:
    if history is not None:
        mean = history.completion_tokens / history.calls
        return _Range(mean, mean * (1 - HISTORY_SPREAD), mean * (1 + HISTORY_SPREAD))
    fields = len(recipe.output["properties"]) * TOKENS_PER_FIELD
    effort = recipe.options.reasoning_effort or ("medium" if tokens.reasons(model) else "none")
    middle, low, high = REASONING[effort]
    most = recipe.options.max_completion_tokens or float("inf")
    return _Range(min(fields + middle, most), fields / 2 + low, min(fields * 2 + high, most))


def _cached(fixed: int, prompt: float, history: History | None) -> _Range:
    """Return the tokens of a prompt that the API reads from its cache; it promises none."""
    if history is not None:
        share = history.cached_tokens / max(1, history.prompt_tokens)
        return _Range(share * prompt, share * prompt, share * prompt)
    shared = fixed // CACHED_STEP * CACHED_STEP
    return _Range(0, 0, shared if shared >= CACHED_FROM else 0)


def _cost(
    kind: Kind,
    model: str,
    total: int,
    prompt: float,
    cached: float,
    completion: float,
    *,
    service_tier: str | None,
    processing: str | None,
    price: Price | None,
) -> float | None:
    one = Usage(
        calls=1,
        prompt_tokens=round(prompt),
        cached_tokens=min(round(cached), round(prompt)),
        completion_tokens=round(completion),
    )
    return _total(
        kind, one, model, total, service_tier=service_tier, processing=processing, price=price
    )


def _total(
    kind: Kind,
    one: Usage,
    model: str,
    rows: int,
    *,
    service_tier: str | None = None,
    processing: str | None = None,
    price: Price | None,
) -> float | None:
    """Return what ``rows`` rows cost, by the usage of one: a long prompt may have a higher price.

    None if the price is not known.
    """
    spent = spending.spent(
        kind, one, model=model, service_tier=service_tier, processing=processing, price=price
    )
    return None if spent.cost_usd is None else spent.cost_usd * rows
