"""`rowfleet evaluate` on a ledger: its figures, its page, its conditions and its refusals."""

from __future__ import annotations

import json
import re
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from rowfleet.ledger.engine import reading
from rowfleet.ledger.queries.answered import answered_rows
from rowfleet.ledger.queries.batch_records import get_batch
from rowfleet.ledger.review_records import NewDecision
from rowfleet.ledger.statuses import Verdict
from rowfleet.ledger.transitions import reviewing
from submitter.evaluation import intervals, labels
from submitter.evaluation.evaluation import evaluate
from tests.support.commands import Call
from tests.support.labelled import AUDIT, HEADER, Answered, answered_batch, audited

AGAINST = ("--against", "Checked basis=basis")


def said(basis: str, refund: Any = 1.0, confidence: int = 90) -> dict[str, Any]:
    return {"basis": basis, "refund": refund, "confidence": confidence}


ROWS = (
    Answered(("Acme", "None", 10), said("none", 10)),
    Answered(("Acme", " Excess  TAX ", "1,234.50"), said("excess tax", 1234.505)),
    Answered(("Acme", "returned", 5), said("none", 7.5, 60)),
    Answered(("Acme", "returned", 5), None),
    Answered(("Acme", None, "n/a"), said("none", 0)),
)


def test_rows_are_compared_with_their_labels(call: Call, named_ledger: Engine) -> None:
    answered_batch(named_ledger, ROWS)
    code, out, err = call("evaluate", "b", *AGAINST, "--against", "checked_refund=refund", "--json")
    assert code == 0, err
    found = json.loads(out)
    assert (found["rows"], found["labelled"], found["answered"]) == (5, 4, 3)
    basis, refund = found["properties"]
    assert (basis["labelled"], basis["answered"]) == (4, 3)
    assert basis["accuracy"]["value"] == pytest.approx(2 / 3)
    assert basis["confusion"]["names"] == ["none", "excess tax", "returned"]
    assert basis["confusion"]["counts"] == [[1, 0, 0], [0, 1, 0], [1, 0, 0]]
    assert basis["mistakes"] == [
        {"row": 4, "label": "returned", "answer": "none", "confidence": 0.6}
    ]
    assert refund["accuracy"]["value"] == pytest.approx(2 / 3)  # half a cent is no difference
    assert refund["amounts"]["mean_error"]["value"] == pytest.approx(2.505 / 3)
    assert (refund["amounts"]["labelled"], refund["amounts"]["answered"]) == (1249.5, 1252.005)
    assert found["all_right"]["value"] == pytest.approx(2 / 3)
    assert found["cost"]["total_usd"] == pytest.approx(0.003)
    assert found["notes"] == [
        "1 label in 'Checked refund' is no number and is left out, the first in row 6"
    ]


def test_the_terminal_shows_each_figure_with_its_interval(call: Call, named_ledger: Engine) -> None:
    answered_batch(named_ledger, audited(1, 300))
    both = (*AGAINST, "--against", "Checked refund=refund")
    code, out, err = call("evaluate", "b", *both, "--tolerance", 5)
    assert code == 0, err
    assert "300 of 300 labelled rows are answered" in out
    for line in (
        r"│ basis +│ \d\d\.\d % \(\d\d\.\d to \d\d\.\d %\)",
        r"basis: macro F1 \d\d\.\d % \(.*\), kappa 0\.\d{3} \(0\.\d{3} to 0\.\d{3}\)",
        r"│ returned +│ \d+ +│ \d+ +│ \d\d\.\d % \(.*\) +│ \d\d\.\d % \(.*\) +│",
        r"│ mean absolute error +│ \d\.\d\d \(\d\.\d\d to \d\.\d\d\)",
        r"basis by confidence: calibration error .*, overconfidence .*, Brier .*, AUC ",
        r"│ 95\.0 % +│ \d\d\.\d % +│ \d\d\.\d % \(",
        r"cost: \$0\.\d+, a row \$0\.00\d+, a row that is right \$0\.00\d+",
        r"time of a row: median \d\.\d\d \(\d\.\d\d to \d\.\d\d\) s, 19 of 20 within ",
    ):
        assert re.search(line, out), line


