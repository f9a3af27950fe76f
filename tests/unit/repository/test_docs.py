"""The pages that repeat what the program says must say what it says now.

`UPDATE_DOCS=1 python -m pytest tests/unit/repository/test_docs.py` writes
docs/reference/command-line.md, the tables of docs/reference/error-classes.md and a batch's keys in
docs/reference/json.md anew.
"""

from __future__ import annotations

import dataclasses
import inspect
import os
import re
import subprocess
from pathlib import Path

import click
import pytest

from rowfleet.ledger.records import Progress
from rowfleet.openai_api.error_classes import BATCH_ERRORS, CLASSES, ENDINGS, Fate
from rowfleet.openai_api.failures import from_batch_error
from rowfleet.recipes.loading import parse
from rowfleet.recipes.parts.checks import Check
from rowfleet.recipes.parts.columns import Column
from rowfleet.recipes.parts.computed import Computed
from rowfleet.recipes.parts.lookups import Lookup
from rowfleet.recipes.parts.options import ModelOptions
from rowfleet.recipes.recipe import Recipe
from rowfleet.settings import OTHER_VARIABLES, VARIABLES, Settings
from submitter.cli.main import cli

ROOT = Path(__file__).parents[3]
DOCS = ROOT / "docs"
SETTINGS = DOCS / "reference" / "settings.md"
READMES = [ROOT / "k8s" / "README.md", ROOT / "charts" / "rowfleet" / "README.md"]
PAGES = sorted([*DOCS.rglob("*.md"), *ROOT.glob("*.md"), *READMES])

INTRODUCTION = """\
# The command line

<!-- Made from the program's own help; don't edit. To renew it:
     UPDATE_DOCS=1 python -m pytest tests/unit/repository/test_docs.py -->

This is what `rowfleet --help` and `rowfleet COMMAND --help` print. `python -m submitter` is the
same program. Ctrl-C ends a command with exit code 130, SIGTERM with 143. For the variables, see
[settings](settings.md).
"""


def test_command_line_page_is_what_the_program_prints():
    page = DOCS / "reference" / "command-line.md"
    if os.environ.get("UPDATE_DOCS"):
        page.write_text(_command_line_page(), "utf-8")
    assert page.read_text("utf-8") == _command_line_page()


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("error-classes.md", "errors"),
        ("error-classes.md", "answers"),
        ("error-classes.md", "remote batches"),
        ("json.md", "batch"),
    ],
)
def test_page_has_the_tables_of_the_code(file, name):
    page = DOCS / "reference" / file
    text = page.read_text("utf-8")
    begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
    before, rest = text.split(begin)
    _, after = rest.split(end)
    wanted = f"{before}{begin}{TABLES[name]()}{end}{after}"
    if os.environ.get("UPDATE_DOCS"):
        page.write_text(wanted, "utf-8")
    assert page.read_text("utf-8") == wanted


@pytest.mark.parametrize("variable", [*VARIABLES, *sorted(OTHER_VARIABLES)])
def test_settings_page_has_a_line_for_every_variable(variable):
    assert variable in _settings_table()


@pytest.mark.parametrize(
    "variable", [v for v, field in VARIABLES.items() if Settings.model_fields[field].default]
)
def test_settings_page_gives_the_default_the_program_has(variable):
    default = Settings.model_fields[VARIABLES[variable]].default
    said = re.search(r"[\w.-]+", _settings_table()[variable].replace(",", ""))
    assert said is not None
    assert said[0] == str(default)


