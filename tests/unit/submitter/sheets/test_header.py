"""Which row is the header, and which names the columns get."""

from __future__ import annotations

from pathlib import Path

import pytest

from rowfleet.errors import InputError
from rowfleet.recipes.parts.columns import Column
from submitter.excel import MAX_COLUMNS
from submitter.sheets.header import AnswerHeaders, HeaderOptions
from submitter.sheets.opening import open_sheet
from tests.support.workbooks import HEADER, RECIPE, ROWS, refusal, save, with_rows


def test_titles_above_the_header_do_no_harm(path: Path) -> None:
    save(
        path,
        [["Refunds 2024"], [], ["by", "Finance"], HEADER, *ROWS],
        lambda sheet: sheet.merge_cells("A1:C1"),
    )
    with open_sheet(path, recipe=RECIPE) as sheet:
        assert sheet.header == tuple(HEADER)
        assert sheet.columns == {"Vendor": 0, "Amount": 2}
        assert [number for number, _ in sheet.rows()] == [0, 1]


def test_empty_columns_without_a_name_are_dropped(path: Path) -> None:
    save(path, [[None, "Vendor", None, "Amount", " "], [None, "Acme", " ", 5, None]])
    with open_sheet(path, recipe=RECIPE) as sheet:
        assert sheet.header == ("Vendor", "Amount")
        assert sheet.columns == {"Vendor": 0, "Amount": 1}
        assert list(sheet.rows()) == [(0, ["Acme", 5])]


def test_missing_columns_are_named_with_the_row_and_what_helps(path: Path) -> None:
    save(path, [["Vendor", "Date"], ["a", "b"]])
    assert refusal(path, recipe=RECIPE) == (
        "invoices.xlsx, sheet 'Refunds', row 1: the recipe 'test' needs the column Amount, "
        "and the header has only Vendor, Date; a column of another name is given by "
        "--map 'HEADER=Amount'"
    )


def test_columns_without_a_header_are_called_by_their_letter(path: Path) -> None:
    save(
        path,
        [["Vendor", "Amount", None, "Column E"], ["a", 1, 2, 3, "checked by Bob"]],
        lambda sheet: sheet.merge_cells("B1:C1"),
    )
    with open_sheet(path) as sheet:
        assert sheet.header == ("Vendor", "Amount", "Column C", "Column E", "Column E_2")
        assert sheet.columns == {name: index for index, name in enumerate(sheet.header)}
        assert list(sheet.rows()) == [(0, ["a", 1, 2, 3, "checked by Bob"])]


@pytest.mark.parametrize("again", ["Vendor", "vendor", " VEN DOR "])
def test_a_header_that_stands_again_gets_a_number(path: Path, again: str) -> None:
    save(path, [["Vendor", "Amount", again, again], ["a", 1, "b", "c"]])
    with open_sheet(path) as sheet:
        name = again.strip()
        assert sheet.header == ("Vendor", "Amount", f"{name}_2", f"{name}_3")


def test_a_number_that_a_header_has_itself_is_not_given_again(path: Path) -> None:
    save(path, [["A", "A", "A_2"], [1, 2, 3]])
    with open_sheet(path) as sheet:
        assert sheet.header == ("A", "A_3", "A_2")


def test_duplicates_in_columns_that_are_not_sent_do_no_harm(path: Path) -> None:
    save(path, [["Vendor", "Amount", "Note", "Note"], ["a", 1, "b", "c"]])
    with open_sheet(path, recipe=RECIPE) as sheet:
        assert sheet.header == ("Vendor", "Amount", "Note", "Note_2")
        assert sheet.columns == {"Vendor": 0, "Amount": 1}


def test_a_sent_column_that_stands_twice_is_asked_for(path: Path) -> None:
    save(path, [["Vendor", "Amount", "amount"], ["a", 1, 2]])
    assert refusal(path, recipe=RECIPE) == (
        "invoices.xlsx, sheet 'Refunds', row 1: the header 'Amount' stands in columns B and C; "
        "say which the recipe sends: --map 'Amount=Amount' or --map 'amount_2=Amount'"
    )
    for given, index in (("Amount=Amount", 1), ("amount_2=Amount", 2)):
        with open_sheet(path, recipe=RECIPE, header=HeaderOptions(maps=(given,))) as sheet:
            assert sheet.columns == {"Vendor": 0, "Amount": index}


def test_the_row_with_most_of_the_recipes_columns_is_the_header(path: Path) -> None:
    legend = ["Amount", "in euros"]
    save(path, [["Vendor"], legend, ["Total", "Amount", "VENDOR"], ["a", 1, "b"]])
    with open_sheet(path, recipe=RECIPE) as sheet:
        assert (sheet.header_row, sheet.first_row) == (2, 4)
        assert sheet.columns == {"Vendor": 2, "Amount": 1}


def test_without_names_a_title_is_told_from_the_header_by_its_width(path: Path) -> None:
    save(path, [["Refunds of 2026"], ["by", None, "Bob"], [], [2024, 2025, 2026, *"abc"], [1] * 6])
    with open_sheet(path) as sheet:
        assert sheet.header == ("2024", "2025", "2026", "a", "b", "c")
    save(path, [["Name", 2025], ["x", "y"], ["z", "w"]])
    with open_sheet(path) as sheet:
        assert sheet.header == ("Name", "2025")


