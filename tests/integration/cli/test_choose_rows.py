"""A person chooses rows and columns on the command line, and sees what was understood."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from rowfleet.cells import Cell
from tests.standin import Standin
from tests.support import other_formats
from tests.support.commands import Call, run
from tests.support.sheets import invoices, results

HEADER = ["Vendor", "Invoice No", "Date", "Description", "Net", "Net"]


@pytest.fixture
def sheet(tmp_path: Path) -> Path:
    """A workbook with a title, a header in row 3, a hidden row, a total, and another sheet."""
    book = openpyxl.Workbook()
    rows: Any = book.worksheets[0]
    rows.title = "Refunds"
    for cells in (
        ["Refunds of 2026"],
        [],
        HEADER,
        ["ACME", "1", "2026-03-01", "Paper", 100, 8],
        ["Glo\x7fbex", "2", "2026-03-02", "Ink \u202e", 250, 8],
        ["Initech", "3", "2026-03-03", "Pens", "n/a", 8],
        [],
        ["Total", None, None, None, 350, 24],
        [None] * 6 + ["by Bob"],
    ):
        rows.append(cells)
    rows.row_dimensions[5].hidden = True
    book.create_sheet("Notes").append(["x"])
    path = tmp_path / "refunds.xlsx"
    book.save(path)
    return path


#: The recipe's columns Amount and Tax are called otherwise in the sheet.
MAPS = ("--map", "Net=Amount", "--map", "Net_2=Tax", "--map", "Invoice No=Invoice_Number")


def test_a_dry_run_shows_what_was_understood(call: Call, sheet: Path) -> None:
    code, out, err = call("local", sheet, "--dry-run", "--analyzer", "rules", *MAPS)
    assert code == 0, err
    for line in (
        f"{sheet}, sheet 'Refunds': 3 rows are fine to submit",
        "the workbook's other sheets: 'Notes'",
        "the header is row 3; columns that are sent: Vendor (A), Date (C), Description (D)",
        "  Amount, which is 'Net' (E), by --map",
        "  Tax, which is 'Net_2' (F), by --map",
        "1 row is hidden or filtered out, and taken; --hidden skip leaves them out",
        "row 8, 'Total', is one of totals and is left out; --keep-totals takes it",
        "row 9 is below the table, without a value in any column that is sent, and is left out; "
        "--keep-totals takes it",
    ):
        assert line in out.splitlines()
    sent = [line for line in out.splitlines() if line.startswith("  row ")]
    assert sent[0].startswith('  row 4: {"Vendor": "ACME", "Invoice_Number": "1", "Date": "2026')
    assert [line.partition(":")[0] for line in sent] == ["  row 4", "  row 5", "  row 6"]
    assert "Glo\ufffdbex" in sent[1]  # no control character reaches the terminal
    assert "\u202e" not in out


@pytest.mark.parametrize("cover", [[["Refunds of 2026"], ["by Ann"]], [["Refunds"]], []])
def test_a_cover_sheet_is_refused_with_the_sheets_that_may_be_meant(
    call: Call, sheet: Path, cover: list[list[str]]
) -> None:
    book = openpyxl.load_workbook(sheet)
    first: Any = book.create_sheet("Cover", 0)
    for cells in cover:
        first.append(cells)
    book.save(sheet)
    code, _, err = call("local", sheet, "--dry-run", "--analyzer", "rules")
    assert (code, len(err.splitlines())) == (2, 1)
    assert "sheet 'Cover'" in err
    assert err.endswith(
        "; the workbook's other sheets: 'Refunds', 'Notes'; choose one with --sheet\n"
    )


def test_a_row_that_may_be_a_note_is_taken_and_named(call: Call, tmp_path: Path) -> None:
    rows = [["ACME", "1", "2026-03-01", "Paper", 100, 8], ["Glo", "2", "2026-03-01", "Ink", 1, 8]]
    below = [["Subtotal", *[None] * 3, 101], ["VAT 8%", *[None] * 3, 8], ["checked by Bob"]]
    book = openpyxl.Workbook()
    for cells in (
        ["Vendor", "Invoice Number", "Date", "Description", "Amount", "Tax"],
        *rows,
        *below,
    ):
        book.worksheets[0].append(cells)
    path = tmp_path / "refunds.xlsx"
    book.save(path)
    code, out, err = call("local", path, "--dry-run", "--analyzer", "rules")
    assert code == 0, err
    assert "row 4, 'Subtotal', is one of totals and is left out; --keep-totals takes it" in out
    assert "row 5, 'VAT 8%', is one of totals and is left out; --keep-totals takes it" in out
    assert "row 6 stands below the totals and may be a note; it is taken, and --num-rows" in out


@pytest.mark.parametrize(
    ("merged", "said"),
    [
        (["A4:A6"], {"Vendor": "A4:A6"}),
        (["A5:A6", "C5:D6"], {"Vendor": "A5:A6", "Date": "C5:D6"}),
        (["A6:A8", "A4:A5"], {"Vendor": "A4:A5"}),
        (["G4:G6"], {}),  # not sent
        (["A4:A5", "A6:A8"], {"Vendor": "A4:A5"}),
        (["A3:A4"], {}),  # the header
        (["C4:D4"], {}),  # in one row
        (["A9:A20"], {}),  # below the table
    ],
)
def test_merged_cells_are_named(
    call: Call, sheet: Path, merged: list[str], said: dict[str, str]
) -> None:
    book = openpyxl.load_workbook(sheet)
    for cells in merged:
        book["Refunds"].merge_cells(cells)
    book.save(sheet)
    ours = ("local", sheet, "--dry-run", "--analyzer", "rules", *MAPS)
    code, out, err = call(*ours)
    assert code == 0, err
    sentence = "merged cells have their value in their first row alone, and the rows below are sent"
    named = ", ".join(f"{name} (first {cells})" for name, cells in said.items())
    assert [line for line in out.splitlines() if line.startswith("merged")] == (
        [f"{sentence} without it: {named}"] if said else []
    )
    assert json.loads(call(*ours, "--json")[1])["merged_cells"] == said


def test_json_says_the_same(call: Call, sheet: Path) -> None:
    code, out, _ = call(
        *("local", sheet, "--dry-run", "--json", "--hidden", "skip", "--analyzer", "rules", *MAPS),
        *("--where", "Amount > 10 && Net > 10", "--header-row", "3"),
    )
    assert code == 0
    said = json.loads(out)
    assert said["other_sheets"] == ["Notes"]
    assert said["header_row"] == 3
    assert {"name": "Amount", "header": "Net", "column": "E", "matched": "by --map"} in (
        said["columns"]
    )
    assert [row["row"] for row in said["first_rows"]] == [4]
    assert said["first_rows"][0]["sent"]["Amount"] == 100
    assert (said["rows"], said["hidden_rows"], said["total_rows"]) == (1, 1, [8])
    assert said["unsent_rows"] == [9]
    assert said["unjudged_rows"] == 1


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--where", "Net >"), "--where: at character 6: the expression ends too early"),
        (("--where", "Amuont > 5"), "--where: there is no column 'Amuont'"),
        (("--where", "Net"), "--where: row 4: gives a number; it must be true or false"),
        (("--where", "Net > 1000"), "no row meets --where 'Net > 1000'"),
        (("--order-by", "Nix"), "--order-by 'Nix': the header has no such column"),
        (("--header-row", "2"), "--header-row 2: that row is empty"),
        (("--header-row", "0"), "'--header-row': '0' is not a whole number"),
        (("--map", "Nix=Amount"), "--map 'Nix=Amount': the header has no 'Nix'"),
        (("--hidden", "show"), "'--hidden': 'show' is not one of 'include', 'skip'"),
    ],
)
def test_what_can_not_be_done_is_one_sentence(
    call: Call, sheet: Path, options: tuple[str, ...], sentence: str
) -> None:
    words = ("local", sheet, "--dry-run", "--analyzer", "rules", *MAPS, *options)
    code, _, err = call(*words)
    assert (code, len(err.splitlines())) == (2, 1)
    assert sentence in err


def test_a_dry_run_shows_the_rows_that_run_first(call: Call, tmp_path: Path) -> None:
    sheet = invoices(tmp_path / "refunds.xlsx", 9)
    words = ("local", sheet, "--dry-run", "--json", "--start-row", 2, "--order-by", "Amount:desc")
    first = json.loads(call(*words)[1])["first_rows"]
    assert [(row["row"], row["sent"]["Amount"]) for row in first] == [(10, 108), (9, 107), (8, 106)]


def test_a_submission_says_what_it_leaves_out(sheet: Path) -> None:
    words = ("local", sheet, "--analyzer", "rules", *MAPS, "--json", "--where", "Net > 10")
    ran = run(*words, cwd=sheet.parent)
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["done"] == 2
    for sentence in (
        "1 row is hidden or filtered out, and taken",
        "row 8, 'Total', is one of totals and is left out",
        "1 row could not be judged by --where and is left out; of row 6: its cells",
    ):
        assert sentence in ran.stderr


def test_an_order_of_numbers_that_are_text_is_said_once(call: Call, tmp_path: Path) -> None:
    sheet = tmp_path / "de.csv"
    sheet.write_text(
        "Vendor;Invoice No;Date;Description;Amount;Tax\n"
        "A;1;2026-03-01;x;900,00;8\nB;2;2026-03-01;x;10.000,00;8\n",
        "utf-8",
    )
    words = ("local", sheet, "--dry-run", "--analyzer", "rules", "--order-by", "Amount:desc")
    code, out, err = call(*words)
    assert (code, err) == (0, "")
    assert [line for line in out.splitlines() if "--order-by" in line] == [
        "--order-by: 'Amount' is text such as '900,00', and is ordered as text, not by number"
    ]


@pytest.mark.parametrize(("first", "basis"), [(0, "duplicate_invoice"), (1, "none")])
def test_rules_find_duplicates_among_the_chosen_rows_alone(
    tmp_path: Path, first: int, basis: str
) -> None:
    row = "ACME,1,2026-03-01,Paper,100,8\n"
    (tmp_path / "twice.csv").write_text(f"Vendor,Invoice No,Date,Description,Net,Tax\n{row}{row}")
    ran = run("local", "twice.csv", "--analyzer", "rules", "--start-row", first, cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert results(tmp_path / "twice.results.xlsx")[-1]["AI_Basis"] == basis


def test_rows_are_asked_about_in_their_order_and_only_once(tmp_path: Path) -> None:
    sheet = invoices(tmp_path / "refunds.xlsx", 12)
    chosen = ("--where", 'Amount >= 103 && Vendor != "Vendor 5"', "--order-by", "Amount:desc")

    def local(standin: Standin, *options: str) -> str:
        words = ("local", sheet, "--slots", 1, *options)
        ran = run(*words, cwd=tmp_path, env=standin.environment())
        assert ran.returncode == 0, ran.stderr
        return ran.stderr

    with Standin.lent() as standin:
        local(standin, *chosen)
        assert [call.row for call in standin.calls()] == [11, 10, 9, 8, 7, 6, 4, 3]
        assert "this continues a batch submitted before" in local(standin, *chosen)
        assert "keep the order in which they were recorded" in local(standin, *chosen[:2])
        assert len(standin.calls()) == 8
    finished = results(tmp_path / "refunds.results.xlsx")
    assert [row["AI_Status"] for row in finished if row["AI_Status"]] == ["done"] * 8


def test_a_finished_workbook_is_read_again_without_its_answers(tmp_path: Path) -> None:
    sheet = invoices(tmp_path / "refunds.xlsx", 6)
    finished = tmp_path / "refunds.results.xlsx"

    def local(standin: Standin, *words: object) -> tuple[int, list[int | None]]:
        """Return the exit code, and the rows that were asked about."""
        standin.clear()
        ran = run("local", *words, cwd=tmp_path, env=standin.environment())
        return ran.returncode, sorted(call.row for call in standin.calls())

    with Standin.lent(faults=[{"kind": "refusal", "rows": [1, 4]}]) as standin:
        assert local(standin, sheet) == (1, [0, 1, 2, 3, 4, 5])
        assert [row["AI_Status"] for row in results(finished)].count("failed") == 2
        # The same rows: the same batch, which has ended.
        assert local(standin, finished) == (1, [])
        standin.configure(faults=[])
        left = ("--where", 'AI_Status != "done"', "--export", "all.xlsx")
        assert local(standin, finished, *left) == (0, [1, 4])
    assert [row["AI_Status"] for row in results(tmp_path / "all.xlsx")] == ["done"] * 6


@pytest.mark.parametrize("suffix", [".ods", ".xlsx", ".csv"])
def test_a_person_is_told_that_currencies_are_not_read(
    call: Call, tmp_path: Path, suffix: str
) -> None:
    header = ["Vendor", "Invoice_Number", "Date", "Description", "Amount", "Tax"]
    rows: list[list[Cell]] = [[*header], ["ACME", "1", "2025-03-01", "Paper", 100, 8]]
    sheet = tmp_path / f"refunds{suffix}"
    if suffix == ".ods":
        other_formats.write(sheet, {"Refunds": rows})
    elif suffix == ".csv":
        sheet.write_text("\n".join(",".join(map(str, row)) for row in rows))
    else:
        invoices(sheet, 1)
    code, out, err = call("local", sheet, "--dry-run")
    assert code == 0, err
    assert ("no number formats are read from a file of this kind" in out) == (suffix == ".ods")


@pytest.mark.parametrize("between", ["\u2028", "\u2029", "\x85"])
def test_a_dry_run_shows_a_cell_with_a_line_separator_whole(
    call: Call, tmp_path: Path, between: str
) -> None:
    sheet = tmp_path / "refunds.csv"
    header = "Vendor,Invoice_Number,Date,Description,Amount,Tax"
    sheet.write_text(f"{header}\nACME,1,2025-03-01,Paper{between}white,100,8\n", "utf-8")
    code, out, err = call("local", sheet, "--dry-run", "--json")
    assert code == 0, err
    assert json.loads(out)["first_rows"][0]["sent"]["Description"] == f"Paper{between}white"
