"""What all commands of the command line have in common."""

from __future__ import annotations

from typing import Any

import click

#: What asks for help. A command keeps what it is first asked with, so it must know by itself.
HELP_OPTIONS = {"help_option_names": ["-h", "--help"]}


class Command(click.Command):
    """A command whose help ends with an example that works when pasted."""

    def __init__(self, *args: Any, example: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **{"context_settings": HELP_OPTIONS, **kwargs})
        self.example = example

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the example below the options."""
        with formatter.section("Example"):
            for line in self.example.splitlines():
                formatter.write(f"  {line}\n")