def test_a_condition_that_is_not_met_ends_with_1(call: Call, named_ledger: Engine) -> None:
    answered_batch(named_ledger, audited(1, 300))
    for condition, code in (
        ("accuracy=0.85", 0),
        ("accuracy=0.95", 1),
        ("accuracy=0.87", 0),
        ("accuracy.low=0.87", 1),
        ("basis.recall=0.5", 0),
        ("kappa=0.99", 1),
        ("answered=1", 0),
    ):
        found, _, err = call("evaluate", "b", *AGAINST, "--fail-under", condition)
        assert found == code, condition
        assert (f"--fail-under {condition}: of basis it is " in err) == bool(code)
    code, out, _ = call("evaluate", "b", *AGAINST, "--fail-under", "accuracy=0.95", "--json")
    (verdict,) = json.loads(out)["conditions"]
    assert code == 1
    assert (verdict["condition"], verdict["is_met"]) == ("accuracy=0.95", False)


def test_a_figure_that_is_missing_meets_no_condition(call: Call, named_ledger: Engine) -> None:
    answered_batch(named_ledger, ROWS)
    code, _, err = call(
        "evaluate", "b", "--against", "Checked refund=refund", "--fail-under", "kappa=0.1"
    )
    assert code == 1
    assert "--fail-under kappa=0.1: of refund it has no value" in err
    # Two classes have a precision of a half and of 1; the third was never answered.
    code, _, _ = call("evaluate", "b", *AGAINST, "--fail-under", "precision=0.5")
    assert code == 1


EVIL = '<script>alert("x")</script><img src="https://evil.example/x.png">\x1b[31m\ud800'


def test_the_page_stands_alone_and_runs_nothing_of_an_answer(
    call: Call, named_ledger: Engine, tmp_path: Path
) -> None:
    rows = [*audited(1, 300), Answered(("Acme", EVIL[:-1], 1), said("none"))]
    answered_batch(named_ledger, rows)
    code, out, err = call(
        "evaluate", "b", *AGAINST, "--html", "r.html", "--fail-under", "accuracy=0.5"
    )
    assert code == 0, err
    assert "the report is in r.html" in out
    page = (tmp_path / "r.html").read_bytes().decode()
    assert page.startswith("<!DOCTYPE html>")
    assert "default-src 'none'" in page
    assert "&lt;script&gt;alert" in page
    assert "\x1b" not in page
    loads = r"<(script|img|link|iframe|object)\b|\b(src|href)=|url\(|@import|https?:"
    text = re.sub(r"<td.*?</td>|<text.*?</text>|<title.*?</title>|<p.*?</p>", "", page)
    assert re.search(loads, text) is None
    assert len(re.findall("<svg", page)) == 5
    assert "accuracy=0.5" in page


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            ("--against", "Truth=basis"),
            "--against 'Truth=basis': the sheet of batch b has no column 'Truth'; it has Vendor, "
            "Checked basis, Checked refund",
        ),
        (
            ("--against", "Vendor"),
            "--against 'Vendor': the recipe 'audit' answers no 'Vendor'; write Vendor=PROPERTY; it "
            "answers basis, refund, confidence",
        ),
        (
            ("--against", "Vendor=reason"),
            "--against 'Vendor=reason': the recipe 'audit' answers no 'reason'; it answers basis, "
            "refund, confidence",
        ),
        (
            (*AGAINST, "--against", "Vendor=basis"),
            "--against: basis is compared twice; leave one out",
        ),
        (
            (*AGAINST, "--confidence", "basis"),
            "--confidence 'basis': the recipe 'audit' answers no such number; its numbers are "
            "refund, confidence",
        ),
        (
            (*AGAINST, "--fail-under", "sharpness=0.9"),
            "--fail-under 'sharpness=0.9': write FIGURE=VALUE with a value from 0 to 1, as in "
            "accuracy=0.95; figures are accuracy, precision, recall, macro_f1, kappa, auc, "
            "answered",
        ),
        (
            (*AGAINST, "--fail-under", "refund.accuracy=0.9"),
            "--fail-under 'refund.accuracy=0.9': 'refund' is not compared; --against compares "
            "basis",
        ),
        (
            ("--against", "Vendor=refund"),
            "--against: no label in 'Vendor' is a number, as refund is; the first is in row 2",
        ),
        ((), "give --against COLUMN[=PROPERTY], or --against-reviews"),
        ((*AGAINST, "--against-reviews"), "give --against COLUMN[=PROPERTY], or --against-reviews"),
        ((*AGAINST, "--html", "r.xlsx"), "--html r.xlsx: a report is an .html file; give a"),
        ((*AGAINST, "--html", "no/r.html"), "--html no/r.html: there is no directory no"),
        ((*AGAINST, "--tolerance", "nan"), "Invalid value for '--tolerance': 'nan' is not"),
    ],
)
def test_bad_input_is_one_sentence(
    call: Call, named_ledger: Engine, options: tuple[str, ...], sentence: str
) -> None:
    answered_batch(named_ledger, ROWS)
    code, out, err = call("evaluate", "b", *options)
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert err.startswith(f"rowfleet: {sentence}")


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        (
            Answered(("Acme", "  ", 1), said("none")),
            "nothing of batch b is labelled: 'Checked basis' is blank in every row",
        ),
        (
            Answered(("Acme", "none", 1), None),
            "no labelled row of batch b has an answer yet",
        ),
    ],
)
def test_a_batch_without_labels_or_answers_is_refused(
    call: Call, named_ledger: Engine, row: Answered, sentence: str
) -> None:
    answered_batch(named_ledger, [row] * 3)
    code, _, err = call("evaluate", "b", *AGAINST)
    assert (code, err) == (2, f"rowfleet: {sentence}\n")


