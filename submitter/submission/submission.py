"""A submission: a validated sheet, its recipe and its terms."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import PurePath

from rowfleet.documents.places.root import Root
from rowfleet.errors import InputError
from rowfleet.ledger.records import NewBatch
from rowfleet.ledger.statuses import Tier
from rowfleet.prices import Price
from rowfleet.recipes.recipe import Recipe
from rowfleet.storage import location
from rowfleet.storage.location import Location
from submitter.results import columns, writer
from submitter.sheets.selection import Choice, Selection, select
from submitter.sheets.sheet import Sheet

#: What a batch id may look like; it is part of task ids, object names and commands.
BATCH_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


#: The share of the last rows that may fail or need review, if a user does not say. Only a broken
#: prompt or endpoint gets there: a sheet of which every second row is hard stays below it.
DEFAULT_MAX_FAILURES = 0.95


@dataclass(frozen=True, slots=True)
class Terms:
    """On what terms a batch runs; they decide no answer, so other terms are the same batch."""

    #: What the model costs, if it is not what the table of list prices says.
    price: Price | None = None
    #: Dollars that the batch may cost. None: those recorded, or any.
    max_cost: float | None = None
    #: The share of the last rows, from 0 to 1, that may fail or need review. None: that recorded,
    #: or DEFAULT_MAX_FAILURES.
    max_failures: float | None = None
    #: How many random rows to run before the rest waits. None: all rows.
    sample: int | None = None
    #: Whether rows that are sent the same are answered once.
    dedupe: bool = False


@dataclass(frozen=True, slots=True)
class Submission:
    """A sheet, its chosen rows and the question: together they define a batch."""

    selection: Selection
    recipe: Recipe  # with analyzer and model decided
    queue: str
    batch_id: str
    #: Whether its rows go before those of other batches.
    urgent: bool = False
    terms: Terms = Terms()
    #: The runner of the rows: None: the runner before, else the workers.
    tier: Tier | None = None
    #: Whether a user chose ``batch_id``. Otherwise a batch with the same rows and question is this
    #: one, whatever its id.
    is_named: bool = False
    #: Where the file was read: an absolute path, or a URI without credentials.
    origin: str | None = None
    #: The folder of its documents, if the recipe has them read.
    documents: Root | None = None

    @property
    def sheet(self) -> Sheet:
        """The sheet, with the chosen rows alone."""
        return self.selection.sheet

    @property
    def rows(self) -> Choice:
        """The rows that a person chose."""
        return self.selection.choice

    @property
    def content_hash(self) -> str:
        """Hash of file, rows and recipe, which makes the id of a batch that was not named."""
        return _content_hash(self.sheet, self.rows, self.recipe, self.documents)

    @property
    def count(self) -> int:
        """How many rows it has."""
        return self.sheet.count(self.rows.start_row, self.rows.num_rows)


def prepare(
    sheet: Sheet,
    rows: Choice,
    recipe: Recipe,
    *,
    queue: str,
    batch_id: str | None,
    urgent: bool = False,
    terms: Terms = Terms(),
    tier: Tier | None = None,
    source: Location | None = None,
    documents: Root | None = None,
) -> Submission:
    """Return the submission, with an id from its content unless ``batch_id`` gives one.

    ``source`` is where the sheet was read. Raises InputError for a ``batch_id`` that can't be one,
    for rows that can't be chosen, and where the finished sheet could not be written.
    """
    selection = select(sheet, rows, recipe, columns.answer_headers(recipe).every)
    sheet = selection.sheet
    results = columns.most_beside_the_original(recipe)
    writer.check_size(sheet.name, sheet.count(rows.start_row, rows.num_rows), sheet.header, results)
    is_named = batch_id is not None
    if batch_id is not None:
        check_id(batch_id)
    else:
        stem = re.sub(r"[^a-z0-9]+", "-", PurePath(sheet.name).stem.lower()).strip("-")[:40]
        batch_id = f"{stem or 'sheet'}-{_content_hash(sheet, rows, recipe, documents)[:12]}"
    return Submission(
        selection,
        recipe,
        queue,
        batch_id,
        urgent,
        terms,
        tier,
        is_named=is_named,
        origin=None if source is None else location.origin(source),
        documents=documents,
    )


def check_id(batch_id: str) -> None:
    """Raise InputError if ``batch_id`` can't be one."""
    if not BATCH_ID.fullmatch(batch_id):
        raise InputError(
            f"--batch-id {batch_id!r}: use up to 64 letters, digits, dots, dashes and underscores, "
            "the first a letter or digit"
        )


def new_batch(submission: Submission) -> NewBatch:
    """Return the batch that is made of the submission, as the ledger records it."""
    sheet, recipe = submission.sheet, submission.recipe
    assert recipe.model is not None
    assert recipe.analyzer is not None
    terms = submission.terms
    start, number = submission.rows.start_row, submission.rows.num_rows
    sample = None
    if terms.sample is not None and terms.sample < sheet.count(start, number):
        sample = sheet.drawn(terms.sample, submission.batch_id, start, number)
    return NewBatch(
        id=submission.batch_id,
        source=sheet.name,
        content_hash=submission.content_hash,
        file_hash=sheet.sha256,
        sheet=sheet.title,
        start_row=submission.rows.start_row,
        num_rows=submission.rows.num_rows,
        header=list(sheet.header),
        formats=list(sheet.formats),
        widths=None if sheet.widths is None else list(sheet.widths),
        recipe=recipe.snapshot(),
        columns=dict(sheet.columns),
        model=recipe.model,
        analyzer=recipe.analyzer,
        queue=submission.queue,
        urgent=submission.urgent,
        price=None if terms.price is None else terms.price.model_dump(),
        max_cost=terms.max_cost,
        max_failures=(DEFAULT_MAX_FAILURES if terms.max_failures is None else terms.max_failures),
        sample=sample,
        dedupe=terms.dedupe,
        tier=submission.tier or Tier.WORKERS,
        first_row=sheet.first_row,
        origin=submission.origin,
        where_expression=submission.rows.where,
        order_by=submission.rows.order_by,
        hidden=submission.rows.hidden,
        totals="keep" if submission.rows.keep_totals else "skip",
        documents=None if submission.documents is None else str(submission.documents),
    )


def _content_hash(sheet: Sheet, rows: Choice, recipe: Recipe, documents: Root | None) -> str:
    content: list[object] = [sheet.sha256, sheet.title, rows.start_row, rows.num_rows]
    content.append(recipe.canonical())
    # An option that is not given changes nothing, so that batches of older versions keep their ids.
    said = {
        "header": sheet.steered,
        "where": rows.where,
        "order_by": rows.order_by,
        "hidden": rows.hidden if rows.hidden != "include" else None,
        "keep_totals": rows.keep_totals,
    }
    if documents is not None:
        said["documents"] = str(documents)
    if any(said.values()):
        content.append(said)
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()
