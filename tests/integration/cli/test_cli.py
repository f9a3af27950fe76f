"""The command line, strictly: what a mistake says, and that it leaves nothing behind.

`test_command_line.py` has the commands' ordinary behaviour; here is one table of all bad input that
reaches the program, and what people read.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import click
import openpyxl
import pytest
import redis
from sqlalchemy import func, select

from rowfleet.ledger.engine import open_ledger
from rowfleet.ledger.models import Batch
from rowfleet.ledger.queries.rows import recorded_rows
from rowfleet.ledger.schema import migrate
from submitter.cli import main
from tests.support.commands import PASSWORD, Call
from tests.support.sheets import invoices, results

Run = Callable[..., subprocess.CompletedProcess[str]]


# --- bad input


def _book(*rows: list[object]) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        workbook = openpyxl.Workbook()
        for row in rows:
            assert workbook.active is not None
            workbook.active.append(row)
        workbook.save(path)

    return write


def _bytes(content: bytes) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(content) and None


def _truncated(path: Path) -> None:
    invoices(path, 50)
    path.write_bytes(path.read_bytes()[:3000])


COMPOUND = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(504)
ENCRYPTED = COMPOUND + "EncryptedPackage".encode("utf-16-le") + bytes(512)
OUTPUT = "output: {type: object, properties: {answer: {type: string}}}"


@dataclass(frozen=True)
class Bad:
    """One mistake: the words after `rowfleet`, and what the sentence must name."""

    words: str
    names: str
    code: int = 2
    env: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, Callable[[Path], None]] = field(default_factory=dict)
    ledger: bool = False  # there is one already, empty


def _sheet(name: str, write: Callable[[Path], None], names: str) -> Bad:
    return Bad(f"submit --excel {name}", names, files={name: write})


def _option(options: str, names: str) -> Bad:
    return Bad(f"submit --excel ok.xlsx {options}", names)


def _recipe(text: str, names: str) -> Bad:
    files = {"mine.yaml": _bytes(text.encode())}
    return Bad("submit --excel ok.xlsx --recipe mine.yaml", f"mine.yaml: {names}", files=files)


def _setting(name: str, value: str, names: str, code: int = 2) -> Bad:
    return Bad("submit --excel ok.xlsx", names, code, env={name: value})


def _unknown(words: str) -> Bad:
    return Bad(words, "no batch 'nope'", ledger=True)


BAD = {
    "no such file": Bad("submit --excel nowhere.xlsx", "nowhere.xlsx: no such file"),
    "no such file, local": Bad("local nowhere.xlsx", "nowhere.xlsx: no such file"),
    "a directory": Bad("submit --excel .", "is a directory"),
    "empty file": _sheet("zero.xlsx", Path.touch, "zero.xlsx: the file is empty"),
    "not a spreadsheet": _sheet("a.xlsx", _bytes(b"plain text"), "a.xlsx: not a spreadsheet"),
    "an .xls": _sheet("old.xls", _bytes(COMPOUND), "old.xls: truncated or damaged"),
    "encrypted": _sheet("locked.xlsx", _bytes(ENCRYPTED), "locked.xlsx: the workbook is encrypted"),
    "truncated zip": _sheet("part.xlsx", _truncated, "part.xlsx: truncated or damaged"),
    "empty sheet": _sheet("void.xlsx", _book(), "void.xlsx"),
    "header only": _sheet("head.xlsx", _book(["Vendor", "Amount"]), "head.xlsx"),
    "missing columns": _sheet("few.xlsx", _book(["Vendor"], ["ACME"]), "Invoice_Number"),
    "no such sheet": _option("--sheet Refunds", "ok.xlsx: no sheet 'Refunds'; there are 'Sheet'"),
    "range past the end": _option("--start-row 5", "--start-row 5"),
    "negative start": _option("--start-row -1", "--start-row -1"),
    "start no number": _option("--start-row many", "--start-row"),
    "no rows": _option("--num-rows 0", "--num-rows 0"),
    "bad batch id": _option("--batch-id a/b", "--batch-id 'a/b'"),
    "bad batch id, dry run": _option("--batch-id a/b --dry-run", "--batch-id 'a/b'"),
    "batch id too long": _option(f"--batch-id {'a' * 65}", "--batch-id 'aaa"),
    "no such option": _option("--sheat Refunds", "--sheat"),
    "no such command": Bad("sumbit", "sumbit"),
    "no sheet given": Bad("submit", "--excel"),
    "no out given": Bad("export nope", "OUT.xlsx"),
    "slots": Bad("local ok.xlsx --slots 0", "--slots"),
    "no such recipe": _option("--recipe none.yaml", "none.yaml: no such recipe file"),
    "recipe: YAML": _recipe("name: [", "not valid YAML"),
    "recipe: no mapping": _recipe("- name", "a recipe is a YAML mapping"),
    "recipe: schema": _recipe(
        "name: x\nprompt: p\noutput: {type: object, properties: {a: {type: strin}}}", "output"
    ),
    "recipe: placeholder": _recipe(f"name: x\nprompt: 'Is {{Vendor}} ok?'\n{OUTPUT}", "recipe:"),
    "recipe: unknown key": _recipe(f"name: x\nprompt: p\npromt: q\n{OUTPUT}", "promt"),
    "recipe: not the rules'": Bad(
        "submit --excel ok.xlsx --recipe mine.yaml --analyzer rules",
        "answer",
        files={"mine.yaml": _bytes(f"name: x\nprompt: p\n{OUTPUT}".encode())},
    ),
    "export without wait": _option("--export out.xlsx", "--export needs --wait"),
    "export suffix": _option("--wait --export out.ods", "out.ods"),
    "export unwritable": _option("--wait --export no/out.xlsx", "no/out.xlsx: can't be written"),
    "export name too long": _option(f"--wait --export {'o' * 300}.xlsx", "can't be written"),
    "export over its source": _option("--wait --export ./ok.xlsx", "--export ok.xlsx: is the"),
    "local over its source": Bad("local ok.xlsx --export ok.xlsx", "--export ok.xlsx: is the"),
    "export command's suffix": Bad("export nope out.ods", "out.ods", ledger=True),
    "unknown: progress": _unknown("progress nope"),
    "unknown: progress watch": _unknown("progress nope --watch"),
    "unknown: failed": _unknown("failed nope"),
    "unknown: retry": _unknown("retry nope --row 3"),
    "unknown: cancel": _unknown("cancel nope"),
    "unknown: export": _unknown("export nope out.xlsx"),
    "unknown: repair": _unknown("repair nope"),
    "no ledger": Bad("batches", "there is no ledger at"),
    "no broker": _setting("REDIS_URL", "", "REDIS_URL is not set"),
    "no database": _setting("DATABASE_URL", "", "DATABASE_URL is not set"),
    "no key": Bad("local ok.xlsx --analyzer openai", "OPENAI_API_KEY is not set"),
    "redis: scheme": _setting("REDIS_URL", f"http://:{PASSWORD}@h", "REDIS_URL: must start with"),
    "redis: no host": _setting("REDIS_URL", f"redis://:{PASSWORD}@/0", "REDIS_URL: has no host"),
    "redis: port": _setting("REDIS_URL", "redis://h:70000/0", "REDIS_URL: is not a URL"),
    "redis: slash in password": _setting("REDIS_URL", f"redis://:{PASSWORD}/x@h/0", "REDIS_URL: "),
    "redis: hash in password": _setting("REDIS_URL", f"redis://:{PASSWORD}#x@h/0", "REDIS_URL: "),
    "redis: database": _setting("REDIS_URL", f"redis://:{PASSWORD}@h/x", "REDIS_URL: must end"),
    "redis: option": _setting("REDIS_URL", "redis://h/0?speed=1", "REDIS_URL: has an option"),
    "redis: away": _setting("REDIS_URL", f"redis://:{PASSWORD}@127.0.0.1:1/0", "127.0.0.1:1", 3),
    "workers, redis away": Bad(
        "workers", "127.0.0.1:1", 3, env={"REDIS_URL": "redis://127.0.0.1:1"}
    ),
    "database: none": _setting("DATABASE_URL", PASSWORD, "DATABASE_URL: is not a database URL"),
    "database: scheme": _setting(
        "DATABASE_URL", f"mysql://u:{PASSWORD}@h/d", "DATABASE_URL: must start with postgresql://"
    ),
    "database: port": _setting(
        "DATABASE_URL", f"postgresql://u@h:{PASSWORD}/d", "DATABASE_URL: is not a database URL"
    ),
    "database: two @": _setting(
        "DATABASE_URL", f"postgresql://u:a@{PASSWORD}@h/d", "DATABASE_URL: has two @"
    ),
    "database: in memory": _setting("DATABASE_URL", "sqlite:///:memory:", "DATABASE_URL: names no"),
    "database: away": _setting(
        "DATABASE_URL", f"postgresql://u:{PASSWORD}@127.0.0.1:1/d", "@127.0.0.1:1/d", 3
    ),
    "database: away, password as option": _setting(
        "DATABASE_URL", f"postgresql://u@127.0.0.1:1/d?password={PASSWORD}", "@127.0.0.1:1/d", 3
    ),
    "database: below a file": _setting("DATABASE_URL", "sqlite:///ok.xlsx/l.db", "ok.xlsx/l.db"),
    "database: a sheet": _setting("DATABASE_URL", "sqlite:///ok.xlsx", "ok.xlsx", 2),
    "misspelt": _setting("ROWFLEET_SLTOS", "5", "ROWFLEET_SLTOS is not a setting of Rowfleet; did"),
    "slots of 0": _setting("ROWFLEET_SLOTS", "0", "ROWFLEET_SLOTS=0"),
    "slots of abc": _setting("ROWFLEET_SLOTS", "abc", "ROWFLEET_SLOTS=abc"),
    "limit below the soft one": _setting(
        "ROWFLEET_TIME_LIMIT",
        "500",
        "ROWFLEET_TIME_LIMIT=500: must be above",
    ),
    "limit not finite": _setting("ROWFLEET_TIME_LIMIT", "nan", "ROWFLEET_TIME_LIMIT=nan"),
    "queue": _setting("ROWFLEET_QUEUE", "a b", "ROWFLEET_QUEUE=a b"),
    "pool": _setting("ROWFLEET_POOL", "eventlet", "ROWFLEET_POOL=eventlet"),
    "base URL": _setting("OPENAI_BASE_URL", f"ftp://u:{PASSWORD}@h", "OPENAI_BASE_URL: must be"),
}


def _files(directory: Path) -> dict[str, int]:
    """Return the files and their sizes, without those SQLite keeps beside an open ledger."""
    kept = (path for path in directory.iterdir() if not path.name.startswith("ledger.db-"))
    return {path.name: path.stat().st_size for path in kept}


@pytest.mark.parametrize("mistake", BAD)
def test_a_mistake_gets_one_sentence_and_leaves_nothing_behind(
    call: Call, tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch, mistake: str
) -> None:
    bad = BAD[mistake]
    database = f"sqlite:///{tmp_path / 'ledger.db'}"
    for name, value in {"REDIS_URL": redis_url, "DATABASE_URL": database, **bad.env}.items():
        monkeypatch.setenv(name, value)
    invoices(tmp_path / "ok.xlsx", 5)
    for name, write in bad.files.items():
        write(tmp_path / name)
    if bad.ledger:
        engine = open_ledger(database)
        migrate(engine)
        engine.dispose()  # so that SQLite folds its log into the file now
    before = _files(tmp_path)
    code, out, err = call(*shlex.split(bad.words))
    assert code == bad.code, err
    assert out == ""
    (sentence,) = err.splitlines()
    assert sentence.startswith("rowfleet: ")
    assert bad.names in sentence
    assert "Traceback" not in sentence
    assert PASSWORD not in sentence
    assert _files(tmp_path) == before
    if bad.ledger:
        with open_ledger(database).connect() as connection:
            assert connection.scalar(select(func.count()).select_from(Batch)) == 0
    assert redis.Redis.from_url(redis_url).keys() == []


@pytest.mark.parametrize("command", ["batches", "progress nope", "cancel nope"])
def test_a_database_without_a_ledger_is_left_alone(
    call: Call, postgres_url: str, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setenv("DATABASE_URL", postgres_url)
    code, _, err = call(*command.split())
    assert code == 2
    assert "there is no ledger in postgresql" in err
    assert len(err.splitlines()) == 1
    with open_ledger(postgres_url).connect() as connection:
        tables = connection.exec_driver_sql("SELECT * FROM pg_tables WHERE schemaname = 'public'")
        assert tables.all() == []


def test_an_id_taken_by_other_content_is_refused_and_that_batch_stays(
    call: Call, tmp_path: Path, services: redis.Redis, database_url: str
) -> None:
    first, other = (invoices(tmp_path / name, 5, prefix=name) for name in ("a.xlsx", "b.xlsx"))
    assert call("submit", "--excel", first, "--batch-id", "mine")[0] == 0
    code, _, err = call("submit", "--excel", other, "--batch-id", "mine")
    assert code == 2
    assert err.startswith("rowfleet: --batch-id mine: there is a batch of that id")
    assert len(err.splitlines()) == 1
    assert services.llen("rowfleet") == 5
    with open_ledger(database_url).connect() as connection:
        assert {row.cells[1][:6] for row in recorded_rows(connection, "mine")} == {"a.xlsx"}


# --- what people read


def test_submitting_again_says_that_it_continues(
    call: Call, tmp_path: Path, services: redis.Redis
) -> None:
    sheet = invoices(tmp_path / "Master Refunds [final].xlsx", 5)
    first, second = (call("submit", "--excel", sheet) for _ in range(2))
    assert "5 rows, recorded; analyzer rules" in first[2]
    assert "5 rows, this continues a batch submitted before" in second[2]
    follow = first[2].splitlines()[1]
    assert second[2].splitlines()[1] == follow
    assert "rowfleet progress master-refunds-final-" in follow
    code, out, _ = call(*follow.split("rowfleet ")[1].split()[:2])
    assert code == 0
    assert "0/5" in out
    assert "queued 5" in out
    assert services.llen("rowfleet") == 5


@pytest.mark.parametrize("analyzer", ["openai", "rules"])
def test_a_dry_run_says_rows_tokens_and_cost_and_needs_no_service(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, analyzer: str
) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
    monkeypatch.setenv("DATABASE_URL", "postgresql://u@127.0.0.1:1/d")
    sheet = invoices(tmp_path / "a [final].xlsx", 250)
    words = ("submit", "--excel", sheet, "--num-rows", "200", "--dry-run", "--analyzer", analyzer)
    code, out, err = call(*words)
    assert (code, err) == (0, "")
    assert "a [final].xlsx, sheet 'Sheet': 200 rows are fine to submit" in out
    said = json.loads(call(*words, "--json")[1])
    assert (said["dry_run"], said["rows"], said["analyzer"]) == (True, 200, analyzer)
    if analyzer == "openai":
        assert f"{said['prompt_tokens']:,} in, {said['completion_tokens']:,} out), $" in out
        assert f"\n{said['sampled_rows']:,} rows were counted; " in out
        assert said["cost_usd"] > 0
    else:
        assert "no tokens and no cost" in out
        assert (said["prompt_tokens"], said["cost_usd"]) == (0, 0)
    assert {path.name for path in tmp_path.iterdir()} == {sheet.name}


def test_a_range_is_recorded_with_the_sheets_own_numbers(
    call: Call, tmp_path: Path, services: redis.Redis
) -> None:
    sheet = invoices(tmp_path / "many.csv.xlsx", 130)
    rows = ("--start-row", "100", "--num-rows", "100")
    code, out, _ = call("submit", "--excel", sheet, *rows, "--batch-id", "part", "--json")
    assert code == 0
    assert json.loads(out)["rows"] == 30  # there are no more
    assert call("export", "part", tmp_path / "out.xlsx")[0] == 0
    exported = results(tmp_path / "out.xlsx")
    assert len(exported) == 130
    asked = [row["Invoice Number"] for row in exported if row["AI_Status"] is not None]
    assert asked == [f"INV-{n}" for n in range(100, 130)]


def test_a_cancelled_batch_shows_it_and_is_not_started_again(
    call: Call, tmp_path: Path, services: redis.Redis
) -> None:
    sheet = invoices(tmp_path / "refunds.xlsx", 5)
    assert call("submit", "--excel", sheet, "--batch-id", "b")[0] == 0
    code, out, _ = call("cancel", "b")
    assert code == 0
    assert "b: 5/5 rows, cancelled" in out
    assert "cancelled 5" in call("progress", "b")[1]
    assert json.loads(call("progress", "b", "--json")[1])["status"] == "cancelled"
    assert "cancelled" in call("batches")[1]
    code, _, err = call("submit", "--excel", sheet, "--batch-id", "b")
    assert code == 2
    assert err.startswith("rowfleet: batch b was cancelled; submit with another --batch-id")
    code, _, err = call("submit", "--excel", sheet, "--batch-id", "b", "--wait")
    assert code == 2


def test_a_csv_gives_the_same_rows_as_a_workbook(
    call: Call, tmp_path: Path, services: redis.Redis
) -> None:
    text = "Vendor,Invoice Number,Date,Description,Amount,Tax\nACME,A-1,2026-01-02,Ünits,10,1\n"
    sheet = tmp_path / "s.csv"
    sheet.write_text(text, "utf-8")
    assert call("submit", "--excel", sheet, "--batch-id", "csv")[0] == 0
    assert call("export", "csv", tmp_path / "out.xlsx")[0] == 0
    (row,) = results(tmp_path / "out.xlsx")
    assert (row["Vendor"], row["Description"], row["AI_Status"]) == ("ACME", "Ünits", "queued")


# --- help


@pytest.mark.parametrize("name", sorted(main.cli.commands))
def test_each_example_in_the_help_parses(name: str, call: Call) -> None:
    code, out, _ = call(name, "--help")
    assert code == 0
    lines = [part.strip() for part in out.split("Example:")[1].splitlines() if part.strip()]
    assert lines
    for line in lines:
        program, command, *words = shlex.split(line.partition(" > ")[0])
        assert (program, command) == ("rowfleet", name)
        with click.Context(main.cli) as parent:
            parsed = main.cli.get_command(parent, name)
            assert parsed is not None
            parsed.make_context(name, words, parent=parent)


def test_python_m_submitter_is_the_same_program(tmp_path: Path, rowfleet: Run) -> None:
    installed = subprocess.run(
        [Path(sys.executable).with_name("rowfleet"), "submit", "--help"],
        env={**os.environ, "COLUMNS": "200"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    module = rowfleet("submit", "--help")
    assert installed.returncode == module.returncode == 0
    assert installed.stdout == module.stdout
    assert installed.stdout.startswith("Usage: rowfleet submit [OPTIONS]")
