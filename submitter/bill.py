"""How an estimate, a sample's results and a projected bill are shown."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from rich.markup import escape
from rich.table import Column, Table

from rowfleet.ledger.queries import SampledRow
from submitter import watch
from submitter.estimate import Estimate
from submitter.sample import Projection

#: Characters of an answer's property that are shown in a table of many.
SHOWN = 60


def dollars_between(low: float | None, high: float | None) -> str:
    """Return a range of amounts as people write it."""
    if low is None or high is None:
        return watch.dollars(None)
    first, last = watch.dollars(low), watch.dollars(high)
    return first if first == last else f"{first} to {last}"


def estimated(estimate: Estimate, model: str | None) -> str:
    """Return what a batch would take, in two sentences."""
    tokens = estimate.prompt_tokens + estimate.completion_tokens
    certainty = (
        f"answers as long as in {estimate.earlier_calls:,} earlier calls"
        if estimate.earlier_calls
        else "the answers' length, and what the model reasons, is a guess; --sample 100 measures it"
    )
    return (
        f"analyzer openai, model {model}: about {tokens:,} tokens "
        f"({estimate.prompt_tokens:,} in, {estimate.completion_tokens:,} out), "
        f"{dollars_between(estimate.cost_low_usd, estimate.cost_high_usd)}\n"
        f"{estimate.sampled_rows:,} rows were counted; {certainty}"
    )


def results(sampled: Sequence[SampledRow], headers: Mapping[str, str]) -> Table:
    """Return a sample's results as a table; ``headers`` are those of the finished sheet."""
    table = Table("row", "status", *(Column(h, overflow="fold") for h in headers.values()), "cost")
    for row in sampled:
        answers = [_short((row.output or {}).get(name)) for name in headers]
        if row.error and answers:
            answers[0] = escape(row.error)
        cost = "unknown" if row.cost_usd is None else watch.dollars(row.cost_usd)
        table.add_row(str(row.row), row.status, *answers, cost)
    return table


def projected(projection: Projection, spent: float | None) -> str:
    """Return what the rest of a sampled batch will cost, in a sentence."""
    if projection.cost_usd is None:
        cost = "what they cost is not known (the model has no known price)"
    else:
        cost = (
            f"they will cost about {watch.dollars(projection.cost_usd)} "
            f"({dollars_between(projection.cost_low_usd, projection.cost_high_usd)})"
        )
    so_far = "" if spent is None else f", beside {watch.dollars(spent)} so far"
    return f"{projection.rows:,} rows wait; {cost}{so_far}"


def _short(value: object) -> str:
    if value is None:
        return ""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = " ".join(text.split())
    return escape(text if len(text) <= SHOWN else text[: SHOWN - 1] + "…")