def test_settings_page_names_no_variable_the_program_lacks():
    page = re.sub(r"```.*?```", "", SETTINGS.read_text("utf-8"), flags=re.DOTALL)
    assert set(re.findall(r"ROWFLEET_[A-Z_]+[A-Z]", page)) <= {*VARIABLES, *OTHER_VARIABLES}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_pages_and_headings_that_are_there(page):
    targets = re.findall(r"\]\(([^)\s]+)", page.read_text("utf-8"))
    broken = [t for t in targets if "://" not in t and not _leads_somewhere(page, t)]
    assert broken == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_that_a_page_names_are_there(page):
    text = page.read_text("utf-8")
    named = re.findall(
        r"`((?:rowfleet|submitter|worker|tests|benchmarks|charts|k8s)/[\w./-]*)`", text
    )
    # A run makes the first; NAME and 000N stand for a name of yours.
    exempt = re.compile(r"benchmarks/results/|.*/(NAME|000N)")
    assert [n for n in named if not (exempt.match(n) or (ROOT / n).exists())] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_an_index_lists_the_page(page):
    indexes = {index: index.read_text("utf-8") for index in DOCS.rglob("index.md")}
    listed = (f"({os.path.relpath(page, at.parent)})" in text for at, text in indexes.items())
    assert page == DOCS / "index.md" or any(listed)


def test_the_json_page_has_a_line_for_each_key_of_a_batch():
    page = (DOCS / "reference" / "json.md").read_text("utf-8")
    named = set(re.findall(r"`(\w+)`", page.split("## A batch")[1].split("## ")[0]))
    assert {field.name for field in dataclasses.fields(Progress)} - {"retried_for"} <= named


def test_the_recipe_page_has_a_line_for_each_field():
    page = (DOCS / "how-to" / "write-a-recipe.md").read_text("utf-8")
    named = set(re.findall(r"`([\w.\[\]]+)`", page.split("## Fields")[1].split("## ")[0]))
    columns = {f"columns[].{field}" for field in Column.model_fields}
    rules = {f"checks[].{field.alias or name}" for name, field in Check.model_fields.items()}
    rules |= {f"lookups.{field}" for field in Lookup.model_fields}
    rules |= {f"computed.{field}" for field in Computed.model_fields}
    assert {*Recipe.model_fields, *columns, *rules, *ModelOptions.model_fields} <= named


@pytest.mark.parametrize(
    ("page", "recipe"),
    [
        (page, recipe)
        for page in PAGES
        for recipe in re.findall(r"```yaml\n(name: .*?)```", page.read_text("utf-8"), re.DOTALL)
    ],
    ids=lambda given: getattr(given, "name", ""),
)
def test_a_recipe_in_the_docs_is_one(page, recipe):
    assert parse(recipe, page.name).columns


def test_the_first_make_says_that_it_installs(tmp_path):
    made = subprocess.run(
        ["make", "-n", "demo", f"VENV={tmp_path}/new"],
        env={"PATH": os.environ["PATH"]},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    lines = made.stdout.splitlines()
    said = f'echo "installing into {tmp_path}/new, a minute or two"'
    assert said in lines
    assert lines.index(said) < lines.index(f"python3 -m venv {tmp_path}/new")


def test_the_demos_last_line_names_the_ledger_that_the_demo_has_written():
    """From any directory: a relative path would be another one there."""
    made = subprocess.run(
        ["make", "-n", "demo"],
        env={"PATH": os.environ["PATH"]},  # not as a part of the make that runs the tests
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    ran, printed = made.stdout.splitlines()[-2:]
    homes = [re.search(r"XDG_STATE_HOME='([^']+)'", line) for line in (ran, printed)]
    assert homes[0] is not None
    assert homes[1] is not None
    assert homes[0][1] == homes[1][1] == str(ROOT / "build" / "demo")


def _leads_somewhere(page: Path, target: str) -> bool:
    path, _, anchor = target.partition("#")
    linked = page.parent / path if path else page
    return linked.is_file() and (not anchor or anchor in _anchors(linked))


def _anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub gives the page's headings."""
    text = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.DOTALL)
    titles = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def _settings_table() -> dict[str, str]:
    """Return variable → its default, as the page's tables give it."""
    page = SETTINGS.read_text("utf-8")
    lines = [line.strip("|").split("|") for line in page.splitlines() if line.startswith("| `")]
    return {cells[0].strip(" `"): cells[-1].strip() for cells in lines}


ROW_ENDS = {
    Fate.RETRY: "is tried again",
    Fate.WAIT: "waits for its turn",
    Fate.FAIL: "fails",
    Fate.STOP: "waits",
}


def _fate_cells(fate: Fate, *, is_doubtful: bool = False) -> list[str]:
    """Return what becomes of the row and of the batch."""
    batch = "stops" if fate is Fate.STOP else "goes on"
    return [ROW_ENDS[fate], "goes on; doubtful" if is_doubtful else batch]


def _table(head: list[str], lines: list[list[str]]) -> str:
    rows = [head, ["---"] * len(head), *lines]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in rows)


