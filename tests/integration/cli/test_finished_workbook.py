"""The finished sheet is the user's own workbook, and no file of a person's is written over."""

from __future__ import annotations

import csv
import hashlib
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from sqlalchemy import Engine, select, update

from rowfleet.ledger.engine import open_ledger
from rowfleet.ledger.models import Batch, Row
from rowfleet.ledger.schema import migrate
from rowfleet.ledger.transitions import stopping
from submitter.results.write_back.relations import MAX_CHANGED_BYTES
from submitter.sheets.opening import open_sheet
from submitter.sheets.other_formats.kinds import OLE_MAGIC
from submitter.sheets.selection import Choice
from submitter.submission import recording
from submitter.submission.submission import prepare
from tests.support import packages, rich_workbooks
from tests.support.ledger import ECHO
from tests.support.sheets import invoices, results
from tests.support.workbooks import rewrite

Call = Callable[..., tuple[int, str, str]]

HEADERS = ["AI_Answer", "AI_Score", "AI_Analyzer", "AI_Row", "AI_Status", "AI_Error"]


ALL = Choice()


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Engine:
    url = f"sqlite:///{tmp_path}/ledger.db"
    monkeypatch.setenv("DATABASE_URL", url)
    engine = open_ledger(url)
    migrate(engine)
    return engine


def submitted(
    engine: Engine, path: Path, batch_id: str = "b", rows: Choice = ALL, **of_rows: Any
) -> str:
    """Record a batch of the sheet, whose rows are all done unless ``of_rows`` says otherwise."""
    with open_sheet(path, recipe=ECHO) as sheet:
        asked = prepare(sheet, rows, ECHO, queue="q", batch_id=batch_id, source=path)
        recording.record(engine, None, asked)
    done = {"status": "done", "output": {"answer": "late", "score": 7}, **of_rows}
    with engine.begin() as connection:
        connection.execute(update(Row).where(Row.batch_id == batch_id).values(done))
        connection.execute(update(Batch).where(Batch.id == batch_id).values(status="finished"))
    return batch_id


@pytest.mark.parametrize("name", ["autofilter_with_hidden_rows", "macros", "sparklines"])
def test_an_export_is_the_workbook_that_was_submitted(
    ledger: Engine, call: Call, tmp_path: Path, name: str
) -> None:
    source, header_row = rich_workbooks.made(tmp_path, name)
    submitted(ledger, source)
    out = tmp_path / f"out{source.suffix}"
    assert call("export", "b", out)[:2] == (0, f"12 rows written to {out}\n")
    before, after = packages.parts_of(source), packages.parts_of(out)
    part = "xl/worksheets/sheet1.xml"
    assert packages.changed_parts(source, out) <= {part, packages.STYLES, "xl/workbook.xml"}
    first = 6 if name == "sparklines" else 5
    packages.check_worksheet(before[part], after[part], first, first + 5, header_row + 1)
    rows = list(openpyxl.load_workbook(out)["Invoices"].iter_rows(values_only=True))
    assert list(rows[header_row][first:]) == HEADERS
    answers = ["late", 7, "openai (gpt-5-mini)", header_row + 2, "done", None]
    assert list(rows[header_row + 1][first:]) == answers


def test_only_the_rows_of_the_batch_get_answers(ledger: Engine, call: Call, tmp_path: Path) -> None:
    """A part of a sheet, of which a sample ran before the rest was cancelled."""
    source, _ = rich_workbooks.made(tmp_path, "plain")
    submitted(ledger, source, rows=Choice(2, 4), status="pending", output=None)
    with ledger.begin() as connection:
        first = Row.number == 2
        connection.execute(update(Row).where(first).values(status="done", output={"answer": "x"}))
        connection.execute(update(Batch).values(status="sampled"))
        stopping.cancel(connection, "b", by="t")
    assert call("export", "b", "out.xlsx")[0] == 0
    rows = results(tmp_path / "out.xlsx")
    assert [row["AI_Status"] for row in rows] == [
        *(None, None, "done", "cancelled", "cancelled", "cancelled"),
        *[None] * 6,
    ]
    assert [row["AI_Row"] for row in rows[2:6]] == [4, 5, 6, 7]


