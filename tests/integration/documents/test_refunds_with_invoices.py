"""The example's invoices are read, and the rules find each contradiction that figures show."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from openpyxl import load_workbook

from rowfleet.analysis import Answer, Question
from rowfleet.documents.asked import AskedDocument
from rowfleet.documents.opener import Opener
from rowfleet.recipes.loading import bundled
from worker.analyzers.rules.analyzer import RulesAnalyzer

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
RECIPE = bundled("refunds-with-invoices")

#: Kind of seeded contradiction → the basis that the rules give for it; only a model can read prose.
BASIS = {
    "quantity_above_invoice": "differs_from_invoice",
    "price_above_invoice": "differs_from_invoice",
    "tax_rate_above_invoice": "differs_from_invoice",
    "another_currency": "differs_from_invoice",
    "line_not_on_invoice": "not_on_invoice",
    "another_invoice": "another_invoice",
    "goods_returned": "none",
}


def _rows() -> Iterator[dict[str, Any]]:
    sheet = load_workbook(EXAMPLES / "Refunds_with_Invoices.xlsx", read_only=True).active
    assert sheet is not None
    header, *rows = sheet.iter_rows(values_only=True)
    for row in rows:
        yield dict(zip(map(str, header), row, strict=True))


@pytest.fixture(scope="module")
def answers() -> list[tuple[str, Answer]]:
    """Return the file and the answer of each row."""
    analyzer = RulesAnalyzer(lambda: date(2025, 10, 1))
    answered = []
    with Opener("eng") as opener:
        for number, cells in enumerate(_rows()):
            name = cells["Invoice_File"]
            with (EXAMPLES / "invoices" / name).open("rb") as file:
                document = AskedDocument(name, "Invoice_File", opener.read(file, name))
            question = Question(RECIPE, "gpt-5-mini", number, cells, documents=[document])
            answered.append((name, analyzer.answer(question)))
    return answered


def test_every_contradiction_that_figures_show_is_found_and_no_other_row(
    answers: list[tuple[str, Answer]],
) -> None:
    kinds = json.loads((EXAMPLES / "refunds_with_invoices_defects.json").read_text())
    assert set(kinds.values()) == set(BASIS)
    found = {str(number): answer.output["basis"] for number, (_, answer) in enumerate(answers)}
    assert found == {number: BASIS.get(kinds.get(number), "none") for number in found}


def test_every_claim_has_page_and_quote(answers: list[tuple[str, Answer]]) -> None:
    for name, answer in answers:
        assert answer.reasons == (), name
        for field, source in answer.output["evidence"].items():
            assert (source is None) == (answer.output[field] is None), name
            if source is not None:
                assert source["found"] is True, name
                assert source["quote"]
                has_paper = not name.endswith((".docx", ".html", ".txt", ".eml"))
                assert bool(source["boxes"]) or not has_paper, name


def test_a_line_of_a_scan_is_told_from_one_that_is_misread_alike(
    answers: list[tuple[str, Answer]],
) -> None:
    """`site 11` of this scan is read as `site 14`, the row's own line."""
    sources = [
        answer.output["evidence"]["invoice_amount"]
        for name, answer in answers
        if name == "stonebridge/SBL-01212.pdf"
    ]
    assert sources[1]["page"] == 2
    assert sources[1]["quote"].endswith("1,735.38")


def test_the_line_on_page_3_has_its_page_and_its_place(answers: list[tuple[str, Answer]]) -> None:
    source = next(
        answer.output["evidence"]["invoice_amount"]
        for name, answer in answers
        if name == "atelier/FAC01128.pdf"
    )
    assert source["page"] == 3
    ((left, top, right, bottom),) = source["boxes"]
    assert (left < 1_000, right > 9_000) == (True, True)
    assert bottom - top < 300
