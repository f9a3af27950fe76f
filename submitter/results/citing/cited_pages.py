"""The sources of one row's answer, and pictures of the cited pages with the quotes marked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from rowfleet.documents.opener import Opener, OpenerLostError
from rowfleet.documents.places.folders import UnreachableError, fetched, open_folder
from rowfleet.documents.places.root import Root
from rowfleet.documents.quotes.sources import Source, decoded
from rowfleet.documents.unread import UnreadableError
from rowfleet.errors import InputError, ServiceError
from rowfleet.ledger.document_records import RowsDocument
from rowfleet.ledger.engine import Connection
from rowfleet.ledger.queries import document_facts
from rowfleet.ledger.queries.rows import rows_by_number
from rowfleet.ledger.records import BatchRecord
from rowfleet.recipes import loading
from rowfleet.recipes.parts.evidence import EVIDENCE

#: Pixels of the longer side of a picture: A4 at 150 dots per inch.
MAX_SIDE = 1_754


@dataclass(frozen=True, slots=True)
class CitedField:
    """A field of a row's answer, and where it comes from."""

    field: str
    value: Any
    #: None: no document is cited.
    source: Source | None
    #: None where the source names none that the row has.
    document: RowsDocument | None


def cited_fields(connection: Connection, batch: BatchRecord, number: int) -> list[CitedField]:
    """Return the fields of the row ``number`` that its recipe wants a source of.

    Raises InputError for a row that has no answer, or whose recipe asks for no sources.
    """
    evidence = loading.recorded(batch.recipe).evidence
    if evidence is None:
        raise InputError(f"batch {batch.id}: its recipe has no `evidence`")
    shown = batch.sheet_row(number)
    row = rows_by_number(connection, batch.id, [number]).get(number)
    if row is None:
        raise InputError(f"batch {batch.id} has no row {shown}")
    if not row.output:
        raise InputError(f"row {shown} of batch {batch.id} has no answer: it is {row.status}")
    asked = number if row.same_as is None else row.same_as
    documents = document_facts.of_row(connection, batch.id, asked)
    sources = row.output.get(EVIDENCE) or {}
    return [
        _cited_field(field, row.output, sources.get(field), documents) for field in evidence.fields
    ]


def _cited_field(
    field: str,
    output: Mapping[str, Any],
    kept: Mapping[str, Any] | None,
    documents: Sequence[RowsDocument],
) -> CitedField:
    if kept is None:
        return CitedField(field, output.get(field), None, None)
    source = decoded(kept)
    there = 0 < source.document <= len(documents)
    document = documents[source.document - 1] if there else None
    return CitedField(field, output.get(field), source, document)


def write_pictures(fields: Sequence[CitedField], folder: Path, row: int) -> Iterator[Path]:
    """Write the page of each quote that was found, the quote marked; yield the files.

    Pages without paper, such as the text of an e-mail, have no picture. Raises InputError where a
    document can't be read again or a file can't be written, ServiceError where the storage is away.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--png {folder}: can't be made: {error.strerror}") from None
    with Opener() as opener:
        for cited in fields:
            source = cited.source
            if source is None or cited.document is None or not source.boxes:
                continue
            picture = _picture(opener, cited.document, source)
            if picture is not None:
                out = folder / f"row-{row}-{cited.field}.png"
                try:
                    out.write_bytes(picture)
                except OSError as error:
                    raise InputError(f"{out}: can't be written: {error.strerror}") from None
                yield out


def _picture(opener: Opener, document: RowsDocument, source: Source) -> bytes | None:
    place = Root(document.root).address(document.path)
    try:
        with fetched(open_folder(Root(document.root)), document.path) as file:
            pictures = opener.render(
                file,
                f"document{PurePosixPath(document.path).suffix}",
                [source.page],
                max_side=MAX_SIDE,
                png=True,
                marks={source.page: source.boxes},
            )
    except UnreadableError as error:
        raise InputError(f"{place}: {error}") from None
    except (UnreachableError, OpenerLostError) as error:
        raise ServiceError(f"{place}: {error}") from None
    return pictures[0].content if pictures else None