@pytest.mark.parametrize("name", ["plain", "macros"])
def test_a_name_that_ends_in_csv_gets_a_text_file(
    ledger: Engine, call: Call, tmp_path: Path, name: str
) -> None:
    """The workbook is not needed for it, and the file may be written over by the same batch."""
    source, header_row = rich_workbooks.made(tmp_path, name)
    submitted(ledger, source)
    source.unlink()
    out = tmp_path / "out.csv"
    for _ in range(2):
        assert call("export", "b", out)[:2] == (0, f"12 rows written to {out}\n")
    with out.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0])[5:] == HEADERS
    assert [int(row["AI_Row"]) for row in rows] == [header_row + 2 + n for n in range(12)]
    assert {row["AI_Answer"] for row in rows} == {"late"}
    out.write_text("a person's")
    assert call("export", "b", out)[0] == 2


def test_an_export_again_fills_the_same_columns_of_what_it_wrote(
    ledger: Engine, call: Call, tmp_path: Path
) -> None:
    """And a column that a person added to the finished workbook stays."""
    source, _ = rich_workbooks.made(tmp_path, "plain")
    submitted(ledger, source, status="pending", output=None)
    assert call("export", "b", "out.xlsx")[0] == 0
    with ledger.begin() as connection:
        connection.execute(update(Row).values(status="done", output={"answer": "late"}))
    finished = tmp_path / "out.xlsx"
    shutil.copy(finished, tmp_path / "first.xlsx")
    assert call("export", "b", "again.xlsx", "--source", "first.xlsx")[0] == 0
    rows = results(tmp_path / "again.xlsx")
    assert list(rows[0])[5:] == HEADERS
    assert {row["AI_Answer"] for row in rows} == {"late"}
    # A person adds a column; another batch reads the finished workbook.
    book = openpyxl.load_workbook(finished)
    book["Invoices"]["L1"], book["Invoices"]["L2"] = "Checked", "by Eva"
    book.save(tmp_path / "checked.xlsx")
    submitted(ledger, tmp_path / "checked.xlsx", "c")
    assert call("export", "c", "both.xlsx")[0] == 0
    rows = results(tmp_path / "both.xlsx")
    assert rows[0]["Checked"] == "by Eva"


def test_a_file_that_the_batch_did_not_write_is_not_written_over(
    ledger: Engine, call: Call, tmp_path: Path
) -> None:
    source, _ = rich_workbooks.made(tmp_path, "plain")
    submitted(ledger, source)
    out = tmp_path / "out.xlsx"
    assert call("export", "b", out)[0] == 0
    assert call("export", "b", out)[0] == 0  # what it wrote itself
    book = openpyxl.load_workbook(out)
    book["Invoices"]["Z1"] = "a person's note"
    book.save(out)
    theirs = out.read_bytes()
    code, _, error = call("export", "b", out)
    assert code == 2
    assert "there is a file that batch b did not write, or that was changed since" in flat(error)
    assert out.read_bytes() == theirs
    assert call("export", "b", out, "--overwrite")[0] == 0
    assert call("export", "b", out)[0] == 0
    # Nor what another batch wrote, and nothing is recorded of a submission that would do it.
    submitted(ledger, source, "c")
    assert "batch c did not write" in flat(call("export", "c", out)[2])


@pytest.mark.parametrize("where", ["gone", "changed", "unknown"])
def test_without_its_original_an_export_says_what_to_do(
    ledger: Engine, call: Call, tmp_path: Path, where: str
) -> None:
    source, _ = rich_workbooks.made(tmp_path, "plain")
    submitted(ledger, source)
    kept = tmp_path / "kept.xlsx"
    source.rename(kept)
    if where == "changed":
        book = openpyxl.load_workbook(kept)
        book["Invoices"]["A2"] = "changed"
        book.save(source)
    if where == "unknown":
        with ledger.begin() as connection:
            connection.execute(update(Batch).values(origin=None))
    sentence = {
        "gone": f"{source}: the workbook that batch b was read from is not there",
        "changed": f"{source}: is not the workbook that batch b was read from, or was changed",
        "unknown": "was recorded by a version that did not note where",
    }[where]
    code, _, error = call("export", "b", "out.xlsx")
    assert code == 2
    assert sentence in flat(error)
    assert "--source FILE, or write a new workbook with --plain" in flat(error)
    assert not (tmp_path / "out.xlsx").exists()
    assert call("export", "b", "out.xlsx", "--source", kept)[0] == 0
    assert results(tmp_path / "out.xlsx")[0]["AI_Answer"] == "late"
    assert call("export", "b", "new.xlsx", "--plain")[0] == 0
    assert results(tmp_path / "new.xlsx")[0]["AI_Answer"] == "late"
    assert openpyxl.load_workbook(tmp_path / "new.xlsx").sheetnames == ["Invoices"]


