"""LibreOffice as a person's program: a script in its own Basic that decides a review."""

from __future__ import annotations

import subprocess
from html import escape
from pathlib import Path

#: Decides each row by its number, as `decide_all` in test_review.py does with openpyxl.
DECIDE = """
Sub Decide(path As String)
  Dim hidden(0) As New com.sun.star.beans.PropertyValue
  hidden(0).Name = "Hidden"
  hidden(0).Value = True
  Dim book, sheet, cursor, row, number
  book = StarDesktop.loadComponentFromURL(ConvertToURL(path), "_blank", 0, hidden())
  sheet = book.Sheets.getByName("AI_Review")
  cursor = sheet.createCursor()
  cursor.gotoEndOfUsedArea(False)
  For row = 1 To cursor.RangeAddress.EndRow
    number = Under(sheet, "Row", row).Value - 3
    Under(sheet, "Reviewer", row).String = "Ann"
    Under(sheet, "Note", row).String = "seen " & number
    Select Case number Mod 3
      Case 0
        Under(sheet, "Decision", row).String = "approve"
      Case 1
        Under(sheet, "Decision", row).String = "correct"
        Under(sheet, "Correction AI_Basis", row).String = "duplicate"
        Under(sheet, "Correction AI_Refund", row).Value = number * 2
      Case 2
        Under(sheet, "Decision", row).String = "reject"
    End Select
  Next row
  book.store()
  book.close(True)
  StarDesktop.terminate()
End Sub

Function Under(sheet, header As String, row)
  Dim column
  Do While sheet.getCellByPosition(column, 0).String <> header
    column = column + 1
  Loop
  Under = sheet.getCellByPosition(column, row)
End Function
"""


def decide(soffice: str, book: Path, profile: Path) -> None:
    """Open ``book`` in LibreOffice, decide all rows of the review in it, and save it."""
    program = [soffice, f"-env:UserInstallation=file://{profile}", "--headless", "--norestore"]
    _run([*program, "--terminate_after_init"])  # makes the profile, with a module for scripts
    module = profile / "user" / "basic" / "Standard" / "Module1.xba"
    module.write_text(
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<script:module xmlns:script="http://openoffice.org/2000/script" '
        f'script:name="Module1" script:language="StarBasic">{escape(DECIDE)}</script:module>',
        "utf-8",
    )
    _run([*program, f"macro:///Standard.Module1.Decide({book})"])


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=170)
