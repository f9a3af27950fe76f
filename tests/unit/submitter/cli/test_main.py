"""The commands of `rowfleet`: each is imported only when it is called."""

from __future__ import annotations

import re
import subprocess
import sys

import click
import pytest

from submitter.cli.main import COMMANDS, cli

#: Packages that only the commands need. Each costs more to import than the whole list of commands.
HEAVY = ("celery", "kombu", "kubernetes", "openai", "openpyxl", "pydantic", "redis", "sqlalchemy")


@pytest.mark.parametrize(("name", "place", "summary"), COMMANDS)
def test_a_command_is_listed_with_the_first_sentence_of_its_help(
    name: str, place: str, summary: str
) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    assert command.name == name, place
    said = " ".join((command.help or "").split("\n\n")[0].split())
    assert re.split(r"(?<=\.) ", said)[0] == summary


def test_the_list_of_commands_imports_none_of_what_they_need() -> None:
    program = (
        "import sys; from submitter.cli import main; sys.argv[1:] = ['--help']\n"
        "try: main.main()\n"
        "except SystemExit: print('\\n', *sys.modules)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    imported = ran.stdout.splitlines()[-1].split()
    assert "submitter.cli.main" in imported
    assert re.search(r"^ +workers +List the running workers", ran.stdout, re.MULTILINE)
    assert [name for name in HEAVY if name in imported] == []
