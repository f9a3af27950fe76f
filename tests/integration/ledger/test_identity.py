"""The same rows and the same question are the same batch, whatever the file is called."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from sqlalchemy import Engine, func, select

from rowfleet.errors import InputError
from rowfleet.ledger import records
from rowfleet.ledger.models import Batch, Row
from rowfleet.ledger.queries import batch_records
from rowfleet.ledger.transitions import recording, stopping
from rowfleet.recipes.parts.options import ModelOptions
from rowfleet.recipes.recipe import Recipe
from submitter.results.export import Target, export
from submitter.sheets.header import LOOKED_FOR, HeaderOptions
from submitter.sheets.opening import open_sheet
from submitter.sheets.selection import Choice
from submitter.submission import matching
from submitter.submission import recording as batch
from submitter.submission.submission import Submission, new_batch, prepare
from tests.support.workbooks import SHEET_PART, rewrite

ASKED = {
    "name": "sorts",
    "analyzer": "openai",
    "model": "gpt-5-mini",
    "prompt": "What is {thing}?",
    "variables": {"thing": "this"},
    "columns": ["Name", "Number"],
    "output": {"type": "object", "properties": {"sort": {"type": "string"}}},
}
RECIPE = Recipe.model_validate(ASKED)

ALL = Choice()

#: A sheet of three rows, as text and numbers.
CELLS: list[list[Any]] = [["Name", "Number", "Note"], ["a", 1, "x"], ["b", 2, None], ["c", 3, "z"]]


def workbook(path: Path, cells: list[list[Any]] = CELLS, title: str = "Sheet") -> Path:
    book = openpyxl.Workbook()
    assert book.active is not None
    book.active.title = title
    for row in cells:
        book.active.append(row)
    book.save(path)
    return path


def text_file(path: Path, cells: list[list[Any]] = CELLS) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(cells)
    return path


@contextmanager
def prepared(
    path: Path,
    *,
    recipe: Recipe = RECIPE,
    batch_id: str | None = None,
    rows: Choice = ALL,
    sheet: str | None = None,
    header: HeaderOptions = LOOKED_FOR,
) -> Iterator[Submission]:
    with open_sheet(path, sheet, recipe=recipe, header=header) as opened:
        yield prepare(opened, rows, recipe, queue="q", batch_id=batch_id, source=path)


def submit(engine: Engine, path: Path, **options: Any) -> tuple[str, bool]:
    """Submit the file. Return the batch's id, and whether it was there."""
    with prepared(path, **options) as submission:
        found = batch.record(engine, None, submission)
    return (submission.batch_id, False) if found is None else (found.id, True)


def recorded(engine: Engine) -> tuple[int, int]:
    """Return how many batches and rows there are."""
    with engine.connect() as connection:
        batches = connection.execute(select(func.count()).select_from(Batch)).scalar_one()
        rows = connection.execute(select(func.count()).select_from(Row)).scalar_one()
    return batches, rows


@pytest.mark.parametrize("write", [workbook, text_file])
def test_a_copy_under_another_name_continues(
    engine: Engine, tmp_path: Path, write: Callable[[Path], Path]
) -> None:
    suffix = ".xlsx" if write is workbook else ".csv"
    first = write(tmp_path / f"invoices{suffix}")
    copy = tmp_path / f"invoices (1){suffix}"
    shutil.copy(first, copy)
    batch_id, _ = submit(engine, first)
    assert submit(engine, copy) == (batch_id, True)
    assert submit(engine, first) == (batch_id, True)
    assert recorded(engine) == (1, 3)


@pytest.mark.parametrize(
    ("stored", "saved_anew", "other"),
    [
        ("1577.3400000000001", "1577.34", "1577.34000000001"),
        ("2.9999999999999996", "3", "2.99999999999999"),
        ("-0.30000000000000004", "-0.3", "0.3"),
        ("12345678901234567", "1.23456789012346E+016", "12345678901234400"),
    ],
)
def test_a_number_is_what_a_spreadsheet_program_keeps_of_it(
    engine: Engine, tmp_path: Path, stored: str, saved_anew: str, other: str
) -> None:
    """Programs keep 15 digits when they save a sheet anew, and a formula's result has up to 17."""

    def sheet(name: str, number: str) -> Path:
        path = workbook(tmp_path / name, [*CELLS, ["d", 987654, None]])
        rewrite(path, SHEET_PART, lambda xml: xml.replace(b"987654", number.encode()))
        return path

    batch_id, _ = submit(engine, sheet("a.xlsx", stored))
    assert submit(engine, sheet("b.xlsx", saved_anew)) == (batch_id, True)
    assert submit(engine, sheet("c.xlsx", other))[1] is False


