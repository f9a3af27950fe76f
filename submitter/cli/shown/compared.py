"""How a comparison of two batches is shown on a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rich.table import Table

from rowfleet.prices import format_dollars
from submitter.cli import console
from submitter.evaluation.changes import Change, PropertyComparison
from submitter.evaluation.comparison import Comparison
from submitter.evaluation.intervals import Estimate
from submitter.evaluation.report.plots import percent, shown


def show(found: Comparison) -> None:
    """Print the figures as tables."""
    first, second = found.first, found.second
    console.say(
        f"A is {first.batch_id} (recipe {first.recipe}, model {first.model}), "
        f"B is {second.batch_id} (recipe {second.recipe}, model {second.model})"
    )
    alone = [
        f"{count:,} are in {name} alone"
        for name, count in (("A", found.first_alone), ("B", found.second_alone))
        if count
    ]
    console.say(
        "; ".join(
            [
                f"{found.rows:,} rows are in both: A has answered {first.answered:,}, "
                f"B {second.answered:,}, and they differ on {found.disagreeing:,}",
                *alone,
            ]
        )
    )
    table = Table("", "the same", "A right", "B right", "B less A", "p")
    for each in found.properties:
        table.add_row(
            console.escaped(each.property), shown(each.agreement), *_change(each.accuracy)
        )
    console.print_whole(table)
    for each in found.properties:
        _show_property(each)
    for sentence in _spent(found):
        console.say(sentence)


def _show_property(each: PropertyComparison) -> None:
    if each.classes and each.agreement is not None and each.agreement.value < 1:
        table = Table(f"{console.escaped(each.property)} is", "in A", "in B", "B less A", "p")
        for one in each.classes:
            table.add_row(console.escaped(one.name), *_change(one.share))
        console.print_whole(table)
    amounts = each.amounts
    if amounts is not None:
        parts = [
            f"{each.property}: the sum is {amounts.first:,.2f} in A and {amounts.second:,.2f} in B",
            f"B less A is {shown(amounts.mean_difference, ',.2f')} a row",
        ]
        if amounts.error_difference is not None:
            parts.append(
                f"the mean absolute error is {amounts.first_error:,.2f} in A and "
                f"{amounts.second_error:,.2f} in B, B less A "
                f"{shown(amounts.error_difference, ',.2f')}"
            )
        console.say("; ".join(parts))


def _change(change: Change | None) -> list[str]:
    if change is None:
        return ["–"] * 4
    points = Estimate(
        change.difference.value * 100,
        None if change.difference.low is None else change.difference.low * 100,
        None if change.difference.high is None else change.difference.high * 100,
    )
    p = "< 0.001" if change.p < 0.001 else f"{change.p:.3f}"
    return [
        percent(change.first.value),
        percent(change.second.value),
        f"{shown(points, '+.1f')} points",
        p,
    ]


def _spent(found: Comparison) -> Iterator[str]:
    first, second = found.first, found.second
    if first.cost_usd is None or second.cost_usd is None:
        yield "cost: not known (a model has no known price)"
    else:
        ratio = f", {second.cost_usd / first.cost_usd:.2f} times A's" if first.cost_usd else ""
        dollars = format_dollars(first.cost_usd), format_dollars(second.cost_usd)
        yield f"cost: {dollars[0]} in A, {dollars[1]} in B{ratio}"
    if first.latency is not None and second.latency is not None:
        yield (
            f"time of a row, median: {first.latency.value:.2f} s in A, "
            f"{second.latency.value:.2f} s in B"
        )
