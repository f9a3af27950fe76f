"""An answer's sources are looked up; a quote that is not there, and a claim without one, show."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from rowfleet.answers.backing import look_up
from rowfleet.documents.asked import AskedDocument
from rowfleet.documents.extracted import Extracted, Kind, Page
from rowfleet.recipes.parts.evidence import EVIDENCE, Evidence
from rowfleet.recipes.recipe import Recipe

INVOICE = AskedDocument(
    "acme/1.pdf",
    "Invoice File",
    Extracted(Kind.PDF, (Page(1, "Harbourline"), Page(2, "Pallets 1,020.00\nVAT 204.00")), 2),
)
UNREAD = AskedDocument("acme/2.pdf", "Invoice File", None, "there is no such file")

RECIPE: dict[str, Any] = {
    "name": "backed",
    "prompt": "Find it.",
    "documents": {"columns": ["Invoice File"]},
    "evidence": {"for": ["amount", "tax"], "quote": True},
    "output": {
        "type": "object",
        "properties": {
            "amount": {"type": ["number", "null"]},
            "tax": {"type": ["number", "null"]},
            "reason": {"type": "string"},
        },
    },
}


def recipe(**changes: Any) -> Recipe:
    return Recipe.model_validate({**RECIPE, **changes})


def answer(amount: Any, tax: Any) -> dict[str, Any]:
    return {
        EVIDENCE: {"amount": amount, "tax": tax},
        "amount": 1020.0,
        "tax": 204.0,
        "reason": "as billed",
    }


def cited(quote: str, page: int = 2) -> dict[str, Any]:
    return {"document": 1, "page": page, "quote": quote}


def evidence() -> Evidence:
    found = recipe().evidence
    assert found is not None
    return found


def test_the_strict_schema_asks_for_the_sources_first() -> None:
    schema = recipe().strict_schema()
    assert list(schema["properties"]) == [EVIDENCE, "amount", "tax", "reason"]
    assert schema["required"] == [EVIDENCE, "amount", "tax", "reason"]
    sources = schema["properties"][EVIDENCE]
    assert sources["required"] == ["amount", "tax"]
    assert sources["additionalProperties"] is False
    source, nothing = sources["properties"]["amount"]["anyOf"]
    assert source["required"] == ["document", "page", "quote"]
    assert source["additionalProperties"] is False
    assert nothing == {"type": "null"}


def test_an_answer_with_sources_fits_and_one_without_does_not() -> None:
    backed = recipe()
    assert backed.problem_with(answer(cited("Pallets 1,020.00"), None)) is None
    assert backed.problem_with(answer(cited("Pallets 1,020.00"), {"quote": "VAT"})) is not None
    without = answer(None, None)
    del without[EVIDENCE]
    assert backed.problem_with(without) is not None


def test_sources_are_no_column_of_their_own() -> None:
    assert list(recipe().headers()) == ["amount", "tax", "reason"]


def test_a_recipe_without_the_part_stays_the_same_batch() -> None:
    assert "evidence" not in recipe(evidence=None).snapshot()
    kept = recipe().snapshot()
    assert kept["evidence"] == {"for": ["amount", "tax"]}
    assert Recipe.model_validate(kept) == recipe()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"evidence": {"for": ["total"]}}, "for names 'total', which output does not have"),
        ({"evidence": {"for": ["amount", "amount"]}}, "for names a field twice"),
        ({"evidence": {"for": []}}, "at least 1 item"),
        ({"documents": None}, "evidence needs documents"),
        ({"evidence": {"for": ["tax"], "quote": False, "numbers": True}}, "looked for in quotes"),
        ({"result_columns": {"reason": "AI_Tax_Page"}}, "gives the header 'AI_Tax_Page' twice"),
        ({"evidence": {"for": ["amount"], "quotes": True}}, "Extra inputs are not permitted"),
        (
            {"output": {"type": "object", "properties": {"evidence": {}, "amount": {}, "tax": {}}}},
            "output has a property 'evidence'",
        ),
    ],
)
def test_a_mistake_in_the_part_is_named(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        recipe(**changes)


def test_quotes_that_are_there_leave_no_reason() -> None:
    backed = look_up(evidence(), [INVOICE], answer(cited("Pallets 1,020.00"), cited("VAT 204.00")))
    assert (backed.to_mend, backed.reasons) == ((), ())
    assert backed.output["amount"] == 1020.0
    assert backed.output[EVIDENCE]["amount"]["found"] is True
    assert backed.output[EVIDENCE]["tax"]["page"] == 2
    assert backed.output[EVIDENCE]["tax"]["name"] == "acme/1.pdf"


def test_a_quote_that_is_not_there_is_to_mend_and_says_which() -> None:
    backed = look_up(evidence(), [INVOICE], answer(cited("Pallets 1,120.00"), cited("VAT 204.00")))
    assert backed.reasons == ()
    (reason,) = backed.to_mend
    assert (reason.name, reason.field) == ("evidence", "amount")
    assert "'Pallets 1,120.00' for amount is not in document 1; page 2 has 9" in reason.message
    assert backed.output[EVIDENCE]["amount"]["found"] is False


@pytest.mark.parametrize(
    ("quote", "sentence"),
    [
        ("", "the quote for amount is empty"),
        (" \n", "the quote for amount is empty"),
        ("…", "is not in document 1"),
        ("x" * 3_000, "has more than 2,000 characters"),
        ("Pallets " * 30, "Pallets …' for amount"),
    ],
)
def test_a_quote_of_no_use_is_to_mend(quote: str, sentence: str) -> None:
    (reason,) = look_up(evidence(), [INVOICE], answer(cited(quote), cited("VAT 204.00"))).to_mend
    assert sentence in reason.message
    assert len(reason.message) < 300


def test_a_claim_without_a_source_needs_review_and_is_not_asked_again() -> None:
    backed = look_up(evidence(), [INVOICE], answer(None, cited("VAT 204.00")))
    assert backed.to_mend == ()
    assert [reason.message for reason in backed.reasons] == ["no document is named for amount"]


def test_no_claim_needs_no_source() -> None:
    output = {**answer(None, cited("VAT 204.00")), "amount": None}
    assert look_up(evidence(), [INVOICE], output).reasons == ()


def test_a_row_without_a_document_can_cite_none() -> None:
    backed = look_up(evidence(), [], answer(None, None))
    assert (backed.to_mend, backed.reasons) == ((), ())
    (reason,) = look_up(evidence(), [], answer(cited("Pallets 1,020.00"), None)).to_mend
    assert reason.message == "a source is named for amount, but the row has no document"


def test_a_document_that_could_not_be_read_backs_nothing() -> None:
    backed = look_up(evidence(), [UNREAD], answer(cited("Pallets 1,020.00"), None))
    assert len(backed.to_mend) == 1
    assert len(backed.reasons) == 1


def test_pages_alone_can_be_asked_for() -> None:
    pages = recipe(evidence={"for": ["amount"], "quote": False})
    source = pages.strict_schema()["properties"][EVIDENCE]["properties"]["amount"]["anyOf"][0]
    assert source["required"] == ["document", "page"]
    assert pages.evidence is not None
    output = {**answer(None, None), EVIDENCE: {"amount": {"document": 1, "page": 2}}}
    assert look_up(pages.evidence, [INVOICE], output).to_mend == ()
    output = {**answer(None, None), EVIDENCE: {"amount": {"document": 1, "page": 3}}}
    (reason,) = look_up(pages.evidence, [INVOICE], output).to_mend
    assert reason.message == "there is no page 3 in document 1, named for amount"


def numbered() -> Evidence:
    found = recipe(evidence={"for": ["amount", "tax"], "numbers": True}).evidence
    assert found is not None
    return found


def test_a_number_has_to_stand_in_its_quote_where_the_recipe_wants_it() -> None:
    swapped = answer(cited("VAT 204.00"), cited("Pallets 1,020.00"))
    assert look_up(evidence(), [INVOICE], swapped).to_mend == ()
    first, second = look_up(numbered(), [INVOICE], swapped).to_mend
    assert first.message == "the quote 'VAT 204.00' for amount does not hold 1020.0"
    assert second.field == "tax"
    right = answer(cited("Pallets 1,020.00"), cited("VAT 204.00"))
    assert look_up(numbered(), [INVOICE], right).to_mend == ()


def test_only_numbers_have_to_stand_in_their_quotes() -> None:
    output = {**answer(cited("Harbourline", 1), None), "amount": "Harbourline Ltd"}
    assert look_up(numbered(), [INVOICE], output).to_mend == ()
