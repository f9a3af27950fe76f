"""Answers are computed, checked and approved as the recipe says."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from rowfleet.analysis import Permanent, Question, Usage, answer_of
from rowfleet.answers import reasons
from rowfleet.answers.judging import Judged, judge
from rowfleet.answers.reasons import LONGEST_MESSAGE, MOST_REASONS, Reason
from rowfleet.documents.asked import AskedDocument
from rowfleet.documents.extracted import Extracted, Kind, Page
from rowfleet.errors import InputError
from rowfleet.recipes.loading import parse
from tests.support.ledger import ECHO

RECIPE = """\
name: refunds
columns: [Tax, Date]
prompt: Audit the row.
output:
  type: object
  properties:
    percent: {type: number}
    confidence: {type: integer}
    law: {type: string}
computed:
  refund: row.Tax * answer.percent / 100
  is_large: answer.refund >= 10000
  size: "answer.is_large ? 'large' : 'small'"
checks:
  - {name: share, that: answer.percent <= 100, message: more than all of it, else: reask}
  - {name: tax, that: answer.refund <= row.Tax, message: more than the tax}
  - {name: law, that: answer.law != "", else: fail}
  - {name: day, that: row.Date >= "2020-01-01"}
auto_approve: answer.confidence >= 95 && !answer.is_large
"""
RECIPE = parse(RECIPE, "r.yaml")  # type: ignore[assignment]
RIGHT = {"percent": 10, "confidence": 96, "law": "RCW 82"}


def judged(output: dict[str, Any] | None = None, **cells: Any) -> Judged:
    cells = {"Tax": 100.0, "Date": date(2026, 5, 1), **cells}
    return judge(Question(RECIPE, "m", 1, cells), {**RIGHT, **(output or {})})  # type: ignore[arg-type]


def test_a_right_answer_is_computed_and_approved() -> None:
    found = judged()
    assert found.output == {**RIGHT, "refund": 10.0, "is_large": False, "size": "small"}
    assert list(found.output)[-3:] == ["refund", "is_large", "size"]
    assert (found.all_reasons, found.failure, found.is_approved) == ((), None, True)


def test_only_what_meets_the_rule_is_approved() -> None:
    assert not judged({"confidence": 94}).is_approved
    assert not judged(Tax=1_000_000.0).is_approved


def test_a_broken_check_is_to_mend_to_review_or_fails_as_it_says() -> None:
    found = judged({"percent": 101})
    assert found.to_mend == (Reason("share", "more than all of it", "percent"),)
    assert found.reasons == (Reason("tax", "more than the tax", "refund"),)
    assert not found.is_approved
    assert judged({"law": ""}).failure == 'law: answer.law != "" does not hold'
    with pytest.raises(Permanent, match="the answer failed a check: law") as error:
        answer_of(judged({"law": ""}), Usage(calls=1))
    assert error.value.usage.calls == 1


def test_what_the_cells_make_impossible_is_never_the_models_to_mend() -> None:
    found = judged(Tax=None, Date="soon")
    assert found.output["refund"] is None
    assert found.to_mend == ()
    assert [str(reason) for reason in found.reasons] == [
        "refund: it can't be computed: row.Tax is blank",
        "is_large: it can't be computed: answer.refund is blank",
        "size: it can't be computed: answer.is_large is blank",
        "tax: it can't be checked: answer.refund and row.Tax are blank",
    ]
    assert not found.is_approved


def test_an_amount_of_more_digits_than_a_cell_holds_is_not_written() -> None:
    found = judged({"percent": 11}, Tax=99999999999999.9)
    assert found.output["refund"] is None
    assert "more than the 15 digits" in str(found.reasons[0])


def test_a_recipe_without_rules_gets_its_answer_back_untouched() -> None:
    output = {"answer": "x", "score": 1}
    assert judge(Question(ECHO, "m", 1, {}), output) == Judged(output)


def test_reasons_are_bounded_and_on_one_line() -> None:
    kept = reasons.encode([Reason("a", "x\n\x1b[2J" * 999, "f")] * 99)
    assert len(kept) == MOST_REASONS
    assert len(kept[0]["message"]) <= LONGEST_MESSAGE
    assert kept[0]["message"].isprintable()
    assert reasons.decode(kept)[0].field == "f"
    assert reasons.decode(None) == ()


DOCUMENTED = """\
name: documented
columns: [Tax, Files]
documents: {columns: Files}
prompt: Audit the row.
output: {type: object, properties: {is_exempt: {type: boolean}}}
checks:
  - name: certificate
    that: '!answer.is_exempt || documents.exists(d, d.text.contains("EXEMPTION CERTIFICATE"))'
    message: an exemption needs a certificate
  - {name: read, that: "documents.all(d, d.problem == null && !d.is_cut && d.pages < 3)"}
"""


def test_a_check_looks_into_the_rows_documents() -> None:
    recipe = parse(DOCUMENTED, "r.yaml")
    pages = (Page(1, "Invoice 7"), Page(2, "EXEMPTION CERTIFICATE no. 3"))
    whole = AskedDocument("a.pdf", "Files", Extracted(Kind.PDF, pages, 2))
    cut = AskedDocument("b.pdf", "Files", Extracted(Kind.PDF, pages[:1], 2))
    gone = AskedDocument("c.pdf", "Files", None, "no such file")

    def broken(*documents: AskedDocument) -> list[str]:
        question = Question(recipe, "m", 2, {"Tax": 1, "Files": "…"}, documents=documents)
        return [reason.name for reason in judge(question, {"is_exempt": True}).all_reasons]

    assert broken(whole) == []
    assert broken(cut) == ["certificate", "read"]
    assert broken(gone, whole) == ["read"]


def test_only_a_recipe_with_documents_has_rules_on_them() -> None:
    text = DOCUMENTED.replace("documents: {columns: Files}\n", "")
    with pytest.raises(InputError, match=r"checks\.certificate: there is no name 'documents'"):
        parse(text, "r.yaml")
    with pytest.raises(InputError, match=r"there is no property 'txt'; 'text' is there \(line 8, "):
        parse(DOCUMENTED.replace("d.text", "d.txt"), "r.yaml")


KEYED = """\
name: keyed
columns: [Code]
prompt: Audit the row.
output: {type: object, properties: {law: {type: string}}}
lookups:
  laws: {values: [RCW 1, 7]}
  rates: {table: {"7": {rate: 2}}, join: Code}
checks:
  - {name: law, that: answer.law in lookups.laws}
  - {name: code, that: "row.Code in lookups.laws && lookups.rates[row.Code].rate == 2"}
"""


@pytest.mark.parametrize(("law", "code"), [(" RCW 1 ", 7), ("7", 7.0), ("RCW 1", "7 ")])
def test_a_key_is_found_whatever_its_kind_and_the_blanks_around_it(law: str, code: Any) -> None:
    found = judge(Question(parse(KEYED, "r.yaml"), "m", 2, {"Code": code}), {"law": law})
    assert found.all_reasons == ()


@pytest.mark.parametrize(("missing", "names"), [("review", ["rates", "code"]), ("allow", ["code"])])
def test_a_missing_key_needs_review_unless_that_is_all_right(
    missing: str, names: list[str]
) -> None:
    recipe = parse(KEYED.replace("join: Code", f"join: Code, missing: {missing}"), "r.yaml")
    found = judge(Question(recipe, "m", 2, {"Code": 8}), {"law": "rcw 1"})
    assert [reason.name for reason in found.all_reasons] == [*names[:-1], "law", names[-1]]
