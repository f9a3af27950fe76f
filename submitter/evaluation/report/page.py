"""An evaluation as one HTML page: no script, no font, no picture from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from xml.etree.ElementTree import Element

from rowfleet.prices import format_dollars
from submitter.evaluation.evaluation import Evaluation, PropertyFigures
from submitter.evaluation.gates import Verdict
from submitter.evaluation.intervals import Estimate
from submitter.evaluation.report import plots
from submitter.evaluation.report.markup import Content, document, element, table
from submitter.evaluation.report.plots import percent, shown

#: Characters of a label or answer in a table of mistakes.
LONGEST = 120

#: The page may load nothing and run nothing, whatever an answer holds.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"

#: What a reader must know of all intervals.
INTERVALS = (
    "Intervals hold with 95 % confidence: Wilson's for shares, order statistics for medians, "
    "DeLong's for the area, the bootstrap for all others. They say how far other rows of the same "
    "kind may differ, not whether the labels are right."
)


def page(evaluation: Evaluation, verdicts: Sequence[Verdict] = ()) -> bytes:
    """Return the page in UTF-8."""
    title = f"Evaluation of {evaluation.batch_id}"
    style = resources.files(__package__).joinpath("report.css").read_text("utf-8")
    return document(
        element(
            "html",
            element(
                "head",
                element("meta", charset="utf-8"),
                element("meta", http_equiv="Content-Security-Policy", content=POLICY),
                element("meta", name="viewport", content="width=device-width, initial-scale=1"),
                element("title", title),
                element("style", style),
            ),
            element(
                "body",
                element("h1", title),
                element("p", _about(evaluation), class_="about"),
                _cards(evaluation),
                *(element("p", note, class_="note") for note in evaluation.notes),
                *_conditions(verdicts),
                *(part for each in evaluation.properties for part in _property(each)),
                element("p", INTERVALS, class_="about"),
            ),
            lang="en",
        )
    )


def _about(evaluation: Evaluation) -> str:
    return (
        f"{evaluation.source}, recipe {evaluation.recipe}, analyzer {evaluation.analyzer}, model "
        f"{evaluation.model}. {evaluation.answered:,} of {evaluation.labelled:,} labelled rows are "
        f"answered; the batch has {evaluation.rows:,} rows."
    )


def _cards(evaluation: Evaluation) -> Element:
    cost, latency = evaluation.cost, evaluation.latency
    cards = [
        (percent(each.accuracy.value), _interval(each.accuracy), f"{each.property} right")
        for each in evaluation.properties
        if each.accuracy is not None
    ]
    if len(evaluation.properties) > 1 and evaluation.all_right is not None:
        right = evaluation.all_right
        cards.append((percent(right.value), _interval(right), "rows with all of them right"))
    if cost.total_usd is not None and cost.mean_usd is not None:
        dollars = format_dollars(cost.mean_usd.value)
        cards.append((dollars, f"{format_dollars(cost.total_usd)} in all", "cost of a row"))
    if latency.median is not None:
        late = "–" if latency.of_19_in_20 is None else f"{latency.of_19_in_20.value:.1f} s"
        cards.append((f"{latency.median.value:.1f} s", f"19 of 20 in {late}", "time of a row"))
    return element(
        "div",
        *(
            element("div", element("b", big), element("span", f"{what}; {small}"), class_="card")
            for big, small, what in cards
        ),
        class_="cards",
    )


def _interval(each: Estimate) -> str:
    return shown(each).partition("(")[2].removesuffix(")")


def _conditions(verdicts: Sequence[Verdict]) -> list[Element]:
    if not verdicts:
        return []
    rows: list[list[Content]] = [
        [
            each.condition,
            each.property,
            "–" if each.value is None else percent(each.value),
            "met" if each.is_met else "not met",
        ]
        for each in verdicts
    ]
    header = ["condition", "property", "value", "verdict"]
    return [element("h2", "Conditions"), table(header, rows, numbers_from=2)]


def _property(each: PropertyFigures) -> list[Element]:
    against = "reviews" if each.column is None else f"the column {each.column}"
    parts = [
        element("h2", f"{each.property}"),
        element(
            "p",
            f"Beside {against}: {shown(each.accuracy)} of {each.answered:,} answers are right; "
            f"{each.labelled - each.answered:,} labelled rows have no answer.",
            class_="about",
        ),
    ]
    if each.confusion is not None:
        confusion = each.confusion
        parts += [
            element(
                "p",
                f"Macro F1 {shown(confusion.macro_f1)}, kappa {shown(confusion.kappa, '.3f')}.",
                class_="about",
            ),
            element(
                "div",
                _figure("Labels down, answers across", plots.confusion(confusion)),
                element(
                    "div",
                    _figure("Precision", _dots(each, "precision")),
                    _figure("Recall", _dots(each, "recall")),
                ),
                class_="figures",
            ),
            table(
                ["class", "labelled", "answered", "precision", "recall", "F1"],
                [
                    [
                        one.name,
                        f"{one.labelled:,}",
                        f"{one.answered:,}",
                        shown(one.precision),
                        shown(one.recall),
                        shown(one.f1),
                    ]
                    for one in confusion.classes
                ],
            ),
        ]
    if each.amounts is not None:
        amounts = each.amounts
        parts.append(
            table(
                ["difference from the label", "with its interval"],
                [
                    ["mean absolute error", shown(amounts.mean_error, ",.2f")],
                    ["median absolute error", shown(amounts.median_error, ",.2f")],
                    ["19 of 20 rows are within", shown(amounts.error_of_19_in_20, ",.2f")],
                    ["mean of answer less label", shown(amounts.bias, ",.2f")],
                    ["sum of the labels", f"{amounts.labelled:,.2f}"],
                    ["sum of the answers", f"{amounts.answered:,.2f}"],
                ],
            )
        )
    if each.calibration is not None:
        of = each.calibration
        parts += [
            element("h3", f"What {of.name} is worth"),
            element(
                "p",
                f"Calibration error {shown(of.error)}, overconfidence {shown(of.overconfidence)}, "
                f"Brier score {shown(of.brier, '.3f')}, area under the ROC curve "
                f"{shown(of.auc, '.3f')}.",
                class_="about",
            ),
            element(
                "div",
                _figure("Calibration: accuracy by confidence", plots.calibration(of)),
                _figure("Coverage: accuracy of the most confident rows", plots.coverage(of)),
                class_="figures",
            ),
        ]
    return [*parts, *_mistakes(each)]


def _dots(each: PropertyFigures, name: str) -> Element:
    assert each.confusion is not None
    rows = [(one.name, getattr(one, name)) for one in each.confusion.classes]
    return plots.dots(rows, f"{name.capitalize()} of each class")


def _figure(says: str, plot: Element) -> Element:
    return element("figure", element("figcaption", says), plot)


def _mistakes(each: PropertyFigures) -> list[Element]:
    if not each.mistakes:
        return []
    order = "the largest first" if each.kind == "amount" else "the most confident first"
    rows: list[list[Content]] = [
        [
            f"{one.row:,}",
            _short(one.label),
            _short(one.answer),
            "–" if one.confidence is None else percent(one.confidence),
        ]
        for one in each.mistakes
    ]
    return [
        element("h3", f"Mistakes, {order}"),
        table(["row of the sheet", "label", "answer", "confidence"], rows, numbers_from=3),
    ]


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
