"""Writing the page of an evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rowfleet.errors import InputError
from submitter.evaluation.evaluation import Evaluation
from submitter.evaluation.gates import Verdict
from submitter.evaluation.report.page import page
from submitter.results.target import atomic

#: What a page's name ends in, so that no sheet is written over by mistake.
SUFFIXES = (".html", ".htm")


def check(out: Path) -> None:
    """Raise InputError unless a page can be written there."""
    if out.suffix.lower() not in SUFFIXES:
        raise InputError(f"--html {out}: a report is an .html file; give a name that ends so")
    try:
        is_there = out.parent.is_dir()
    except OSError as error:
        raise InputError(f"--html {out}: can't be written: {error.strerror}") from None
    if not is_there:
        raise InputError(f"--html {out}: there is no directory {out.parent}")
    if out.is_dir():
        raise InputError(f"--html {out}: is a directory; give the name of a file")


def save(out: Path, evaluation: Evaluation, verdicts: Sequence[Verdict]) -> None:
    """Write the page. Raises InputError if it can't be written."""
    try:
        with atomic(out) as file:
            file.write(page(evaluation, verdicts))
    except OSError as error:
        raise InputError(f"--html {out}: can't be written: {error.strerror}") from None
