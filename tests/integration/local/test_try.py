"""`rowfleet try`: real workers ask the stand-in about the same rows with each of several models."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.standin import Standin
from tests.support.sheets import invoices

Rowfleet = Callable[..., subprocess.CompletedProcess[str]]

RECIPE = """\
name: triage
columns: [Vendor, Amount]
prompt: Say what the row is.
output:
  type: object
  properties:
    kind: {type: string, enum: [a, b]}
    score: {type: integer, minimum: 0, maximum: 100}
checks:
  - {name: never, that: answer.score > 100, message: a score over 100, else: review}
examples:
  - {row: {Vendor: Acme, Amount: 3}, answer: {kind: a, score: 7}}
"""


@pytest.fixture
def sheet(tmp_path: Path) -> Path:
    (tmp_path / "triage.yaml").write_text(RECIPE)
    return invoices(tmp_path / "invoices.xlsx", 12)


@pytest.fixture
def environment(standin: Standin) -> dict[str, str]:
    return {"OPENAI_BASE_URL": standin.base_url, "OPENAI_API_KEY": "sk-test"}


def tried(
    rowfleet: Rowfleet, environment: dict[str, str], *options: object
) -> subprocess.CompletedProcess[str]:
    return rowfleet("try", "triage.yaml", "invoices.xlsx", *options, env=environment)


def test_each_model_answers_the_same_rows_once(
    rowfleet: Rowfleet, sheet: Path, standin: Standin, environment: dict[str, str]
) -> None:
    standin.configure(keep_bodies=True)
    wanted = ("--rows", 3, "--where", "Amount != 101", "--models", "gpt-5-mini,gpt-5")
    done = tried(rowfleet, environment, *wanted, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["rows"] == [2, 4, 5]
    assert [one["model"] for one in found["models"]] == ["gpt-5-mini", "gpt-5"]
    for one in found["models"]:
        assert one["batch"]["done"] == one["batch"]["total"] == 3
        assert [row["row"] for row in one["rows"]] == found["rows"]
        assert all(row["review"] == "needs_review" for row in one["rows"])
    assert found["cost_usd"] == pytest.approx(sum(m["batch"]["cost_usd"] for m in found["models"]))
    assert found["cost_usd"] > 0
    bodies = [each.body or {} for each in standin.calls()]
    assert [body["model"] for body in bodies] == ["gpt-5-mini"] * 3 + ["gpt-5"] * 3
    assert all("<example>" in body["messages"][1]["content"] for body in bodies)

    again = tried(rowfleet, environment, *wanted)
    assert again.returncode == 0, again.stderr
    assert len(standin.calls()) == 6  # the rows are paid for
    for text in ("gpt-5-mini", "never: a score over 100", "3 of 3", "to compare two of them: "):
        assert text in again.stdout
    first, second = (one["batch"]["batch_id"] for one in found["models"])
    assert f"compare {first} {second}" in again.stdout
    compared = rowfleet("compare", first, second, "--json", env=environment)
    assert compared.returncode == 0, compared.stderr
    assert json.loads(compared.stdout)["rows"] == 3


def test_one_budget_is_for_all_models(
    rowfleet: Rowfleet, sheet: Path, standin: Standin, environment: dict[str, str]
) -> None:
    one = tried(rowfleet, environment, "--rows", 2, "--models", "gpt-5-mini", "--json")
    spent = json.loads(one.stdout)["cost_usd"]
    both = ("--rows", 2, "--models", "gpt-5-mini,gpt-5", "--max-cost", f"{spent:.8f}")
    done = tried(rowfleet, environment, *both, "--json")
    assert done.returncode == 1, done.stderr
    first, second = json.loads(done.stdout)["models"]
    assert first["batch"]["done"] == 2
    assert second["batch"] is None
    assert len(standin.calls()) == 2
    shown = tried(rowfleet, environment, *both)
    assert "gpt-5 was not asked: the models before it have spent the budget" in shown.stdout


def test_a_model_that_is_not_there_hides_no_other(
    rowfleet: Rowfleet, sheet: Path, environment: dict[str, str], standin: Standin
) -> None:
    standin.configure(models=["gpt-5-mini"])
    done = tried(rowfleet, environment, "--rows", 2, "--models", "gpt-none,gpt-5-mini")
    assert done.returncode == 1, done.stderr
    assert "gpt-none was not asked about all rows: " in done.stdout
    assert "2 of 2" in done.stdout


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--models", " , "), "--models: names no model; write --models gpt-5-mini,gpt-5"),
        (("--models", "a,b,a"), "--models: names 'a' twice"),
        (("--models", "a,b", "--max-cost", "1"), "--max-cost: the price of the model 'a' is not"),
        (("--rows", "0"), "Invalid value for '--rows': '0' is not a whole number from 1 to 5,000"),
        (("--where", "Amount > 1e9"), "invoices.xlsx, sheet 'Sheet': no row meets --where"),
    ],
)
def test_bad_input_is_one_sentence(
    rowfleet: Rowfleet,
    sheet: Path,
    standin: Standin,
    environment: dict[str, str],
    options: tuple[Any, ...],
    sentence: str,
) -> None:
    done = tried(rowfleet, environment, *options)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
    assert done.stderr.startswith(f"rowfleet: {sentence}")
    assert standin.calls() == []