def _errors_table() -> str:
    lines = []
    for one in CLASSES:
        words = ", ".join(f"`{word}`" for word in sorted(one.words))
        if one.params:
            words += "; or `param` is " + ", ".join(f"`{param}`" for param in sorted(one.params))
        if one.says:
            words = f'the message has "{one.says}"'
        billed = "perhaps" if one.may_be_billed else "no"
        fate = _fate_cells(one.fate, is_doubtful=one.is_doubtful)
        lines.append([_ranges(one.statuses), words or "any", one.what, *fate, billed])
    return _table(["status", "code or type", "meaning", "the row", "the batch", "billed"], lines)


def _ranges(statuses: frozenset[int]) -> str:
    """Return statuses as people write them: 300–499."""
    found: list[list[int]] = []
    for status in sorted(statuses):
        if found and status == found[-1][-1] + 1:
            found[-1].append(status)
        else:
            found.append([status])
    shown = (str(r[0]) if len(r) == 1 else f"{r[0]}–{r[-1]}" for r in found)
    return ", ".join(shown) or "any"


def _answers_table() -> str:
    lines = [[one.sign, one.what, *_fate_cells(one.fate)] for one in ENDINGS.values()]
    return _table(["the answer", "meaning", "the row", "the batch"], lines)


def _remote_batches_table() -> str:
    lines = [[f"`{code}`", *_fate_cells(fate)] for code, fate in BATCH_ERRORS.items()]
    return _table(
        ["code", "its rows", "the batch"],
        [*lines, ["any other", *_fate_cells(from_batch_error(""))]],
    )


def _batch_table() -> str:
    """Return the fields of Progress with their comments; fields without one share the last."""
    lines: list[list[str]] = []
    meaning: list[str] = []
    for line in inspect.getsource(Progress).splitlines():
        field = re.match(r"    (\w+): ", line)
        if comment := re.match(r"    #: (.+)", line):
            meaning.append(comment[1])
        elif field and field[1] != "retried_for":
            if meaning:
                lines.append(["", " ".join(meaning)])
            lines[-1][0] += f"{', ' if lines[-1][0] else ''}`{field[1]}`"
            meaning = []
    return _table(["key", "meaning"], lines)


TABLES = {
    "batch": _batch_table,
    "errors": _errors_table,
    "answers": _answers_table,
    "remote batches": _remote_batches_table,
}


def _command_line_page() -> str:
    parts = [INTRODUCTION, _block("rowfleet", cli)]
    for name in cli.commands:
        command = cli.get_command(click.Context(cli), name)
        assert command is not None
        parts.append(f"## rowfleet {name}\n\n{_block(f'rowfleet {name}', command)}")
        for part, inner in getattr(command, "commands", {}).items():
            parts.append(_block(f"rowfleet {name} {part}", inner))
    return "\n".join(parts)


def _block(name: str, command: click.Command) -> str:
    context = click.Context(
        command, info_name=name, terminal_width=80, help_option_names=["-h", "--help"]
    )
    return f"```text\n{command.get_help(context)}\n```\n"
