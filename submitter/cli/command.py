"""What all commands of the command line have in common."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from pkgutil import resolve_name
from typing import Any

import click

#: The options that ask for help. Click keeps a command's from its first use, so each command gets
#: them itself.
HELP_OPTIONS = {"help_option_names": ["-h", "--help"]}


@contextmanager
def importing() -> Iterator[None]:
    """Look for no garbage meanwhile.

    Looking for it among what is being imported takes a fifth of the time until the first row, and
    there is none.
    """
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        gc.enable()


class _WithExample:
    """Help that ends with an example, which works when pasted."""

    example = ""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the example below the options."""
        if self.example:
            with formatter.section("Example"):
                for line in self.example.splitlines():
                    formatter.write(f"  {line}\n")


class Command(_WithExample, click.Command):
    """A command whose help ends with an example that works when pasted."""

    def __init__(self, *args: Any, example: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **{"context_settings": HELP_OPTIONS, **kwargs})
        self.example = example


class Group(_WithExample, click.Group):
    """Commands under one name; help of theirs and of the group ends with an example."""

    command_class = Command

    def __init__(self, *args: Any, example: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **{"context_settings": HELP_OPTIONS, **kwargs})
        self.example = example


class _Deferred(click.Command):
    """Stands for a command until it is called, so that a list of commands imports none of them."""

    def __init__(self, name: str, place: str, summary: str) -> None:
        super().__init__(name, help=summary)
        self._place = place

    def load(self) -> click.Command:
        """Import the command."""
        with importing():
            command = resolve_name(self._place)
        assert isinstance(command, click.Command)
        return command


class DeferringGroup(Group):
    """Commands whose modules are imported when they are called."""

    def defer(self, name: str, place: str, summary: str) -> None:
        """Add the command at ``place``, a `module:name`.

        ``summary`` is the first sentence of its help.
        """
        self.add_command(_Deferred(name, place, summary))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command of that name, imported."""
        command = super().get_command(ctx, cmd_name)
        if isinstance(command, _Deferred):
            command = self.commands[cmd_name] = command.load()
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands, as click does, from their summaries alone."""
        room = formatter.width - 6 - max(map(len, self.commands))
        with formatter.section("Commands"):
            formatter.write_dl(
                [
                    (name, self.commands[name].get_short_help_str(room))
                    for name in self.list_commands(ctx)
                ]
            )
