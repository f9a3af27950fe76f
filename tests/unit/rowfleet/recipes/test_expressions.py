"""Conditions in CEL: what they find, and the sentences for those that can't be."""

from __future__ import annotations

from contextlib import suppress
from datetime import date, datetime
from typing import Any

import pytest

from rowfleet.cells import Cell, CellError
from rowfleet.errors import InputError
from rowfleet.recipes import expression_tokens, expressions
from rowfleet.recipes.expressions import Expression, Unjudged

COLUMNS = ["Paid", "Amount", "Net amount", "AI_Status", "Date", "row"]


def holds(source: str, **cells: Cell) -> bool:
    given = {name.replace("Net_amount", "Net amount"): cell for name, cell in cells.items()}
    return Expression(source, COLUMNS).holds(
        {COLUMNS.index(name): cell for name, cell in given.items()}
    )


@pytest.mark.parametrize(
    ("source", "cells"),
    [
        ('Paid == "PAID" && AI_Status != "done"', {"Paid": "PAID"}),
        ('Paid == "PAID" && AI_Status != "done"', {"Paid": "PAID", "AI_Status": "failed"}),
        ("Amount > 100", {"Amount": 100.5}),
        ("Amount == 101", {"Amount": 101}),
        ("Amount * 2.0 - 1.0 > 100.0", {"Amount": 51}),
        ('row["Net amount"] >= 3', {"Net_amount": 3}),
        ("row['Net amount'] >= Amount", {"Net_amount": 3, "Amount": 3}),
        ("row.Amount > 1 && has(row.Amount)", {"Amount": 3}),
        ('row.exists(name, row[name] == "x")', {"Date": "x"}),
        ('["a", "b"].exists(each, Paid.contains(each))', {"Paid": "cab"}),
        ('row["row"] == "x"', {"row": "x"}),
        ('Paid in ["PAID", "SENT"] ? true : false', {"Paid": "SENT"}),
        ('Paid.matches("(?i)^paid")', {"Paid": "Paid late"}),
        ("Paid == true", {"Paid": True}),
        ('Date >= "2026-05-01" && Date < "2026-05-02"', {"Date": date(2026, 5, 1)}),
        ('Date > "2026-05-01"', {"Date": datetime(2026, 5, 1, 10, 30)}),
        ('Date.startsWith("2026")', {"Date": date(2026, 5, 1)}),
        ('timestamp(Date + "T00:00:00Z").getFullYear() == 2026', {"Date": date(2026, 5, 1)}),
        ('Amount == "#REF!"', {"Amount": CellError("#REF!")}),
        ("Paid == null && Amount == null", {"Paid": ""}),
        ('Amount > 100 || Paid == "x"', {"Paid": "x"}),
        ("Amount != 5", {}),
        ("Amount > 1e30", {"Amount": 10**40}),
    ],
)
def test_a_row_that_meets_the_condition(source: str, cells: dict[str, Any]) -> None:
    assert holds(source, **cells) is True


@pytest.mark.parametrize(
    ("source", "cells"),
    [
        ("Amount > 100", {"Amount": 100}),
        ("Amount > 100", {}),
        ("Amount < 100", {}),
        ("!(Amount > 100)", {}),
        ("Amount > 100 && true", {}),
        ("Amount > 100 && Date > 5", {"Amount": "n/a"}),
        ('Paid.startsWith("x")', {}),
        ('Paid.startsWith("x") || Amount > 5', {"Amount": 1}),
        ("Amount - row['Net amount'] > 1.0", {"Amount": 5}),
        ('Paid == "5"', {"Paid": 5}),
    ],
)
def test_a_row_that_does_not(source: str, cells: dict[str, Any]) -> None:
    """A comparison with a blank cell is false, and no error."""
    assert holds(source, **cells) is False


@pytest.mark.parametrize(
    ("source", "cells", "why"),
    [
        ("Amount > 100", {"Amount": "n/a"}, "other types than are compared$"),
        ("Amount > 100 || Date > 5", {"Amount": "n/a"}, "other types than are compared"),
        ("Amount * 2 > 100", {"Amount": 60}, "write whole numbers with a point, 2.0"),
        ('Paid.startsWith("x")', {"Paid": 5}, "can't take the cells"),
        ("int(Paid) > 5", {"Paid": "five"}, "can't take the cells"),
        ("1 / int(Amount) > 5", {"Amount": 0}, "divides by zero"),
        ('Paid == "x"', {"Paid": "\ud800"}, "can't take the cells"),
    ],
)
def test_a_row_that_can_not_be_judged_is_told_from_one_with_blanks(
    source: str, cells: dict[str, Any], why: str
) -> None:
    with pytest.raises(Unjudged, match=why):
        holds(source, **cells)


