"""Amounts are exact: the property is checked against `decimal` with digits enough for anything."""

from __future__ import annotations

import decimal
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowfleet.analysis import Question
from rowfleet.answers.judging import judge
from rowfleet.recipes.recipe import Recipe
from rowfleet.recipes.rules.arithmetic import NotReckoned, exact, reckon, rounded

#: Amounts and percentages as sheets and models have them.
CENTS = st.decimals(min_value=-10_000_000, max_value=10_000_000, places=2)
PERCENT = st.decimals(min_value=0, max_value=100, places=3)
MODES = {
    "half_up": decimal.ROUND_HALF_UP,
    "half_even": decimal.ROUND_HALF_EVEN,
    "down": decimal.ROUND_DOWN,
    "up": decimal.ROUND_UP,
}
ROUNDINGS = pytest.mark.parametrize("rounding", MODES)


def recipe(value: str, **terms: Any) -> Recipe:
    return Recipe.model_validate(
        {
            "name": "refunds",
            "columns": ["Tax", "Net"],
            "prompt": "Say which share is refunded.",
            "output": {"type": "object", "properties": {"percent": {"type": "number"}}},
            "computed": {"refund": {"value": value, **terms}},
        }
    )


def refund(made: Recipe, percent: float, **cells: Any) -> Any:
    question = Question(made, "m", 1, cells)
    judged = judge(question, {"percent": percent})
    assert not judged.all_reasons, judged.all_reasons
    return judged.output["refund"]


SHARES = {
    rounding: recipe("row.Tax * answer.percent / 100", rounding=rounding) for rounding in MODES
}


@ROUNDINGS
@given(tax=CENTS, percent=PERCENT)
def test_a_computed_amount_is_exact_to_the_cent(
    rounding: str, tax: Decimal, percent: Decimal
) -> None:
    with decimal.localcontext(prec=100):
        wanted = (tax * percent / 100).quantize(Decimal("0.01"), rounding=MODES[rounding])
    found = refund(SHARES[rounding], float(percent), Tax=float(tax), Net=0.0)
    assert Decimal(repr(found)) == wanted


@given(tax=CENTS, net=CENTS.filter(bool))
def test_a_quotient_is_rounded_once(tax: Decimal, net: Decimal) -> None:
    with decimal.localcontext(prec=100):
        wanted = (tax / net * 100).quantize(Decimal("0.001"), rounding=decimal.ROUND_HALF_UP)
    found = refund(RATE, 0, Tax=float(tax), Net=float(net))
    assert Decimal(repr(found)) == wanted


RATE = recipe("row.Tax / row.Net * 100", decimals=3)


@ROUNDINGS
@given(
    value=st.fractions(max_denominator=10**6)
    | st.integers(-999, 999).map(lambda n: Fraction(n, 8)),
    decimals=st.integers(0, 6),
)
def test_rounding_is_that_of_decimal(rounding: Any, value: Fraction, decimals: int) -> None:
    with decimal.localcontext(prec=400):
        long = Decimal(value.numerator) / Decimal(value.denominator)
        wanted = long.quantize(Decimal(1).scaleb(-decimals), rounding=MODES[rounding])
    assert rounded(value, decimals, rounding) == wanted
    assert rounded(value, decimals, rounding).as_tuple().exponent == -decimals


def test_what_doubles_get_wrong_is_right() -> None:
    assert refund(SHARES["half_up"], 57.5, Tax=1.0, Net=0) == 0.58  # doubles: 0.575 is below
    assert refund(recipe("row.Tax + row.Net - answer.percent"), 0.3, Tax=0.1, Net=0.2) == 0
    assert exact(0.1 + 0.2) == Fraction(3, 10)


@pytest.mark.parametrize("value", [float("inf"), float("nan"), 10**400])
def test_what_is_no_amount_is_refused(value: float) -> None:
    with pytest.raises(NotReckoned, match="infinite"):
        exact(value)


def test_arithmetic_has_bounds() -> None:
    with pytest.raises(NotReckoned, match="divides by zero"):
        reckon("/", Fraction(1), Fraction(0))
    value = Fraction(10**900)
    with pytest.raises(NotReckoned, match="too large"):
        reckon("*", value, value)


def test_a_remainder_has_the_sign_that_cel_gives_it() -> None:
    assert reckon("%", Fraction(-7), Fraction(2)) == -1
