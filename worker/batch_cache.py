"""The batches of a worker's rows: each is read from the ledger once and kept, recipe and all."""

from __future__ import annotations

import logging
from typing import Any

from pydantic import ValidationError

from rowfleet import analyzer_kinds
from rowfleet.errors import InputError
from rowfleet.ledger.engine import Connection
from rowfleet.ledger.queries import batch_records
from rowfleet.ledger.records import BatchRecord
from rowfleet.prices import Price
from rowfleet.recipes.recipe import Recipe
from worker.assignment import BatchInfo

log = logging.getLogger(__name__)

#: Batches whose recipe is kept at hand.
BATCHES_KEPT = 64


class NotUnderstood(Exception):
    """A batch that was recorded by a newer version. Its text says what this one does not know."""


class BatchCache:
    """The batches that one process has met last, those that it does not understand included."""

    def __init__(self) -> None:
        self._batches: dict[str, BatchInfo] = {}
        self._not_understood: dict[str, str] = {}

    def get(self, connection: Connection, batch_id: str) -> BatchInfo:
        """Return a batch, from the ledger the first time.

        Raises NotUnderstood, and logs it the first time, for a batch of a newer version.
        """
        info = self._batches.get(batch_id)
        if info is None:
            if batch_id in self._not_understood:
                raise NotUnderstood(self._not_understood[batch_id])
            record = batch_records.get_batch(connection, batch_id)
            try:
                info = _understood(record)
            except NotUnderstood as problem:
                log.warning(
                    "batch %s: this worker does not know %s; its rows wait for workers that do",
                    batch_id,
                    problem,
                )
                _keep(self._not_understood, batch_id, str(problem))
                raise
            _keep(self._batches, batch_id, info)
        return info


def _understood(record: BatchRecord) -> BatchInfo:
    """Return what a batch's record says. Raises NotUnderstood for one of a newer version."""
    try:
        analyzer_kinds.get(record.analyzer)
    except InputError as error:
        broken = f" ({error})" if analyzer_kinds.is_known(record.analyzer) else ""
        raise NotUnderstood(f"the analyzer {record.analyzer!r}{broken}") from None
    try:
        price = None if record.price is None else Price.model_validate(record.price)
        return BatchInfo(record, Recipe.model_validate(record.recipe), price)
    except ValidationError as error:
        fields = {".".join(map(str, item["loc"])) or "its whole" for item in error.errors()}
        raise NotUnderstood(", ".join(sorted(fields))[:200]) from None
    except RecursionError:
        raise NotUnderstood("an output that refers to itself") from None


def _keep(kept: dict[str, Any], batch_id: str, what: Any) -> None:
    if len(kept) >= BATCHES_KEPT:
        kept.pop(next(iter(kept)))
    kept[batch_id] = what