def decide(engine: Engine, *decisions: NewDecision) -> None:
    with engine.begin() as connection:
        reviewing.decide(connection, "b", decisions, file_hash="f", by="cli")


def test_reviews_are_labels(call: Call, named_ledger: Engine) -> None:
    answered_batch(
        named_ledger, [Answered(("Acme", None, None), said("none", 10, n)) for n in range(5)]
    )
    right, other = said("none", 10, 1), said("returned", None, 2)
    decide(named_ledger, NewDecision(1, 0, Verdict.APPROVE, "Ann", right))
    decide(named_ledger, NewDecision(2, 0, Verdict.APPROVE, "Ann", said("none", 10, 2)))
    decide(named_ledger, NewDecision(2, 1, Verdict.CORRECT, "Bob", other))  # the newest counts
    decide(named_ledger, NewDecision(4, 0, Verdict.REJECT, "Ann", None))
    code, out, err = call("evaluate", "b", "--against-reviews", "--json")
    assert code == 0, err
    found = json.loads(out)
    assert (found["labelled"], found["answered"]) == (3, 3)
    basis, refund = found["properties"]
    assert (basis["property"], refund["property"]) == ("basis", "refund")
    assert basis["accuracy"]["value"] == refund["accuracy"]["value"] == pytest.approx(1 / 3)
    assert basis["confusion"]["names"] == ["none", "returned", "rejected"]
    assert [mistake["label"] for mistake in basis["mistakes"]] == ["rejected", "returned"]
    assert [mistake["label"] for mistake in refund["mistakes"]] == ["rejected", "null"]
    assert "reviewed rows, which are not drawn at random" in found["notes"][0]


def test_a_batch_that_was_not_reviewed_is_refused(call: Call, named_ledger: Engine) -> None:
    answered_batch(named_ledger, ROWS)
    code, _, err = call("evaluate", "b", "--against-reviews")
    assert code == 2
    assert err == "rowfleet: nothing of batch b is labelled: no row has been reviewed\n"


def test_labels_that_the_model_was_sent_are_noted(call: Call, named_ledger: Engine) -> None:
    open_recipe = AUDIT.model_copy(update={"columns": ()})
    answered_batch(named_ledger, ROWS, recipe=open_recipe)
    code, _, err = call("evaluate", "b", *AGAINST)
    assert code == 0
    assert "the model was sent the column 'Checked basis', and may have copied basis" in err


def test_a_label_that_the_recipe_has_no_class_for_is_noted(
    call: Call, named_ledger: Engine
) -> None:
    answered_batch(named_ledger, [*ROWS, Answered(("Acme", "exces tax", 1), said("excess tax"))])
    code, _, err = call("evaluate", "b", *AGAINST)
    assert code == 0
    assert "no answer is right where 'Checked basis' has 'exces tax': the recipe has no such" in err


def test_the_ledger_is_read_in_bounded_memory(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No row is kept: 10,000 of them are 20 MB of cells."""
    monkeypatch.setattr(intervals, "RESAMPLES", 1)  # which take no memory, and here all the time
    wide = ("x" * 2_000, "none", 1)
    answered_batch(engine, [Answered(wide, said("none"))] * 10_000, header=HEADER)
    with reading(engine) as connection:
        batch = get_batch(connection, "b")
        about = [labels.compared("Checked basis=basis", batch, AUDIT)]
        tracemalloc.start()
        found = evaluate(
            batch,
            AUDIT,
            about,
            answered_rows(connection, "b"),
            labels.in_sheet,
        )
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert found.answered == 10_000
    assert peak < 12_000_000
