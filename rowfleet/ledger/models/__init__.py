"""The ledger's tables: what each column means. What moves a row stands in `transitions`."""

from __future__ import annotations

from rowfleet.ledger.models.batch_tables import Batch, RemoteBatch
from rowfleet.ledger.models.document_tables import Document, DocumentText, RowDocument
from rowfleet.ledger.models.file_tables import EarlierFile, Export
from rowfleet.ledger.models.review_tables import Decision
from rowfleet.ledger.models.row_tables import Row, Tally
from rowfleet.ledger.models.tables import Base, Dollars, Json

__all__ = [
    "Base",
    "Batch",
    "Decision",
    "Document",
    "DocumentText",
    "Dollars",
    "EarlierFile",
    "Export",
    "Json",
    "RemoteBatch",
    "Row",
    "RowDocument",
    "Tally",
]
