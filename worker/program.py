"""What the programs that Celery runs here have in common: settings, logs, steps, and their end.

`worker.celery` assembles the worker of rows, `worker.extraction.extractor` that of documents.
"""

from __future__ import annotations

import gc
import logging
import os
import select
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, TypeVar

from celery.exceptions import SecurityWarning
from celery.signals import after_setup_logger, after_setup_task_logger

from rowfleet.errors import InputError
from rowfleet.masking import outside, quieten
from rowfleet.settings import Settings, load_settings
from worker import transport
from worker.steps.heartbeat import VisibilityHeartbeat, reserved
from worker.steps.outbox import Outbox

T = TypeVar("T")

#: A claim lasts this part of the visibility timeout unless renewed: when a dead worker's message
#: is delivered again, its claim has run out.
LEASE = 0.6


def refuse(sentence: str) -> NoReturn:
    """End the process with a sentence."""
    sys.stderr.write(f"rowfleet: {outside(sentence, 2_000)}\n")
    raise SystemExit(InputError.exit_code)


def refusing(work: Callable[[], T]) -> T:
    """Return what ``work`` returns; end the process with the sentence of an InputError."""
    try:
        return work()
    except InputError as error:
        refuse(str(error))


def read_settings() -> Settings:
    """Return the settings; end the process with one sentence if they are wrong."""
    return refusing(load_settings)


def need_a_ledger(settings: Settings) -> None:
    """End the process if no ledger is named, which Flower, `inspect` and `events` do without."""
    if settings.database_url is None:
        refuse("DATABASE_URL is not set; write DATABASE_URL=postgresql://…")


def assemble(app: Any, settings: Settings, task: str, steps: Sequence[type]) -> None:
    """Give the app its transport and its steps. ``task`` is what its messages ask for."""
    app.rowfleet_settings = settings
    app.rowfleet_task = task
    app.steps["consumer"].add(VisibilityHeartbeat)
    if settings.transport == "kombu":
        app.conf.worker_consumer = "worker.consumer:Consumer"
        VisibilityHeartbeat.delivered = staticmethod(reserved)
    else:
        transport.install()
        app.conf.worker_consumer = "worker.consumer:GatheringConsumer"
        app.steps["consumer"].add(Outbox)
    app.steps["worker"].update(steps)
    app.set_default()


@after_setup_logger.connect(weak=False)
@after_setup_task_logger.connect(weak=False)
def _quieten(logger: logging.Logger, **_: Any) -> None:
    """Keep keys, cells and answers out of this worker's log, whichever library writes there."""
    quieten(logger.handlers)


def _end_with_stdin() -> None:
    """Shut down when standard input ends: `rowfleet local` holds its other end."""
    while select.select([0], [], []) and os.read(0, 1024):  # select: a bare read stops gevent
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def begin() -> None:
    """Do what comes last when the app's module is imported."""
    # Celery takes a group without a name, which is what a pod has, for root's. What it warns of is
    # pickle, and nothing but JSON is accepted here.
    warnings.filterwarnings("ignore", category=SecurityWarning)
    # They say a line a request, and a line a look at the schema; SQLAlchemy, at the level DEBUG,
    # says each row that it reads.
    for chatty in ("httpx2", "httpcore2", "openai", "alembic", "sqlalchemy"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    if os.environ.get("ROWFLEET_EXIT_WITH_STDIN"):
        threading.Thread(target=_end_with_stdin, name="stdin", daemon=True).start()
    gc.enable()
    gc.freeze()  # the present objects stay; later looks need not go through it
