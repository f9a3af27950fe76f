"""The command line: each mistake gets one sentence and its exit code, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import openpyxl
import pytest
import redis

from rowfleet.ledger import records
from rowfleet.ledger.engine import open_ledger
from rowfleet.ledger.queries.rows import recorded_rows
from rowfleet.ledger.schema import migrate
from rowfleet.ledger.transitions import claiming, finishing, settling, stopping
from submitter.cli import main
from tests.support.ledger import make_batch
from tests.support.sheets import invoices, results

Said = tuple[int, str, str]
Call = Callable[..., Said]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Run `rowfleet` with the given words; return its exit code, output and errors."""

    def run(*words: object) -> Said:
        monkeypatch.setattr(sys, "argv", ["rowfleet", *map(str, words)])
        monkeypatch.setenv("COLUMNS", "300")
        with pytest.raises(SystemExit) as caught:
            main.main()
        said = capsys.readouterr()
        return int(caught.value.code or 0), said.out, said.err

    return run


@pytest.fixture
def sheet(tmp_path: Path) -> Path:
    return invoices(tmp_path / "refunds.xlsx", 5)


@pytest.fixture
def services(monkeypatch: pytest.MonkeyPatch, redis_url: str, database_url: str) -> str:
    """Name the test's broker and ledger in the environment; return the broker's URL."""
    monkeypatch.setenv("REDIS_URL", redis_url)
    monkeypatch.setenv("DATABASE_URL", database_url)
    return redis_url


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def book(path: Path, *rows: list[object]) -> Path:
    workbook = openpyxl.Workbook()
    for row in rows:
        assert workbook.active is not None
        workbook.active.append(row)
    workbook.save(path)
    return path


BAD_SHEETS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "missing": (lambda d: d / "nowhere.xlsx", "nowhere.xlsx"),
    "text": (lambda d: write(d / "notes.xlsx", "just text"), "notes.xlsx"),
    "directory": (lambda d: d, "director"),
    "xls": (
        lambda d: write(d / "old.xls", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600),
        ".xls",
    ),
    "header only": (lambda d: book(d / "h.xlsx", ["Vendor", "Amount"]), "h.xlsx"),
    "empty": (lambda d: book(d / "e.xlsx"), "e.xlsx"),
    "columns missing": (lambda d: book(d / "c.xlsx", ["Vendor"], ["ACME"]), "Invoice_Number"),
    "truncated": (
        lambda d: write(d / "t.xlsx", invoices(d / "whole.xlsx", 50).read_bytes()[:3000]),
        "t.xlsx",
    ),
}


@pytest.mark.parametrize("kind", BAD_SHEETS)
def test_local_gives_a_bad_sheet_one_sentence_and_leaves_nothing(
    call: Call, tmp_path: Path, services: str, kind: str
) -> None:
    make, names = BAD_SHEETS[kind]
    path = make(tmp_path)
    code, out, err = call("local", path, "--analyzer", "rules")
    assert code == 2
    assert out == ""
    assert names in err
    assert err.startswith("rowfleet: ")
    assert len(err.strip().splitlines()) == 1
    assert redis.Redis.from_url(services).keys() == []
    assert not list(tmp_path.glob("*.results.xlsx"))
    assert not (tmp_path / "ledger.db").exists()


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("name: [", "not valid YAML"),
        ("name: x\nprompt: p\noutput: {type: object, properties: {a: {type: strin}}}", "output"),
        (
            "name: x\nprompt: 'Is {Vendor} ok?'\noutput: {type: object, properties: {a: {}}}",
            "Vendor",
        ),
        ("name: x\nprompt: p", "output"),
    ],
)
def test_a_broken_recipe_is_named(
    call: Call, sheet: Path, services: str, tmp_path: Path, text: str, names: str
) -> None:
    recipe = write(tmp_path / "mine.yaml", text)
    code, _, err = call("submit", "--excel", sheet, "--recipe", recipe)
    assert code == 2
    assert "mine.yaml" in err
    assert names in err


