"""The intervals hold the rates by which mistakes were put in, in 95 of 100 seeds."""

from __future__ import annotations

import math
from collections import Counter
from decimal import Decimal
from statistics import NormalDist

import pytest

from rowfleet.ledger.queries.answered import AnsweredRow
from submitter.evaluation import intervals, labels
from submitter.evaluation.evaluation import Evaluation, evaluate
from submitter.evaluation.intervals import Estimate
from tests.support.labelled import AUDIT, BASES, BATCH, Truth, audited

SEEDS, ROWS = 100, 500
#: Shares of the labels, and of each label's answers.
SHARES = (0.6, 0.2, 0.1, 0.1)
TRUTH = Truth(accuracy=0.9, error=2.0, overconfidence=0.05)


def evaluated(seed: int) -> Evaluation:
    about = [
        labels.compared(wanted, BATCH, AUDIT, Decimal("0.005"))
        for wanted in ("Checked basis=basis", "Checked refund=refund")
    ]
    rows = (
        AnsweredRow(number, row.cells, "done", row.output, row.cost, row.latency, None)
        for number, row in enumerate(audited(seed, ROWS, TRUTH))
    )
    return evaluate(BATCH, AUDIT, about, rows, labels.in_sheet)


def of_population() -> dict[str, float]:
    """Return what each figure is of all rows that could be drawn."""
    wrong = (1 - TRUTH.accuracy) / 3
    table = [
        [share * (TRUTH.accuracy if one == two else wrong) for two in range(4)]
        for one, share in enumerate(SHARES)
    ]
    answered = [sum(row[place] for row in table) for place in range(4)]
    precision = [table[n][n] / answered[n] for n in range(4)]
    f1 = [2 * table[n][n] / (answered[n] + SHARES[n]) for n in range(4)]
    by_chance = sum(a * b for a, b in zip(SHARES, answered, strict=True))
    chances = [TRUTH.accuracy + step for step in (-0.05, 0.0, 0.05)]
    brier = [c * (1 - c) + TRUTH.overconfidence**2 for c in chances]
    concordant = sum(
        one * (1 - two) * (1.0 if one > two else 0.5 if one == two else 0.0)
        for one in chances
        for two in chances
    )
    return {
        "accuracy": TRUTH.accuracy,
        **{f"precision of {name}": precision[n] for n, name in enumerate(BASES)},
        **{f"recall of {name}": TRUTH.accuracy for name in BASES},
        **{f"F1 of {name}": f1[n] for n, name in enumerate(BASES)},
        "macro F1": sum(f1) / 4,
        "kappa": (TRUTH.accuracy - by_chance) / (1 - by_chance),
        "mean error": TRUTH.error,
        "median error": TRUTH.error * math.log(2),
        "error of 19 in 20": TRUTH.error * math.log(20),
        "bias": 0.0,
        "calibration error": TRUTH.overconfidence,
        "overconfidence": TRUTH.overconfidence,
        "Brier": sum(brier) / 3,
        "AUC": concordant / 9 / (TRUTH.accuracy * (1 - TRUTH.accuracy)),
        "accuracy at 100": chances[2],
        "accuracy from 95": (chances[1] + chances[2]) / 2,
        "cost": 0.002,
        "latency": math.exp(0.5),
        "latency of 19 in 20": math.exp(0.5 + 0.5 * NormalDist().inv_cdf(0.95)),
    }


def found(evaluation: Evaluation) -> dict[str, Estimate | None]:
    basis, refund = evaluation.properties
    assert basis.confusion is not None
    assert basis.calibration is not None
    assert refund.amounts is not None
    classes = {each.name: each for each in basis.confusion.classes}
    curve = {point.confidence: point.accuracy for point in basis.calibration.coverage}
    return {
        "accuracy": basis.accuracy,
        **{f"precision of {name}": classes[name].precision for name in BASES},
        **{f"recall of {name}": classes[name].recall for name in BASES},
        **{f"F1 of {name}": classes[name].f1 for name in BASES},
        "macro F1": basis.confusion.macro_f1,
        "kappa": basis.confusion.kappa,
        "mean error": refund.amounts.mean_error,
        "median error": refund.amounts.median_error,
        "error of 19 in 20": refund.amounts.error_of_19_in_20,
        "bias": refund.amounts.bias,
        "calibration error": basis.calibration.error,
        "overconfidence": basis.calibration.overconfidence,
        "Brier": basis.calibration.brier,
        "AUC": basis.calibration.auc,
        "accuracy at 100": curve[1.0],
        "accuracy from 95": curve[0.95],
        "cost": evaluation.cost.mean_usd,
        "latency": evaluation.latency.median,
        "latency of 19 in 20": evaluation.latency.of_19_in_20,
    }


def test_intervals_hold_the_truth_in_95_of_100_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intervals, "RESAMPLES", 200)  # rather than 1,000, for time
    truth, held = of_population(), Counter[str]()
    for seed in range(SEEDS):
        for name, each in found(evaluated(seed)).items():
            assert each is not None
            assert each.low is not None
            assert each.high is not None
            held[name] += each.low <= truth[name] <= each.high
    # Of an interval that holds in 95 of 100, fewer than 88 are seen once in 600 times.
    assert {name: held[name] for name in truth if held[name] < 88} == {}
    assert sum(held.values()) / len(truth) >= 94
