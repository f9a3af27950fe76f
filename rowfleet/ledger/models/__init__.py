"""The ledger's tables: what each column means. What moves a row stands in `transitions`."""

from __future__ import annotations

from rowfleet.ledger.models.batch_tables import Batch, RemoteBatch
from rowfleet.ledger.models.file_tables import EarlierFile, Export
from rowfleet.ledger.models.row_tables import Row, Tally
from rowfleet.ledger.models.tables import Base, Dollars, Json

__all__ = [
    "Base",
    "Batch",
    "Dollars",
    "EarlierFile",
    "Export",
    "Json",
    "RemoteBatch",
    "Row",
    "Tally",
]
