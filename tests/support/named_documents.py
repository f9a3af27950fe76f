"""Batches whose rows name documents, for tests that need them in the ledger without files."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Engine, select

from rowfleet.ledger.document_records import Named, NewDocument
from rowfleet.ledger.models import Document
from rowfleet.ledger.transitions import recording
from tests.support.ledger import make_batch


def new_document(path: str, **fields: str) -> NewDocument:
    return NewDocument(
        **{"root": "/invoices", "path": path, "version": "1", "reading": "1:eng"} | fields
    )


def never_read(path: str) -> NewDocument:
    return new_document(path, reason="outside_root", error="it lies outside")


def named(
    paths: Sequence[Sequence[str]], queue: str = "q", sample: Sequence[int] | None = None
) -> Named:
    """Return what rows name whose documents have these paths, row by row."""
    documents = {
        path: never_read(path) if path.startswith("../") else new_document(path)
        for row in paths
        for path in row
    }
    return Named(
        rows={
            number: [(documents[path].id, "Invoice") for path in row]
            for number, row in enumerate(paths)
        },
        documents={document.id: document for document in documents.values()},
        queue=queue,
        sample=sample,
    )


def make_batch_with(
    engine: Engine,
    paths: Sequence[Sequence[str]],
    *,
    batch_id: str = "b",
    queue: str = "q",
    loaded: bool = True,
    sample: Sequence[int] | None = None,
) -> str:
    """Record a batch with a row for each of ``paths``, which names those documents."""
    make_batch(
        engine,
        0,
        batch_id=batch_id,
        queue=queue,
        loaded=False,
        sample=sample,
        documents="/invoices",
    )
    with engine.begin() as connection:
        recording.record_rows(
            connection,
            batch_id,
            [(number, [" ".join(row)], None) for number, row in enumerate(paths)],
            named=named(paths, queue, sample),
        )
        if loaded:
            recording.finish_loading(connection, batch_id)
    return batch_id


def states(engine: Engine) -> dict[str, str]:
    """Return path → state of every document."""
    with engine.connect() as connection:
        rows = connection.execute(select(Document.path, Document.state))
        return {row.path: row.state for row in rows}
