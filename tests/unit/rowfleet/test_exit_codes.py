"""The table of exit codes, and what the docs and the help say of it."""

from __future__ import annotations

import re
from pathlib import Path

from rowfleet.exit_codes import ExitCode
from submitter.cli.main import cli
from submitter.cluster import manifest

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "exit-codes.md"

#: What a command of `rowfleet` ends with; a slot that is stuck is a worker's.
OF_COMMANDS = [code for code in ExitCode if code is not ExitCode.STUCK]


def test_the_page_has_a_line_for_each_code_of_a_command() -> None:
    lines = re.findall(r"^\| (\d+) \|", PAGE.read_text("utf-8"), re.MULTILINE)
    assert [int(code) for code in lines] == OF_COMMANDS


def test_the_page_names_the_codes_of_a_worker() -> None:
    said = re.search(r"A worker ends with.*?starts\.", PAGE.read_text("utf-8"), re.DOTALL)
    assert said is not None
    assert {int(code) for code in re.findall(r"\b\d+\b", said[0])} == {
        ExitCode.DONE,
        ExitCode.BAD_INPUT,
        ExitCode.SERVICE_AWAY,
        ExitCode.STUCK,
        ExitCode.TERMINATED,
    }


def test_the_help_names_the_codes_of_a_command() -> None:
    said = (cli.help or "").split("Exit codes:")[1]
    assert [int(code) for code in re.findall(r"\b\d+\b", said)] == OF_COMMANDS


def test_a_job_is_not_tried_again_where_another_try_changes_nothing() -> None:
    (at_once,) = (
        rule["onExitCodes"]["values"]
        for rule in manifest.POD_FAILURE_POLICY["rules"]
        if rule["action"] == "FailJob"
    )
    assert at_once == [1, 2]