def test_a_csv_gets_a_new_workbook(ledger: Engine, call: Call, tmp_path: Path) -> None:
    source = tmp_path / "in.csv"
    source.write_text("Name,Amount\nAcme,5\n")
    submitted(ledger, source)
    source.unlink()
    assert call("export", "b", "out.xlsx")[0] == 0
    assert results(tmp_path / "out.xlsx") == [
        {"Name": "Acme", "Amount": 5}
        | dict(zip(HEADERS, ["late", 7, "openai (gpt-5-mini)", 2, "done", None], strict=True))
    ]


@pytest.mark.parametrize(("name", "code"), [("plain", 0), ("autofilter_with_hidden_rows", 2)])
def test_a_batch_of_an_old_version_gets_answers_only_where_its_header_is(
    ledger: Engine, call: Call, tmp_path: Path, name: str, code: int
) -> None:
    """It did not record the header's row: a title above would shift every answer by a row."""
    source, _ = rich_workbooks.made(tmp_path, name)
    submitted(ledger, source)
    with ledger.begin() as connection:
        connection.execute(update(Batch).values(first_row=None, origin=None))
    assert call("export", "b", "out.xlsx", "--source", source)[0] == code
    assert (tmp_path / "out.xlsx").exists() == (code == 0)


@pytest.mark.parametrize("kind", ["compound", "ods"])
def test_an_old_workbook_with_the_name_of_a_new_one_gets_a_new_workbook(
    ledger: Engine, call: Call, tmp_path: Path, kind: str
) -> None:
    """It is read by what it is, whatever its name; answers can't be put into it."""
    source, _ = rich_workbooks.made(tmp_path, "plain")
    submitted(ledger, source)
    if kind == "ods":
        with zipfile.ZipFile(source, "w") as package:
            package.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
            package.writestr("content.xml", "<office/>")
    else:
        source.write_bytes(OLE_MAGIC + bytes(100))
    with ledger.begin() as connection:
        read = hashlib.sha256(source.read_bytes()).hexdigest()
        connection.execute(update(Batch).values(file_hash=read))
    assert call("export", "b", "out.xlsx")[0] == 0
    assert results(tmp_path / "out.xlsx")[0]["AI_Answer"] == "late"


@pytest.mark.parametrize(
    ("name", "out", "options", "sentence"),
    [
        ("macros", "out.xlsx", (), "is a workbook with macros"),
        ("plain", "out.xlsm", (), "is a workbook with no macros"),
        ("plain", "out.ods", (), "a finished sheet is an .xlsx or .csv file"),
    ],
)
def test_the_name_of_the_finished_workbook_says_what_it_is(
    ledger: Engine, call: Call, tmp_path: Path, name: str, out: str, options: Any, sentence: str
) -> None:
    source, _ = rich_workbooks.made(tmp_path, name)
    submitted(ledger, source)
    code, _, error = call("export", "b", out, *options)
    assert code == 2
    assert sentence in flat(error)
    assert not (tmp_path / out).exists()


def test_the_source_itself_is_never_written_over(
    ledger: Engine, call: Call, tmp_path: Path
) -> None:
    source, _ = rich_workbooks.made(tmp_path, "plain")
    submitted(ledger, source)
    original = source.read_bytes()
    for options in ((), ("--overwrite",), ("--overwrite", "--source", source)):
        assert call("export", "b", source, *options)[0] == 2
        assert source.read_bytes() == original


def test_macros_need_the_suffix_before_anything_runs(call: Call, tmp_path: Path) -> None:
    source, _ = rich_workbooks.made(tmp_path, "macros")
    code, _, error = call("local", source, "--analyzer", "rules", "--export", "out.xlsx")
    assert code == 2
    assert "give a name that ends in .xlsm" in flat(error)
    code, _, error = call("local", source, "--analyzer", "rules", "--export", "out.xlsm", "--plain")
    assert code == 2
    assert "the finished sheet is a new workbook; give a name that ends in .xlsx" in flat(error)


