"""`rowfleet local` with documents: read once, by a process apart, and sent behind their rows."""

from __future__ import annotations

import csv
import json
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from rowfleet.ledger.engine import open_ledger
from rowfleet.ledger.models import Document, DocumentText
from tests.standin import Standin
from tests.support.documents import pdfs
from tests.support.sheets import results

Run = Callable[..., subprocess.CompletedProcess[str]]

RECIPE = """
name: audit
analyzer: openai
columns: [Vendor, {{name: Invoice, required: false}}]
documents: {{columns: Invoice, missing: {missing}}}
prompt: Say what the invoice totals.
output: {{type: object, properties: {{verdict: {{type: string}}}}}}
"""


def files(folder: Path, count: int) -> Path:
    folder.mkdir()
    for number in range(count):
        page = pdfs.show([(50, 700, f"Invoice {number}"), (50, 680, f"Total {number}01.00 EUR")])
        (folder / f"{number}.pdf").write_bytes(pdfs.pdf(page))
    return folder


def sheet(path: Path, invoices: Sequence[str]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["Vendor", "Invoice"])
        writer.writerows([f"Vendor {number}", named] for number, named in enumerate(invoices))
    return path


def recipe(tmp_path: Path, missing: str = "fail") -> Path:
    file = tmp_path / "recipe.yaml"
    file.write_text(RECIPE.format(missing=missing))
    return file


def local(run: Run, source: Path, tmp_path: Path, standin: Standin, *options: object) -> Any:
    ledger = {"DATABASE_URL": f"sqlite:///{tmp_path / 'ledger.db'}"}
    words = ("local", source, "--recipe", tmp_path / "recipe.yaml", "--json", *options)
    return run(*words, env={**standin.environment(), **ledger}, timeout=150)


def test_each_file_is_read_once_for_all_rows_that_name_it(tmp_path: Path, rowfleet: Run) -> None:
    folder = files(tmp_path / "invoices", 3)
    recipe(tmp_path)
    source = sheet(tmp_path / "refunds.csv", [f"{n % 3}.pdf;{(n + 1) % 3}.pdf" for n in range(12)])
    with Standin.lent(latency=0) as standin:
        ran = local(rowfleet, source, tmp_path, standin, "--documents", folder)
        summary = standin.summary()
    assert ran.returncode == 0, ran.stderr
    final = json.loads(ran.stdout)
    assert (final["done"], final["failed"]) == (12, 0)
    assert summary["calls"] == 12
    engine = open_ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    with engine.connect() as connection:
        assert connection.execute(select(func.sum(Document.attempts))).scalar() == 3
        assert connection.execute(select(func.count()).select_from(DocumentText)).scalar() == 3
    engine.dispose()


@pytest.mark.parametrize("missing", ["fail", "answer_without", "needs_review"])
def test_a_row_that_lacks_its_document_meets_the_recipes_policy(
    tmp_path: Path, rowfleet: Run, missing: str
) -> None:
    folder = files(tmp_path / "invoices", 1)
    (folder / "empty.pdf").touch()
    recipe(tmp_path, missing)
    named = ["0.pdf", "none.pdf", "", "../secret.pdf", "empty.pdf"]
    source = sheet(tmp_path / "refunds.csv", named)
    with Standin.lent(latency=0) as standin:
        ran = local(rowfleet, source, tmp_path, standin, "--documents", folder)
        calls = standin.summary()["calls"]
    assert "Traceback" not in ran.stderr, ran.stderr
    rows = results(tmp_path / "refunds.results.xlsx")
    errors = [str(row["AI_Error"] or "") for row in rows]
    if missing == "fail":
        assert ran.returncode == 1, ran.stderr
        assert calls == 1
        assert [row["AI_Status"] for row in rows] == ["done", *["failed"] * 4]
        assert "none.pdf: there is no such file" in errors[1]
        assert "it names no document in Invoice" in errors[2]
        assert "../secret.pdf: it lies outside the folder of documents" in errors[3]
        assert "empty.pdf: the file is empty" in errors[4]
        return
    assert ran.returncode == 0, ran.stderr
    assert calls == 5
    if missing == "needs_review":
        assert [row["AI_Review"] or "" for row in rows] == ["", *["needs_review"] * 4]
        assert "there is no such file" in str(rows[1]["AI_Review_Reasons"])


