"""What the rules find, and that they leave good invoices and odd cells alone."""

import json
from collections import defaultdict
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from itertools import zip_longest
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from openpyxl import load_workbook

from rowfleet.analysis import Misconfigured, Question
from rowfleet.cells import CellError
from rowfleet.recipes.loading import bundled, parse
from worker.analyzers.rules.analyzer import RulesAnalyzer, latest_day_on_earth
from worker.analyzers.rules.figures import figure, rate, readings

RECIPE = bundled()
TODAY = date(2025, 6, 30)
EXAMPLES = Path(__file__).resolve().parents[5] / "examples"

CLEAN = {
    "Vendor": "Nordwerk",
    "Invoice_Number": "RE-1",
    "Date": datetime(2025, 3, 1),
    "Description": "Spare part",
    "Quantity": 3,
    "Unit_Price": 33.5,
    "Amount": 100.5,
    "Tax_Rate": 0.19,
    "Tax": 19.1,
    "Total": 119.6,
    "Currency": "EUR",
}

#: Kind of seeded defect → the basis the rules give for it.
BASIS = {
    "duplicate": "duplicate_invoice",
    "amount_not_quantity_times_price": "arithmetic_error",
    "total_not_amount_plus_tax": "arithmetic_error",
    "tax_not_rate": "excess_tax",
    "tax_above_highest_rate": "excess_tax",
    "future_date": "wrong_date",
    "negative_amount": "implausible_amount",
    "absurd_amount": "implausible_amount",
    "unreadable_amount": "insufficient_data",
}


def audit(cells=CLEAN, duplicate_of=(), recipe=RECIPE, today=TODAY, **changes):
    question = Question(recipe, "gpt-5-mini", 7, {**cells, **changes}, duplicate_of)
    output = RulesAnalyzer(lambda: today).answer(question).output
    assert not list(Draft202012Validator(recipe.strict_schema()).iter_errors(output))
    return output


def without(*names):
    return {name: cell for name, cell in CLEAN.items() if name not in names}


def verdict(output):
    return output["refund_eligible"], output["basis"], output["estimated_refund"]


CLEAR = (False, "none", 0.0)


def test_a_clean_invoice_is_left_alone():
    output = audit()
    assert verdict(output) == CLEAR
    assert output["explanation"].startswith("Rules: ")


def test_a_duplicate_is_due_back_in_full():
    output = audit(duplicate_of=(3, 5))
    assert verdict(output) == (True, "duplicate_invoice", 119.6)
    assert "Vendor and Invoice_Number as row 3, 5" in output["explanation"]


def test_a_duplicate_without_a_total_costs_amount_and_tax():
    assert audit(without("Total"), duplicate_of=(3,))["estimated_refund"] == 119.6


def test_an_amount_above_quantity_times_price_is_due_back():
    output = audit(Amount=120.5, Tax=22.9, Total=143.4)
    assert verdict(output) == (True, "arithmetic_error", 20.0)
    assert "100.50, but the amount is 120.50" in output["explanation"]


def test_an_amount_below_quantity_times_price_is_only_noted():
    assert verdict(audit(Amount=90, Tax=17.1, Total=107.1)) == (False, "arithmetic_error", 0)


def test_a_discount_explains_a_lower_amount():
    assert verdict(audit(Amount=90, Tax=17.1, Total=107.1, Discount="10 %")) == CLEAR


def test_a_rounded_unit_price_is_no_error():
    assert verdict(audit(Quantity=300, Unit_Price=0.33, Amount=100.0, Tax=19, Total=119)) == CLEAR


def test_a_total_above_its_parts_is_due_back():
    assert verdict(audit(Total=129.6)) == (True, "arithmetic_error", 10.0)


def test_shipping_is_part_of_the_total():
    assert verdict(audit(Total=129.6, Shipping=10)) == CLEAR


