"""The figures agree with those of scikit-learn, SciPy and statsmodels on the same 400 rows."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from submitter.evaluation import intervals
from submitter.evaluation.classes import Confusion, Pairs
from submitter.evaluation.confidence import Calibration, Confidences, auc
from submitter.evaluation.differences import AmountFigures, Amounts
from submitter.evaluation.intervals import Estimate

REFERENCE: dict[str, Any] = json.loads(
    Path(__file__).parent.joinpath("reference", "figures.json").read_text("utf-8")
)
ROWS = REFERENCE["rows"]


def exactly(wanted: float) -> Any:
    return pytest.approx(wanted, rel=1e-9, abs=1e-12)


def assert_near(found: Estimate | None, wanted: list[float], share: float = 0.1) -> None:
    """Both ends are within a share of the interval's width: each draws its own resamples."""
    assert found is not None
    width = wanted[1] - wanted[0]
    assert found.low == pytest.approx(wanted[0], abs=share * width)
    assert found.high == pytest.approx(wanted[1], abs=share * width)


@pytest.mark.parametrize(("hits", "total", "low", "high"), REFERENCE["wilson"])
def test_wilsons_interval_is_that_of_statsmodels(
    hits: int, total: int, low: float, high: float
) -> None:
    found = intervals.wilson(hits, total)
    assert found is not None
    assert (found.value, found.low, found.high) == (
        exactly(hits / total),
        exactly(low),
        exactly(high),
    )


@pytest.mark.parametrize(("gained", "lost", "p"), REFERENCE["mcnemar"])
def test_mcnemars_test_is_that_of_statsmodels(gained: int, lost: int, p: float) -> None:
    assert intervals.mcnemar(gained, lost) == pytest.approx(p, rel=1e-6)


def test_the_paired_difference_has_the_bootstraps_interval() -> None:
    wanted = REFERENCE["paired"]
    found = intervals.paired_difference(wanted["gained"], wanted["lost"], len(ROWS))
    assert_near(found, wanted["interval"], 0.06)


@pytest.fixture(scope="module")
def confusion() -> Confusion:
    pairs = Pairs()
    for row in ROWS:
        pairs.add(row["label"], row["answer"])
    found = pairs.confusion(REFERENCE["classes"]["names"])
    assert found is not None
    return found


def test_classes_have_the_figures_of_scikit_learn(confusion: Confusion) -> None:
    wanted = REFERENCE["classes"]
    assert list(confusion.names) == wanted["names"]
    assert [list(row) for row in confusion.counts] == wanted["confusion"]
    for place, each in enumerate(confusion.classes):
        assert each.labelled == wanted["support"][place]
        for name in ("precision", "recall", "f1"):
            assert getattr(each, name).value == exactly(wanted[name][place])
    assert confusion.macro_f1 is not None
    assert confusion.kappa is not None
    assert confusion.macro_f1.value == exactly(wanted["macro_f1"])
    assert confusion.kappa.value == exactly(wanted["kappa"])


def test_intervals_of_macro_f1_and_kappa_are_those_of_scipy_and_statsmodels(
    confusion: Confusion,
) -> None:
    assert_near(confusion.macro_f1, REFERENCE["classes"]["macro_f1_interval"])
    assert_near(confusion.kappa, REFERENCE["classes"]["kappa_interval"])


@pytest.fixture(scope="module")
def amounts() -> AmountFigures:
    collected = Amounts()
    for row in ROWS:
        collected.add(Decimal(str(row["amount"])), Decimal(str(row["given"])))
    found = collected.figures()
    assert found is not None
    return found


def test_amounts_have_the_figures_of_scikit_learn(amounts: AmountFigures) -> None:
    wanted = REFERENCE["amounts"]
    for found, name in (
        (amounts.mean_error, "mean_error"),
        (amounts.median_error, "median_error"),
        (amounts.bias, "bias"),
    ):
        assert found is not None
        assert found.value == exactly(wanted[name])
    assert_near(amounts.mean_error, wanted["mean_error_interval"])
    assert_near(amounts.bias, wanted["bias_interval"])


def test_quantiles_have_the_intervals_of_scipy(amounts: AmountFigures) -> None:
    errors = sorted(abs(round(row["given"] - row["amount"], 2)) for row in ROWS)
    for found, share in ((amounts.median_error, "0.5"), (amounts.error_of_19_in_20, "0.95")):
        value, low, high = REFERENCE["amounts"]["quantiles"][share]
        assert found is not None
        assert found.low is not None
        assert found.high is not None
        assert found.value == exactly(value)
        for ours, theirs in ((found.low, low), (found.high, high)):
            # SciPy takes the binomial, we its normal limit: one value of 400 may lie between.
            between = [n for n, each in enumerate(errors) if abs(each - ours) < 1e-9]
            at = [n for n, each in enumerate(errors) if abs(each - theirs) < 1e-9]
            assert min(abs(a - b) for a in between for b in at) <= 1


@pytest.fixture(scope="module")
def calibration() -> Calibration:
    counted = Confidences()
    for row in ROWS:
        counted.add(row["confidence"], row["label"] == row["answer"])
    found = counted.calibration("confidence")
    assert found is not None
    return found


def test_confidence_has_the_figures_of_scikit_learn(calibration: Calibration) -> None:
    wanted = REFERENCE["confidence"]
    for found, name in (
        (calibration.brier, "brier"),
        (calibration.auc, "auc"),
        (calibration.error, "error"),
    ):
        assert found is not None
        assert found.value == exactly(wanted[name])
    bins = [(each.rows, each.confidence, each.accuracy.value) for each in calibration.bins]
    assert bins == [(rows, exactly(one), exactly(two)) for rows, one, two in wanted["bins"]]


def test_confidence_has_the_intervals_of_scipy(calibration: Calibration) -> None:
    wanted = REFERENCE["confidence"]
    assert_near(calibration.brier, wanted["brier_interval"])
    assert_near(calibration.overconfidence, wanted["overconfidence_interval"])
    assert_near(calibration.auc, wanted["auc_interval"])


def test_the_area_of_right_and_wrong_changed_round_is_the_rest() -> None:
    right, wrong = [0, 1, 4, 0, 9], [5, 3, 2, 1, 0]
    one, other = auc(right, wrong), auc(wrong, right)
    assert one is not None
    assert other is not None
    assert one.low is not None
    assert one.high is not None
    assert (other.value, other.low, other.high) == (
        exactly(1 - one.value),
        exactly(1 - one.high),
        exactly(1 - one.low),
    )
