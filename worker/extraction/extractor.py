"""The extractor's Celery app: `celery -A worker.extraction.extractor worker`.

A process for each core, on the documents' queue. It needs broker, ledger and the documents'
storage, and no key of the API.
"""

from __future__ import annotations

import logging
import os
from typing import Any

from celery.exceptions import TaskPredicate
from celery.signals import celeryd_init, worker_process_init, worker_process_shutdown

from rowfleet.documents.places import root
from rowfleet.queue.app import celery_app
from rowfleet.queue.keys import documents
from rowfleet.queue.message import EXTRACT
from worker import ledger, program
from worker.extraction.contents import Contents
from worker.extraction.document import Terms, run_document
from worker.steps.ending import Ending, is_ending
from worker.steps.feeding import Keeper
from worker.steps.health import Health
from worker.steps.schema import Schema

log = logging.getLogger(__name__)

#: Seconds after which Celery ends a process that is stuck over one document: the opener's own
#: bounds, and minutes to fetch a large file, end earlier.
TIME_LIMIT = 900

#: Documents after which a process is replaced by a fresh one.
DOCUMENTS_PER_PROCESS = 500

settings = program.read_settings()
_root = None if settings.documents is None else root.parse(settings.documents)
_processes = settings.slots or os.cpu_count() or 1
app = program.refusing(
    lambda: celery_app(
        settings.model_copy(
            update={"queue": documents(settings.queue), "pool": "prefork", "slots": _processes}
        )
    )
)
app.conf.update(
    task_time_limit=TIME_LIMIT,
    task_soft_time_limit=None,
    worker_max_tasks_per_child=DOCUMENTS_PER_PROCESS,
)
program.assemble(app, settings, EXTRACT, (Schema, Keeper, Health, Ending))

_node = f"celery@{os.uname().nodename}"
_contents = Contents(_root)


@celeryd_init.connect(weak=False)
def _learn_name(sender: str, **_: Any) -> None:
    global _node  # noqa: PLW0603 (Celery tells it once, before anything starts)
    _node = sender
    program.need_a_ledger(settings)


@worker_process_init.connect(weak=False)
def _begin(**_: Any) -> None:
    """A forked child opens documents with processes of its own."""
    global _contents  # noqa: PLW0603 (of the child)
    _contents = Contents(_root)


@worker_process_shutdown.connect(weak=False)
def _end(**_: Any) -> None:
    _contents.close()


class Unexpected(Exception):
    """An unforeseen exception as Celery, Flower and the log are told of it: its kind alone."""


@app.task(name=EXTRACT, throws=(Unexpected,))
def extract(document_id: str, _no_row: int) -> str:
    """Read one document; the message is acknowledged when the ledger has the result."""
    terms = Terms(
        _node,
        program.LEASE * settings.visibility_timeout,
        settings.retry_delay,
        is_ending,
    )
    try:
        return run_document(
            document_id, engine=ledger.engine(settings), contents=_contents, terms=terms
        )
    except TaskPredicate:
        raise
    except Exception as error:  # what it says may quote the document
        log.exception("document %s ended unexpectedly", document_id)
        raise Unexpected(type(error).__name__) from None


program.begin()
