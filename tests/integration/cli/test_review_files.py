"""Files that come back from a review: other formats are read, and hostile ones are bounded."""

from __future__ import annotations

import csv
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import openpyxl
import pytest
from sqlalchemy import Engine

from tests.support import packages
from tests.support.reviews import fill, kept, lines, submitted
from tests.support.workbooks import rewrite

Call = Callable[..., tuple[int, str, str]]
SHEET = "xl/worksheets/rowfleet1.xml"


@pytest.fixture
def review(local_ledger: Engine, call: Call, tmp_path: Path) -> Path:
    """An exported review, as Rowfleet wrote it."""
    submitted(local_ledger, tmp_path, 3)
    assert call("review", "b", "--export", "r.xlsx")[0] == 0
    return tmp_path / "r.xlsx"


def refused(call: Call, engine: Engine, file: str) -> str:
    code, out, err = call("review", "b", "--import", file)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert kept(engine) == []
    return err


def test_a_csv_of_the_sheet_is_taken(
    local_ledger: Engine, call: Call, review: Path, tmp_path: Path
) -> None:
    rows = lines(review, "AI_Review")
    rows[0] |= {"Decision": "correct", "Reviewer": "Ann", "Correction AI_Refund": "7.5"}
    with (tmp_path / "r.csv").open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    code, _, err = call("review", "b", "--import", "r.csv")
    assert (code, err) == (0, "")
    ((_, _, verdict, reviewer, _, after),) = kept(local_ledger)
    assert (verdict, reviewer, after["refund"]) == ("correct", "Ann", 7.5)


SOFFICE = shutil.which("soffice")


@pytest.mark.skipif(SOFFICE is None, reason="LibreOffice is not installed: no soffice in the PATH")
def test_an_ods_is_taken(local_ledger: Engine, call: Call, review: Path, tmp_path: Path) -> None:
    assert SOFFICE is not None
    fill(review, 2, Decision="approve", Note="=1+1 is no formula here")
    profile = f"-env:UserInstallation=file://{tmp_path}/profile"
    convert = [SOFFICE, profile, "--headless", "--convert-to", "ods", "--outdir", tmp_path, review]
    subprocess.run(convert, check=True, capture_output=True, timeout=170)
    code, _, err = call("review", "b", "--import", "r.ods")
    assert (code, err) == (0, "")
    assert [each[2] for each in kept(local_ledger)] == ["approve"]


def test_sorted_filtered_and_shortened_rows_are_taken(
    local_ledger: Engine, call: Call, review: Path
) -> None:
    book = openpyxl.load_workbook(review)
    sheet = book["AI_Review"]
    sheet.delete_rows(2)
    sheet.insert_cols(1)
    sheet.insert_rows(1)
    columns = {str(cell.value): cell.column for cell in sheet[2]}
    sheet.cell(3, columns["Decision"], "APPROVE ")
    sheet.cell(3, columns["Reviewer"], "Ann")
    sheet.row_dimensions[3].hidden = True
    book.save(review)
    code, out, err = call("review", "b", "--import", "r.xlsx")
    assert (code, err) == (0, "")
    assert out.splitlines()[0] == "1 row decided, 0 as before, 1 without a decision"


def test_a_formula_without_a_stored_value_is_refused(
    local_ledger: Engine, call: Call, review: Path
) -> None:
    book = openpyxl.load_workbook(review)
    book["AI_Review"]["B2"] = '="approve"'
    book.save(review)
    assert "the formula in B2 has no stored value" in refused(call, local_ledger, "r.xlsx")


@pytest.mark.parametrize(
    ("before", "after", "sentence"),
    [
        (b"<worksheet", b'<!DOCTYPE x [<!ENTITY a "b">]><worksheet', "r.xlsx"),
        (b"</worksheet>", b"", "r.xlsx"),
        (b"<sheetData>", b"<sheetData>" + b"<x>" * 5_000, "r.xlsx"),
        (b'<row r="2"', b'<row r="99999999"', "r.xlsx"),
    ],
)
def test_a_damaged_sheet_is_one_sentence(
    local_ledger: Engine, call: Call, review: Path, before: bytes, after: bytes, sentence: str
) -> None:
    rewrite(review, SHEET, lambda xml: xml.replace(before, after, 1))
    assert sentence in refused(call, local_ledger, "r.xlsx")


def test_a_note_keeps_its_lines_and_loses_what_no_text_may_hold(
    local_ledger: Engine, call: Call, review: Path
) -> None:
    fill(review, 2, Decision="approve", Note="one\ntwo", Reviewer="Ann")
    part = next(name for name, xml in packages.parts_of(review).items() if b"two<" in xml)
    rewrite(review, part, lambda xml: xml.replace(b"two<", b"two_x0000__x001b_[31m<", 1))
    assert call("review", "b", "--import", "r.xlsx")[0] == 0
    ((*_, note, _),) = kept(local_ledger)
    assert note == "one\ntwo\ufffd\ufffd[31m"
    assert call("export", "b", "out.xlsx")[0] == 0
    assert call("review", "b", "--import", "r.xlsx")[1].startswith("0 rows decided, 1 as before")


def test_a_file_that_is_no_spreadsheet_is_refused(
    local_ledger: Engine, call: Call, review: Path, tmp_path: Path
) -> None:
    (tmp_path / "x.xlsx").write_bytes(b"PK\x03\x04 and no more")
    assert "x.xlsx" in refused(call, local_ledger, "x.xlsx")
    (tmp_path / "y.csv").write_text("Row,Decision\n1,approve\n")
    assert "has no column 'Reviewer'" in refused(call, local_ledger, "y.csv")


@pytest.mark.parametrize("out", ["out.csv", "out.xlsx"])
def test_a_text_file_and_a_plain_workbook_have_the_final_values(
    local_ledger: Engine, call: Call, review: Path, tmp_path: Path, out: str
) -> None:
    fill(review, 2, Decision="correct", Correction_AI_Refund=7.5)
    assert call("review", "b", "--import", "r.xlsx")[0] == 0
    assert call("export", "b", out, "--plain")[0] == 0
    if out.endswith(".csv"):
        text = (tmp_path / out).read_text("utf-8-sig")
        rows: list[dict[str, object]] = list(csv.DictReader(text.splitlines()))
    else:
        assert openpyxl.load_workbook(tmp_path / out).sheetnames == ["Refunds"]
        rows = lines(tmp_path / out, "Refunds")
    assert str(rows[2]["AI_Refund"]) == "7.5"
    assert rows[2]["AI_Review"] == "corrected"
    assert rows[2]["AI_Reviewer"] == "Ann"
    assert rows[1]["AI_Review"] == "needs_review"
