"""An analyzer that another distribution adds: the one in docs/extend/add-an-analyzer.md."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from sqlalchemy import Engine

from rowfleet.settings import Settings
from tests.support.ledger import statuses
from tests.support.sheets import results
from tests.support.workers import Start, environment

PAGE = Path(__file__).parents[3] / "docs" / "extend" / "add-an-analyzer.md"
GROUP = "rowfleet.analyzers"

Ran = subprocess.CompletedProcess[str]
Command = Callable[..., Ran]


def example(language: str) -> str:
    """Return the page's only block in that language."""
    (block,) = re.findall(
        rf"^```{language}\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE
    )
    return str(block)


def install(site: Path, points: dict[str, str], **modules: str) -> None:
    """Lay a distribution down as an installer does: its modules, metadata and entry points."""
    metadata = site / "word_count-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: word-count\nVersion: 1.0\n")
    lines = "".join(f"{name} = {value}\n" for name, value in points.items())
    (metadata / "entry_points.txt").write_text(f"[{GROUP}]\n{lines}")
    for name, text in modules.items():
        (site / f"{name}.py").write_text(text)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory whose distributions all programs of a test see."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    return tmp_path / "site"


@pytest.fixture
def rowfleet(fleet: Settings, tmp_path: Path) -> Command:
    """Run the command line in a process of its own, as what is installed is read once."""

    def run(*words: object) -> Ran:
        return subprocess.run(
            [sys.executable, "-m", "submitter", *map(str, words)],
            env=environment(fleet),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run


@pytest.fixture
def sheet(tmp_path: Path) -> Path:
    workbook = openpyxl.Workbook()
    page = workbook.active
    assert page is not None
    for row in (["Note"], ["one"], ["one and two"], ["one and two and three"]):
        page.append(row)
    workbook.save(tmp_path / "notes.xlsx")
    (tmp_path / "words.yaml").write_text(example("yaml"))
    return tmp_path / "notes.xlsx"


def submit(rowfleet: Command, *more: object) -> Ran:
    words = ("--excel", "notes.xlsx", "--recipe", "words.yaml", "--batch-id", "b")
    return rowfleet("submit", *words, *more)


def entry_points() -> dict[str, str]:
    found: dict[str, Any] = tomllib.loads(example("toml"))
    points: dict[str, str] = found["project"]["entry-points"][GROUP]
    return points


@pytest.mark.usefixtures("ledger", "sheet")
def test_analyzer_of_another_distribution_answers_rows_for_its_price(
    rowfleet: Command, fleet: Settings, site: Path, start: Start, tmp_path: Path
) -> None:
    install(site, entry_points(), word_count=example("python"))
    checked = submit(rowfleet, "--dry-run", "--json")
    assert checked.returncode == 0, checked.stderr
    assert json.loads(checked.stdout)["cost_usd"] == pytest.approx(0.003)
    start(fleet)
    done = submit(rowfleet, "--max-cost", 5, "--wait", "--export", "out.xlsx", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(rowfleet("progress", "b", "--json").stdout)
    assert (found["done"], found["cost_usd"]) == (3, pytest.approx(0.003))
    rows = results(tmp_path / "out.xlsx")
    assert [row["AI_Words"] for row in rows] == [1, 3, 5]
    assert {row["AI_Analyzer"] for row in rows} == {"word-count"}


@pytest.mark.usefixtures("ledger", "sheet")
def test_invalid_answer_fails_its_row_and_is_paid_for(
    rowfleet: Command, fleet: Settings, site: Path, start: Start
) -> None:
    # Rows of one and five words get what the recipe's schema does not allow.
    counted = "len(text.split())"
    wrong = f"{{1: 'one', 5: None}}.get({counted}, {counted})"
    module = example("python").replace(counted, wrong)
    assert wrong in module
    install(site, entry_points(), word_count=module)
    start(fleet)
    ran = submit(rowfleet, "--max-cost", 5, "--wait", "--json")
    assert ran.returncode == 1, ran.stderr
    found = json.loads(rowfleet("progress", "b", "--json").stdout)
    assert (found["done"], found["failed"]) == (1, 2)
    assert found["cost_usd"] == pytest.approx(0.003)
    failed = json.loads(rowfleet("failed", "b", "--json").stdout)
    assert [row["row"] for row in failed] == [2, 4]
    assert failed[0]["error"].startswith("the answer was not valid: words: ")


@pytest.mark.usefixtures("sheet")
def test_analyzer_of_another_distribution_runs_on_one_machine(
    rowfleet: Command, site: Path, tmp_path: Path
) -> None:
    install(site, entry_points(), word_count=example("python"))
    words = ("notes.xlsx", "--recipe", "words.yaml", "--export", "out.xlsx", "--json")
    done = rowfleet("local", *words)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["done"], found["cost_usd"]) == (3, pytest.approx(0.003))
    assert [row["AI_Words"] for row in results(tmp_path / "out.xlsx")] == [1, 3, 5]


@pytest.mark.usefixtures("sheet")
def test_worker_without_a_batch_s_analyzer_leaves_its_rows_and_says_so(
    rowfleet: Command,
    fleet: Settings,
    ledger: Engine,
    site: Path,
    start: Start,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    eventually: Callable[..., None],
) -> None:
    install(site, entry_points(), word_count=example("python"))
    assert submit(rowfleet).returncode == 0
    monkeypatch.delenv("PYTHONPATH")
    start(fleet)
    log = tmp_path / "worker.log"
    eventually(lambda: "its rows wait for workers that do" in log.read_text(), 60)
    assert "the analyzer 'word-count'" in log.read_text()
    eventually(lambda: statuses(ledger) == ["pending"] * 3, 60)


@pytest.mark.usefixtures("sheet")
def test_name_without_an_analyzer_is_refused_with_those_that_are_there(rowfleet: Command) -> None:
    ran = submit(rowfleet)
    assert ran.returncode == 2
    assert "analyzer: is 'word-count', must be 'openai' or 'rules' (line 3)" in ran.stderr
    ran = rowfleet("submit", "--excel", "notes.xlsx", "--analyzer", "word-count")
    assert ran.returncode == 2
    assert "'word-count' is not one of 'openai', 'rules'" in ran.stderr


@pytest.mark.parametrize(
    ("point", "module", "says"),
    [
        ("word_count:KIND", "import nowhere", "can't be loaded from word_count:KIND: ModuleNotFou"),
        ("word_count:KIND", "raise SystemError('x')", "from word_count:KIND: SystemError: x"),
        ("word_count:KIND", "", "can't be loaded from word_count:KIND: AttributeError"),
        ("word_count:KIND", "KIND = 1", "word_count:KIND is not a rowfleet.analyzer_kinds.Kind of"),
    ],
)
@pytest.mark.usefixtures("sheet")
def test_broken_plugin_is_one_sentence(
    rowfleet: Command, site: Path, point: str, module: str, says: str
) -> None:
    install(site, {"word-count": point}, word_count=module)
    ran = submit(rowfleet, "--dry-run")
    assert ran.returncode == 2
    assert "the analyzer 'word-count'" in ran.stderr
    assert says in " ".join(ran.stderr.split())
    assert len(ran.stderr.strip().splitlines()) == 1
    other = rowfleet("submit", "--excel", "notes.xlsx", "--help")
    assert "openai|rules|word-count" in other.stdout


def test_built_in_analyzers_can_t_be_replaced(rowfleet: Command, site: Path) -> None:
    install(site, {"rules": "word_count:KIND"}, word_count="raise SystemError")
    ran = rowfleet("submit", "--help")
    assert ran.returncode == 0
    assert "[openai|rules]" in ran.stdout