def test_a_column_that_was_seen_says_what_a_blank_cell_of_it_could_hold() -> None:
    compiled = Expression('timestamp(Date + "T00:00:00Z").getFullYear() == 2026', COLUMNS)
    assert compiled.holds({4: date(2026, 5, 1)}) is True
    assert compiled.holds({4: None}) is False
    with pytest.raises(Unjudged):
        compiled.holds({4: "tomorrow"})


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("", "is empty"),
        ("Amount >", "at character 9: the expression ends too early"),
        ('Paid = "x"', "at character 6: '=' is no operator; write =="),
        ('Paid == "x" and Amount > 1', "at character 13: 'and' is no operator; write &&"),
        ("not Paid", "'not' is no operator; write !"),
        ("Paid == “x”", "at character 9: '“' is not expected there"),
        ("Amount > 1\n  && && Paid", "at character 6 of line 2"),
        ("Amuont > 1", "there is no column 'Amuont'; 'Amount' is there"),
        ("paid == 1", "there is no column 'paid'; 'Paid' is there"),
        ("Net_amount > 1", "there is no column 'Net_amount'; write row[\"Net amount\"]"),
        (
            "net amount > 1",
            "at character 5: 'amount' is not expected there; write row[\"Net amount\"]",
        ),
        ("Paid > 1 && Net amount > 1", 'is not expected there; write row["Net amount"]'),
        ("Netamount > 1", "there is no column 'Netamount'; write row[\"Net amount\"]"),
        ('row["Nix"] > 1', "there is no column 'Nix'; there are Paid, Amount"),
        ("row.Nix > 1", "there is no column 'Nix'"),
        ('Paid.startWith("x")', "there is no function 'startWith'; 'startsWith' is there"),
        ("exists(Paid, true)", "there is no function 'exists'"),
        ("x" * 1_001, "has 1,001 characters; at most 1,000 are taken"),
        ("[1].all(a, [1].all(b, [1].all(c, true)))", "has the macros all, all, all; at most 2"),
        ("[1].all(a, [1].all(b, true))", "all stands within a macro, where it is not taken"),
        ("[1].all(a, (true) && Paid.matches('x'))", "matches stands within a macro"),
        ("(" * 400 + "1" + ")" * 400, "no expression of CEL"),
    ],
)
def test_a_bad_expression_is_one_sentence(source: str, sentence: str) -> None:
    with pytest.raises(InputError) as refused:
        Expression(source, COLUMNS)
    assert sentence in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("source", "header"),
    [
        ("Net-Sum > 1", "Net-Sum"),
        ("Sum (EUR) > 1", "Sum (EUR)"),
        ("Währung == 1", "Währung"),
    ],
)
def test_a_header_that_is_no_variable_is_shown_as_it_is_written(source: str, header: str) -> None:
    with pytest.raises(InputError) as refused:
        Expression(source, ["Vendor", header])
    written = str(refused.value).partition("; write ")[2]
    assert Expression(f"{written} == null", ["Vendor", header]).indexes == [1]


def test_a_header_in_quotes_is_no_header_without_them() -> None:
    with pytest.raises(InputError) as refused:
        Expression('Paid == "Net amount" Amount', COLUMNS)
    assert "write row" not in str(refused.value)


@pytest.mark.parametrize(("source", "kind"), [("Amount", "a number"), ("Paid", "text")])
def test_a_condition_is_true_or_false(source: str, kind: str) -> None:
    with pytest.raises(InputError, match=f"gives {kind}; it must be true or false"):
        holds(source, Amount=5, Paid="x")


def test_only_the_columns_that_are_named_are_looked_at() -> None:
    assert Expression('Paid == "x" && row["Date"] != "y"', COLUMNS).indexes == [0, 4]
    assert Expression("row.all(name, row[name] != 5)", COLUMNS).indexes == [0, 1, 2, 3, 4, 5]
    assert Expression('"row[0] Amount" != Paid', COLUMNS).indexes == [0]


@pytest.mark.parametrize("body", ["!", "-", "a.", "[", "(", "{1:", "1+", "true&&", "a?"])
def test_no_nesting_that_fits_in_harms_the_process(body: str) -> None:
    times = expressions.MAX_CHARS // len(body)
    with suppress(InputError, Unjudged):
        Expression((body * times)[:-1] + "1", ["a"]).holds({0: 1})


def test_every_function_that_is_taken_is_one_of_the_library() -> None:
    import cel

    arguments = {
        "size": '"x"',
        "timestamp": '"2026-01-01T00:00:00Z"',
        "duration": '"1s"',
        "bytes": '"x"',
    }
    methods = {"contains", "startsWith", "endsWith", "matches"}
    for name in sorted(expression_tokens.FUNCTIONS):
        if name.startswith("get"):
            source = f'timestamp("2026-01-01T00:00:00Z").{name}()'
        elif name in methods:
            source = f'"x".{name}("x")'
        else:
            source = f"{name}({arguments.get(name, '1')})"
        cel.evaluate(source)


def test_macros_may_stand_beside_each_other_and_beside_a_pattern() -> None:
    source = "[1, 2].exists(a, a == 2) && [Paid].all(b, b != '') && Paid.matches('P.*')"
    assert Expression(source, COLUMNS).holds({0: "PAID"})


def test_an_expression_that_takes_long_for_each_row_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(expressions, "PATIENCE", 0.0)
    quick = Expression('Paid == "x"', COLUMNS)
    assert [quick.holds({0: "x"}) for _ in range(3)] == [True] * 3
    monkeypatch.setattr(expressions, "LONG", 0.0)
    with pytest.raises(InputError, match="seconds for a row, which is too long; write it simpler"):
        quick.holds({0: "x"})
