"""`rowfleet recipes`."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from rowfleet.errors import InputError
from rowfleet.recipes import loading
from rowfleet.recipes.recipe import DEFAULT_RECIPE
from submitter import hints
from submitter.cli import console
from submitter.cli.command import Group


@click.group(
    "recipes",
    cls=Group,
    invoke_without_command=True,
    example="rowfleet recipes\nrowfleet recipes copy invoice-refunds my-recipe.yaml",
)
@click.pass_context
def recipes(context: click.Context) -> None:
    """List the recipes that come with Rowfleet; `recipes copy` makes one yours.

    `--recipe FILE` takes the copy, changed as you like.
    """
    if context.invoked_subcommand is not None:
        return
    for name in loading.bundled_names():
        recipe = loading.bundled(name)
        console.say(f"{name}  {' '.join(recipe.description.split())}")
    console.say(f"copy one with: {hints.program()} recipes copy {DEFAULT_RECIPE}")


@recipes.command(
    example="rowfleet recipes copy invoice-refunds\n"
    "rowfleet recipes copy invoice-refunds my-recipe.yaml"
)
@click.argument("name")
@click.argument("file", type=click.Path(path_type=Path), required=False)
def copy(name: str, file: Path | None) -> None:
    """Copy a bundled recipe to FILE, by default NAME.yaml here. No file is overwritten."""
    if name not in loading.bundled_names():
        raise InputError(
            f"there is no bundled recipe {name!r}; there are {', '.join(loading.bundled_names())}"
        )
    file = file or Path(f"{name}.yaml")
    try:
        with file.open("x", encoding="utf-8") as copied:
            copied.write(loading.bundled_text(name))
    except FileExistsError:
        raise InputError(f"{file}: is there already; give another name") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{file}: can't be written: {reason}") from None
    console.say(f"{file} written; use it with: --recipe {shlex.quote(str(file))}")
