"""The rows on which two batches disagree, as a sheet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rowfleet.cells import decode_all
from rowfleet.errors import InputError
from submitter.evaluation.labels import Compared
from submitter.evaluation.pairing import Paired, answers
from submitter.results import target, writer
from submitter.results.columns import Column, FinishedRow
from submitter.results.target import atomic

#: What the column says beside labels: the first, the second, or neither is right.
FIRST, SECOND, NEITHER = "A", "B", "neither"


def check(out: Path) -> None:
    """Raise InputError unless the sheet can be written to ``out``, an .xlsx."""
    if out.suffix.lower() != ".xlsx":
        raise InputError(f"--out {out}: the sheet is an .xlsx file; give a name that ends so")
    if out.exists():
        raise InputError(f"--out {out}: there is a file of that name; give another")
    target.check_target(out)


def save(out: Path, paired: Paired, about: Sequence[Compared]) -> int:
    """Write the sheet, and return how many rows it has; reads the two batches again.

    Behind the first batch's columns stand the answers of both, the row's number in the sheet, and
    with labels, for each property whose answers differ, the batch that is right.
    """
    first = paired.first
    headers: dict[str, str] = {}
    for each in about:
        headers[_key(each, FIRST)] = f"A_{each.property}"
        headers[_key(each, SECOND)] = f"B_{each.property}"
        if each.index is not None:
            headers[_key(each, "right")] = f"Right_{each.property}"
    row_number = Column("Row", lambda row: first.sheet_row(row.number))
    with atomic(out) as file:
        return writer.write_sheet(
            file,
            out,
            title="Disagreements",
            header=first.header,
            formats=first.formats,
            widths=first.widths,
            result_headers=headers,
            added=[row_number],
            rows=_rows(paired, about),
        )


def _rows(paired: Paired, about: Sequence[Compared]) -> Iterator[FinishedRow]:
    for one, other in paired.rows():
        found = list(answers(about, one, other))
        if all(each.pair.is_right for each in found):
            continue
        assert one.output is not None
        assert other.output is not None
        cells: dict[str, Any] = {}
        for each in found:
            name = each.about.property
            cells[_key(each.about, FIRST)] = one.output.get(name)
            cells[_key(each.about, SECOND)] = other.output.get(name)
            if each.beside is not None and not each.pair.is_right:
                rights = [each.beside[0].is_right, each.beside[1].is_right]
                names = [side for side, right in zip((FIRST, SECOND), rights, strict=True) if right]
                cells[_key(each.about, "right")] = " and ".join(names) or NEITHER
        yield FinishedRow(one.number, decode_all(one.cells), one.status, cells, None)


def _key(about: Compared, what: str) -> str:
    return f"{about.property}\0{what}"
