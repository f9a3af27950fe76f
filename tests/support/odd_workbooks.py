"""Workbooks written byte by byte, as other programs write them, and answers put into them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import openpyxl

from submitter.results.write_back.answer_cells import AnsweredRow
from submitter.results.write_back.finished import write_back
from tests.support import packages
from tests.support.workbooks import SHEET_PART, text

TYPES = "[Content_Types].xml"
HEADER = text("A1", "Vendor") + text("B1", "Amount")
BODY = f'<row r="1">{HEADER}</row><row r="2">{text("A2", "Acme")}<c r="B2"><v>1</v></c></row>'


def written(
    source: Path,
    cells: Mapping[int, Sequence[object]] | None = None,
    headers: Sequence[str] = ("AI_Refund", "AI_Why"),
    status: str = "done",
    **options: object,
) -> Path:
    """Write answers into the workbook: sheet row from 1 → cells. Return the finished file."""
    cells = {2: [True, "late"]} if cells is None else cells
    # Tests give cells and options as they like; those of a wrong type fail where they are used.
    rows = [AnsweredRow(row - 1, status, tuple(each)) for row, each in cells.items()]  # type: ignore[arg-type]
    out = source.with_name("finished.xlsx")
    with out.open("w+b") as file:
        write_back(
            source,
            file,
            name=source.name,
            headers=headers,
            rows=iter(rows),
            **{"sheet": "Refunds", "header_row": 0, "last_row": 1, **options},  # type: ignore[arg-type]
        )
    return out


def sheet(path: Path) -> str:
    return packages.parts_of(path)[SHEET_PART].decode()


def values(path: Path) -> list[tuple[object, ...]]:
    return list(openpyxl.load_workbook(path)["Refunds"].iter_rows(values_only=True))


EXPECTED = [("Vendor", "Amount", "AI_Refund", "AI_Why"), ("Acme", 1, True, "late")]


def re_find(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    assert found is not None
    return found[0]


def re_cells(text: str, letters: str) -> list[str]:
    return re.findall(rf'<c r="[{letters}]\d+"[^>]*?(?:/>|>.*?</c>)', text)
