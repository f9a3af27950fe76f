"""Holding a document: its lease is renewed for as long as it is read."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from rowfleet.ledger.engine import Engine, writing
from rowfleet.ledger.ledger_errors import LedgerError
from rowfleet.ledger.patience import Absence
from rowfleet.ledger.transitions.documents import extracting

log = logging.getLogger(__name__)

#: Renewals within one lease: several may fail before it runs out.
RENEWALS = 4


@contextmanager
def held(engine: Engine, document_id: str, *, holder: str, lease: float) -> Iterator[None]:
    """Renew the lease, which is ``lease`` seconds long, until the ``with`` block ends."""
    over = threading.Event()

    def renew() -> None:
        absence = Absence(log, "the lease of a document can't be renewed for now: %s")
        while not over.wait(lease / RENEWALS):
            try:
                with writing(engine) as connection:
                    extracting.renew(connection, document_id, holder=holder, lease=lease)
                absence.ends()
            except LedgerError as error:
                absence.goes_on(error)

    thread = threading.Thread(target=renew, name="lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