def test_a_submission_that_would_write_over_a_persons_file_records_nothing(
    ledger: Engine, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = invoices(tmp_path / "refunds.xlsx", 2)
    theirs = tmp_path / "refunds.results.xlsx"
    theirs.write_bytes(b"a person's own")
    code, _, error = call("local", source, "--analyzer", "rules")
    assert code == 2
    assert f"{theirs}: there is a file that batch" in flat(error)
    assert theirs.read_bytes() == b"a person's own"
    with ledger.connect() as connection:
        assert connection.execute(select(Batch.id)).all() == []


def test_a_local_run_of_what_it_wrote_fills_the_same_columns(
    ledger: Engine, call: Call, tmp_path: Path
) -> None:
    """The finished workbook is the same batch, also with a person's column beside the answers."""
    source = invoices(tmp_path / "refunds.xlsx", 3)
    assert call("local", source, "--analyzer", "rules")[0] == 0
    finished = tmp_path / "refunds.results.xlsx"
    book = openpyxl.load_workbook(finished)
    answers = [cell.value for cell in book.worksheets[0][1]]
    column = len(answers) + 1
    book.worksheets[0].cell(1, column, "Checked")
    book.worksheets[0].cell(2, column, "by Eva")
    book.save(finished)
    theirs = finished.read_bytes()
    code, _, said = call("local", source, "--analyzer", "rules")
    assert code == 2
    assert "to keep columns that you added to a finished workbook, submit it itself" in flat(said)
    code, _, said = call("local", finished, "--analyzer", "rules")
    assert code == 0
    assert "continues a batch" in flat(said)
    assert finished.read_bytes() == theirs
    second, third = (tmp_path / f"refunds.results-{n}.xlsx" for n in (2, 3))
    again = results(second)
    assert list(again[0]) == [*answers, "Checked"]
    assert [row["Checked"] for row in again] == ["by Eva", None, None]
    assert [row["AI_Row"] for row in again] == [2, 3, 4]
    assert call("local", second, "--analyzer", "rules")[0] == 0
    assert results(third) == again


@pytest.fixture
def twice(ledger: Engine, tmp_path: Path) -> tuple[Path, Path]:
    """A batch that was read from a workbook, then from its finished one: return both.

    A person put two lines above the table in the second.
    """
    source, _ = rich_workbooks.made(tmp_path, "plain")
    submitted(ledger, source)
    finished = tmp_path / "finished.xlsx"
    book = openpyxl.load_workbook(source)
    book["Invoices"].insert_rows(1, 2)
    book["Invoices"]["A1"] = "Checked by Eva"
    book.save(finished)
    submitted(ledger, finished)
    with ledger.connect() as connection:
        assert connection.execute(select(Batch.id, Batch.origin)).all() == [("b", str(finished))]
    return source, finished


def test_each_file_that_a_batch_was_read_from_is_its_original(
    twice: tuple[Path, Path], call: Call, tmp_path: Path
) -> None:
    source, finished = twice
    moved = source.rename(tmp_path / "moved.xlsx")
    assert call("export", "b", "one.xlsx", "--source", moved)[0] == 0
    # A finished sheet of this file has its rows where the file has them.
    assert call("export", "b", "again.xlsx", "--source", "one.xlsx")[0] == 0
    for name in ("one.xlsx", "again.xlsx"):
        one = results(tmp_path / name)
        assert list(one[0])[5:] == HEADERS
        assert [row["AI_Row"] for row in one] == list(range(2, 14))
    # A new workbook has them elsewhere: it is none that the answers are put into.
    assert call("export", "b", "plain.xlsx", "--plain")[0] == 0
    code, _, error = call("export", "b", "of_plain.xlsx", "--source", "plain.xlsx")
    assert code == 2
    assert "plain.xlsx: is not the workbook that batch b was read from" in flat(error)
    assert call("export", "b", "two.xlsx", "--source", finished)[0] == 0
    sheet = openpyxl.load_workbook(tmp_path / "two.xlsx")["Invoices"]
    rows = list(sheet.iter_rows(min_row=3, values_only=True))
    assert rows[0][5:] == tuple(HEADERS)
    assert rows[1][5:] == ("late", 7, "openai (gpt-5-mini)", 4, "done", None)


@pytest.mark.parametrize("change", ["gone", "changed"])
def test_an_export_falls_back_to_an_earlier_file_and_says_so(
    twice: tuple[Path, Path], call: Call, tmp_path: Path, change: str
) -> None:
    source, finished = twice
    if change == "gone":
        finished.unlink()
    else:
        finished.write_bytes(finished.read_bytes() + b"changed")
    code, said, error = call("export", "b", "out.xlsx")
    assert code == 0
    sentence = {
        "gone": "finished.xlsx: the workbook that batch b was read from is not there; ",
        "changed": "finished.xlsx: is not the workbook that batch b was read from, or was changed",
    }[change]
    assert sentence in flat(said + error)
    assert f"the answers are in a copy of {source}, which it was read from before" in flat(
        said + error
    )
    assert [row["AI_Row"] for row in results(tmp_path / "out.xlsx")] == list(range(2, 14))
    source.unlink()
    code, _, error = call("export", "b", "out2.xlsx")
    assert code == 2
    assert sentence.removesuffix("; ") in flat(error)


@pytest.mark.parametrize("options", [(), ("--overwrite",)])
def test_no_file_that_a_batch_was_read_from_is_written_over(
    twice: tuple[Path, Path], call: Call, tmp_path: Path, options: tuple[str, ...]
) -> None:
    source, finished = twice
    before = source.read_bytes(), finished.read_bytes()
    moved = tmp_path / "moved.xlsx"
    shutil.copy(source, moved)
    for file in (source, finished, moved):
        for kind in ((), ("--plain",)):
            code, _, error = call("export", "b", file, *kind, *options)
            assert code == 2
            assert f"{file}: batch b was read from this file, which is never" in flat(error)
    assert (source.read_bytes(), finished.read_bytes()) == before
    # Nor after a person changed it.
    source.write_bytes(source.read_bytes() + b"changed")
    assert call("export", "b", source, *options)[0] == 2


def test_a_finished_sheet_that_was_read_again_may_be_written_anew_while_it_is_unchanged(
    ledger: Engine, call: Call, tmp_path: Path
) -> None:
    source = invoices(tmp_path / "refunds.xlsx", 3)
    finished = tmp_path / "refunds.results.xlsx"
    for sheet in (source, finished, source):
        assert call("local", sheet, "--analyzer", "rules")[0] == 0
    finished.unlink()
    assert call("local", source, "--analyzer", "rules")[0] == 0
    assert len(results(finished)) == 3
    original = source.read_bytes()
    again = ("local", finished, "--analyzer", "rules", "--export", source, "--overwrite")
    assert call(*again)[0] == 2
    assert source.read_bytes() == original


def flat(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("dry_run", [True, False])
@pytest.mark.parametrize("command", ["local", "submit"])
def test_a_workbook_that_takes_no_answers_is_refused_before_its_first_row(
    call: Call,
    tmp_path: Path,
    ledger: Engine,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    dry_run: bool,
) -> None:
    monkeypatch.chdir(tmp_path)
    source = invoices(tmp_path / "in.xlsx", 2)
    rewrite(source, packages.STYLES, lambda old: old + b" " * MAX_CHANGED_BYTES)
    words = ["local", source] if command == "local" else ["submit", "--excel", source, "--wait"]
    words += ["--analyzer", "rules", "--export", "out.xlsx", *["--dry-run"] * dry_run]
    code, _, error = call(*words)
    assert code == 2
    assert error.startswith("rowfleet: ")
    assert "'xl/styles.xml' unpacks to 40 MiB, more than 40 MiB" in error
    with ledger.connect() as connection:
        assert not connection.execute(select(Row)).all()


@pytest.mark.parametrize("dry_run", [True, False])
def test_a_submission_without_an_export_says_that_its_workbook_takes_no_answers(
    call: Call,
    tmp_path: Path,
    ledger: Engine,
    redis_url: str,
    monkeypatch: pytest.MonkeyPatch,
    dry_run: bool,
) -> None:
    """It may still be exported as a new workbook, so it is not refused."""
    monkeypatch.setenv("REDIS_URL", redis_url)
    source = invoices(tmp_path / "in.xlsx", 2)
    rewrite(source, packages.STYLES, lambda old: old + b" " * MAX_CHANGED_BYTES)
    words = ["submit", "--excel", source, "--analyzer", "rules", *["--dry-run"] * dry_run]
    code, _, said = call(*words)
    assert code == 0, said
    assert "the answers can't be written into this workbook as it is: " in flat(said)
    assert "'xl/styles.xml' unpacks to 40 MiB, more than 40 MiB" in flat(said)
    assert "can't be written" not in call(*words, "--plain")[2]
    fine = invoices(tmp_path / "fine.xlsx", 2)
    assert "can't be written" not in call("submit", "--excel", fine, "--dry-run")[2]
