"""A session at the Batch API: a batch is followed while the command shows its progress."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from contextlib import suppress

from rowfleet.errors import ServiceError
from rowfleet.ledger.engine import Engine, reading
from rowfleet.ledger.ledger_errors import LedgerUnavailable
from rowfleet.ledger.queries.progress import progress_of
from rowfleet.ledger.records import Progress
from submitter.batch_api.followed import Followed
from submitter.batch_api.follower import Follower

log = logging.getLogger(__name__)

#: Seconds between looks at the ledger, to show how far the batch is.
SHOW_INTERVAL = 1.0


def follow(
    engine: Engine,
    follower: Follower,
    *,
    wait: bool,
    show: Callable[[Progress], None],
) -> Progress:
    """Follow the batch and show how far it is; return that at the end, or as soon as may be.

    If another process follows it, wait for that one, or with ``wait`` False leave it to it.
    """
    batch = follower.batch
    if not batch.hold():
        log.warning(
            "another process follows batch %s, or did until just now; waiting",
            batch.batch_id,
        )
        give_up = time.monotonic() + batch.lease + 2 * SHOW_INTERVAL
        while not batch.hold():
            if not wait and time.monotonic() > give_up:
                return _progress(engine, batch.batch_id)
            time.sleep(SHOW_INTERVAL)
    done: Future[None] = Future()
    thread = threading.Thread(target=_into, args=(done, follower, wait), daemon=True)
    thread.start()
    try:
        _accompany(engine, batch, done, show)
    finally:
        batch.stop()
        thread.join(timeout=2)
        # Else a request may be on its way: no follower should look for its batch before it arrives.
        if not thread.is_alive():
            batch.release()
    done.result()
    progress = _progress(engine, batch.batch_id)
    show(progress)
    return progress


def _into(done: Future[None], follower: Follower, wait: bool) -> None:
    try:
        follower.run(wait=wait)
    except BaseException as error:
        done.set_exception(error)
    else:
        done.set_result(None)


def _accompany(
    engine: Engine, batch: Followed, done: Future[None], show: Callable[[Progress], None]
) -> None:
    """Renew the claim and show progress until the follower is done, through outages."""
    while not wait_for([done], timeout=min(SHOW_INTERVAL, batch.lease / 4)).done:
        with suppress(LedgerUnavailable):  # the follower logs that, and waits
            if not batch.hold():
                raise ServiceError(f"another process has taken over batch {batch.batch_id}")
            show(_progress(engine, batch.batch_id))


def _progress(engine: Engine, batch_id: str) -> Progress:
    with reading(engine) as connection:
        return progress_of(connection, batch_id)