@pytest.mark.parametrize(
    ("variable", "value", "code", "names"),
    [
        ("REDIS_URL", "http://:hunter2@x", 2, "REDIS_URL"),
        ("REDIS_URL", "redis://:hunter2@127.0.0.1:1/0", 3, "127.0.0.1:1"),
        ("DATABASE_URL", "nonsense-hunter2", 2, "DATABASE_URL"),
        ("DATABASE_URL", "mysql://u:hunter2@h/d", 2, "DATABASE_URL"),
        ("DATABASE_URL", "postgresql://u:hunter2@127.0.0.1:1/d", 3, "127.0.0.1:1"),
        ("REDIS_URL", "", 2, "REDIS_URL is not set"),
        ("DATABASE_URL", "", 2, "DATABASE_URL is not set"),
        ("ROWFLEET_SLTOS", "5", 2, "did you mean ROWFLEET_SLOTS"),
        ("ROWFLEET_SLOTS", "0", 2, "ROWFLEET_SLOTS=0"),
        ("ROWFLEET_SLOTS", "many", 2, "ROWFLEET_SLOTS=many"),
        ("ROWFLEET_TIME_LIMIT", "500", 2, "ROWFLEET_SOFT_TIME_LIMIT"),
        ("OPENAI_BASE_URL", "localhost:8000", 2, "OPENAI_BASE_URL"),
        ("ROWFLEET_ANALYZER", "magic", 2, "ROWFLEET_ANALYZER=magic"),
    ],
)
def test_a_bad_setting_is_named_without_its_secret(
    call: Call,
    sheet: Path,
    services: str,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    value: str,
    code: int,
    names: str,
) -> None:
    monkeypatch.setenv(variable, value)
    got, _, err = call("submit", "--excel", sheet)
    assert got == code
    assert names in err
    assert "hunter2" not in err
    assert "Traceback" not in err


def test_a_ledger_that_is_not_there_is_not_made_by_looking(call: Call, tmp_path: Path) -> None:
    code, _, err = call("batches")
    assert code == 2
    assert "there is no ledger at" in err
    assert not (tmp_path / "state").exists()


def test_the_same_content_continues_the_same_batch(call: Call, sheet: Path, services: str) -> None:
    submit = ("submit", "--excel", sheet, "--json")
    first, second = (json.loads(call(*submit)[1]) for _ in range(2))
    assert first == {"batch_id": first["batch_id"], "continued": False, "rows": 5}
    assert second == {**first, "continued": True}
    assert redis.Redis.from_url(services).llen("rowfleet") == 5
    other = json.loads(call(*submit, "--batch-id", "again")[1])
    assert other == {"batch_id": "again", "continued": False, "rows": 5}
    code, _, err = call(*submit, "--batch-id", "again", "--num-rows", "2")
    assert code == 2
    assert "another sheet, range or recipe" in err


def test_rows_100_to_199_are_start_row_100_num_rows_100(
    call: Call, tmp_path: Path, services: str, database_url: str
) -> None:
    sheet = invoices(tmp_path / "many.xlsx", 250)
    said = call("submit", "--excel", sheet, "--start-row", "100", "--num-rows", "100", "--json")
    batch_id = json.loads(said[1])["batch_id"]
    with open_ledger(database_url).connect() as connection:
        rows = list(recorded_rows(connection, batch_id))
    assert [row.number for row in rows] == list(range(100, 200))
    assert rows[0].cells[1] == "INV-100"


def test_a_dry_run_touches_neither_ledger_nor_queue(
    call: Call, sheet: Path, tmp_path: Path
) -> None:
    code, out, _ = call("submit", "--excel", sheet, "--dry-run", "--json", "--analyzer", "openai")
    assert code == 0
    said = json.loads(out)
    assert said["rows"] == 5
    assert said["prompt_tokens"] > 500
    assert said["cost_usd"] > 0
    assert not (tmp_path / "state").exists()


