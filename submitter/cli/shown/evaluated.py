"""How an evaluation is shown on a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.table import Table

from rowfleet.prices import format_dollars
from submitter.cli import console
from submitter.evaluation.classes import Confusion
from submitter.evaluation.confidence import Calibration
from submitter.evaluation.differences import AmountFigures
from submitter.evaluation.evaluation import Evaluation, PropertyFigures
from submitter.evaluation.gates import Verdict
from submitter.evaluation.report.plots import percent, shown

#: Classes beyond this number have no table of label and answer on a terminal; the page has it.
WIDEST_CONFUSION = 8
#: Confidences in the table of coverage.
THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)


def show(evaluation: Evaluation) -> None:
    """Print the figures as tables, and what a reader must know of them."""
    console.say(
        f"{evaluation.batch_id}: {evaluation.answered:,} of {evaluation.labelled:,} labelled rows "
        f"are answered; model {evaluation.model}"
    )
    summary = Table("", "right", "labelled", "answered")
    for each in evaluation.properties:
        summary.add_row(
            console.escaped(each.property),
            shown(each.accuracy),
            f"{each.labelled:,}",
            f"{each.answered:,}",
        )
    if len(evaluation.properties) > 1:
        counts = f"{evaluation.labelled:,}", f"{evaluation.answered:,}"
        summary.add_row("all of them", shown(evaluation.all_right), *counts)
    console.print_whole(summary)
    for each in evaluation.properties:
        _show_property(each)
    for sentence in _spent(evaluation):
        console.say(sentence)
    for note in evaluation.notes:
        console.note(note)


def show_verdicts(verdicts: Sequence[Verdict]) -> None:
    """Say of each condition that is not met by how much."""
    for each in verdicts:
        if not each.is_met:
            value = "has no value" if each.value is None else f"is {percent(each.value)}"
            console.complain(f"--fail-under {each.condition}: of {each.property} it {value}")


def _show_property(each: PropertyFigures) -> None:
    if each.confusion is not None:
        figures = each.confusion
        console.say(
            f"{each.property}: macro F1 {shown(figures.macro_f1)}, "
            f"kappa {shown(figures.kappa, '.3f')}"
        )
        console.print_whole(_classes(figures))
        if len(figures.names) <= WIDEST_CONFUSION:
            console.print_whole(_matrix(figures))
    if each.amounts is not None:
        console.say(f"{each.property}: how far the answers are from the labels")
        console.print_whole(_differences(each.amounts))
    if each.calibration is not None:
        of = each.calibration
        console.say(
            f"{each.property} by {of.name}: calibration error {shown(of.error)}, overconfidence "
            f"{shown(of.overconfidence)}, Brier {shown(of.brier, '.3f')}, AUC "
            f"{shown(of.auc, '.3f')}"
        )
        console.print_whole(_coverage(of))


def _classes(figures: Confusion) -> Table:
    table = Table("class", "labelled", "answered", "precision", "recall", "F1")
    for one in figures.classes:
        table.add_row(
            console.escaped(one.name),
            f"{one.labelled:,}",
            f"{one.answered:,}",
            *map(shown, (one.precision, one.recall, one.f1)),
        )
    return table


def _matrix(figures: Confusion) -> Table:
    table = Table("label ↓ answer →", *map(console.escaped, figures.names))
    for name, counts in zip(figures.names, figures.counts, strict=True):
        table.add_row(console.escaped(name), *(f"{count:,}" for count in counts))
    return table


def _differences(amounts: AmountFigures) -> Table:
    table = Table("difference from the label", "")
    for name, figure in (
        ("mean absolute error", amounts.mean_error),
        ("median absolute error", amounts.median_error),
        ("19 of 20 rows are within", amounts.error_of_19_in_20),
        ("mean of answer less label", amounts.bias),
    ):
        table.add_row(name, shown(figure, ",.2f"))
    table.add_row("sum of the labels", f"{amounts.labelled:,.2f}")
    table.add_row("sum of the answers", f"{amounts.answered:,.2f}")
    return table


def _coverage(figures: Calibration) -> Table:
    table = Table(f"{console.escaped(figures.name)} from", "share of rows", "of them right")
    seen = set()
    for threshold in THRESHOLDS:
        kept = [point for point in figures.coverage if point.confidence >= threshold]
        if kept and kept[-1].confidence not in seen:
            point = kept[-1]
            seen.add(point.confidence)
            table.add_row(percent(point.confidence), percent(point.coverage), shown(point.accuracy))
    return table


def _spent(evaluation: Evaluation) -> Iterator[str]:
    cost, latency = evaluation.cost, evaluation.latency
    if cost.total_usd is None:
        yield "cost: not known (the model has no known price)"
    elif cost.mean_usd is not None:
        total, mean = format_dollars(cost.total_usd), format_dollars(cost.mean_usd.value)
        right = cost.per_right_row_usd
        more = "" if right is None else f", a row that is right {format_dollars(right.value)}"
        yield f"cost: {total}, a row {mean}{more}"
    if latency.median is not None:
        yield f"time of a row: median {shown(latency.median, '.2f')} s" + (
            f", 19 of 20 within {shown(latency.of_19_in_20, '.2f')} s"
            if latency.of_19_in_20 is not None
            else ""
        )
