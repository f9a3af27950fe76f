"""One document's life in an extractor: claim it, read it, write down how that ended."""

from __future__ import annotations

import logging
import random
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

from celery.exceptions import Reject

from rowfleet.documents.opener import OpenerLostError
from rowfleet.documents.places.folders import UnreachableError
from rowfleet.documents.unread import Unread, UnreadableError
from rowfleet.errors import InputError
from rowfleet.ledger.document_records import ClaimedDocument, NewText, ReadOutcome
from rowfleet.ledger.engine import Connection, Engine, reading, writing
from rowfleet.ledger.patience import patiently
from rowfleet.ledger.statuses import DocumentState
from rowfleet.ledger.transitions.documents import extracting
from rowfleet.masking import outside
from rowfleet.retry import JITTER
from worker.extraction.contents import Contents
from worker.extraction.lease import held

log = logging.getLogger(__name__)

T = TypeVar("T")

#: Tries after the first of a document whose storage is away: half an hour, a minute apart. None of
#: its rows fails for an outage that a person mends meanwhile.
MOST_RETRIES = 30


@dataclass(frozen=True, slots=True)
class Terms:
    """On what terms this process reads documents."""

    #: Celery's node name.
    worker: str
    #: Seconds that a claim lasts unless it is renewed.
    lease: float
    #: Seconds until a document is tried again whose storage is away.
    retry_delay: float
    #: Whether the process is to end: then no document is begun that has to wait for the ledger.
    is_ending: Callable[[], bool]


def run_document(document_id: str, *, engine: Engine, contents: Contents, terms: Terms) -> str:
    """Read one document and return how it ended, in a few words for Flower.

    Returns only when the ledger has the result, so that the message may be acknowledged. Raises
    Celery's Reject if the process shall end while the ledger is away: the message goes to others.
    """
    holder = uuid.uuid4().hex
    claimed = _patiently(
        engine,
        lambda connection: extracting.claim(
            connection, document_id, holder=holder, worker=terms.worker, lease=terms.lease
        ),
        give_up=terms.is_ending,
    )
    if claimed is None:
        return "not read: it has ended, another extractor reads it, or no batch needs it"
    began = time.monotonic()
    with held(engine, document_id, holder=holder, lease=terms.lease):
        outcome, text = _outcome(engine, contents, claimed, terms.retry_delay)
        outcome = replace(outcome, latency=time.monotonic() - began)
        counted = _settle(engine, outcome, text, holder)
    if not counted:
        log.warning("document %s: result dropped, another extractor has it", document_id)
        return "taken over by another extractor"
    if outcome.state == DocumentState.READY:
        return f"ready: {outcome.pages} pages"
    return f"{outcome.state}: {outcome.reason or 'tried again later'}"


def _outcome(
    engine: Engine, contents: Contents, claimed: ClaimedDocument, retry_delay: float
) -> tuple[ReadOutcome, NewText | None]:
    """Read the document and return what becomes of it, whatever that raises."""

    def pages_of(text_id: str) -> int | None:
        return _patiently(engine, lambda c: extracting.has_text(c, text_id), only_reads=True)

    again = ReadOutcome(claimed.id, claimed.attempts, DocumentState.PENDING)
    failed = replace(again, state=DocumentState.FAILED)
    try:
        content = contents.read(claimed, pages_of)
    except UnreadableError as error:
        return replace(failed, reason=error.reason, error=str(error)), None
    except OpenerLostError as error:
        return replace(again, is_loss=True, error=str(error)), None
    except (UnreachableError, InputError) as error:
        is_storage = isinstance(error, UnreachableError)
        reason = Unread.UNREACHABLE if is_storage else Unread.NOT_INSTALLED
        log.warning("document %s: %s", claimed.id, outside(error))
        if claimed.retries >= MOST_RETRIES:
            return replace(failed, reason=reason, error=outside(error)), None
        delay = retry_delay * (1 + random.uniform(0, JITTER))  # noqa: S311 (not a secret)
        return replace(again, delay=delay, counts=True, error=outside(error)), None
    except Exception as error:  # what it says may quote the document
        log.exception("document %s ended unexpectedly", claimed.id)
        why = f"an unexpected {type(error).__name__}; the extractor's log says where"
        return replace(again, is_loss=True, error=why), None
    ready = replace(
        again,
        state=DocumentState.READY,
        text_id=content.text_id,
        content_hash=content.sha256,
        size=content.size,
        pages=content.pages,
        read_version=content.version,
    )
    return ready, content.text


def _settle(engine: Engine, outcome: ReadOutcome, text: NewText | None, holder: str) -> bool:
    tries = 0

    def work(connection: Connection) -> bool:
        nonlocal tries
        tries += 1
        if tries > 1 and extracting.settled_before(connection, outcome, holder=holder):
            return True
        return extracting.settle(connection, outcome, text, holder=holder)

    return _patiently(engine, work)


def _patiently(
    engine: Engine,
    work: Callable[[Connection], T],
    *,
    only_reads: bool = False,
    give_up: Callable[[], bool] = lambda: False,
) -> T:
    """Return what ``work`` returns in a transaction; do it again while the ledger is away."""

    def once() -> T:
        with (reading if only_reads else writing)(engine) as connection:
            return work(connection)

    def sleep(seconds: float) -> None:
        time.sleep(seconds)
        if give_up():
            raise Reject("the ledger is away and the extractor ends", requeue=True) from None

    return patiently(once, log, "%s; waiting, no document is lost", sleep=sleep)
