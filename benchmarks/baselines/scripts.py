"""What a user would write instead of Rowfleet: `python -m benchmarks.baselines.scripts …`."""

from __future__ import annotations

import sys

from benchmarks.harness import sheets

#: Values of the last columns of a finished sheet: two answers, who gave them, status and error.
ANSWERS = (True, "The tax is higher than the rate allows.", "openai (gpt-5-mini)", "done", None)


def read(path: str) -> None:
    """Read every row of a workbook, and do nothing with it."""
    import openpyxl

    workbook = openpyxl.load_workbook(path, read_only=True)
    for _ in workbook.worksheets[0].iter_rows(values_only=True):
        pass


def naive(path: str, broker: str) -> None:
    """Read the sheet with pandas, and send one task a row with what is in it."""
    import pandas
    from celery import Celery

    app = Celery(broker=broker)
    for number, row in enumerate(pandas.read_excel(path).to_dict("records")):
        app.send_task("analyze", (number, {key: str(value) for key, value in row.items()}))


def write(rows: str, path: str) -> None:
    """Write a finished sheet's cells with openpyxl's write-only mode."""
    from openpyxl import Workbook

    workbook = Workbook(write_only=True)
    sheet = workbook.create_sheet("Refunds")
    sheet.append([*sheets.HEADER, "Refund", "Why", "AI_Analyzer", "AI_Status", "AI_Error"])
    for cells in sheets.typed_rows(int(rows)):
        sheet.append([*cells, *ANSWERS])
    workbook.save(path)


if __name__ == "__main__":
    {"read": read, "naive": naive, "write": write}[sys.argv[1]](*sys.argv[2:])
