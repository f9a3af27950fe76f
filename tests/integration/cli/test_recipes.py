"""A user's own recipe and those that come with Rowfleet, from the command line."""

from __future__ import annotations

import json
import os
from pathlib import Path

import yaml

from rowfleet.ledger.engine import open_ledger
from rowfleet.ledger.schema import migrate
from rowfleet.recipes.recipe import Recipe
from tests.standin import Standin
from tests.support.commands import Call, after, run, typed
from tests.support.ledger import make_batch
from tests.support.sheets import invoices

#: A recipe that only a model can answer.
MINE = """\
name: mine
prompt: Say which team pays.
output: {type: object, properties: {team: {type: string}}}
"""


def test_local_refuses_rules_at_once_for_a_recipe_that_they_can_not_fill(tmp_path: Path) -> None:
    invoices(tmp_path / "refunds.xlsx", 2)
    (tmp_path / "mine.yaml").write_text(MINE)
    words = ("local", "refunds.xlsx", "--recipe", "mine.yaml", "--analyzer", "rules")
    ran = run(*words, cwd=tmp_path)
    assert (ran.returncode, len(ran.stderr.splitlines())) == (2, 1)
    assert "rules" in ran.stderr
    assert json.loads(run("batches", "--json", cwd=tmp_path).stdout or "[]") == []


def test_a_batch_of_a_recipe_of_ones_own_goes_on_without_its_file(tmp_path: Path) -> None:
    invoices(tmp_path / "refunds.xlsx", 6)
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(MINE)
    words = ("local", "refunds.xlsx", "--recipe", "mine.yaml", "--model", "gpt-5-nano")
    with Standin.lent(faults=[{"kind": "refusal", "rows": [3]}]) as standin:
        env = standin.environment()
        assert run(*words, cwd=tmp_path, env=env).returncode == 1
        (batch,) = json.loads(run("batches", "--json", cwd=tmp_path).stdout)
        standin.configure(faults=[])
        recipe.unlink()
        again = run("retry", batch["batch_id"], cwd=tmp_path)
        line = after("nothing runs the batch now; run its rows with: ", again.stdout)
        ran = typed(line, cwd=tmp_path, env=env)
        assert ran.returncode == 0, ran.stderr
        assert "analyzer openai, model gpt-5-nano" in ran.stderr
        assert standin.summary()["calls"] == 7
        recipe.write_text(MINE.replace("pays", "paid"))
        other = run(*words, "--batch-id", batch["batch_id"], cwd=tmp_path, env=env)
        assert other.returncode == 2
        assert "another sheet, range or recipe" in other.stderr


def test_a_batch_named_by_its_id_keeps_its_recipe_and_its_price(call: Call, tmp_path: Path) -> None:
    sheet = invoices(tmp_path / "refunds.xlsx", 3)
    price = {"input": 1, "output": 1}
    recipe = Recipe.model_validate(
        {**yaml.safe_load(MINE), "analyzer": "openai", "model": "of-our-own"}
    )
    url = f"sqlite:///{os.environ['XDG_STATE_HOME']}/rowfleet/ledger.db"
    engine = open_ledger(url, connections=1)
    migrate(engine)
    make_batch(engine, 3, batch_id="mine", recipe=recipe, price=price)
    make_batch(engine, 3, batch_id="later", price={"input": 1, "by the moon": 1})
    engine.dispose()
    words = ("submit", "--excel", sheet, "--dry-run", "--json", "--max-cost", 5)
    code, out, err = call(*words, "--batch-id", "mine")
    assert code == 0, err
    said = json.loads(out)
    assert (said["analyzer"], said["model"]) == ("openai", "of-our-own")
    assert said["cost_usd"] > 0
    assert json.loads(call(*words, "--batch-id", "new")[1])["analyzer"] == "rules"
    assert (
        "the price of batch later was recorded by another version"
        in call(*words, "--batch-id", "later")[2]
    )
    code, _, err = call(*words, "--batch-id", "no id")
    assert (code, "--batch-id 'no id': use up to" in err) == (2, True)


def test_a_bundled_recipe_is_listed_and_copied_and_no_file_overwritten(
    call: Call, tmp_path: Path
) -> None:
    code, out, _ = call("recipes")
    assert code == 0
    assert out.startswith("invoice-refunds  ")
    assert "copy one with: rowfleet recipes copy invoice-refunds" in out
    assert call("recipes", "copy", "invoice-refunds")[0] == 0
    copy = tmp_path / "invoice-refunds.yaml"
    sheet = invoices(tmp_path / "refunds.xlsx", 3)
    words = ("submit", "--excel", sheet, "--dry-run", "--recipe", copy)
    assert call(*words)[0] == 0
    copy.write_text("mine")
    code, _, err = call("recipes", "copy", "invoice-refunds")
    assert code == 2
    assert err == "rowfleet: invoice-refunds.yaml: is there already; give another name\n"
    assert copy.read_text() == "mine"
    assert call("recipes", "copy", "invoice-refunds", "other.yaml")[0] == 0
    assert "there are invoice-refunds" in call("recipes", "copy", "../invoice-refunds")[2]
    assert call("recipes", "copy", "invoice-refunds", "no/such/dir.yaml")[0] == 2


def test_a_dry_run_of_a_recipe_of_ones_own_needs_no_key(call: Call, tmp_path: Path) -> None:
    sheet = invoices(tmp_path / "refunds.xlsx", 3)
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(MINE)
    for words in (("submit", "--excel", sheet), ("local", sheet)):
        code, out, err = call(*words, "--recipe", recipe, "--dry-run")
        assert code == 0, err
        assert "3 rows are fine to submit\n" in out
        assert "\nanalyzer openai, model " in out
        assert "OPENAI_API_KEY is not set: a dry run needs none" in out
    assert {path.name for path in tmp_path.iterdir()} == {"refunds.xlsx", "mine.yaml"}
    assert not Path(os.environ["XDG_STATE_HOME"]).exists()


def test_a_bundled_recipe_goes_by_its_name(call: Call, tmp_path: Path) -> None:
    sheet = invoices(tmp_path / "refunds.xlsx", 3)
    words = ("submit", "--excel", sheet, "--dry-run", "--recipe", "invoice-refunds")
    assert call(*words)[0] == 0
    (tmp_path / "invoice-refunds").write_text("mine")  # a file of that name is meant first
    code, _, err = call(*words)
    assert (code, "invoice-refunds: a recipe is a YAML mapping" in err) == (2, True)


def test_a_file_that_is_no_recipe_gets_a_sentence(call: Call, tmp_path: Path) -> None:
    sheet = invoices(tmp_path / "refunds.xlsx", 3)
    words = ("local", sheet, "--dry-run", "--recipe")
    code, _, err = call(*words, sheet)
    assert (code, err) == (
        2,
        f"rowfleet: {sheet}: is a spreadsheet; --recipe takes a recipe, a page of YAML\n",
    )
    recipe = tmp_path / "mine.yaml"
    recipe.write_bytes("name: mine\nprompt: für wen?\n".encode("latin-1"))
    assert f"{recipe}: is not UTF-8 text (line 2)" in call(*words, recipe)[2]
    recipe.write_text("name: [mine\nprompt: p\n")
    err = call(*words, recipe)[2]
    assert f"{recipe}: not valid YAML: while parsing a flow sequence at line 1, column 7" in err
    assert "unicode string" not in err
