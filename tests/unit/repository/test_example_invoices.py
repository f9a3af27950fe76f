"""The example's invoices are those that its script makes: small, of all kinds, and the same."""

from __future__ import annotations

import filecmp
import json
import subprocess
import sys
from pathlib import Path

import pytest
from openpyxl import load_workbook

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
SHEET = "Refunds_with_Invoices.xlsx"

#: Their pictures differ by the version of the library that draws them.
DRAWN = {".png", ".jpg", ".tiff"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("examples")
    subprocess.run(
        [sys.executable, EXAMPLES / "make_invoices.py", "--out", folder], check=True, timeout=120
    )
    return folder


def files(folder: Path) -> dict[str, Path]:
    return {
        path.relative_to(folder).as_posix(): path
        for path in (folder / "invoices").rglob("*")
        if path.is_file()
    }


def test_the_script_makes_the_files_that_are_here(made: Path) -> None:
    here, anew = files(EXAMPLES), files(made)
    assert here.keys() == anew.keys()
    for name, path in here.items():
        if path.suffix not in DRAWN and b"/Image" not in path.read_bytes():
            assert filecmp.cmp(path, anew[name], shallow=False), name
    for name in (SHEET, "refunds_with_invoices_defects.json"):
        assert (made / name).read_bytes() == (EXAMPLES / name).read_bytes()


def test_two_dozen_small_files_of_all_kinds_are_named() -> None:
    here = files(EXAMPLES)
    assert len(here) == 24
    assert {path.suffix for path in here.values()} == {
        *(".pdf", ".png", ".jpg", ".tiff", ".eml", ".docx", ".html", ".txt")
    }
    assert sum(path.stat().st_size for path in here.values()) < 250_000
    sheet = load_workbook(EXAMPLES / SHEET, read_only=True).active
    assert sheet is not None
    header, *rows = sheet.iter_rows(values_only=True)
    named = {f"invoices/{row[header.index('Invoice_File')]}" for row in rows}
    assert named == here.keys()


def test_contradictions_are_recorded_by_row() -> None:
    kinds = json.loads((EXAMPLES / "refunds_with_invoices_defects.json").read_text())
    assert len(kinds) == 12
    assert len(set(kinds.values())) == 7
    assert max(map(int, kinds)) < 26
