"""The one place that prints.

Text may come from cells, headers, files and APIs: no such text moves the cursor, sets a colour or
turns other text around.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console, ConsoleOptions, RenderableType
from rich.markup import escape
from rich.segment import Segment
from rich.text import Text

from rowfleet.masking import CONTROLS, one_line, printable, unbroken

if TYPE_CHECKING:
    from rowfleet.ledger.records import Progress

#: Rich breaks lines, and puts tabs in order, itself.
_ITS_OWN = "\n\t"

#: Characters that JSON may hold as they are and a terminal obeys, and halves of surrogate pairs.
_UNESCAPED = re.compile(f"{CONTROLS.pattern}|[\ud800-\udfff]")


#: More columns than any table of ours takes.
WIDEST = 10_000


class Terminal(Console):
    """Rich's console, which shows a mark in place of each control character that it is given.

    Its own escape sequences are segments apart.
    """

    def render_str(self, text: str, **options: Any) -> Text:
        """Return text as it will be shown, so that its width is right in a table."""
        return super().render_str(printable(text, keep=_ITS_OWN), **options)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Yield the pieces of all that is shown, whatever it was made of."""
        for segment in super().render(renderable, options):
            if segment.control or segment.text.isprintable():
                yield segment
            else:
                yield Segment(printable(segment.text, keep=_ITS_OWN), segment.style)


#: Standard output, and standard error.
out, err = Terminal(), Terminal(stderr=True)


def say(sentence: str, *, to: Console | None = None) -> None:
    """Print a sentence on one line, on standard output or the console ``to``.

    A file's name may hold line breaks, and must not make a line of its own. The line is not broken
    where the terminal ends, either.
    """
    (to or out).print(unbroken(sentence), markup=False, highlight=False, soft_wrap=True)


def note(sentence: str) -> None:
    """Print a sentence on one line, on standard error."""
    say(sentence, to=err)


def escaped(text: object) -> str:
    """Return text as Rich prints it as it is, markup included."""
    return escape(str(text))


def complain(sentence: object) -> None:
    """Say on one line the error."""
    err.print(
        f"[red]rowfleet:[/] {escape(one_line(str(sentence)))}", highlight=False, soft_wrap=True
    )


def pass_on(line: str) -> None:
    """Print a line of another program's log."""
    click.echo(printable(line, keep=_ITS_OWN))


def print_json(value: object) -> None:
    """Print JSON on one line: exact data, since JSON has escapes for what a terminal obeys."""
    text = json.dumps(value, default=str, ensure_ascii=False)
    click.echo(_UNESCAPED.sub(lambda found: f"\\u{ord(found[0]):04x}", text))


def print_text(text: str) -> None:
    """Print a file's text as it is; the caller has escaped what a terminal obeys."""
    click.echo(text, nl=False)


def natural_width(shown: RenderableType) -> int:
    """Return the columns that ``shown`` takes when nothing in it is wrapped or cut."""
    return out.measure(shown, options=out.options.update(max_width=WIDEST)).maximum


def print_whole(shown: RenderableType) -> None:
    """Print on standard output, wrapping and cutting nothing: an id is there to be copied.

    Lines may be longer than the terminal is wide.
    """
    wide = Terminal(
        width=max(out.width, natural_width(shown)),
        file=out.file,
        force_terminal=out.is_terminal,
        no_color=out.no_color,
    )
    wide.print(shown, crop=False, soft_wrap=False)


def progress_facts(progress: Progress) -> dict[str, object]:
    """Return what `--json` prints of a batch's progress."""
    facts = dataclasses.asdict(progress)
    del facts["retried_for"]
    return {k: v for k, v in facts.items() if k not in ("reason", "is_idle") or v}


def rows_in_words(count: int, verb: str = "", verb_of_several: str = "") -> str:
    """Return a number of rows in words, with the verb that goes with it."""
    words = ("1 row", verb) if count == 1 else (f"{count:,} rows", verb_of_several)
    return " ".join(word for word in words if word)
