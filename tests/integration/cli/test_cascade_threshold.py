"""`rowfleet evaluate --cascade` proposes a threshold from two batches over labelled rows."""

from __future__ import annotations

import json
import random
import re

import pytest
from sqlalchemy import Engine

from tests.support.commands import Call
from tests.support.labelled import AUDIT, BASES, Answered, answered_batch

LABELS = ("--against", "Checked basis=basis")
#: Confidence of the cheap model → how often it is right.
CHANCES = {95: 0.98, 85: 0.95, 60: 0.6}


def two_models(engine: Engine, rows: int = 1_000) -> None:
    """Record the batches `cheap` and `strong` over the same rows, at a tenth of the price."""
    draw = random.Random(1)
    cheap, strong = [], []
    for number in range(rows):
        label, confidence = draw.choice(BASES), draw.choice(list(CHANCES))
        wrong = next(name for name in BASES if name != label)
        cells = (f"Vendor {number}", label, 1)
        for batch, chance, cost in ((cheap, CHANCES[confidence], 0.001), (strong, 0.98, 0.01)):
            basis = label if draw.random() < chance else wrong
            output = {"basis": basis, "refund": 1, "confidence": confidence}
            batch.append(Answered(cells, output, cost=cost))
    answered_batch(engine, cheap, batch_id="cheap")
    answered_batch(
        engine, strong, batch_id="strong", recipe=AUDIT.model_copy(update={"model": "gpt-5"})
    )


def test_the_cheapest_safe_threshold_is_proposed(call: Call, named_ledger: Engine) -> None:
    two_models(named_ledger)
    wanted = (*LABELS, "--cascade", "strong", "--margin", "0.04")
    code, out, err = call("evaluate", "cheap", *wanted, "--json")
    assert code == 0, err
    found = json.loads(out)["cascade"]
    proposal = found["proposal"]
    assert (found["cheap_model"], found["strong_model"]) == ("gpt-5-mini", "gpt-5")
    assert found["goes_up_if"] == "answer.confidence < 85"
    assert proposal["chosen"]["confidence"] == 0.85
    assert proposal["chosen"]["goes_up"] == pytest.approx(1 / 3, abs=0.04)
    assert proposal["chosen"]["cost"] == pytest.approx(0.1 + proposal["chosen"]["goes_up"])
    assert proposal["rows"] == 1_000
    code, out, err = call("evaluate", "cheap", *wanted)
    assert code == 0, err
    row = r"│ 85\.0 % ← +│ 3\d\.\d % +│ 9\d\.\d % +│ [0-3]\.\d points +│ 4\d\.\d % +│"
    assert re.search(row, out)
    said = (
        r"send a row up if answer\.confidence < 85: 3\d\.\d % of the rows go up; it costs "
        r"4\d\.\d % of sending all rows to gpt-5, and saves 5\d\.\d %; accuracy 9\d\.\d % \(.*\), "
        r"with 95 % confidence at most 4 points below gpt-5"
    )
    assert re.search(said, out)


def test_a_margin_that_no_threshold_keeps_is_said(call: Call, named_ledger: Engine) -> None:
    two_models(named_ledger, rows=40)
    code, out, err = call("evaluate", "cheap", *LABELS, "--cascade", "strong", "--margin", "0.001")
    assert code == 0, err
    assert "no cascade: within 0.1 points of gpt-5 none costs less than sending it all rows" in out


def test_a_row_without_a_cheap_answer_goes_up(call: Call, named_ledger: Engine) -> None:
    right = {"basis": "none", "refund": 1, "confidence": 90}
    rows = [Answered(("Acme", "none", 1), right if n else None) for n in range(300)]
    answered_batch(named_ledger, rows, batch_id="cheap")
    both = [Answered(row.cells, right) for row in rows]
    answered_batch(named_ledger, both, batch_id="strong")
    code, out, err = call("evaluate", "cheap", *LABELS, "--cascade", "strong", "--json")
    assert code == 0, err
    chosen = json.loads(out)["cascade"]["proposal"]["chosen"]
    assert (chosen["confidence"], chosen["goes_up"]) == (0.9, pytest.approx(1 / 300))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            ("--against-reviews", "--cascade", "strong"),
            "--cascade: labels come from columns; give --against COLUMN[=PROPERTY]",
        ),
        ((*LABELS, "--cascade", "nil"), "there is no batch 'nil' in this ledger"),
        ((*LABELS, "--cascade", "cheap"), "--cascade: cheap is the batch itself"),
        (
            (*LABELS, "--cascade", "strong", "--margin", "2"),
            "Invalid value for '--margin': 2.0 is not in the range 0<=x<=1",
        ),
    ],
)
def test_bad_input_is_one_sentence(
    call: Call, named_ledger: Engine, options: tuple[str, ...], sentence: str
) -> None:
    two_models(named_ledger, rows=5)
    code, out, err = call("evaluate", "cheap", *options)
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert err.startswith(f"rowfleet: {sentence}")


def test_a_recipe_without_a_confidence_is_refused(call: Call, named_ledger: Engine) -> None:
    basis = AUDIT.output["properties"]["basis"]
    recipe = AUDIT.model_copy(update={"output": {"type": "object", "properties": {"basis": basis}}})
    for name in ("cheap", "strong"):
        rows = [Answered(("Acme", "none", 1), {"basis": "none"})]
        answered_batch(named_ledger, rows, batch_id=name, recipe=recipe)
    code, _, err = call("evaluate", "cheap", *LABELS, "--cascade", "strong")
    assert code == 2
    assert err.startswith("rowfleet: --cascade: the recipe 'audit' asks for no confidence; add a")