def test_an_amount_that_includes_the_tax_is_no_error():
    gross = {"Quantity": 1, "Unit_Price": 119.6, "Amount": 119.6, "Tax": 19.1, "Total": 119.6}
    assert verdict(audit(**gross)) == CLEAR


def test_tax_above_its_rate_is_due_back():
    assert verdict(audit(Tax=25.1, Total=125.6)) == (True, "excess_tax", 6.0)


def test_tax_above_every_rate_is_due_back():
    output = audit(without("Tax_Rate"), Tax=40.2, Total=140.7)
    assert verdict(output) == (True, "excess_tax", 13.06)
    assert "27 %" in output["explanation"]


def test_the_highest_rate_itself_is_plausible():
    assert verdict(audit(without("Tax_Rate"), Tax=27.14, Total=127.64)) == CLEAR


@pytest.mark.parametrize(
    "cell", [datetime(2025, 7, 1), date(2052, 3, 1), "2052-03-01", "1 Mar 2052"]
)
def test_a_future_date_is_noted(cell):
    assert verdict(audit(Date=cell)) == (False, "wrong_date", 0.0)


@pytest.mark.parametrize("cell", [datetime(2025, 6, 30, 23), "06/07/2025", "soon", None, 45000])
def test_a_date_that_may_be_past_is_not(cell):
    assert verdict(audit(Date=cell)) == CLEAR


def test_today_is_the_same_or_tomorrow_everywhere():
    assert latest_day_on_earth() - date.today() in (timedelta(0), timedelta(1))


def test_a_credit_is_noted():
    cells = {"Quantity": -3, "Amount": "(100.50)", "Tax": -19.1, "Total": "119.60-"}
    assert verdict(audit(**cells)) == (False, "implausible_amount", 0.0)


def test_an_absurd_amount_is_noted():
    huge = {"Quantity": 1, "Unit_Price": 2e7, "Amount": 2e7, "Tax": 3.8e6, "Total": 2.38e7}
    assert verdict(audit(**huge)) == (False, "implausible_amount", 0.0)
    assert verdict(audit(**huge, Currency="jpy")) == CLEAR


@pytest.mark.parametrize(
    "cell", [None, "", "see attachment", CellError("#REF!"), float("nan"), float("inf"), True]
)
def test_an_amount_that_is_no_number_is_insufficient(cell):
    output = audit(Amount=cell)
    assert verdict(output) == (False, "insufficient_data", 0.0)
    assert output["confidence"] < 50


@pytest.mark.parametrize("vendor", [None, "Summe", "TOTAL:"])
def test_a_row_without_number_and_date_is_not_enough_to_judge(vendor):
    blank = {"Vendor": vendor, "Invoice_Number": " ", "Date": ""}
    answer = audit(**blank)
    assert answer["basis"] == "insufficient_data"
    assert answer["refund_eligible"] is False
    assert "not enough to judge" in answer["explanation"]
    for name in ("Invoice_Number", "Date"):  # one of them is enough to look at the figures
        assert audit(**{**blank, name: "2025-03-01"})["basis"] == "none"


def test_text_amounts_are_read():
    assert verdict(audit(Amount="100,50 EUR", Total="€ 119.60", Quantity="3")) == CLEAR


def test_the_largest_refund_is_the_basis_and_all_findings_are_told():
    output = audit(duplicate_of=(1,), Total=129.6, Date=date(2030, 1, 1))
    assert verdict(output) == (True, "duplicate_invoice", 129.6)
    assert "but the total is 129.60" in output["explanation"]
    assert "2030-01-01" in output["explanation"]


@pytest.mark.parametrize(
    ("cell", "number"),
    [
        (0.1, "0.1"),
        (12, "12"),
        ("1,234.50 USD", "1234.50"),
        ("(500.00)", "-500.00"),
        ("1.234,56", "1234.56"),
        ("1.234.567,8 €", "1234567.8"),
        ("1,234", "1234"),
        ("12,34,567.00", "1234567.00"),
        ("1'234.50 CHF", "1234.50"),
        ("1 234,50", "1234.50"),
        ("1\u00a0234,50 kr", "1234.50"),
        ("US$500", "500"),
        ("-$5", "-5"),
        ("−5", "-5"),
        ("500-", "-500"),
        ("Rs. 500", "500"),
        (".5", "0.5"),
        ("0.125", "0.125"),
        ("５００", "500"),
    ],
)
def test_a_figure_is_read_exactly(cell, number):
    assert figure(cell) == Decimal(number)


