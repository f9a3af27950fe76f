"""The example's rules: each violation is caught by its check, and no right answer is flagged."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from rowfleet.analysis import Question
from rowfleet.answers.judging import Judged, judge
from rowfleet.recipes import loading

FILE = Path(__file__).parents[4] / "examples" / "recipes" / "use-tax-refunds.yaml"
RECIPE = loading.load(FILE)
CITATIONS = RECIPE.lookups["citations"].values
ROWS = 2_000

Row = dict[str, Any]
Answer = dict[str, Any]


def labelled(number: int) -> tuple[Row, Answer]:
    """Return a row and a right answer to it, the same for the same number."""
    draw = random.Random(number)
    amount = round(draw.uniform(0.01, 90_000), 2)
    row = {
        "Vendor": f"Vendor {number % 97}",
        "Invoice_Number": f"I{number}",
        "Date": date(2025, 1 + number % 12, 1 + number % 28),
        "Description": draw.choice(["Software licences", "Consulting", "Servers", "Freight"]),
        "Amount": amount,
        "Tax": round(amount * draw.choice([6.5, 8.9, 10.1, 10.6]) / 100, 2),
    }
    decision = draw.choice(["refund", "refund", "keep", "ask_vendor"])
    method = "none"
    percent: float = 0
    if decision == "refund":
        method = draw.choice(["fully_exempt", "user_location", "headcount", "separate_lines"])
        percent = 100 if method == "fully_exempt" else round(draw.uniform(1, 99), 2)
    answer = {
        "decision": decision,
        "method": method,
        "allocation_percent": percent,
        "citation": draw.choice(CITATIONS) if decision == "refund" else "",
        "missing": draw.choice(["contract", "user_list"]) if decision == "ask_vendor" else "none",
        "confidence": draw.randint(50, 100),
        "explanation": "The licences are used by people in other states.",
    }
    return row, answer


def judged(row: Row, answer: Answer) -> Judged:
    problem = RECIPE.problem_with(answer)
    assert problem is None, problem
    return judge(Question(RECIPE, "m", 2, row), answer)


LABELLED = [labelled(number) for number in range(ROWS)]


def test_no_right_answer_is_flagged_but_those_of_high_stakes() -> None:
    approved = 0
    for row, answer in LABELLED:
        found = judged(row, answer)
        names = [reason.name for reason in found.all_reasons]
        assert names == (["high-stakes"] if found.output["refund"] >= 10_000 else []), (row, answer)
        assert found.is_approved == (answer["confidence"] >= 95 and not names)
        approved += found.is_approved
    assert 0 < approved < ROWS / 2


def is_refund(answer: Answer) -> bool:
    return bool(answer["decision"] == "refund")


def _invented(row: Row, answer: Answer, draw: random.Random) -> None:
    law = str(answer["citation"])
    answer["citation"] = draw.choice([f"{law}1", law[1:], law.lower(), "", f"{law}; RCW 82.04"])


def _beyond_its_method(row: Row, answer: Answer, draw: random.Random) -> None:
    answer["allocation_percent"] = 99.99 if answer["method"] == "fully_exempt" else 100


def _without_method(row: Row, answer: Answer, draw: random.Random) -> None:
    answer |= {"method": "none", "allocation_percent": 0}


def _kept_with_a_law(row: Row, answer: Answer, draw: random.Random) -> None:
    answer["citation"] = draw.choice(CITATIONS)


def _asked_for_nothing(row: Row, answer: Answer, draw: random.Random) -> None:
    answer["missing"] = "none" if answer["decision"] == "ask_vendor" else "contract"


def _unexplained(row: Row, answer: Answer, draw: random.Random) -> None:
    answer["explanation"] = draw.choice(["", "yes", "Not due."])


def _a_credit(row: Row, answer: Answer, draw: random.Random) -> None:
    row["Tax"] = -row["Tax"]


def _too_much_tax(row: Row, answer: Answer, draw: random.Random) -> None:
    row["Tax"] = round(row["Amount"] * 0.1101 + 0.01, 2)


def _without_tax(row: Row, answer: Answer, draw: random.Random) -> None:
    row["Tax"] = draw.choice([None, "n/a"])


def _any(answer: Answer) -> bool:
    return True


Violate = Callable[[Row, Answer, random.Random], None]

#: Check → what breaks it, and of which right answers.
VIOLATIONS: dict[str, tuple[Violate, Callable[[Answer], bool]]] = {
    "cited": (_invented, is_refund),
    "share-of-method": (_beyond_its_method, is_refund),
    "decision-and-method": (_without_method, is_refund),
    "nothing-cited": (_kept_with_a_law, lambda answer: not is_refund(answer)),
    "vendor-is-asked-for-something": (_asked_for_nothing, _any),
    "explained": (_unexplained, _any),
    "no-more-than-paid": (_a_credit, lambda answer: 0 < answer["allocation_percent"] < 99),
    "plausible-tax": (_too_much_tax, _any),
    "refund": (_without_tax, _any),
}


@pytest.mark.parametrize("check", VIOLATIONS)
def test_every_injected_violation_is_caught_by_its_check(check: str) -> None:
    violate, is_meant = VIOLATIONS[check]
    injected = 0
    for number, (right_row, right_answer) in enumerate(LABELLED):
        if not is_meant(right_answer):
            continue
        row, answer = dict(right_row), dict(right_answer)
        violate(row, answer, random.Random(number))
        found = judged(row, answer)
        assert check in {reason.name for reason in found.all_reasons}, (row, answer)
        assert not found.is_approved
        injected += 1
    assert injected > ROWS / 5


def test_each_check_of_the_recipe_has_a_violation() -> None:
    assert {check.name for check in RECIPE.checks} - {"high-stakes"} == VIOLATIONS.keys() - {
        "refund"
    }
