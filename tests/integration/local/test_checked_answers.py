"""`rowfleet local` with a recipe that computes, checks, looks up and approves."""

from __future__ import annotations

import csv
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openpyxl

from tests.standin import Standin
from tests.support.replies import completion
from tests.support.sheets import results

Run = Callable[..., subprocess.CompletedProcess[str]]

RECIPE = """\
name: refunds
columns: [Vendor, State, Tax]
prompt: Say which share of the tax is refunded, and by which law.
output:
  type: object
  properties:
    law: {type: string}
    percent: {type: number}
    confidence: {type: integer, minimum: 0, maximum: 100}
lookups:
  vendors: {sheet: Vendors, key: Name, columns: [Category], join: Vendor}
  laws: {file: laws.csv, key: Citation}
  most: {table: {WA: {percent: 50}, OR: {percent: 100}}}
computed:
  refund: row.Tax * answer.percent / 100
checks:
  - name: cited
    that: answer.law in lookups.laws
    message: cite one of the laws of the list
    else: reask
  - name: share
    that: answer.percent <= lookups.most[row.State].percent
    message: more than the state refunds
  - name: exempt
    that: lookups.vendors[row.Vendor].Category != "exempt"
    message: an exempt vendor is never asked about
    else: fail
auto_approve: answer.confidence >= 95 && answer.refund < 1000
"""
LAWS = [f"RCW 82.08.{number:05}" for number in range(364)]
#: Vendor, state and tax of each row, what the model answers of it, and once more.
ROWS: dict[str, tuple[tuple[Any, ...], list[tuple[str, float, int]]]] = {
    "right": (("ACME", "WA", 100.05), [(LAWS[3], 33.3, 96)]),
    "unsure": (("ACME", "WA", 100.05), [(LAWS[3], 33.3, 80)]),
    "large": (("ACME", "OR", 5000.0), [(LAWS[9], 50, 99)]),
    "mended": (("ACME", "WA", 10.0), [("RCW 1", 50, 96), (LAWS[0], 50, 96)]),
    "invented": (("ACME", "WA", 10.0), [("RCW 1", 50, 96), ("RCW 2", 50, 96)]),
    "too much": (("ACME", "WA", 1.0), [(LAWS[1], 57.5, 99)]),
    "exempt": (("Tribe", "WA", 1.0), [(LAWS[1], 10, 99)]),
    "unknown vendor": (("Nobody", "OR", 1.0), [(LAWS[1], 10, 99)]),
    "no tax": (("ACME", "OR", None), [(LAWS[1], 10, 99)]),
}


def workbook(path: Path) -> Path:
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.append(["Vendor", "State", "Tax"])
    for cells, _ in ROWS.values():
        sheet.append(cells)
    vendors = book.create_sheet("Vendors")
    for row in (["Name", "Category"], ["ACME", "supplies"], ["Tribe", "exempt"]):
        vendors.append(row)
    book.save(path)
    return path


def faults() -> list[dict[str, Any]]:
    """What makes the stand-in answer as ROWS say: the first answers of a row before the later."""
    made = []
    for number, (_, answers) in enumerate(ROWS.values()):
        for attempt, (law, percent, confidence) in enumerate(answers, 1):
            said = {"law": law, "percent": percent, "confidence": confidence}
            text = completion(content=json.dumps(said))
            last = {} if attempt == len(answers) else {"attempts": attempt}
            made.append({"kind": "verbatim", "rows": [number], "text": text, **last})
    return made


def test_every_answer_is_computed_checked_and_approved_as_the_recipe_says(
    tmp_path: Path, rowfleet: Run
) -> None:
    sheet = workbook(tmp_path / "refunds.xlsx")
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    with (tmp_path / "laws.csv").open("w") as file:
        csv.writer(file).writerows([["Citation"], *([law] for law in LAWS)])
    with Standin.lent(faults=faults(), keep_bodies=True) as standin:
        words = ("local", sheet, "--recipe", tmp_path / "recipe.yaml", "--json")
        ran = rowfleet(*words, env=standin.environment())
        calls = standin.calls()
    final = json.loads(ran.stdout)
    assert (final["status"], final["done"], final["failed"]) == ("finished", 8, 1), ran.stderr
    assert final["needs_review"] == 4
    assert len(calls) == len(ROWS) + 2
    found = dict(zip(ROWS, results(tmp_path / "refunds.results.xlsx"), strict=True))
    seen = {name: (row["AI_Refund"], row["AI_Review"]) for name, row in found.items()}
    assert seen == {
        "right": (33.32, "auto_approved"),
        "unsure": (33.32, None),
        "large": (2500, None),
        "mended": (5, "auto_approved"),
        "invented": (5, "needs_review"),
        "too much": (0.58, "needs_review"),
        "exempt": (None, None),
        "unknown vendor": (0.1, "needs_review"),
        "no tax": (None, "needs_review"),
    }
    reasons = {name: row["AI_Review_Reasons"] for name, row in found.items()}
    assert reasons["invented"] == "cited: cite one of the laws of the list"
    assert reasons["too much"] == "share: more than the state refunds"
    assert reasons["unknown vendor"] == (
        "vendors: lookups.vendors has no key 'Nobody' of Vendor; exempt: it can't be checked: "
        "lookups.vendors has no such key (lookups.vendors[row.Vendor])"
    )
    assert reasons["no tax"] == "refund: it can't be computed: row.Tax is blank"
    assert "exempt: an exempt vendor is never asked about" in str(found["exempt"]["AI_Error"])
    sent = {
        call.row: json.loads(call.body["messages"][1]["content"].split("\n")[1])
        for call in calls
        if call.body
    }
    assert sent[0] == {
        "Vendor": "ACME",
        "State": "WA",
        "Tax": 100.05,
        "vendors": {"Category": "supplies"},
    }
    assert sent[7]["vendors"] is None


def test_a_dry_run_says_which_keys_a_lookup_lacks(tmp_path: Path, rowfleet: Run) -> None:
    sheet = workbook(tmp_path / "refunds.xlsx")
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    words = ("local", sheet, "--recipe", tmp_path / "recipe.yaml", "--dry-run")
    ran = rowfleet(*words)
    assert (ran.returncode, ran.stderr.count("\n")) == (2, 1)
    assert f"lookups.laws: {tmp_path / 'laws.csv'}: no such file" in ran.stderr
    (tmp_path / "laws.csv").write_text("Citation\nRCW 1\n")
    ran = rowfleet(*words)
    assert ran.returncode == 0, ran.stderr
    assert "lookups.vendors has no key for 1 row: 'Nobody' in row 9" in ran.stdout
    assert '"vendors": {"Category": "supplies"}' in ran.stdout


def test_a_batch_goes_on_with_the_tables_that_it_was_made_with(
    tmp_path: Path, rowfleet: Run
) -> None:
    sheet = workbook(tmp_path / "refunds.xlsx")
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    laws = tmp_path / "laws.csv"
    laws.write_text("Citation\n" + "\n".join(LAWS))
    words = ("local", sheet, "--json", "--recipe", tmp_path / "recipe.yaml")
    with Standin.lent(faults=faults()) as standin:
        first = json.loads(rowfleet(*words, env=standin.environment()).stdout)
        calls = standin.summary()["calls"]
        again = rowfleet(*words, env=standin.environment())
        assert json.loads(again.stdout)["batch_id"] == first["batch_id"]
        assert standin.summary()["calls"] == calls
        laws.write_text("Citation\nRCW 1\nRCW 2\n")
        other = json.loads(rowfleet(*words, "--overwrite", env=standin.environment()).stdout)
    assert other["batch_id"] != first["batch_id"]