def test_a_file_that_comes_later_is_read_by_the_retry(tmp_path: Path, rowfleet: Run) -> None:
    folder = files(tmp_path / "invoices", 1)
    recipe(tmp_path)
    source = sheet(tmp_path / "refunds.csv", ["0.pdf", "1.pdf"])
    with Standin.lent(latency=0) as standin:
        ran = local(rowfleet, source, tmp_path, standin, "--documents", folder)
        batch = json.loads(ran.stdout)["batch_id"]
        page = pdfs.show([(50, 700, "Invoice 1")])
        (folder / "1.pdf").write_bytes(pdfs.pdf(page))
        ledger = {"DATABASE_URL": f"sqlite:///{tmp_path / 'ledger.db'}"}
        assert rowfleet("retry", batch, env=ledger).returncode == 0
        again = local(rowfleet, source, tmp_path, standin, "--documents", folder)
        assert standin.summary()["calls"] == 2
    assert ran.returncode == 1
    assert again.returncode == 0, again.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "give their folder with --documents"),
        (("--documents", "nowhere"), "nowhere: there is no such folder"),
        (("--documents", "https://example.com/a"), "give a folder, or a URI with s3://"),
    ],
)
def test_a_folder_that_is_not_there_is_one_sentence(
    tmp_path: Path, rowfleet: Run, options: tuple[str, ...], said: str
) -> None:
    recipe(tmp_path)
    source = sheet(tmp_path / "refunds.csv", ["0.pdf"])
    ran = rowfleet(
        "local",
        source,
        "--recipe",
        tmp_path / "recipe.yaml",
        *options,
        env={"OPENAI_API_KEY": "sk-test"},
    )
    assert ran.returncode == 2
    assert said in ran.stderr
    assert len(ran.stderr.splitlines()) == 1


def test_a_dry_run_counts_documents_pages_missing_files_and_their_tokens(
    tmp_path: Path, rowfleet: Run
) -> None:
    folder = files(tmp_path / "invoices", 3)
    recipe(tmp_path)
    source = sheet(tmp_path / "refunds.csv", ["0.pdf;1.pdf", "2.pdf", "none.pdf", "", "2.pdf"])
    words = ("local", source, "--recipe", tmp_path / "recipe.yaml", "--dry-run")
    given = ("--documents", folder)
    counted = json.loads(rowfleet(*words, *given, "--json").stdout)
    assert counted["documents"] == {
        "documents": 4,
        "missing": 1,
        "rows_without": 2,
        "pages": 3,
        "tokens": counted["documents"]["tokens"],
        "opened": 3,
    }
    assert 4 * 20 < counted["documents"]["tokens"] < 4 * 150
    said = rowfleet(*words, *given).stdout
    assert "documents: 4 files, about 3 pages" in said
    assert "2 rows lack a document" in said
    (tmp_path / "recipe.yaml").write_text(
        (tmp_path / "recipe.yaml")
        .read_text()
        .replace("documents: {columns: Invoice, missing: fail}", "")
    )
    plain = json.loads(rowfleet(*words, "--json").stdout)
    assert "documents" not in plain
    more = counted["prompt_tokens"] - plain["prompt_tokens"]
    assert more >= counted["documents"]["tokens"]


def test_documents_need_a_recipe_that_reads_them(tmp_path: Path, rowfleet: Run) -> None:
    source = sheet(tmp_path / "refunds.csv", ["0.pdf"])
    ran = rowfleet("local", source, "--analyzer", "rules", "--documents", tmp_path)
    assert ran.returncode == 2
    assert "--documents" in ran.stderr