def test_equal_cells_continue_in_other_bytes_another_sheet_and_another_format(
    engine: Engine, tmp_path: Path
) -> None:
    batch_id, _ = submit(engine, workbook(tmp_path / "a.xlsx"))
    time.sleep(1.1)  # openpyxl notes the second in which it saves
    saved_anew = workbook(tmp_path / "a.xlsx", title="Renamed")
    assert submit(engine, saved_anew) == (batch_id, True)
    assert submit(engine, text_file(tmp_path / "b.csv")) == (batch_id, True)
    with_other = openpyxl.load_workbook(saved_anew)
    with_other.create_sheet("Notes").append(["of no batch"])
    with_other.save(tmp_path / "c.xlsx")
    assert submit(engine, tmp_path / "c.xlsx") == (batch_id, True)
    assert submit(engine, saved_anew, rows=Choice(0, 3)) == (batch_id, True)
    assert recorded(engine) == (1, 3)


def test_a_batch_is_of_the_file_that_was_submitted_last(engine: Engine, tmp_path: Path) -> None:
    """Its row numbers are those of that file, and the finished sheet is a copy of it."""

    def place() -> tuple[object, ...]:
        with engine.connect() as connection:
            (of,) = batch_records.batches(connection)
        assert of.number_of(of.sheet_row(2)) == 2
        return of.origin, of.file_hash, of.sheet, of.start_row, of.num_rows, of.sheet_row(0)

    def sha256(path: Path) -> str:
        return hashlib.sha256(path.read_bytes()).hexdigest()

    first = workbook(tmp_path / "a.xlsx")
    submit(engine, first)
    assert place() == (str(first), sha256(first), "Sheet", 0, None, 2)
    with_title = workbook(tmp_path / "b.xlsx", [["Refunds of 2026"], [], *CELLS], title="Refunds")
    _, is_found = submit(engine, with_title, rows=Choice(0, 3))
    assert is_found
    assert place() == (str(with_title), sha256(with_title), "Refunds", 0, 3, 4)
    longer = workbook(tmp_path / "b.xlsx", [["Refunds of 2026"], [], *CELLS, ["d", 4, None]])
    assert submit(engine, longer)[1] is False
    assert recorded(engine) == (2, 7)


@pytest.mark.parametrize(
    "change",
    [
        lambda cells: cells[3].__setitem__(1, 4),
        lambda cells: cells[3].__setitem__(1, "3"),  # text is sent otherwise than a number
        lambda cells: cells[1].__setitem__(1, True),
        lambda cells: cells[2].__setitem__(2, "not sent, and yet in the finished sheet"),
        lambda cells: cells[0].__setitem__(2, "Remark"),
        lambda cells: cells.insert(2, [None, None, None]),  # the rows behind it have other numbers
        lambda cells: cells.append(["d", 4, None]),
        lambda cells: cells.pop(),
        lambda cells: cells.__setitem__(slice(1, 3), [cells[2], cells[1]]),
    ],
)
def test_a_changed_sheet_of_the_same_name_is_a_new_batch(
    engine: Engine, tmp_path: Path, change: Callable[[list[list[Any]]], None]
) -> None:
    batch_id, _ = submit(engine, workbook(tmp_path / "a.xlsx"))
    cells = [list(row) for row in CELLS]
    change(cells)
    other_id, is_there = submit(engine, workbook(tmp_path / "a.xlsx", cells))
    assert not is_there
    assert other_id != batch_id


@pytest.mark.parametrize(
    ("changes", "is_same"),
    [
        ({"description": "What sort each is"}, True),
        ({"result_columns": {"sort": "Sort"}}, True),
        ({"prices": {"gpt-5-mini": {"input": 1, "output": 2}}}, True),
        ({"prompt": "Which is {thing}?"}, False),
        ({"variables": {"thing": "that"}}, False),
        ({"model": "gpt-5"}, False),
        ({"options": {"temperature": 0}}, False),
        ({"columns": ["Name"]}, False),
        ({"identity": ["Number"]}, False),
        ({"output": {"type": "object", "properties": {"kind": {"type": "string"}}}}, False),
    ],
)
def test_only_what_is_asked_makes_another_batch(
    engine: Engine, tmp_path: Path, changes: Mapping[str, Any], is_same: bool
) -> None:
    sheet = workbook(tmp_path / "a.xlsx")
    batch_id, _ = submit(engine, sheet)
    changed = Recipe.model_validate({**ASKED, **changes})
    found_id, is_there = submit(engine, sheet, recipe=changed)
    assert (found_id == batch_id, is_there) == (is_same, is_same)
    with engine.connect() as connection:
        kept = Recipe.model_validate(batch_records.get_batch(connection, found_id).recipe)
    assert kept.headers() == changed.headers()  # the finished sheet has the new ones
    assert kept.question() == changed.question()


