"""`rowfleet compare` on a ledger: paired differences, the rows that disagree, and its refusals."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from rowfleet.recipes.recipe import Recipe
from submitter.evaluation import intervals
from tests.support.commands import Call
from tests.support.labelled import AUDIT, HEADER, Answered, answered_batch
from tests.support.sheets import results


def rows(*answers: tuple[str, float] | None, cost: float | None = 0.001) -> list[Answered]:
    """Rows with labels of their own, and the given answers."""
    labels = [("none", 10), ("returned", 20), ("none", 30), ("duplicate", 40), ("none", 50)]
    return [
        Answered(
            (f"Vendor {number}", *labels[number]),
            None if given is None else {"basis": given[0], "refund": given[1], "confidence": 90},
            cost=cost,
        )
        for number, given in enumerate(answers)
    ]


A = rows(("none", 10), ("none", 15), ("none", 30), ("none", 0), None)
B = rows(("none", 10), ("returned", 20), ("returned", 30), ("duplicate", 44), ("none", 50))


def both(engine: Engine, a: Sequence[Answered] = A, b: Sequence[Answered] = B, **of_b: Any) -> None:
    answered_batch(engine, a, batch_id="a")
    answered_batch(engine, b, batch_id="b", **of_b)


def test_answers_are_compared_row_by_row(call: Call, named_ledger: Engine) -> None:
    both(named_ledger, b=[*B[:4], rows(*[None] * 4, ("none", 50), cost=0.003)[4]])
    code, out, err = call("compare", "a", "b", "--json")
    assert code == 0, err
    found = json.loads(out)
    assert (found["rows"], found["first_alone"], found["second_alone"]) == (5, 0, 0)
    assert (found["first"]["answered"], found["second"]["answered"]) == (4, 5)
    assert found["disagreeing"] == 3
    basis, refund = found["properties"]
    assert (basis["property"], refund["property"]) == ("basis", "refund")
    assert (basis["rows"], basis["agreement"]["value"], basis["accuracy"]) == (4, 0.25, None)
    shares = {each["name"]: each["share"] for each in basis["classes"]}
    assert {
        name: (one["first"]["value"], one["second"]["value"]) for name, one in shares.items()
    } == {
        "none": (1, 0.25),
        "duplicate": (0, 0.25),
        "returned": (0, 0.5),
    }
    assert (shares["none"]["gained"], shares["none"]["lost"]) == (0, 3)
    assert shares["none"]["p"] == pytest.approx(0.25)
    assert (refund["amounts"]["first"], refund["amounts"]["second"]) == (55, 104)
    assert refund["amounts"]["mean_difference"]["value"] == pytest.approx(49 / 4)
    assert found["first"]["cost_usd"] == pytest.approx(0.005)
    assert found["cost_difference"]["value"] == pytest.approx(0.002 / 5)


def test_labels_say_which_batch_is_better(call: Call, named_ledger: Engine) -> None:
    both(named_ledger)
    labels = ("--against", "Checked basis=basis", "--against", "Checked refund=refund")
    code, out, err = call("compare", "a", "b", *labels, "--json")
    assert code == 0, err
    basis, refund = json.loads(out)["properties"]
    change = basis["accuracy"]
    assert (change["first"]["value"], change["second"]["value"]) == (0.5, 0.75)
    assert (change["gained"], change["lost"]) == (2, 1)
    wanted = intervals.paired_difference(2, 1, 4)
    assert wanted is not None
    assert change["difference"] == pytest.approx(
        {"value": 0.25, "low": wanted.low, "high": wanted.high}
    )
    amounts = refund["amounts"]
    assert (amounts["first_error"], amounts["second_error"]) == (pytest.approx(45 / 4), 1)
    assert amounts["error_difference"]["value"] == pytest.approx(-41 / 4)
    code, out, err = call("compare", "a", "b", *labels)
    assert code == 0, err
    assert "5 rows are in both: A has answered 4, B 5, and they differ on 3" in out
    assert "+25.0 (" in out
    assert "points" in out
    assert "the mean absolute error is 11.25 in A and 1.00 in B" in out
    assert "cost: $0.005000 in A, $0.005000 in B, 1.00 times A's" in out


def test_rows_that_disagree_stand_side_by_side_in_a_sheet(
    call: Call, named_ledger: Engine, tmp_path: Path
) -> None:
    both(named_ledger)
    code, out, err = call(
        "compare", "a", "b", "--against", "Checked basis=basis", "--out", "d.xlsx"
    )
    assert code == 0, err
    assert "3 rows written to d.xlsx" in out
    assert results(tmp_path / "d.xlsx") == [
        {
            **dict(zip(HEADER, cells, strict=True)),
            "A_basis": one,
            "B_basis": other,
            "Right_basis": right,
            "Row": row,
        }
        for row, cells, one, other, right in (
            (3, ("Vendor 1", "returned", 20), "none", "returned", "B"),
            (4, ("Vendor 2", "none", 30), "none", "returned", "A"),
            (5, ("Vendor 3", "duplicate", 40), "none", "duplicate", "B"),
        )
    ]


def test_a_part_of_the_rows_is_compared_and_the_rest_counted(
    call: Call, named_ledger: Engine
) -> None:
    both(named_ledger, b=B[:2])
    code, out, err = call("compare", "a", "b", "--json")
    assert code == 0, err
    found = json.loads(out)
    assert (found["rows"], found["first_alone"], found["second_alone"]) == (2, 3, 0)


def test_labels_may_have_been_added_to_one_sheet(call: Call, named_ledger: Engine) -> None:
    fewer = [Answered(row.cells[:1], row.output) for row in B]
    both(named_ledger, b=fewer, header=HEADER[:1])
    code, out, err = call("compare", "a", "b", "--against", "Checked basis=basis", "--json")
    assert code == 0, err
    assert json.loads(out)["properties"][0]["accuracy"]["second"]["value"] == 0.75


def with_output(**properties: Any) -> Recipe:
    return AUDIT.model_copy(update={"output": {"type": "object", "properties": properties}})


def test_texts_are_compared_when_they_are_named(call: Call, named_ledger: Engine) -> None:
    recipe = with_output(reason={"type": "string"})
    made = [Answered(("Acme", None, None), {"reason": text}) for text in ("x", "Y  z")]
    other = [Answered(("Acme", None, None), {"reason": text}) for text in ("w", "y Z")]
    answered_batch(named_ledger, made, batch_id="a", recipe=recipe)
    answered_batch(named_ledger, other, batch_id="b", recipe=recipe)
    code, _, err = call("compare", "a", "b")
    assert code == 2
    assert err == (
        "rowfleet: the two recipes have no class and no amount in common; name a text with "
        "--property: reason\n"
    )
    code, out, err = call("compare", "a", "b", "--property", "reason", "--json")
    assert code == 0, err
    assert json.loads(out)["properties"][0]["agreement"]["value"] == 0.5


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("b", "b"), "b and b are the same batch"),
        (("a", "nil"), "there is no batch 'nil' in this ledger; see `rowfleet batches`"),
        (
            ("a", "b", "--property", "reason"),
            "--property 'reason': both recipes must answer it; both answer basis, refund, "
            "confidence",
        ),
        (
            ("a", "b", "--against", "Truth"),
            "--against 'Truth': the sheet of batch a has no column 'Truth'; it has Vendor, Checked",
        ),
        (
            ("a", "b", "--property", "basis", "--against", "Checked basis=basis"),
            "give --against or --property, not both",
        ),
        (("a", "b", "--out", "d.csv"), "--out d.csv: the sheet is an .xlsx file; give a name that"),
        (
            ("a", "b", "--out", "no/d.xlsx"),
            "no/d.xlsx: can't be written: No such file or directory",
        ),
        (("a", "b", "--out", "ledger.xlsx"), "--out ledger.xlsx: there is a file of that name"),
    ],
)
def test_bad_input_is_one_sentence(
    call: Call, named_ledger: Engine, tmp_path: Path, options: tuple[str, ...], sentence: str
) -> None:
    (tmp_path / "ledger.xlsx").touch()
    both(named_ledger)
    code, out, err = call("compare", *options)
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert err.startswith(f"rowfleet: {sentence}")
    assert not (tmp_path / "d.xlsx").exists()


OTHER = [Answered(("Vendor 9", *row.cells[1:]), row.output) for row in B]


@pytest.mark.parametrize(
    ("b", "header", "sentence"),
    [
        (OTHER, HEADER, "batches a and b are not of the same rows: row 2 differs in 'Vendor'"),
        (
            [*B[:3], Answered(("Vendor 3", "duplicate", 40.01), B[3].output)],
            HEADER,
            "batches a and b are not of the same rows: row 5 differs in 'Checked refund'",
        ),
        (
            [Answered((1,), row.output) for row in B],
            ("Number",),
            "batches a and b are not of the same rows: their sheets have no column in common",
        ),
    ],
)
def test_batches_of_other_rows_are_refused(
    call: Call, named_ledger: Engine, b: list[Answered], header: tuple[str, ...], sentence: str
) -> None:
    recipe = AUDIT.model_copy(update={"columns": ()})
    both(named_ledger, b=b, header=header, recipe=recipe)
    code, _, err = call("compare", "a", "b")
    assert (code, err) == (2, f"rowfleet: {sentence}\n")


def test_batches_without_an_answer_in_common_are_refused(call: Call, named_ledger: Engine) -> None:
    both(named_ledger, b=rows(None, None, None))
    code, _, err = call("compare", "a", "b")
    assert (code, err) == (2, "rowfleet: no row of batches a and b has an answer in both\n")