@pytest.mark.parametrize("suffix", ["xlsx", "csv"])
def test_a_person_says_which_row_is_the_header(tmp_path: Path, suffix: str) -> None:
    rows = [["Vendor", "Amount"], *([f"v{n}", "1"] for n in range(40)), ["Vendor", "Amount"]]
    path = tmp_path / f"invoices.{suffix}"
    if suffix == "xlsx":
        save(path, [*rows, [], ["a", "2"]])
    else:
        path.write_text("\n".join(",".join(row) for row in [*rows, [""], ["a", "2"]]))
    with open_sheet(path, recipe=RECIPE, header=HeaderOptions(row=42)) as sheet:
        assert (sheet.header_row, sheet.first_row) == (41, 43)
        assert [number for number, _ in sheet.rows()] == [1]
    for number, sentence in (
        (43, "--header-row 43: that row is empty"),
        (99, "--header-row 99: that row is empty"),
        (0, "--header-row 0: rows are counted from 1"),
    ):
        options = HeaderOptions(row=number)
        with (
            pytest.raises(InputError, match=sentence),
            open_sheet(path, recipe=RECIPE, header=options),
        ):
            pass


@pytest.mark.parametrize(
    ("given", "header", "columns"),
    [
        (("Net amount=Amount",), ["Vendor", "Net amount"], {"Vendor": 0, "Amount": 1}),
        (("NET_AMOUNT = amount",), ["Vendor", "Net amount"], {"Vendor": 0, "Amount": 1}),
        (("a=b=Amount",), ["Vendor", "a=b"], {"Vendor": 0, "Amount": 1}),
        (("x=Vendor", "y=Amount"), ["y", "x", "Vendor"], {"Vendor": 1, "Amount": 0}),
        (("Column B=Amount",), ["Vendor", None], {"Vendor": 0, "Amount": 1}),
    ],
)
def test_a_person_says_which_column_is_which(
    path: Path, given: tuple[str, ...], header: list[str], columns: dict[str, int]
) -> None:
    save(path, [["a title"], header, list(range(len(header)))])
    with open_sheet(path, recipe=RECIPE, header=HeaderOptions(maps=given)) as sheet:
        assert sheet.columns == columns


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (("Net=Amount",), "the header has no 'Net'; it has Vendor, Amount"),
        (("Vendor=Nix",), "the recipe 'test' has no column 'Nix'; it has Vendor, Amount"),
        (("Vendor",), "write HEADER=NAME"),
        (("Vendor=Amount", "Amount=Amount"), "'Amount' was mapped before"),
    ],
)
def test_a_map_that_leads_nowhere_is_refused(
    path: Path, given: tuple[str, ...], sentence: str
) -> None:
    save(path, [["Vendor", "Amount"], ["a", 1]])
    options = HeaderOptions(maps=given)
    with pytest.raises(InputError) as refused, open_sheet(path, recipe=RECIPE, header=options):
        pass
    assert sentence in str(refused.value)
    assert str(refused.value).startswith("--map ")


def test_a_recipe_without_columns_sends_a_mapped_column_under_its_new_name(path: Path) -> None:
    save(path, [["Vendor", "Net"], ["a", 1]])
    every = RECIPE.model_copy(update={"columns": ()})
    with open_sheet(path, recipe=every, header=HeaderOptions(maps=("Net=Amount",))) as sheet:
        assert sheet.header == ("Vendor", "Net")
        assert sheet.columns == {"Vendor": 0, "Amount": 1}
    with (
        pytest.raises(InputError, match="the sheet has a column of that name"),
        open_sheet(path, recipe=every, header=HeaderOptions(maps=("Net=Vendor",))),
    ):
        pass


ANSWERS = AnswerHeaders(always=("AI_Ok", "AI_Status"), perhaps=("AI_Error",))


@pytest.mark.parametrize("columns", [RECIPE.columns, ()], ids=["named", "every column"])
def test_answer_columns_of_an_earlier_run_are_no_data(
    path: Path, columns: tuple[Column, ...]
) -> None:
    recipe = RECIPE.model_copy(update={"columns": columns})
    save(
        path,
        [
            ["Vendor", "AI_Ok", "Amount", "AI_Status", "AI_Error", "Checked by", "AI_Ok_2"],
            ["a", "mine", 1, "done", None, "Bob", True],
        ],
    )
    with open_sheet(path, recipe=recipe, header=HeaderOptions(answers=ANSWERS)) as sheet:
        assert sheet.header == ("Vendor", "AI_Ok", "Amount", "Checked by")
        assert sheet.sheet_columns == (0, 1, 2, 5)
        assert sheet.answers == {"AI_Ok_2": 6, "AI_Status": 3, "AI_Error": 4}
        assert list(sheet.rows()) == [(0, ["a", "mine", 1, "Bob"])]
        assert set(sheet.columns) == {"Vendor", "Amount"} | (set() if columns else {*sheet.header})


def test_columns_that_only_look_like_some_of_the_answers_are_data(path: Path) -> None:
    save(path, [["Vendor", "Amount", "AI_Status"], ["a", 1, "done"]])
    with open_sheet(path, recipe=RECIPE, header=HeaderOptions(answers=ANSWERS)) as sheet:
        assert sheet.header == ("Vendor", "Amount", "AI_Status")
        assert sheet.answers == {}


def test_a_sheet_of_answers_alone_is_refused(path: Path) -> None:
    save(path, [["AI_Ok", "AI_Status"], [True, "done"]])
    every = RECIPE.model_copy(update={"columns": ()})
    with (
        pytest.raises(InputError, match="no columns but those of an earlier run"),
        open_sheet(path, recipe=every, header=HeaderOptions(answers=ANSWERS)),
    ):
        pass


def test_as_many_equal_headers_as_a_sheet_holds_get_names(path: Path) -> None:
    with_rows(path, f'<row r="1">{"<c><v>1</v></c>" * MAX_COLUMNS}</row><row><c><v>2</v></c></row>')
    with open_sheet(path) as sheet:
        assert sheet.header == ("1", *(f"1_{number}" for number in range(2, MAX_COLUMNS + 1)))