@pytest.mark.parametrize(
    "cell",
    [
        *("1.234", "1,23,4.5.6", "1.5k", "2 MIO", "12 %", "--5", "()", "$", "5 of 6", "1e5"),
        *("9" * 40, True, None, 10**15, date(2025, 1, 1)),
    ],
)
def test_a_doubtful_figure_is_not_read(cell):
    assert figure(cell) is None


@pytest.mark.parametrize("cell", [0.19, 19, "19 %", "19%", "0.19", "19", "19,0 %"])
def test_a_rate_is_a_fraction(cell):
    assert rate(cell) == Decimal("0.19")


def test_both_orders_of_day_and_month_are_read():
    assert readings("03/04/2025") == (date(2025, 4, 3), date(2025, 3, 4))


CELLS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.text("0123456789.,-()$% eE"),
    st.dates(),
    st.datetimes(),
    st.just(time(12)),
    st.just(timedelta(days=1)),
    st.just(CellError("#DIV/0!")),
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from([column.name for column in RECIPE.columns]), CELLS))
def test_no_cell_is_odd_enough_to_raise(cells):
    output = audit({}, **cells)
    cents = Decimal(repr(output["estimated_refund"])) * 100
    assert cents == int(cents)


def test_another_output_is_refused_with_a_sentence():
    other = parse(
        "name: other\nprompt: x\n"
        "output: {type: object, properties: {team: {type: string}, confidence: {type: integer}}}",
        "other.yaml",
    )
    with pytest.raises(Misconfigured, match="recipe 'other' asks for team; use the openai"):
        audit(recipe=other)


def test_another_enum_is_refused_with_a_sentence():
    other = parse(
        "name: other\nprompt: x\n"
        "output: {type: object, properties: {basis: {enum: [none, fraud]}}}",
        "other.yaml",
    )
    with pytest.raises(Misconfigured, match="can't fill basis as the recipe 'other' defines it"):
        audit(recipe=other)


def test_a_part_of_the_output_is_filled():
    part = parse(
        "name: part\nprompt: x\noutput: {type: object, properties: {basis: {type: string}}}", "part"
    )
    assert audit(recipe=part) == {"basis": "none"}


def example_rows():
    """Yield each row of the example sheet: number, cells, earlier rows with the same identity."""
    sheet = load_workbook(EXAMPLES / "Master_Refunds.xlsx", read_only=True).active
    header, *rows = sheet.iter_rows(values_only=True)
    seen = defaultdict(list)
    for number, row in enumerate(rows):
        cells = dict(zip_longest(header, row))  # a row ends with its last cell
        identity = cells["Vendor"], cells["Invoice_Number"]
        yield number, cells, tuple(seen[identity])
        seen[identity].append(number)


def test_every_seeded_defect_is_found_and_no_other_row_is_flagged():
    defects = json.loads((EXAMPLES / "master_refunds_defects.json").read_text())
    found = {
        str(number): basis
        for number, cells, earlier in example_rows()
        if (basis := audit(cells, earlier, today=date(2025, 10, 1))["basis"]) != "none"
    }
    assert found == {number: BASIS[kind] for number, kind in defects.items()}
    assert set(defects.values()) == set(BASIS)


def test_the_example_has_the_columns_of_the_default_recipe():
    sheet = load_workbook(EXAMPLES / "Master_Refunds.xlsx", read_only=True).active
    header = next(sheet.iter_rows(max_row=1, values_only=True))
    assert RECIPE.match_columns(header, "Master_Refunds.xlsx").keys() == set(header)
