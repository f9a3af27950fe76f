"""Sheets of many currencies and date formats, from the workbook to the model and back."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from tests.standin import Standin
from tests.support.sheets import CURRENCIES, DATE_FORMATS, mixed_formats

Run = Callable[..., subprocess.CompletedProcess[str]]


def sent(body: Any) -> dict[str, Any]:
    """Return the row in a request."""
    content = body["messages"][1]["content"]
    row: dict[str, Any] = json.loads(re.sub(r"</?row.*?>", "", content))
    return row


@pytest.mark.parametrize("tier", ["workers", "batch"])
def test_a_model_is_sent_what_a_person_sees_and_each_cell_comes_back_as_it_was(
    rowfleet: Run, tmp_path: Path, tier: str
) -> None:
    mixed_formats(tmp_path / "in.xlsx")
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    command = {
        "workers": ("local", "in.xlsx"),
        "batch": ("submit", "--excel", "in.xlsx", "--tier", "batch", "--wait"),
    }[tier]
    with Standin.lent(keep_bodies=True) as standin:
        env = {**standin.environment(), "DATABASE_URL": url, "ROWFLEET_BATCH_POLL": "0.1"}
        ran = rowfleet(*command, "--export", "own.xlsx", "--batch-id", "b", env=env)
        assert ran.returncode == 0, ran.stderr
        rows = [sent(call.body) for call in standin.calls()]
    amounts = {row["Invoice_Number"]: row["Amount"] for row in rows}
    assert amounts == {f"INV-{n}": text for n, text in enumerate(CURRENCIES.values())}
    assert {row["Date"] for row in rows} == {"2026-03-04"}
    again = rowfleet("export", "b", "plain.xlsx", "--plain", env=env)
    assert again.returncode == 0, again.stderr
    for name in ("own.xlsx", "plain.xlsx"):
        sheet = openpyxl.load_workbook(tmp_path / name).worksheets[0]
        assert [cell.number_format for cell in sheet["E"][1:]] == [*CURRENCIES]
        dates = [cell.number_format for cell in sheet["C"][1:]]
        assert dates == [DATE_FORMATS[number % 4] for number in range(9)]
        assert {cell.value for cell in sheet["E"][1:]} == {102}
