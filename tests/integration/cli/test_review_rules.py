"""A person's corrections go through the recipe's arithmetic and checks, and the person wins."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import openpyxl
import yaml
from sqlalchemy import Engine, insert, update

from rowfleet.ledger.document_records import NewDocument
from rowfleet.ledger.models import Batch, Document, Row, RowDocument
from rowfleet.recipes import loading
from rowfleet.recipes.recipe import Recipe
from tests.support.reviews import RECIPE, answer, fill, kept, lines, submitted

Call = Callable[..., tuple[int, str, str]]

RULED = Recipe.model_validate(
    {
        **RECIPE.model_dump(mode="json"),
        "computed": {"share": "answer.refund * 10 / row.Amount"},
        "checks": [
            {
                "name": "cap",
                "that": "answer.refund <= row.Amount",
                "message": "no more than was paid can come back",
            }
        ],
    }
)


def test_what_is_computed_follows_a_correction(
    local_ledger: Engine, call: Call, tmp_path: Path
) -> None:
    submitted(local_ledger, tmp_path, 4, RULED)
    call("review", "b", "--export", "r.xlsx")
    (row,) = [row for row in lines(tmp_path / "r.xlsx", "AI_Review") if row["Vendor"] == "V3"]
    assert "AI_Share" in row
    assert "Correction AI_Share" not in row, "nobody corrects arithmetic by hand"
    fill(tmp_path / "r.xlsx", 2, Decision="correct", Correction_AI_Refund=0.1)
    code, _, err = call("review", "b", "--import", "r.xlsx")
    assert (code, err) == (0, "")
    (decision,) = kept(local_ledger)
    assert decision[0] == 3
    assert decision[5]["refund"] == 0.1
    assert decision[5]["share"] == 0.03, "1 / 30, rounded to cents"
    call("export", "b", "out.xlsx")
    (final,) = [row for row in lines(tmp_path / "out.xlsx", "Refunds") if row["Vendor"] == "V3"]
    assert final["AI_Share"] == 0.03
    assert final["AI_Sources"] == (
        "reviewer: AI_Refund; computed: AI_Share; openai (gpt-5-mini): the others"
    )


def test_a_correction_that_fails_a_check_is_recorded_and_said(
    local_ledger: Engine, call: Call, tmp_path: Path
) -> None:
    submitted(local_ledger, tmp_path, 4, RULED)
    call("review", "b", "--export", "r.xlsx")
    fill(tmp_path / "r.xlsx", 2, Decision="correct", Correction_AI_Refund=31)
    fill(tmp_path / "r.xlsx", 3, Decision="correct", Correction_AI_Refund=20)
    code, out, err = call("review", "b", "--import", "r.xlsx")
    assert (code, out.splitlines()[0][:14]) == (0, "2 rows decided")
    assert err == (
        "1 row does not pass the recipe's checks as corrected, and is recorded all the same; the "
        "first is B2: cap: no more than was paid can come back\n"
    )
    assert [each[5]["refund"] for each in kept(local_ledger)] == [20, 31]


def test_documents_of_a_row_are_links(local_ledger: Engine, call: Call, tmp_path: Path) -> None:
    submitted(local_ledger, tmp_path, 2)
    files = [("/invoices", "a b.pdf"), ("/invoices", "2026/ü.pdf"), ("s3://bucket/in", "c.pdf")]
    with local_ledger.begin() as connection:
        for position, (root, path) in enumerate(files):
            new = NewDocument(root, path, "1", "1:eng")
            values = {"id": new.id, "root": root, "path": path, "version": "1", "reading": "1:eng"}
            connection.execute(insert(Document).values(state="ready", **values))
            place = {"batch_id": "b", "number": 1, "position": position, "column": "File"}
            connection.execute(insert(RowDocument).values(document_id=new.id, **place))
    assert call("review", "b", "--export", "r.xlsx")[0] == 0
    sheet = openpyxl.load_workbook(tmp_path / "r.xlsx")["AI_Review"]
    columns = {str(cell.value): cell.column for cell in sheet[1]}
    (row,) = [each[0].row for each in sheet.iter_rows(min_row=2) if each[0].value == 4]
    cells = [sheet.cell(row, columns[f"Document_{number}"]) for number in (1, 2, 3)]
    assert [cell.value for cell in cells] == ["a b.pdf", "2026/ü.pdf", "s3://bucket/in/c.pdf"]
    targets = [cell.hyperlink.target if cell.hyperlink else None for cell in cells]
    assert targets == ["file:///invoices/a%20b.pdf", "file:///invoices/2026/%C3%BC.pdf", None]
    fill(tmp_path / "r.xlsx", row, Decision="approve")
    assert call("review", "b", "--import", "r.xlsx")[0] == 0


def test_what_an_answer_cites_stands_beside_it(
    local_ledger: Engine, call: Call, tmp_path: Path
) -> None:
    submitted(local_ledger, tmp_path, 1)
    parts = {"documents": {"columns": ["File"]}, "evidence": {"for": ["refund"]}}
    source = {"name": "a b.pdf", "document": 1, "page": 3, "quote": "Total 0.25", "found": "exact"}
    with local_ledger.begin() as connection:
        recipe = RECIPE.model_dump(mode="json") | parts
        connection.execute(update(Batch).values(recipe=recipe, documents="/invoices"))
        cited = answer(0) | {"evidence": {"refund": source}}
        connection.execute(update(Row).values(output=cited))
    assert call("review", "b", "--export", "r.xlsx")[0] == 0
    sheet = openpyxl.load_workbook(tmp_path / "r.xlsx")["AI_Review"]
    cells = {str(head.value): cell for head, cell in zip(sheet[1], sheet[2], strict=True)}
    assert cells["AI_Refund_Quote"].value == "Total 0.25"
    assert cells["AI_Refund_Page"].value == 3
    link = cells["AI_Refund_Document"]
    assert (link.value, link.data_type) == ("a b.pdf", "s")
    assert link.hyperlink.target == "file:///invoices/a%20b.pdf"
    fill(tmp_path / "r.xlsx", 2, Decision="correct", Correction_AI_Refund=3)
    assert call("review", "b", "--import", "r.xlsx")[0] == 0
    assert kept(local_ledger)[0][5] == cited | {"refund": 3}, "what was cited stays on record"
    assert "cite documents" in call("review", "b", "--examples", 2)[2]


def test_examples_are_those_of_a_recipe(local_ledger: Engine, call: Call, tmp_path: Path) -> None:
    submitted(local_ledger, tmp_path, 3)
    call("review", "b", "--export", "r.xlsx")
    for row in (2, 3, 4):
        fill(tmp_path / "r.xlsx", row, Decision="approve")
    assert call("review", "b", "--import", "r.xlsx")[0] == 0
    found = yaml.safe_load(call("review", "b", "--examples", 3)[1])
    recipe = RECIPE.model_dump(mode="json") | {"examples": found}
    (tmp_path / "next.yaml").write_text(yaml.safe_dump(recipe), "utf-8")
    assert len(loading.load(tmp_path / "next.yaml").examples) == 3
