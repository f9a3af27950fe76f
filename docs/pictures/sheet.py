"""Draw the finished sheet of `make demo` as an SVG, for the README: `make pictures`.

The picture shows cells of the workbook as a filter on AI_Refund_Eligible shows them, with their own
row numbers and column letters.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from html import escape
from pathlib import Path

import openpyxl
from openpyxl.utils import get_column_letter

ROWS = 9
#: Column → its width in pixels.
COLUMNS = {
    "Vendor": 158,
    "Invoice_Number": 112,
    "Amount": 74,
    "Tax": 66,
    "Total": 74,
    "AI_Refund_Eligible": 130,
    "AI_Basis": 122,
    "AI_Estimated_Refund": 144,
    "AI_Explanation": 200,
}
MARGIN = 40  # pixels, of the row numbers
HEIGHT = 24  # pixels, of a row
STYLE = """
  text { font: 12px -apple-system, "Segoe UI", "Liberation Sans", Arial, sans-serif; fill: #1f2328 }
  .name { font-weight: 600; fill: #fff }
  .edge { fill: #57606a; text-anchor: middle }
  .number { text-anchor: end }
"""


def picture(workbook: Path) -> str:
    """Return the SVG of the workbook's first rows with a refund."""
    sheet = openpyxl.load_workbook(workbook, read_only=True).worksheets[0]
    rows = sheet.iter_rows(values_only=True)
    names = list(next(rows))
    places = [names.index(name) for name in COLUMNS]
    wanted = names.index("AI_Refund_Eligible")
    found = [(n, row) for n, row in enumerate(rows, start=2) if row[wanted]][:ROWS]

    width = MARGIN + sum(COLUMNS.values())
    height = HEIGHT * (len(found) + 2)
    lines = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}">']
    lines.append(f"<style>{STYLE}</style>")
    lines.append('<rect width="100%" height="100%" fill="#fff"/>')
    lines.append(f'<rect width="100%" height="{HEIGHT}" fill="#f0f2f4"/>')
    lines.append(f'<rect width="{MARGIN}" height="100%" fill="#f0f2f4"/>')
    lines.append(f'<rect x="{MARGIN}" y="{HEIGHT}" width="100%" height="{HEIGHT}" fill="#1f4e78"/>')
    letters = [get_column_letter(place + 1) for place in places]
    lines += _cells(0, letters, "edge")
    lines += _cells(1, list(COLUMNS), "name")
    lines.append(_edge(1, 1))
    for place, (number, row) in enumerate(found, start=2):
        lines.append(_edge(place, number))
        lines += _cells(place, [row[p] for p in places], "")
    lines += _grid(height, width)
    return "\n".join([*lines, "</svg>"]) + "\n"


def _edge(place: int, number: int) -> str:
    return f'<text class="edge" x="{MARGIN // 2}" y="{place * HEIGHT + 16}">{number}</text>'


def _cells(place: int, values: list[object], kind: str) -> Iterator[str]:
    """Yield a row of cells; each cuts its text at its right edge, as a spreadsheet does."""
    left = MARGIN
    for value, width in zip(values, COLUMNS.values(), strict=True):
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        x = {"edge": width // 2}.get(kind, width - 6 if is_number else 6)
        words = f"{kind} number" if is_number else kind
        yield (
            f'<svg x="{left}" y="{place * HEIGHT}" width="{width - 3}" height="{HEIGHT}">'
            f'<text class="{words}" x="{x}" y="16">{escape(_shown(value))}</text></svg>'
        )
        left += width


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return str(value).upper()
    return f"{value:,.2f}" if isinstance(value, int | float) else str(value)


def _grid(height: int, width: int) -> Iterator[str]:
    left = MARGIN
    ways = []
    for one in [0, *COLUMNS.values()]:
        left += one
        ways.append(f"M{left} 0V{height}")
    ways += [f"M0 {y}H{width}" for y in range(HEIGHT, height + 1, HEIGHT)]
    yield f'<path d="{"".join(ways)}" stroke="#d0d7de" fill="none"/>'


if __name__ == "__main__":
    source, target = map(Path, sys.argv[1:])
    target.write_text(picture(source), "utf-8")
