"""Which rows of a sheet are taken: hidden ones, totals, a condition, an order."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from openpyxl.worksheet.table import Table

from rowfleet.errors import InputError
from rowfleet.recipes.recipe import Recipe
from submitter.sheets.header import AnswerHeaders, HeaderOptions
from submitter.sheets.opening import open_sheet
from submitter.sheets.selection import Choice, Selection, select
from tests.support.workbooks import RECIPE, rewrite, save

INVOICES = RECIPE.model_copy(update={"identity": ("Vendor",)})
ROWS: list[list[Any]] = [
    ["Vendor", "Amount", "Paid on"],
    ["Acme", 5, "x"],
    ["Globex", None, None],
    ["Initech", 200, "y"],
    ["Umbrella", "n/a", "x"],
    ["Acme", 30.5, True],
]

NONE = AnswerHeaders()


@contextmanager
def chosen(
    path: Path, *, recipe: Any = INVOICES, answers: AnswerHeaders = NONE, **choice: Any
) -> Iterator[Selection]:
    with open_sheet(path, recipe=recipe, header=HeaderOptions(answers=answers)) as sheet:
        yield select(sheet, Choice(**choice), recipe, answers.every)


def taken(path: Path, **choice: Any) -> list[int]:
    """Return the positions of the rows that are chosen."""
    with chosen(path, **choice) as selection:
        numbers = [number for number, _ in selection.sheet.rows()]
        start, number = selection.choice.start_row, selection.choice.num_rows
        assert selection.sheet.count(start, number) == len(numbers)
        return numbers


def refused(path: Path, **choice: Any) -> str:
    with pytest.raises(InputError) as error, chosen(path, **choice):
        pass
    return str(error.value).removeprefix(f"{path.parent}/")


# --- hidden rows


def hide(sheet: Any) -> None:
    for row in (3, 5):
        sheet.row_dimensions[row].hidden = True


def test_hidden_rows_are_taken_and_counted_unless_they_are_to_be_skipped(path: Path) -> None:
    save(path, ROWS, hide)
    with chosen(path) as selection:
        assert selection.hidden == 2
    assert taken(path) == [0, 1, 2, 3, 4]
    assert taken(path, hidden="skip") == [0, 2, 4]
    with chosen(path, where='Vendor != "Globex"') as selection:
        assert selection.hidden == 1
    with chosen(path, hidden="skip", start_row=2) as selection:
        assert selection.hidden == 1
        assert [number for number, _ in selection.sheet.rows(2)] == [2, 4]
    assert "all rows are hidden" in refused(path, hidden="skip", start_row=1, num_rows=1)


def test_a_format_that_does_not_say_which_rows_are_hidden_can_not_skip_them(path: Path) -> None:
    save(path, ROWS)
    with open_sheet(path, recipe=INVOICES) as opened:
        sheet = replace(opened, hidden=None)
        assert select(sheet, Choice(), INVOICES).hidden == 0
        with pytest.raises(InputError, match=r"only an \.xlsx says"):
            select(sheet, Choice(hidden="skip"), INVOICES)


# --- conditions


def test_a_condition_chooses_rows_and_says_which_can_not_be_judged(path: Path) -> None:
    save(path, ROWS)
    assert taken(path, where='Vendor == "Acme"') == [0, 4]
    assert taken(path, where='row["Paid on"] == "x" || row["Paid on"] == true') == [0, 3, 4]
    with chosen(path, where="Amount > 10") as selection:
        assert [number for number, _ in selection.sheet.rows()] == [2, 4]
        assert (selection.unjudged, selection.unjudged_row) == (1, 3)
        assert selection.unjudged_reason == (
            "its cells have other types than are compared; 'Amount' is text such as 'n/a'"
        )


def test_a_condition_is_within_the_range(path: Path) -> None:
    save(path, ROWS)
    assert taken(path, where='Vendor == "Acme"', start_row=1) == [4]
    assert taken(path, where='Vendor == "Acme"', num_rows=4) == [0]


@pytest.mark.parametrize(
    ("where", "sentence"),
    [
        ('Vendor == "Nix"', "no row meets --where 'Vendor == \"Nix\"'"),
        ("Amuont > 5", "--where: there is no column 'Amuont'; 'Amount' is there"),
        ("Amount", "--where: row 2: gives a number; it must be true or false"),
        ("Amount * 2 > 5", "--where: can be applied to no row: "),
        ("Amount > 5 && Vendor < 5", "than are compared; 'Vendor' is text such as 'Initech'"),
    ],
)
def test_a_condition_that_leads_nowhere_is_one_sentence(
    path: Path, where: str, sentence: str
) -> None:
    save(path, [row for row in ROWS if "n/a" not in row and None not in row])
    assert sentence in refused(path, where=where)


def german(path: Path) -> Path:
    """Write a .csv whose amounts are text for this reader."""
    csv = path.with_suffix(".csv")
    csv.write_text(
        "Vendor;Betrag\nAcme;1.000,50\nGlobex;\nInitech;10.000,00\nUmbrella;900,00\n", "utf-8"
    )
    return csv


GERMAN = Recipe(
    name="test",
    prompt="Look.",
    columns=({"name": "Vendor"}, {"name": "Amount", "aliases": ["Betrag"]}),  # type: ignore[arg-type]  # pydantic
    output=RECIPE.output,
)


def test_a_number_that_is_compared_with_text_is_shown_the_text(path: Path) -> None:
    why = "its cells have other types than are compared; 'Betrag' is text such as '1.000,50'"
    csv = german(path)
    for where in ('Vendor != "x" && Betrag > 1000', "1000 <= row.Betrag", 'row["Betrag"] >= 1000'):
        with pytest.raises(InputError) as refused, chosen(csv, recipe=GERMAN, where=where):
            pass
        # Globex has no amount: that row is judged.
        assert str(refused.value) == (
            f"{csv}: no row meets --where {where!r}; 3 could not be judged, such as row 2: {why}"
        )
        with (
            pytest.raises(InputError) as refused,
            chosen(csv, recipe=GERMAN, where=where, num_rows=1),
        ):
            pass
        assert str(refused.value) == f"--where: can be applied to no row: {why}"


def test_a_text_in_a_sentence_is_short_and_on_one_line(path: Path) -> None:
    save(path, [["Vendor", "Amount"], ["a", "x\n" * 50], ["b", 6]])
    with chosen(path, where="Amount > 5") as selection:
        assert selection.unjudged_reason.endswith(f"such as {('x' + chr(10)) * 12!r}")


def test_an_order_by_numbers_that_are_text_says_so(path: Path) -> None:
    with chosen(german(path), recipe=GERMAN, order_by="Betrag:desc") as selection:
        assert selection.ordered_as_text == ("Betrag", "1.000,50")
    with chosen(german(path), recipe=GERMAN, order_by="Vendor") as selection:
        assert selection.ordered_as_text is None


@pytest.mark.parametrize(
    ("cell", "is_number"),
    [
        ("1.000,50", True),
        ("01.05.2026", True),
        ("€ 5", True),
        ("-12,00 EUR", True),
        ("100", True),
        ("0017", False),
        ("2026-05-01", False),
        ("INV-7", False),
        ("n/a", False),
        (5, False),
        (None, False),
    ],
)
def test_text_that_a_person_reads_as_a_number_is_told_from_other_text(
    path: Path, cell: Any, is_number: bool
) -> None:
    save(path, [["Vendor", "Amount"], ["a", cell], ["b", 6]])
    with chosen(path, order_by="Amount") as selection:
        assert (selection.ordered_as_text is not None) is is_number


def test_the_recipes_names_choose_and_order_where_no_header_has_them(path: Path) -> None:
    rows = [["Vendor", "Betrag"], ["a", 5], ["b", 7], ["c", 6]]
    save(path, rows)
    for where in ("Amount > 5", 'row["Amount"] > 5', "Betrag > 5"):
        with chosen(path, recipe=GERMAN, where=where) as selection:
            assert [number for number, _ in selection.sheet.rows()] == [1, 2]
    for order_by in ("Amount:desc", "amount:desc", "Betrag:desc"):
        with chosen(path, recipe=GERMAN, order_by=order_by) as selection:
            assert selection.ranks is not None
            assert list(selection.ranks) == [2, 0, 1]
    # `row` itself has the headers alone.
    with chosen(path, recipe=GERMAN, where='row.exists_one(n, n != "Vendor")') as selection:
        assert selection.sheet.filled.count(1) == 3


ANSWERS = AnswerHeaders(("AI_Ok", "AI_Status"), ("AI_Error",))


def test_a_condition_sees_the_answers_of_an_earlier_run_and_blanks_where_there_are_none(
    path: Path,
) -> None:
    unfinished = 'AI_Status != "done"'
    save(path, ROWS)
    assert taken(path, where=unfinished, answers=ANSWERS) == [0, 1, 2, 3, 4]
    answers = [["AI_Ok", "AI_Status"], [1, "done"], [2, "failed"], [3, "done"], [4, None], [5, ""]]
    save(path, [[*row, *more] for row, more in zip(ROWS, answers, strict=True)])
    assert taken(path, where=unfinished, answers=ANSWERS) == [1, 3, 4]
    assert taken(path, where='AI_Error == "x" || AI_Ok == 3', answers=ANSWERS) == [2]
    with chosen(path, where=unfinished, answers=ANSWERS) as selection:
        assert next(selection.sheet.rows())[1] == ROWS[2]


def test_a_persons_own_column_with_the_name_of_an_answer_keeps_it_in_a_condition(
    path: Path,
) -> None:
    """The answer has a number behind it, as in the finished sheet, also before it is there."""
    theirs = ["AI_Status", "o", "p", "e", "x", "y"]
    own = [[*row, text] for row, text in zip(ROWS, theirs, strict=True)]
    save(path, own)
    assert taken(path, where='AI_Status == "p"', answers=ANSWERS) == [1]
    assert taken(path, where="AI_Status_2 == null", answers=ANSWERS) == [0, 1, 2, 3, 4]
    answers = [["AI_Ok", "AI_Status_2"], [1, "done"], [2, "failed"], [3, "p"], [4, "p"], [5, ""]]
    save(path, [[*row, *more] for row, more in zip(own, answers, strict=True)])
    assert taken(path, where='AI_Status == "p"', answers=ANSWERS) == [1]
    assert taken(path, where='AI_Status_2 == "p"', answers=ANSWERS) == [2, 3]
    with chosen(path, order_by="AI_Status:desc", answers=ANSWERS) as selection:
        assert selection.sheet.answers.keys() == {"AI_Ok", "AI_Status_2"}
        assert selection.ranks is not None
        assert list(selection.ranks) == [3, 2, 4, 1, 0]


# --- order


@pytest.mark.parametrize(
    ("order_by", "order"),
    [
        ("Amount", [0, 4, 2, 3, 1]),
        ("amount:desc", [3, 2, 4, 0, 1]),
        ("Vendor", [0, 4, 1, 2, 3]),
        ("Vendor:DESC", [3, 2, 1, 0, 4]),
        ("Paid on:asc", [0, 3, 2, 4, 1]),
    ],
)
def test_rows_are_ranked_by_a_column(path: Path, order_by: str, order: list[int]) -> None:
    """Numbers, text, booleans; blank cells last both ways; equal ones as in the sheet."""
    save(path, ROWS)
    with chosen(path, order_by=order_by) as selection:
        ranks = selection.ranks
        assert ranks is not None
        assert sorted(range(5), key=lambda number: ranks[number]) == order


def test_an_order_ranks_chosen_rows_alone_and_its_column_must_be_there(path: Path) -> None:
    save(path, ROWS)
    with chosen(path, order_by="Amount:desc", where="Amount > 1") as selection:
        assert selection.ranks is not None
        assert [selection.ranks[number] for number in (2, 4, 0)] == [0, 1, 2]
    assert "--order-by 'Nix:desc': the header has no such column" in refused(
        path, order_by="Nix:desc"
    )
    save(path, [["Vendor", "Amount", "a:desc"], ["x", 1, 2], ["y", 1, 1]])
    with chosen(path, order_by="a:desc") as selection:
        assert selection.ranks is not None
        assert list(selection.ranks) == [1, 0]
    with chosen(path, order_by="a:desc:desc") as selection:
        assert selection.ranks is not None
        assert list(selection.ranks) == [0, 1]


# --- totals


@pytest.mark.parametrize(
    "below",
    [
        [["Total", 235.5]],
        [["SUMME:", "235,50 €"]],
        [[None, 235.5]],
        [[None, "Grand total", 235.5]],
        [["Subtotal", 235.5], [], ["Total", 280.2]],
    ],
    ids=["a word", "a word and a currency", "sums", "a word further right", "two"],
)
def test_totals_below_the_data_are_left_out_unless_they_are_asked_for(
    path: Path, below: list[list[Any]]
) -> None:
    rows = [row for row in ROWS if "n/a" not in row]
    save(path, [*rows, [], *below])
    assert taken(path) == [0, 1, 2, 3]
    everything = [0, 1, 2, 3, *(5 + n for n, row in enumerate(below) if row)]
    assert taken(path, keep_totals=True) == everything
    with chosen(path) as selection:
        assert [number for number, _ in selection.below.totals] == everything[4:]


@pytest.mark.parametrize("text", ["TOTAL EUR", "Total due", "Net total (EUR)", "Total: 3"])
def test_a_word_of_totals_may_have_a_currency(path: Path, text: str) -> None:
    save(path, [*ROWS, [text, 5]])
    assert taken(path) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("text", ["Total Energies", "Total Gas", "VAT 19%", "Sum Up"])
def test_another_word_is_a_vendor(path: Path, text: str) -> None:
    save(path, [*ROWS, [text, 5]])
    assert taken(path) == [0, 1, 2, 3, 4, 5]


def test_a_block_of_totals_is_left_out_with_its_tax(path: Path) -> None:
    save(path, [*ROWS, ["Subtotal", 100], ["VAT 19%", 19], ["TOTAL EUR", 119]])
    assert taken(path) == [0, 1, 2, 3, 4]
    save(path, [*ROWS, ["Subtotal", 100], ["MwSt. 19 %", 19]])
    assert taken(path) == [0, 1, 2, 3, 4]


def with_table(path: Path, place: str, rows: list[list[Any]], totals: int = 1) -> Path:
    def add(sheet: Any) -> None:
        sheet.add_table(Table(displayName="T", ref=place, totalsRowCount=totals))

    return save(path, rows, add)


@pytest.mark.parametrize("below", [["Ergebnis", 7], ["Acme", 30.5, "x"], ["Average", "n/a"]])
def test_a_tables_row_of_totals_is_one_whatever_it_holds(path: Path, below: list[Any]) -> None:
    with_table(path, "A1:C7", [*ROWS, below])
    assert taken(path) == [0, 1, 2, 3, 4]
    with chosen(path) as selection:
        assert selection.below.totals == ((5, below[0]),)
    assert taken(path, keep_totals=True) == [0, 1, 2, 3, 4, 5]
    with_table(path, "A1:C7", [*ROWS, below], totals=0)
    assert taken(path) == [0, 1, 2, 3, 4, 5]


def test_rows_below_a_tables_totals_are_data(path: Path) -> None:
    with_table(path, "A1:C7", [*ROWS, ["Ergebnis", 7], ["Hooli", 3], ["Total", 3]])
    with chosen(path) as selection:
        assert selection.below.totals == ((5, "Ergebnis"), (7, "Total"))
        assert [number for number, _ in selection.sheet.rows()] == [0, 1, 2, 3, 4, 6]


def test_a_table_beside_the_data_says_nothing_of_it(path: Path) -> None:
    rows = [[*row, *[None] * (3 - len(row)), "Sum", 5] for row in ROWS]
    with_table(path, "D1:E3", rows)
    assert taken(path) == [0, 1, 2, 3, 4]
    for place in ("A1:A3", "B1:E3"):  # without one of the columns that are sent
        with_table(path, place, rows)
        assert taken(path) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("part", ["xl/tables/table1.xml", "xl/worksheets/_rels/sheet1.xml.rels"])
@pytest.mark.parametrize("content", [b"<", b"\0", b'<table totalsRowCount="1" ref="x"/>'])
def test_a_damaged_table_says_nothing(path: Path, part: str, content: bytes) -> None:
    with_table(path, "A1:C7", [*ROWS, ["Ergebnis", 7]])
    rewrite(path, part, lambda _: content)
    assert taken(path) == [0, 1, 2, 3, 4, 5]


UNSENT_AT_THE_END: list[list[Any]] = [*ROWS, ["Total", 5], [], *([None, None, "x"] for _ in "123")]


def test_rows_below_the_table_of_which_nothing_is_sent_are_left_out(path: Path) -> None:
    save(path, UNSENT_AT_THE_END)
    with chosen(path) as selection:
        assert selection.below.totals == ((5, "Total"),)
        assert selection.below.unsent == (7, 8, 9)
        assert [number for number, _ in selection.sheet.rows()] == [0, 1, 2, 3, 4]
    assert taken(path, keep_totals=True) == [0, 1, 2, 3, 4, 5, 7, 8, 9]
    save(path, [*ROWS, *([None, " ", "x"] for _ in range(500))])
    assert taken(path) == [0, 1, 2, 3, 4]


def test_rows_of_which_nothing_is_sent_are_taken_within_the_table(path: Path) -> None:
    save(path, UNSENT_AT_THE_END)
    assert taken(path, num_rows=9) == [0, 1, 2, 3, 4, 7, 8]
    save(path, [*ROWS, [None, None, "x"], ["Hooli", 7]])
    assert taken(path) == [0, 1, 2, 3, 4, 5, 6]
    save(path, [["Vendor", "Amount", "Note"], [None, None, "x"], [None, None, "y"]])
    assert taken(path) == [0, 1]


def test_totals_are_found_above_notes_which_are_taken(path: Path) -> None:
    save(path, [*ROWS, ["Total", 5], [], ["checked by Bob"], ["on Monday"]])
    with chosen(path) as selection:
        assert selection.below.totals == ((5, "Total"),)
        assert selection.below.notes == (7, 8)
        assert [number for number, _ in selection.sheet.rows()] == [0, 1, 2, 3, 4, 7, 8]
    save(path, [*ROWS, ["Total", 5], ["Hooli", 7]])
    assert taken(path) == [0, 1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    "last",
    [
        ["Total", None],
        ["Total Energies", 235.5],
        ["Total", 235.5, "paid by Bob"],
        ["Hooli", 235.5],
        [None, 235.4],
        [None, 235.5, "a note"],
        [77, "Total", 235.5],
        ["checked by Bob"],
    ],
    ids=[
        "no number",
        "a vendor",
        "a text",
        "an identity",
        "no sum",
        "a sum and a text",
        "an identity that is a number",
        "a note",
    ],
)
def test_a_row_that_may_be_data_is_taken(path: Path, last: list[Any]) -> None:
    save(path, [*(row for row in ROWS if "n/a" not in row), last])
    assert taken(path) == [0, 1, 2, 3, 4]


def test_a_sum_is_no_total_where_no_column_identifies_a_row(path: Path) -> None:
    save(path, [["Vendor", "Amount"], *([f"v{n}", 1] for n in range(5)), [None, 5]])
    assert taken(path, recipe=RECIPE) == [0, 1, 2, 3, 4, 5]
    assert taken(path) == [0, 1, 2, 3, 4]


def test_numbers_with_a_currency_are_numbers(path: Path) -> None:
    def in_pounds(sheet: Any) -> None:
        for row in range(2, 8):
            sheet.cell(row, 2).number_format = "[$£-809]#,##0.00"

    save(
        path,
        [["Vendor", "Amount"], *([f"v{n}", n + 99.5] for n in range(5)), [None, 507.5]],
        in_pounds,
    )
    assert taken(path) == [0, 1, 2, 3, 4]
    assert taken(path, where="Amount > 101") == [2, 3, 4]
    with chosen(path, order_by="Amount:desc") as selection:
        assert selection.ranks is not None
        assert list(selection.ranks)[:5] == [4, 3, 2, 1, 0]
    save(
        path,
        [["Vendor", "Amount"], *([f"v{n}", n + 99.5] for n in range(5)), ["Total", 5]],
        in_pounds,
    )
    assert taken(path) == [0, 1, 2, 3, 4]


def test_one_number_is_no_sum(path: Path) -> None:
    save(path, [["Vendor", "Amount"], ["a", 5], *([f"v{n}", None] for n in range(5)), [None, 5]])
    assert taken(path) == [0, 1, 2, 3, 4, 5, 6]


def test_a_range_is_looked_at_by_its_own_last_row(path: Path) -> None:
    save(path, [*ROWS, ["Total", 5]])
    assert taken(path, num_rows=5) == [0, 1, 2, 3, 4]
    assert taken(path, start_row=4) == [4]
    save(path, [["Vendor", "Amount"], ["Total", 5]])
    assert taken(path) == [0]
