"""What the rules find in a row's invoice, and that they leave odd documents alone."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowfleet.analysis import Answer, Question
from rowfleet.documents.asked import AskedDocument
from rowfleet.documents.extracted import Extracted, Kind, Page
from rowfleet.recipes.loading import bundled
from worker.analyzers.rules.analyzer import RulesAnalyzer

RECIPE = bundled("refunds-with-invoices")

ROW: dict[str, Any] = {
    "Vendor": "Harbourline",
    "Invoice_Number": "HLF01170",
    "Date": "2025-03-01",
    "Description": "Pallet delivery Leeds–Bristol",
    "Quantity": 12,
    "Unit_Price": 85.0,
    "Amount": 1020.0,
    "Tax_Rate": 0.2,
    "Tax": 204.0,
    "Total": 1224.0,
    "Currency": "GBP",
}

FIRST = "Harbourline Freight\nInvoice no. HLF01170\nCurrency GBP"
SECOND = """Description                     Quantity  Price  Tax   Amount
Pallet delivery Leeds–Bristol, site 2  3  85.00  20 %  255.00
Pallet delivery Leeds–Bristol         12  85.00  20 %  1,020.00
Same-day courier                       2  30.00  20 %  60.00"""


def asked(*pages: str, is_ocr: bool = False) -> AskedDocument:
    read = [Page(at, text, is_ocr=is_ocr) for at, text in enumerate(pages, start=1)]
    return AskedDocument("a.pdf", "Invoice_File", Extracted(Kind.PDF, tuple(read), len(read)))


def audit(*documents: AskedDocument, **changes: Any) -> Answer:
    question = Question(RECIPE, "gpt-5-mini", 7, {**ROW, **changes}, documents=documents)
    return RulesAnalyzer(lambda: date(2025, 10, 1)).answer(question)


def basis(answer: Answer) -> tuple[Any, Any]:
    return answer.output["basis"], answer.output["estimated_refund"]


INVOICE = asked(FIRST, SECOND)


def test_a_row_that_agrees_has_its_sources() -> None:
    answer = audit(INVOICE)
    assert basis(answer) == ("none", 0)
    assert answer.reasons == ()
    assert answer.output["invoice_number"] == "HLF01170"
    assert answer.output["invoice_amount"] == 1020.0
    number, amount = answer.output["evidence"].values()
    assert (number["page"], number["quote"], number["found"]) == (1, "Invoice no. HLF01170", True)
    assert (amount["document"], amount["page"], amount["found"]) == (1, 2, True)
    assert amount["quote"].split() == [
        "Pallet",
        "delivery",
        "Leeds–Bristol",
        "12",
        "85.00",
        "20",
        "%",
        "1,020.00",
    ]


@pytest.mark.parametrize(
    ("changes", "found", "refund"),
    [
        ({"Quantity": 14, "Amount": 1190.0, "Tax": 238.0, "Total": 1428.0}, "quantity 12", 204.0),
        ({"Unit_Price": 95.0, "Amount": 1140.0, "Tax": 228.0, "Total": 1368.0}, "price 85", 144.0),
        ({"Tax_Rate": 0.25, "Tax": 255.0, "Total": 1275.0}, "tax at 20 %, not 25 %", 51.0),
        ({"Currency": "EUR"}, "The invoice is in GBP, the row in EUR", 0),
        ({"Unit_Price": 75.0, "Amount": 900.0, "Tax": 180.0, "Total": 1080.0}, "not 900.00", 0),
    ],
)
def test_a_row_that_differs_is_found_with_the_excess(
    changes: dict[str, Any], found: str, refund: float
) -> None:
    answer = audit(INVOICE, **changes)
    assert basis(answer) == ("differs_from_invoice", refund)
    assert found in answer.output["explanation"]


def test_an_invoice_with_another_number_proves_nothing() -> None:
    answer = audit(INVOICE, Invoice_Number="HLF01171")
    assert basis(answer) == ("another_invoice", 0)
    assert answer.output["invoice_amount"] is None
    assert answer.output["evidence"] == {"invoice_number": None, "invoice_amount": None}
    assert answer.reasons == ()


def test_an_invoice_without_the_line_is_found() -> None:
    answer = audit(INVOICE, Description="Customs clearance")
    assert basis(answer) == ("not_on_invoice", 0)


def test_of_several_lines_the_one_that_agrees_counts() -> None:
    other = SECOND.replace("Same-day courier              ", "Pallet delivery Leeds–Bristol ")
    assert basis(audit(asked(FIRST, other))) == ("none", 0)


def test_a_scan_is_read_through_its_mistakes() -> None:
    scan = asked(
        FIRST.replace("HLF01170", "HLFO117O"),
        "Pallet dellvery Leeds—Bristol  l2  85,00.  20% ~  1,O20.00",
        is_ocr=True,
    )
    answer = audit(scan)
    assert basis(answer) == ("none", 0)
    assert answer.reasons == ()
    assert answer.output["evidence"]["invoice_amount"]["found"] is True


def test_a_row_without_a_document_is_judged_by_itself() -> None:
    unread = AskedDocument("a.pdf", "Invoice_File", None, "there is no such file")
    for documents in ((), (unread,)):
        answer = audit(*documents)
        assert basis(answer) == ("none", 0)
        assert answer.output["invoice_amount"] is None
    assert basis(audit(Total=1300.0)) == ("arithmetic_error", 76.0)


@given(st.text(max_size=400), st.booleans())
def test_whatever_a_document_says_there_is_an_answer(text: str, is_ocr: bool) -> None:
    answer = audit(asked(f"Invoice no. HLF01170\n{text}", text, is_ocr=is_ocr))
    assert (
        RECIPE.problem_with({**answer.output, "evidence": dict.fromkeys(answer.output["evidence"])})
        is None
    )


def test_a_long_hostile_document_is_read_in_bounds() -> None:
    """It would take hours if each line were compared with each other one."""
    line = "Pallet delivery Leeds–Bristol " + "1 " * 3_000
    answer = audit(asked(*["\n".join([line] * 200)] * 100))
    assert answer.output["basis"] == "another_invoice"
