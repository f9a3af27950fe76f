"""A number is read in a quote however the document writes it."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowfleet.documents.quotes.numbers import holds


@pytest.mark.parametrize(
    ("quote", "value"),
    [
        ("Pallets 12 85.00 1,020.00", 1020.0),
        ("Pallets 12 85.00 1,020.00", 85),
        ("Gesamt 1.020,50 EUR", 1020.5),
        ("Total 1 234 567,50", 1234567.5),
        ("Total 1\u202f234,50", 1234.5),
        ("CHF 1'020.00", 1020),
        ("Credit (75.50)", -75.5),
        ("VAT 20 % 204.00", 0.2),
        ("VAT 20 % 204.00", 20),
        ("12,34,567.00", 1234567),
        ("qty 4 100 pieces", 4),
        ("Total l,O20.OO", 1020),
    ],
)
def test_a_number_that_is_there_is_found(quote: str, value: float) -> None:
    assert holds(quote, value)


@pytest.mark.parametrize(
    ("quote", "value"),
    [
        ("Pallets 12 85.00 1,020.00", 1021.0),
        ("Total 1,020.00", 20),
        ("Total 1,020.00", 1.0),
        ("VAT 20 204.00", 0.2),
        ("no number", 0),
        ("", 1),
        ("1" * 5_000, 1),
    ],
)
def test_a_number_that_is_not_there_is_not_found(quote: str, value: float) -> None:
    assert not holds(quote, value)


@given(st.integers(0, 10**12), st.sampled_from(["{:,.2f}", "{:.2f}"]), st.booleans())
def test_cents_are_read_in_both_conventions(cents: int, form: str, is_swapped: bool) -> None:
    text = form.format(Decimal(cents) / 100)
    if is_swapped:
        text = text.translate(str.maketrans(",.", ".,"))
    assert holds(f"Total {text} EUR", cents / 100)


@given(st.text(max_size=300), st.floats(allow_nan=False, allow_infinity=False))
def test_any_text_is_taken(text: str, value: float) -> None:
    assert holds(text, value) in (True, False)
