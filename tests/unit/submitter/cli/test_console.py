"""Printed text moves no cursor and turns no text around, wherever it came from."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
from openpyxl import Workbook
from rich.table import Table
from rich.text import Text

from rowfleet.ledger.records import Progress
from submitter.cli import console as terminal
from submitter.cli.console import Terminal
from submitter.progress import display

#: Clears a screen; C1's way to; sets a title; DEL; turns what follows around; ends a line.
HOSTILE = "\x1b[2J\x9b2J\x1b]0;owned\x07\x7f\u202egnp\u2066"

#: What Rich itself sends to a terminal: colours, the cursor, and a new line.
RICH_S_OWN = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


def _is_clean(shown: str) -> bool:
    rest = RICH_S_OWN.sub("", shown).replace("\n", "").replace("\r", "")
    return "2J" not in "".join(RICH_S_OWN.findall(shown)) and not terminal.CONTROLS.search(rest)


@pytest.mark.parametrize("is_terminal", [True, False])
def test_whatever_is_printed_has_no_control_characters(*, is_terminal: bool) -> None:
    progress = Progress("b", "stopped", 9, 0, 0, 0, 9, 0, 0, 0.0, None, 1, 1, 0.1, None, HOSTILE)
    table = Table("a\x1b[2Jb", "error")
    table.add_row(HOSTILE, Text(HOSTILE))
    table.add_row("x", "y")
    shown = io.StringIO()
    console = Terminal(file=shown, force_terminal=is_terminal, width=60)
    for thing in (HOSTILE, f"[bold]{HOSTILE}[/]", Text(HOSTILE), table, display.panel(progress)):
        console.print(thing)
    with display.display(console) as show:
        show(progress)
    assert _is_clean(shown.getvalue()), repr(shown.getvalue())
    assert "\N{REPLACEMENT CHARACTER}[2J" in shown.getvalue()


def test_a_table_with_control_characters_keeps_its_lines_straight() -> None:
    shown = io.StringIO()
    table = Table("row", "error")
    table.add_row("1", "a\x1b[2Jb\x07\x7f")
    table.add_row("2", "plain")
    Terminal(file=shown, width=60).print(table)
    assert len({len(line) for line in shown.getvalue().splitlines()}) == 1


def test_json_is_exact_and_harmless(capsys: pytest.CaptureFixture[str]) -> None:
    value = {"error": f"{HOSTILE} Müller \udc9b\u2028"}
    terminal.print_json(value)
    shown = capsys.readouterr().out
    assert json.loads(shown) == value
    assert _is_clean(shown)
    assert "Müller" in shown


def test_a_line_of_a_pods_log_is_harmless(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.pass_on(f"a\tb {HOSTILE}")
    shown = capsys.readouterr().out
    assert _is_clean(shown.replace("\t", ""))
    assert shown.startswith("a\tb ")


def _on_a_terminal(*arguments: str, env: dict[str, str]) -> str:
    """Return what `rowfleet` writes to a terminal."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "submitter", *arguments], stdout=theirs, stderr=theirs, env=env
    )
    os.close(theirs)
    shown = b""
    try:
        while piece := os.read(ours, 4096):
            shown += piece
    except OSError:  # the other end is closed
        pass
    os.close(ours)
    assert process.wait() == 2
    return shown.decode()


def _workbook(header: str) -> Workbook:
    book = Workbook()
    book.active.append([header, "b"])
    return book


@pytest.mark.parametrize("kind", ["csv", "xlsx"])
def test_a_hostile_header_does_not_reach_the_terminal(kind: str, tmp_path: Path) -> None:
    sheet = tmp_path / f"sheet.{kind}"
    if kind == "csv":
        with sheet.open("w", newline="") as file:
            csv.writer(file).writerows([[f"a{HOSTILE}\nrowfleet: all done", "b"], ["1", "2"]])
    else:
        _workbook("a_x001B_[2J_x009B_2J\u202eb").save(sheet)
    env = {**os.environ, "HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path)}
    arguments = ("submit", "--excel", str(sheet), "--dry-run")
    piped = subprocess.run(
        [sys.executable, "-m", "submitter", *arguments],
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert piped.returncode == 2
    for shown in (piped.stderr, _on_a_terminal(*arguments, env=env)):
        assert "sheet." in shown
        assert _is_clean(shown), repr(shown)
        assert shown.count("\n") == 1  # no line that seems to be another's


@pytest.mark.parametrize("text", ["Refunds\n", "Re\r\n  funds "])
def test_a_name_with_line_breaks_makes_no_line_of_its_own(text: str, tmp_path: Path) -> None:
    sheet = tmp_path / f"{text}rowfleet: all done.csv"
    rows = [["Vendor", "Invoice Number", "Date", "Description", "Amount", "Tax"], list("abcd12")]
    with sheet.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    env = {**os.environ, "HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path)}
    run = subprocess.run(
        [sys.executable, "-m", "submitter", "submit", "--excel", str(sheet), "--dry-run"],
        env=env,
        capture_output=True,
        text=True,
        check=True,
    )
    first, *others = run.stdout.splitlines()
    assert first.endswith("funds rowfleet: all done.csv: 1 row is fine to submit")
    assert not any(line.startswith("rowfleet:") for line in others)