def test_a_named_batch_is_found_by_its_content_and_refuses_other_content(
    engine: Engine, tmp_path: Path
) -> None:
    sheet = workbook(tmp_path / "a.xlsx")
    assert submit(engine, sheet, batch_id="mine") == ("mine", False)
    assert submit(engine, sheet) == ("mine", True)
    assert submit(engine, sheet, batch_id="once-more") == ("once-more", False)
    assert submit(engine, text_file(tmp_path / "b.csv"), batch_id="once-more") == (
        "once-more",
        True,
    )
    for cells in ([*CELLS, ["d", 4, None]], CELLS[:3], [CELLS[0], ["z", 9, None], *CELLS[2:]]):
        other = workbook(tmp_path / "other.xlsx", cells)
        with pytest.raises(InputError, match="there is a batch of that id with another sheet"):
            submit(engine, other, batch_id="mine")
    assert recorded(engine) == (2, 6)


def test_a_cancelled_batch_is_not_begun_anew_but_one_that_was_named_goes_on(
    engine: Engine, tmp_path: Path
) -> None:
    sheet, copy = workbook(tmp_path / "a.xlsx"), tmp_path / "b.xlsx"
    shutil.copy(sheet, copy)
    batch_id, _ = submit(engine, sheet)
    with engine.begin() as connection:
        stopping.cancel(connection, batch_id, by="me")
    with pytest.raises(InputError, match=f"{batch_id} was cancelled"):
        submit(engine, copy)
    submit(engine, sheet, batch_id="anew")
    assert submit(engine, copy) == ("anew", True)


