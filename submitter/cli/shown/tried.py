"""How a trial is shown: the rows with each model's answers, and what each model came to."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator

from rich.table import Table

from rowfleet.answers.reasons import decode
from rowfleet.ledger.records import SampledRow
from rowfleet.ledger.statuses import BatchStatus, RowReview
from rowfleet.prices import format_dollars
from submitter import hints
from submitter.cli import console
from submitter.cli.runs.trial_run import Trial, Tried

#: Characters of an answer, and of what is said about it, in a table.
ANSWER, REMARK = 28, 60


def show(found: Trial) -> None:
    """Print a line for each row and model, then a line for each model."""
    headers = found.recipe.headers()
    table = Table("row", "model", *map(console.escaped, headers), "checks", "cost")
    rows = [(one.model, {row.row: row for row in one.rows}) for one in found.tried if one.rows]
    for number in found.rows:
        for place, (model, of_model) in enumerate(rows):
            row = of_model.get(number)
            if row is None:
                continue
            table.add_row(
                f"{number:,}" if place == 0 else "",
                console.escaped(model),
                *(console.escaped(_answer(row, name)) for name in headers),
                console.escaped(_remark(row)),
                "unknown" if row.cost_usd is None else format_dollars(row.cost_usd),
                end_section=place == len(rows) - 1,
            )
    console.print_whole(table)
    console.print_whole(_summary(found))
    for sentence in _sentences(found):
        console.say(sentence)


def _answer(row: SampledRow, name: str) -> str:
    if row.output is None or name not in row.output:
        return "–"
    value = row.output[name]
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return _short(text, ANSWER)


def _remark(row: SampledRow) -> str:
    """Return why a row has no answer, or why a person should look at the answer."""
    if row.error is not None:
        return _short(f"{row.status}: {row.error}", REMARK)
    if row.output is None:
        return "not asked"
    reasons = [f"{each.name}: {each.message}" for each in decode(row.review_reasons)]
    if reasons:
        return _short("; ".join(reasons), REMARK)
    return "approved" if row.review == RowReview.AUTO_APPROVED else "ok"


def _summary(found: Trial) -> Table:
    table = Table("model", "answered", "failed", "need review", "cost", "a row", "batch")
    for one in found.tried:
        if one.progress is None:
            table.add_row(console.escaped(one.model), "–", "–", "–", "not asked", "–", "–")
            continue
        answered = [row for row in one.rows if row.output is not None]
        cost = one.progress.cost_usd
        table.add_row(
            console.escaped(one.model),
            f"{len(answered):,} of {len(one.rows):,}",
            f"{one.progress.failed:,}",
            f"{sum(row.review == RowReview.NEEDS_REVIEW for row in one.rows):,}",
            "unknown" if cost is None else format_dollars(cost),
            "–" if cost is None or not answered else format_dollars(cost / len(answered)),
            one.progress.batch_id,
        )
    return table


def _sentences(found: Trial) -> Iterator[str]:
    for one in found.tried:
        if one.progress is None:
            yield f"{one.model} was not asked: the models before it have spent the budget"
        elif one.progress.status in (BatchStatus.STOPPED, BatchStatus.BUDGET_EXHAUSTED):
            yield f"{one.model} was not asked about all rows: {one.progress.reason}"
    ids = [one.progress.batch_id for one in found.tried if one.progress is not None]
    if len(ids) > 1:
        yield f"to compare two of them: {hints.command('compare', *ids[:2])}"


def facts(found: Trial) -> dict[str, object]:
    """Return what `--json` prints."""
    costs = [one.progress.cost_usd for one in found.tried if one.progress is not None]
    known = [cost for cost in costs if cost is not None]
    return {
        "recipe": found.recipe.name,
        "rows": list(found.rows),
        "cost_usd": sum(known) if len(known) == len(costs) else None,
        "models": [_facts_of(one) for one in found.tried],
    }


def _facts_of(one: Tried) -> dict[str, object]:
    progress = None if one.progress is None else console.progress_facts(one.progress)
    return {
        "model": one.model,
        "batch": progress,
        "rows": [dataclasses.asdict(row) for row in one.rows],
    }


def _short(text: str, most: int) -> str:
    text = " ".join(text.split())
    return text if len(text) <= most else text[: most - 1] + "…"
