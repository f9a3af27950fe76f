"""Small sheets for tests."""

from __future__ import annotations

import datetime
from itertools import zip_longest
from pathlib import Path

import openpyxl

HEADER = ["Vendor", "Invoice Number", "Date", "Description", "Amount", "Tax"]


def invoices(path: Path, rows: int, *, prefix: str = "INV") -> Path:
    """Write a sheet of invoices the default recipe can read, each with a number of its own."""
    workbook = openpyxl.Workbook()
    sheet = workbook.active
    assert sheet is not None
    sheet.append(HEADER)
    for number in range(rows):
        day = datetime.date(2026, 1, 1) + datetime.timedelta(days=number % 28)
        sheet.append([f"Vendor {number % 7}", f"{prefix}-{number}", day, "Paper", 100 + number, 8])
    workbook.save(path)
    return path


def results(path: Path) -> list[dict[str, object]]:
    """Read a finished sheet back: one mapping from header to value per row."""
    workbook = openpyxl.load_workbook(path, read_only=True)
    header, *rows = workbook.worksheets[0].iter_rows(values_only=True)
    return [dict(zip_longest(map(str, header), row)) for row in rows]