def test_the_window_bounds_what_submit_puts_on_the_queue(
    call: Call, tmp_path: Path, services: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROWFLEET_WINDOW", "30")
    sheet = invoices(tmp_path / "many.xlsx", 100)
    batch_id = json.loads(call("submit", "--excel", sheet, "--json")[1])["batch_id"]
    now = json.loads(call("progress", batch_id, "--json")[1])
    assert (now["total"], now["queued"], now["pending"]) == (100, 30, 70)
    assert redis.Redis.from_url(services).llen("rowfleet") == 30


def test_a_cancelled_batch_says_so_everywhere(
    call: Call, sheet: Path, services: str, tmp_path: Path
) -> None:
    batch_id = json.loads(call("submit", "--excel", sheet, "--json")[1])["batch_id"]
    assert json.loads(call("cancel", batch_id, "--json")[1])["cancelled"] == 5
    assert call("cancel", batch_id)[0] == 2
    assert call("export", batch_id, tmp_path / "out.xlsx")[0] == 0
    assert {row["AI_Status"] for row in results(tmp_path / "out.xlsx")} == {"cancelled"}
    code, _, err = call("submit", "--excel", sheet)
    assert code == 2
    assert "was cancelled" in err


def test_retry_of_a_stopped_batch_says_how_it_goes_on(
    call: Call, services: str, database_url: str
) -> None:
    engine = open_ledger(database_url)
    migrate(engine)
    make_batch(engine)
    with engine.begin() as connection:
        stopping.stop(connection, "b", "no key")
    code, _, err = call("retry", "b")
    assert code == 2
    assert "no key" in err


def test_rules_refuse_a_recipe_they_can_not_answer(
    call: Call, sheet: Path, services: str, tmp_path: Path
) -> None:
    recipe = write(
        tmp_path / "other.yaml",
        "name: other\nprompt: p\noutput: {type: object, properties: {mood: {type: string}}}",
    )
    code, _, err = call("submit", "--excel", sheet, "--recipe", recipe, "--analyzer", "rules")
    assert code == 2
    assert "mood" in err


def test_a_csv_sheet_is_read_too(call: Call, tmp_path: Path, services: str) -> None:
    text = "Vendor;Invoice Number;Date;Description;Amount;Tax\nACME;A-1;2026-01-02;Paper;10;1\n"
    said = call("submit", "--excel", write(tmp_path / "s.csv", text), "--json")
    assert json.loads(said[1])["rows"] == 1


@pytest.mark.parametrize("missing", ["REDIS_URL", "DATABASE_URL"])
def test_a_worker_without_its_services_says_which(
    missing: str, redis_url: str, tmp_path: Path
) -> None:
    env = {**os.environ, "REDIS_URL": redis_url, "DATABASE_URL": f"sqlite:///{tmp_path}/l.db"}
    del env[missing]
    ran = subprocess.run(
        [sys.executable, "-m", "celery", "-A", "worker", "worker"],
        env=env,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 2
    assert f"{missing} is not set" in ran.stderr
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize(("cancelled", "code"), [(False, 0), (True, 1)])
def test_progress_watch_exits_with_the_batchs_code(
    call: Call, services: str, database_url: str, cancelled: bool, code: int
) -> None:
    engine = open_ledger(database_url)
    migrate(engine)
    make_batch(engine, 1)
    with engine.begin() as connection:
        if cancelled:
            stopping.cancel(connection, "b", by="t")
        else:
            claiming.claim(connection, [("b", 0)], holder="h", worker="w", lease=60)
            done = records.Outcome(("b", 0), 1, "done", output={})
            settling.settle(connection, [done], holder="h")
            finishing.finish_batch(connection, "b")
    assert call("progress", "b", "--watch")[0] == code


def test_a_file_that_is_no_database_is_a_wrong_setting(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes = write(tmp_path / "notes.txt", "not a database " * 100)
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{notes}")
    code, _, err = call("batches")
    assert code == 2
    assert "notes.txt is not an SQLite database" in err


def test_missing_privileges_are_one_sentence(
    call: Call, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = open_ledger(postgres_url)
    migrate(engine)
    role = f"reader_{os.getpid()}"
    with engine.begin() as connection:
        connection.exec_driver_sql(f"CREATE ROLE {role} LOGIN")
        connection.exec_driver_sql(f"GRANT SELECT ON alembic_version TO {role}")
    url = engine.url.set(username=role).render_as_string(hide_password=False)
    monkeypatch.setenv("DATABASE_URL", url)
    code, _, err = call("batches")
    assert code == 3
    assert "permission denied" in err
    assert len(err.strip().splitlines()) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["local", b"s\xff.xlsx"],
        ["submit", "--excel", b"s\xff.xlsx", "--dry-run"],
        ["submit", "--excel", "s.xlsx", "--recipe", b"s\xff.xlsx"],
        ["export", "b-1", b"s\xff.xlsx"],
        ["launch", "--excel", b"s\xff.xlsx"],
        ["progress", b"s\xff.xlsx"],
    ],
)
def test_a_name_that_is_not_utf_8_gets_a_sentence(
    tmp_path: Path, arguments: list[str | bytes]
) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "submitter", *arguments],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
        check=False,
    )
    assert ran.returncode == 2
    assert ran.stderr == "rowfleet: s\\xff.xlsx: the name is not UTF-8; rename the file\n"
