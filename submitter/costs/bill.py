"""How an estimate, a sample's results and a projected bill are shown."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

from rowfleet.answers.reasons import decode
from rowfleet.ledger.records import SampledRow
from submitter.costs.estimate import Estimate
from submitter.costs.sample import Projection
from submitter.costs.tokens import reasons
from submitter.progress import display
from submitter.submission.submission import Terms

#: Characters of an answer's property that are shown in a line with others.
SHOWN = 60


def dollars_between(low: float | None, high: float | None) -> str:
    """Return a range of amounts as people write it."""
    if low is None or high is None:
        return display.dollars(None)
    first, last = display.dollars(low), display.dollars(high)
    return first if first == last else f"{first} to {last}"


def estimated(
    estimate: Estimate, analyzer: str, model: str | None, *, hint: bool = True
) -> Iterator[str]:
    """Yield a batch's estimate, in two sentences; ``hint`` at a way to know it better."""
    measured = f"; --sample {min(100, max(1, estimate.rows // 2))} measures it" if hint else ""
    tokens = estimate.prompt_tokens + estimate.completion_tokens
    if estimate.earlier_calls:
        certainty = f"answers as long as in {estimate.earlier_calls:,} earlier calls"
    elif model and reasons(model):
        certainty = "the answers' length, and what is reasoned, is a guess" + measured
    else:
        certainty = "the answers' length is a guess" + measured
    yield (
        f"analyzer {analyzer}, model {model}: about {tokens:,} tokens "
        f"({estimate.prompt_tokens:,} in, {estimate.completion_tokens:,} out), "
        f"{dollars_between(estimate.cost_low_usd, estimate.cost_high_usd)}"
    )
    yield f"{estimate.sampled_rows:,} rows were counted; {certainty}"


def without_tokens(estimate: Estimate, analyzer: str) -> str:
    """Return what a batch costs whose analyzer is paid by the call."""
    cost = dollars_between(estimate.cost_low_usd, estimate.cost_high_usd)
    return f"analyzer {analyzer}: {cost}, if each row takes one call"


def on_terms(estimate: Estimate, terms: Terms) -> Iterator[str]:
    """Yield what the terms of a batch change of its estimate, in sentences."""
    if terms.sample is not None and estimate.cost_low_usd is not None:
        part = min(1.0, terms.sample / estimate.rows)
        low, high = estimate.cost_low_usd, estimate.cost_high_usd
        cost = dollars_between(low * part, None if high is None else high * part)
        yield f"--sample {terms.sample}: {cost} of that; the rest waits"
    if terms.max_cost is not None and (estimate.cost_high_usd or 0) > terms.max_cost:
        yield f"--max-cost: the batch may stop before its end, at {display.dollars(terms.max_cost)}"
    if terms.dedupe:
        yield "--dedupe: the estimate is as if rows whose sent cells are the same were all asked"


def results(sampled: Sequence[SampledRow], headers: Mapping[str, str]) -> Iterator[str]:
    """Yield a line for each row of a sample; ``headers`` are those of the finished sheet.

    Lines, not a table: that would be cut to the 80 characters a log is said to be wide.
    """
    for row in sampled:
        cost = "cost unknown" if row.cost_usd is None else display.dollars(row.cost_usd)
        output = row.output or {}
        answers = [f"{headers[name]} {_short(output[name])}" for name in headers if name in output]
        said = [row.error] if row.error else answers
        if row.review is not None:
            why = "; ".join(map(str, decode(row.review_reasons)))
            said.append(row.review.replace("_", " ") + (f": {_short(why)}" if why else ""))
        yield f"row {row.row}: {row.status}, {cost}" + "".join(f" · {part}" for part in said)


def projected(projection: Projection, spent: float | None, possibly_billed: int = 0) -> str:
    """Return what the rest of a sampled batch will cost, in a sentence.

    ``possibly_billed`` is how many calls so far ended without an answer.
    """
    if projection.cost_usd is None:
        cost = "what they cost is not known (the model has no known price)"
    else:
        cost = (
            f"they will cost about {display.dollars(projection.cost_usd)} "
            f"({dollars_between(projection.cost_low_usd, projection.cost_high_usd)})"
        )
    so_far = "" if spent is None else f", beside {display.dollars(spent)} so far"
    perhaps = f", and {display.perhaps(possibly_billed)}" if possibly_billed else ""
    return f"{projection.rows:,} rows wait; {cost}{so_far}{perhaps}"


def _short(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = " ".join(text.split())
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"