def test_two_names_submitted_at_once_are_one_batch(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = recording.create_batch

    def slowly(*arguments: Any) -> bool:
        time.sleep(0.3)  # so that the other looks for a batch before this one is there
        return create(*arguments)

    monkeypatch.setattr(recording, "create_batch", slowly)
    monkeypatch.setattr(matching, "PAUSE", 0.05)
    files = [workbook(tmp_path / "a.xlsx"), text_file(tmp_path / "b.csv")]
    ends: list[tuple[str, bool]] = []
    threads = [
        threading.Thread(target=lambda f=file: ends.append(submit(engine, f))) for file in files
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(is_there for _, is_there in ends) == [False, True]
    assert len({batch_id for batch_id, _ in ends}) == 1
    assert recorded(engine) == (1, 3)


def half_recorded(engine: Engine, path: Path) -> str:
    """Leave a batch as a submitter does that dies behind the first row."""
    with prepared(path) as submission, engine.begin() as connection:
        recording.create_batch(connection, new_batch(submission))
        recording.record_rows(connection, submission.batch_id, [(0, CELLS[1], None)])
    return submission.batch_id


def test_a_half_recorded_batch_is_completed_from_its_own_file_only(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another file with the same rows so far may differ in the rest."""
    monkeypatch.setattr(matching, "PAUSE", 0.05)
    monkeypatch.setattr(matching, "STALLED", 0.2)
    sheet = workbook(tmp_path / "a.xlsx")
    batch_id = half_recorded(engine, sheet)
    other = workbook(tmp_path / "other.xlsx", [CELLS[0], ["z", 9, None], *CELLS[2:]])
    assert not submit(engine, other)[1]
    with pytest.raises(InputError, match=r"same rows up to row 2.*submit .*a\.xlsx again"):
        submit(engine, text_file(tmp_path / "b.csv"))
    shutil.copy(sheet, tmp_path / "copy.xlsx")
    assert submit(engine, tmp_path / "copy.xlsx") == (batch_id, True)
    assert submit(engine, tmp_path / "b.csv") == (batch_id, True)


# --- batches of the first version


def first_identity(sheet: Any, rows: Choice, recipe: Recipe) -> tuple[str, str]:
    """Return id and content hash as 0.1.0 made them. Frozen: what this gives must never change."""
    snapshot = {
        "name": recipe.name,
        "description": recipe.description,
        "analyzer": recipe.analyzer,
        "model": recipe.model,
        "api": recipe.api,
        "options": {
            name: getattr(recipe.options, name)
            for name in (
                *("temperature", "top_p", "max_completion_tokens"),
                *("reasoning_effort", "service_tier", "seed"),
            )
        },
        "columns": [
            {"name": column.name, "required": column.required, "aliases": list(column.aliases)}
            for column in recipe.columns
        ],
        "identity": list(recipe.identity),
        "variables": dict(recipe.variables),
        "prompt": recipe.prompt,
        "output": recipe.output,
        "result_columns": dict(recipe.result_columns),
    }
    canonical = json.dumps(snapshot, sort_keys=True, separators=(",", ":"))
    content = [sheet.sha256, sheet.title, rows.start_row, rows.num_rows, canonical]
    digest = hashlib.sha256(json.dumps(content).encode()).hexdigest()
    return f"{Path(sheet.name).stem.lower()}-{digest[:12]}", digest


@pytest.mark.parametrize("is_whole", [True, False], ids=["whole", "half recorded"])
def test_a_batch_of_the_first_version_goes_on(
    engine: Engine, tmp_path: Path, is_whole: bool
) -> None:
    path = workbook(tmp_path / "invoices.xlsx")
    with prepared(path) as submission:
        old_id, old_hash = first_identity(submission.sheet, submission.rows, RECIPE)
        new = new_batch(submission)
        old = {name: getattr(new, name) for name in new.__slots__}
        old |= {"id": old_id, "content_hash": old_hash}
        with engine.begin() as connection:
            recording.create_batch(connection, records.NewBatch(**old))
            cells = CELLS[1:] if is_whole else CELLS[1:2]
            numbered = [(number, row, None) for number, row in enumerate(cells)]
            recording.record_rows(connection, old_id, numbered)
            if is_whole:
                recording.finish_loading(connection, old_id)
        assert (submission.batch_id, submission.content_hash) == (old_id, old_hash)
    assert submit(engine, path) == (old_id, True)
    shutil.copy(path, tmp_path / "Copy of invoices.xlsx")
    assert submit(engine, tmp_path / "Copy of invoices.xlsx") == (old_id, True)
    assert recorded(engine) == (1, 3)


class _LaterOptions(ModelOptions):
    verbosity: str | None = None


def test_a_finished_workbook_is_the_same_batch_when_its_answers_get_other_headers(
    engine: Engine, tmp_path: Path
) -> None:
    """A recipe that sends every column sends no answers of its own, whatever they were called."""
    asked = {**ASKED, "columns": []}
    path = workbook(tmp_path / "a.xlsx")
    headers: list[Any] = []
    for header in ("Sort", "Kind", "Class", "Label"):
        recipe = Recipe.model_validate({**asked, "result_columns": {"sort": header}})
        batch_id, is_found = submit(engine, path, recipe=recipe)
        assert is_found == (header != "Sort")
        path = tmp_path / f"{header}.xlsx"
        export(engine, batch_id, Target(path))
        headers = [cell.value for cell in openpyxl.load_workbook(path).worksheets[0][1]]
    assert recorded(engine) == (1, 3)
    assert {"Sort", "Kind", "Class", "Label"} <= set(headers)  # what people refer to stays
    book = openpyxl.load_workbook(path)
    book.worksheets[0].cell(1, len(headers) + 1, "Checked by a person")
    book.save(path)
    assert submit(engine, path, recipe=recipe)[1] is False  # one column more is sent
    other = {**asked, "prompt": "And now?"}
    assert submit(engine, tmp_path / "Sort.xlsx", recipe=Recipe.model_validate(other))[1] is False


class _LaterRecipe(Recipe):
    """A recipe of a version to come, with optional fields that this one lacks."""

    options: _LaterOptions = _LaterOptions()
    notes: tuple[str, ...] = ()
    review: str | None = None


def test_an_optional_field_that_a_later_version_adds_makes_no_other_batch(
    engine: Engine, tmp_path: Path
) -> None:
    path = workbook(tmp_path / "a.xlsx")
    batch_id, _ = submit(engine, path)
    later = _LaterRecipe.model_validate(ASKED)
    assert later.canonical() == RECIPE.canonical()
    assert later.snapshot() == RECIPE.snapshot()  # older workers can read it
    assert submit(engine, path, recipe=later) == (batch_id, True)
    for used in ({"notes": ["Note"]}, {"options": {"verbosity": "low"}}):
        asks_more = _LaterRecipe.model_validate({**ASKED, **used})
        assert asks_more.canonical() != RECIPE.canonical()


def test_the_command_line_goes_on_with_the_id_that_was_printed(
    tmp_path: Path,
    redis_url: str,
    rowfleet: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    env = {"REDIS_URL": redis_url, "DATABASE_URL": f"sqlite:///{tmp_path / 'ledger.db'}"}
    (tmp_path / "r.yaml").write_text(json.dumps(ASKED))
    printed = []
    for name in ("first.csv", "second.csv"):
        text_file(tmp_path / name)
        words = ("submit", "--excel", name, "--recipe", "r.yaml", "--json")
        done = rowfleet(*words, env=env)
        assert done.returncode == 0, done.stderr
        printed.append(json.loads(done.stdout))
    first, second = printed
    assert second == {**first, "continued": True}
    shown = rowfleet("progress", first["batch_id"], "--json", env=env)
    assert json.loads(shown.stdout)["total"] == 3
