"""The review round trip: out in a workbook, decided there, and back into the ledger for good."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openpyxl
import pytest
import yaml
from openpyxl.worksheet.worksheet import Worksheet
from sqlalchemy import Engine

from rowfleet.ledger.engine import reading
from rowfleet.ledger.queries.batch_records import get_batch
from rowfleet.recipes.recipe import Recipe
from tests.support import office
from tests.support.reviews import answer, decide_all, edit, fill, kept, lines, submitted

Call = Callable[..., tuple[int, str, str]]

ROWS = 300


def final(number: int) -> dict[str, Any] | None:
    """Return the values that a row has after ``decide_all``."""
    if number % 3 == 2:
        return None
    return answer(number) | ({"basis": "duplicate", "refund": number * 2} if number % 3 else {})


def test_300_rows_out_decided_in_twice_and_out_again(
    local_ledger: Engine, call: Call, tmp_path: Path
) -> None:
    submitted(local_ledger, tmp_path, ROWS)
    code, out, err = call("review", "b", "--export", "review.xlsx")
    assert (code, err) == (0, "")
    assert out.startswith(
        "300 rows to decide on the sheet AI_Review of review.xlsx, those with a large refund or "
        "Amount and a low confidence first\n"
    )
    edit(tmp_path / "review.xlsx", decide_all)
    check_decided(local_ledger, call, tmp_path / "review.xlsx", tmp_path)


SOFFICE = shutil.which("soffice")


@pytest.mark.skipif(SOFFICE is None, reason="LibreOffice is not installed: no soffice in the PATH")
def test_300_rows_decided_by_a_script_in_libreoffice(
    local_ledger: Engine, call: Call, tmp_path: Path
) -> None:
    assert SOFFICE is not None
    submitted(local_ledger, tmp_path, ROWS)
    assert call("review", "b", "--export", "review.xlsx")[0] == 0
    office.decide(SOFFICE, tmp_path / "review.xlsx", tmp_path / "profile")
    check_decided(local_ledger, call, tmp_path / "review.xlsx", tmp_path)


def check_decided(local_ledger: Engine, call: Call, review: Path, tmp_path: Path) -> None:
    """Import a file that ``decide_all`` has decided, twice, and look at all that follows."""
    code, out, err = call("review", "b", "--import", review)
    assert (code, err) == (0, ""), err
    assert out.splitlines()[0] == "300 rows decided, 0 as before, 0 without a decision"
    assert re.search(r"\nno row needs review; .*: .*rowfleet export b b.results.xlsx\n$", out)
    decided = kept(local_ledger)
    assert [(*each[:4], each[5]) for each in decided] == [
        (n, 1, ("approve", "correct", "reject")[n % 3], "Ann", final(n)) for n in range(ROWS)
    ]
    code, out, _ = call("review", "b", "--import", review)
    assert out.splitlines()[0] == "0 rows decided, 300 as before, 0 without a decision"
    assert kept(local_ledger) == decided
    assert call("retry", "b")[:2] == (0, "no row of b has failed\n")
    assert call("export", "b", "out.xlsx")[0] == 0
    check_final_values(tmp_path / "out.xlsx")
    assert kept(local_ledger) == decided


def check_final_values(out: Path) -> None:
    rows = lines(out, "Refunds")
    assert len(rows) == ROWS
    for number, row in enumerate(rows):
        values = final(number)
        assert row["AI_Refund"] == (None if values is None else values["refund"])
        assert row["AI_Basis"] == (None if values is None else values["basis"])
        assert row["AI_Review"] == ("approved", "corrected", "rejected")[number % 3]
        assert row["AI_Review_Reasons"] == "confidence: it is low"
        assert (row["AI_Reviewer"], row["AI_Review_Note"]) == ("Ann", f"seen {number}")
        assert row["AI_Reviewed_At_UTC"] is not None
        assert (
            row["AI_Sources"]
            == (
                "openai (gpt-5-mini)",
                "reviewer: AI_Basis, AI_Refund; openai (gpt-5-mini): the others",
                None,
            )[number % 3]
        )
        assert row["Note"] == f"my note {number}", "a person's own column stays as it is"
    history = lines(out, "AI_Review_History")
    assert {line["Row"] for line in history} == set(range(3, 3 + ROWS))
    corrected = [line for line in history if line["Row"] == 4]
    assert [(line["Column"], line["Before"], line["After"]) for line in corrected] == [
        ("AI_Basis", "tax", "duplicate"),
        ("AI_Refund", 1.25, 2),
    ]
    assert len(history) == 100 + 200 + 100 * 6


def test_the_sheet_shows_what_a_person_needs(
    local_ledger: Engine, call: Call, tmp_path: Path
) -> None:
    submitted(local_ledger, tmp_path, 20)
    assert call("review", "b", "--export", "r.xlsx")[0] == 0
    book = openpyxl.load_workbook(tmp_path / "r.xlsx")
    assert book.sheetnames == ["Refunds", "AI_Review"]
    rows = lines(tmp_path / "r.xlsx", "AI_Review")
    priorities = [row["Priority"] for row in rows]
    # Money x doubt, and the last row is of a refund of 0.25 at a confidence of 50 %.
    assert priorities == sorted(priorities, reverse=True)
    assert rows[0]["Priority"] == pytest.approx(19.25 * (1 - 0.69), abs=0.01)
    first = rows[0]
    assert (first["Row"], first["AI_Refund"], first["AI_Tags"]) == (22, 19.25, '["a", "b"]')
    assert first["Reasons"] == "confidence: it is low"
    assert (first["Vendor"], first["Note_2"], first["Note"]) == ("V19", "my note 19", None)
    sheet = book["AI_Review"]
    columns = {str(cell.value): cell for cell in sheet[1]}
    link = sheet.cell(2, columns["Row"].column)
    assert link.hyperlink.location == "'Refunds'!A22"
    file = sheet.cell(2, columns["File"].column)
    assert file.hyperlink.target == "https://f.example/19.pdf"
    lists = {str(v.sqref): v.formula1 for v in sheet.data_validations.dataValidation}
    assert lists[f"{columns['Decision'].column_letter}2:B21"] == '"approve,correct,reject"'
    basis = columns["Correction AI_Basis"].column_letter
    assert lists[f"{basis}2:{basis}21"] == '"none,duplicate,tax"'
    assert sheet.column_dimensions[columns["Review_Key"].column_letter].hidden


@pytest.mark.parametrize(
    ("cells", "sentence"),
    [
        ({"Decision": "aprove"}, "B2 is 'aprove', and must be one of approve, correct, reject"),
        ({"Decision": "correct"}, "B2 says correct, but the row has no correction"),
        (
            {"Correction_AI_Basis": "tax"},
            "B2 is blank, but the row has a correction: write correct",
        ),
        (
            {"Decision": "approve", "Correction_AI_Basis": "tax"},
            "H2 has a correction, but the decision is approve: write correct",
        ),
        (
            {"Decision": "correct", "Correction_AI_Basis": "taxes"},
            "H2 does not fit the recipe: 'taxes' is not one of ['none', 'duplicate', 'tax']",
        ),
        (
            {"Decision": "correct", "Correction_AI_Refund": -1},
            "J2 does not fit the recipe: -1 is less than the minimum of 0",
        ),
        (
            {"Decision": "correct", "Correction_AI_Refund": "much"},
            "J2 'much' is none of number",
        ),
        (
            {"Decision": "correct", "Correction_AI_Tags": "[1"},
            'P2 \'[1\' is no JSON, such as ["first", "second"]',
        ),
        (
            {"Decision": "correct", "Correction_AI_Tags": '["a", 1]'},
            "P2 does not fit the recipe: 1 is not of type 'string'",
        ),
        ({"Decision": "approve", "Reviewer": None}, "C2 is blank: write who decided"),
        ({"Decision": "approve", "Note": "n" * 2_001}, "D2 has more than 2,000 characters"),
        ({"Decision": "approve", "Reviewer": "n" * 201}, "C2 has more than 200 characters"),
        ({"Decision": "approve", "Review_Key": "b 9"}, "T2 is 'b 9', which names no row"),
        (
            {"Decision": "approve", "Review_Key": "b 7 0 0123456789ab"},
            "T2 names no row that is done",
        ),
        (
            {"Decision": "approve", "Review_Key": "b 2 0 0123456789ab"},
            "T2 is of an answer that the row no longer has",
        ),
    ],
)
def test_a_wrong_cell_is_said_with_its_address_and_nothing_is_imported(
    local_ledger: Engine, call: Call, tmp_path: Path, cells: dict[str, Any], sentence: str
) -> None:
    submitted(local_ledger, tmp_path, 3)
    call("review", "b", "--export", "r.xlsx")
    fill(tmp_path / "r.xlsx", 3, Decision="approve")
    fill(tmp_path / "r.xlsx", 2, **cells)
    code, out, err = call("review", "b", "--import", "r.xlsx")
    assert (code, out) == (2, "")
    assert f"r.xlsx, sheet 'AI_Review': {sentence}" in err
    assert err.count("\n") == 1
    assert kept(local_ledger) == []


def test_a_row_that_stands_twice_is_refused(
    local_ledger: Engine, call: Call, tmp_path: Path
) -> None:
    submitted(local_ledger, tmp_path, 2)
    call("review", "b", "--export", "r.xlsx")

    def change(sheet: Worksheet, columns: dict[str, int]) -> None:
        for row in (2, 3):
            sheet.cell(row, columns["Decision"], "approve")
            sheet.cell(row, columns["Review_Key"], sheet.cell(2, columns["Review_Key"]).value)

    edit(tmp_path / "r.xlsx", change)
    code, _, err = call("review", "b", "--import", "r.xlsx", "--reviewer", "Ann")
    assert code == 2
    assert "T3 is that of T2, too: a row stands twice; nothing is imported" in err


def test_a_later_decision_is_not_overwritten_silently(
    local_ledger: Engine, call: Call, tmp_path: Path
) -> None:
    submitted(local_ledger, tmp_path, 3)
    call("review", "b", "--export", "ann.xlsx")
    call("review", "b", "--export", "bob.xlsx")
    fill(tmp_path / "ann.xlsx", 2, Decision="approve")
    for row in (2, 3):
        fill(tmp_path / "bob.xlsx", row, Decision="reject", Reviewer="Bob")
    assert call("review", "b", "--import", "ann.xlsx")[0] == 0
    before = kept(local_ledger)
    code, _, err = call("review", "b", "--import", "bob.xlsx")
    assert code == 2
    assert re.search(r"rows were decided otherwise: B2 \(by Ann at [-0-9: ]+ UTC: approve\)", err)
    assert "nothing is imported" in err
    assert kept(local_ledger) == before, "the other row of the file is not imported, either"
    assert call("review", "b", "--import", "bob.xlsx", "--supersede")[0] == 0
    assert [each[:4] for each in kept(local_ledger)] == [
        (1, 1, "reject", "Bob"),
        (2, 1, "approve", "Ann"),
        (2, 2, "reject", "Bob"),
    ]
    # Ann's file is of before Bob's decision, though she decides nothing new in it.
    assert call("review", "b", "--import", "ann.xlsx")[0] == 2
    call("review", "b", "--all", "--export", "again.xlsx")
    rows = lines(tmp_path / "again.xlsx", "AI_Review")
    assert [str(row["Earlier_Decision"])[:13] for row in rows] == ["reject by Bob"] * 2 + ["None"]
    fill(tmp_path / "again.xlsx", 2, Decision="approve")
    assert call("review", "b", "--import", "again.xlsx")[0] == 0
    assert kept(local_ledger)[-1][:4] == (2, 3, "approve", "Ann")
    assert kept(local_ledger)[-1][5] == answer(2), "a rejected answer that is approved counts again"


def test_it_says_what_waits_and_the_command_that_it_prints_works(
    local_ledger: Engine, call: Call, tmp_path: Path
) -> None:
    submitted(local_ledger, tmp_path, 3)
    code, out, err = call("review", "b")
    assert (code, err) == (0, "")
    first, reason, how = out.splitlines()
    assert first == "3 rows need review; people decided on 0"
    assert reason.split() == ["3", "confidence"]
    words = shlex.split(how.partition(": ")[2])
    assert call(*words[words.index("rowfleet") + 1 :])[0] == 0
    assert (tmp_path / "b.review.xlsx").exists()
    assert json.loads(call("review", "b", "--json")[1]) == {
        "batch_id": "b",
        "needs_review": 3,
        "reasons": {"confidence": 3},
        "decided": 0,
    }
    fill(tmp_path / "b.review.xlsx", 2, Decision="approve")
    out = call("review", "b", "--import", "b.review.xlsx")[1]
    assert re.search(r"\n2 rows need review still: .*rowfleet review b\n$", out)
    assert "1 row decided, 0 as before, 2 without a decision" in out
    assert json.loads(call("progress", "b", "--json")[1])["needs_review"] == 2


def test_a_filled_review_is_not_written_over(
    local_ledger: Engine, call: Call, tmp_path: Path
) -> None:
    submitted(local_ledger, tmp_path, 3)
    assert call("review", "b", "--export", "r.xlsx")[0] == 0
    assert call("review", "b", "--export", "r.xlsx")[0] == 0, "it is as it was written"
    fill(tmp_path / "r.xlsx", 2, Decision="approve")
    code, _, err = call("review", "b", "--export", "r.xlsx")
    assert code == 2
    assert "changed since" in err
    assert call("review", "b", "--export", "r.xlsx", "--overwrite")[0] == 0


def test_reviewed_rows_are_examples(local_ledger: Engine, call: Call, tmp_path: Path) -> None:
    submitted(local_ledger, tmp_path, 4)
    assert call("review", "b", "--examples", 2)[0] == 2
    call("review", "b", "--export", "r.xlsx")

    def change(sheet: Worksheet, columns: dict[str, int]) -> None:
        decisions = ("approve", "approve", "correct", "reject")
        for row, verdict in enumerate(decisions, 2):
            sheet.cell(row, columns["Decision"], verdict)
        sheet.cell(4, columns["Correction AI_Why"], "null")
        sheet.cell(4, columns["Correction AI_Due"], False)

    edit(tmp_path / "r.xlsx", change)
    assert call("review", "b", "--import", "r.xlsx", "--reviewer", "Ann")[0] == 0
    code, out, err = call("review", "b", "--examples", 8)
    assert (code, err) == (0, "")
    found = yaml.safe_load(out)
    assert len(found) == 3, "a rejected row is no example"
    numbers = [int(each["row"]["Vendor"][1:]) for each in found]
    assert found[0] == {
        "row": {
            "Vendor": f"V{numbers[0]}",
            "Amount": numbers[0] * 10,
            "File": f"https://f.example/{numbers[0]}.pdf",
        },
        "answer": answer(numbers[0]) | {"why": None, "due": False},
    }
    assert len(yaml.safe_load(call("review", "b", "--examples", 1)[1])) == 1
    with reading(local_ledger) as connection:
        recipe = get_batch(connection, "b").recipe
    taken = Recipe.model_validate({**recipe, "examples": found})
    assert [each.answer for each in taken.examples] == [each["answer"] for each in found]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--export", "a.xlsx", "--import", "b.xlsx"), "--export and --import: give one of them"),
        (("--all",), "--all goes with --export"),
        (("--import", "a.xlsx", "--all"), "--all goes with --export"),
        (("--export", "a.xlsx", "--reviewer", "A"), "--reviewer goes with --import"),
        (("--examples", "8", "--supersede"), "--supersede goes with --import"),
        (("--export", "a.csv"), "a.csv: a review is decided in a workbook"),
        (("--import", "refunds.xlsx"), "has no sheet 'AI_Review'"),
        (("--import", "nothing.xlsx"), "nothing.xlsx: can't be read: No such file"),
    ],
)
def test_what_can_not_be_is_one_sentence(
    local_ledger: Engine, call: Call, tmp_path: Path, options: tuple[str, ...], sentence: str
) -> None:
    submitted(local_ledger, tmp_path, 1)
    code, out, err = call("review", "b", *options)
    assert (code, out) == (2, "")
    assert sentence in err
    assert err.count("\n") == 1


def test_a_file_of_another_batch_is_refused(
    local_ledger: Engine, call: Call, tmp_path: Path
) -> None:
    submitted(local_ledger, tmp_path, 1)
    call("review", "b", "--export", "r.xlsx")
    fill(tmp_path / "r.xlsx", 2, Decision="approve", Review_Key="other 0 0 0123456789ab")
    code, _, err = call("review", "b", "--import", "r.xlsx")
    assert code == 2
    assert "T2 is of the batch 'other', not of 'b'" in err
