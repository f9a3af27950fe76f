"""What a submission takes of its sheet: the header, the columns, and the rows, in words."""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterator
from itertools import compress, islice

from rowfleet.cells import plain, value
from rowfleet.openai_api.requests import as_data
from rowfleet.recipes.names import fold
from submitter.cli.console import rows_in_words
from submitter.excel import letter
from submitter.sheets.selection import Selection
from submitter.submission.submission import Submission

#: Rows that a dry run shows as they will be sent.
ROWS_SHOWN = 3

#: Keys that a lookup lacks of which a sentence is made at most.
MOST_KEYS = 5

#: Columns, sheets and rows of which a sentence is made at most.
MOST_SHOWN = 20


def read_as(submission: Submission) -> Iterator[str]:
    """Yield what a person should look at: the header, each column, and the first rows."""
    sheet = submission.sheet
    if sheet.others:
        yield f"the workbook's other sheets: {_listed([repr(name) for name in sheet.others])}"
    if sheet.answers:
        yield (
            f"answer columns of an earlier run, which are not sent: {_listed(list(sheet.answers))}"
        )
    columns = _columns(submission)
    same = [f"{name} ({place})" for name, header, place, _ in columns if name == header]
    others = [column for column in columns if column[0] != column[1]]
    yield f"the header is row {sheet.header_row + 1}; columns that are sent: " + (
        _listed(same) if same else "all under other names"
    )
    for name, header, place, how in others[:MOST_SHOWN]:
        yield f"  {name}, which is {header!r} ({place}), {how}"
    if len(others) > MOST_SHOWN:
        yield f"  and {len(others) - MOST_SHOWN} more"
    yield "the first rows as they are sent:"
    for number, cells in _first_rows(submission):
        yield f"  row {number}: {cells}"


def left_out(selection: Selection) -> Iterator[str]:
    """Yield what about the choice of rows a person should know, of which no row says so itself."""
    sheet, choice = selection.sheet, selection.choice
    if sheet.hidden is None and not sheet.is_text:
        yield (
            "no number formats are read from a file of this kind: amounts are sent without their "
            "currency, per cents as fractions; save it as .xlsx to have them sent as shown"
        )
    if sheet.merged:
        ranges = _listed([f"{name} (first {shown})" for name, shown in sheet.merged.items()])
        yield (
            "merged cells have their value in their first row alone, and the rows below are sent "
            f"without it: {ranges}"
        )
    if selection.hidden:
        count = rows_in_words(selection.hidden, "is", "are")
        yield f"{count} hidden or filtered out, and " + (
            "left out: --hidden skip"
            if choice.hidden == "skip"
            else "taken; --hidden skip leaves them out"
        )
    if unsent := selection.below.unsent:
        yield _unsent(sheet.first_row + unsent[0], sheet.first_row + unsent[-1])
    for position, text in selection.below.totals:
        says = f", {text!r}," if text else ""
        yield (
            f"row {sheet.first_row + position}{says} is one of totals and is left out; "
            "--keep-totals takes it"
        )
    for position in selection.below.notes:
        yield (
            f"row {sheet.first_row + position} stands below the totals and may be a note; it is "
            "taken, and --num-rows leaves it out"
        )
    if selection.unjudged_row is not None:
        yield (
            f"{rows_in_words(selection.unjudged)} could not be judged by --where and "
            f"{'is' if selection.unjudged == 1 else 'are'} left out; of row "
            f"{sheet.first_row + selection.unjudged_row}: {selection.unjudged_reason}"
        )
    if selection.ordered_as_text is not None:
        name, text = selection.ordered_as_text
        yield (
            f"--order-by: {name!r} is text such as {text!r}, and is ordered as text, not by number"
        )


def _unsent(first: int, last: int) -> str:
    what = "below the table, without a value in any column that is sent"
    if first == last:
        return f"row {first} is {what}, and is left out; --keep-totals takes it"
    return f"rows {first} to {last} are {what}, and are left out; --keep-totals takes them"


def facts(submission: Submission) -> dict[str, object]:
    """Return the same for a script."""
    sheet, selection = submission.sheet, submission.selection
    return {
        "other_sheets": list(sheet.others),
        "header_row": sheet.header_row + 1,
        "columns": [
            {"name": name, "header": header, "column": place, "matched": how}
            for name, header, place, how in _columns(submission)
        ],
        "answer_columns": list(sheet.answers),
        "first_rows": [
            {"row": number, "sent": json.loads(cells)} for number, cells in _first_rows(submission)
        ],
        "merged_cells": dict(sheet.merged),
        "hidden_rows": selection.hidden,
        "total_rows": [sheet.first_row + position for position, _ in selection.below.totals],
        "unsent_rows": [sheet.first_row + position for position in selection.below.unsent],
        "unjudged_rows": selection.unjudged,
    }


def _columns(submission: Submission) -> list[tuple[str, str, str, str]]:
    """Return of each sent column its name, its header, its letter, and how the two were matched."""
    sheet, recipe = submission.sheet, submission.recipe
    found = []
    for name, index in sheet.columns.items():
        header = sheet.header[index]
        if name in sheet.mapped:
            how = "by --map"
        elif not recipe.columns:
            how = "every column is sent"
        else:
            how = "by its name" if fold(name) == fold(header) else "by an alias"
        found.append((name, header, letter(sheet.sheet_columns[index]), how))
    return found


def _first_rows(submission: Submission) -> Iterator[tuple[int, str]]:
    """Yield the numbers of the rows that run first, and the JSON that is sent of each."""
    sheet, ranks = submission.sheet, submission.selection.ranks
    positions = compress(range(len(sheet.filled)), sheet.filled)
    if ranks is None:
        first = list(islice(positions, ROWS_SHOWN))
    else:
        first = heapq.nsmallest(ROWS_SHOWN, positions, key=ranks.__getitem__)
    for number in first:
        for _, cells in sheet.rows(number, 1):
            sent = {name: cells[index] for name, index in sheet.columns.items()}
            row = sheet.first_row + number
            yield row, as_data(row, sent, submission.recipe.joined(sent)).split("\n")[1]


def unknown_keys(submission: Submission) -> Iterator[str]:
    """Yield for each lookup that is sent with rows which of them have a key that it lacks."""
    sheet, rows = submission.sheet, submission.rows
    for name, lookup in submission.recipe.lookups.items():
        if lookup.join is None or lookup.join not in sheet.columns:
            continue
        index = sheet.columns[lookup.join]
        missed: dict[str, int] = {}
        count = 0
        for position, cells in sheet.rows(rows.start_row, rows.num_rows):
            key = plain(value(cells[index]))
            if lookup.found(key) is None:
                count += 1
                if len(missed) < MOST_KEYS:
                    missed.setdefault(repr(key)[:60], sheet.first_row + position)
        if count:
            listed = ", ".join(f"{key} in row {row}" for key, row in missed.items())
            yield (
                f"lookups.{name} has no key for {rows_in_words(count)}: {listed}"
                + (", …" if count > len(missed) else "")
            )


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - MOST_SHOWN} more" if len(names) > MOST_SHOWN else ""
    return ", ".join(names[:MOST_SHOWN]) + more
