"""The Celery app: `celery -A worker worker`, and so `inspect`, `events`, `flower`, `purge`.

Reads its settings when it is imported, and ends the process with one sentence if they are wrong.
"""

from __future__ import annotations

import gc

gc.disable()  # nothing is garbage while importing, and looking for it takes a tenth of the start

# ruff: noqa: E402 (that has to come before all other imports)
import importlib
import logging
import os
import signal
import sys
import threading
import time
from typing import Any

from celery.exceptions import TaskPredicate
from celery.signals import (
    celeryd_init,
    worker_process_init,
)

from rowfleet.exit_codes import ExitCode
from rowfleet.openai_api.doubts import Doubts
from rowfleet.queue.app import celery_app
from rowfleet.queue.message import TASK_NAME
from rowfleet.retry import RetryPolicy
from worker import ledger, program
from worker.analyzers.registry import Registry
from worker.analyzers.texts import Texts
from worker.bookkeeper import Bookkeeper
from worker.row import Limits, RowFailed, run_row
from worker.steps.deletion_cost import DeletionCost
from worker.steps.ending import Ending, is_ending
from worker.steps.feeding import Keeper
from worker.steps.health import Health
from worker.steps.heartbeat import VisibilityHeartbeat
from worker.steps.schema import Schema

log = logging.getLogger(__name__)


def _asks_for_prefork(arguments: list[str]) -> bool:
    """Tell whether the command line names prefork; Celery takes that for its default."""
    return "prefork" in " ".join(arguments).replace("=", " ").split()


settings = program.read_settings()
app = program.refusing(lambda: celery_app(settings))
if _asks_for_prefork(sys.argv):
    app.conf.worker_pool = None  # then Celery's own default is taken, which is prefork
program.assemble(app, settings, TASK_NAME, (Schema, Keeper, Health, DeletionCost, Ending))
if "flower" in sys.argv:
    # Every consumer of kombu's gives back what a silent worker held. Flower only looks: it gets an
    # index of its own, which is always empty, and so needs no right to change the queue.
    for name in ("unacked", "unacked_index", "unacked_mutex"):
        app.conf.broker_transport_options[f"{name}_key"] = f"{settings.queue}.flower.{name}"

_limits = Limits(RetryPolicy(settings.max_retries, settings.retry_delay), settings.soft_time_limit)
_node = f"celery@{os.uname().nodename}"
_doubts = Doubts()

_lock = threading.Lock()
_books: Bookkeeper | None = None
_texts: Texts | None = None
analyzers = Registry(settings)


@celeryd_init.connect(weak=False)
def _learn_name(sender: str, options: dict[str, Any], **_: Any) -> None:
    global _node  # noqa: PLW0603 (Celery tells it once, before anything starts)
    _node = sender
    program.need_a_ledger(settings)
    pool = str(options.get("pool_cls") or options.get("pool") or settings.pool)
    if options.get("autoscale") and "prefork" not in pool:
        program.refuse(
            "--autoscale needs --pool prefork: on threads a slot costs next to nothing, so give "
            "--concurrency the most you want"
        )
    if settings.pool == "gevent" and "gevent.monkey" not in sys.modules:
        # Celery patches the standard library only when its own option asks for the pool.
        program.refuse("ROWFLEET_POOL=gevent needs `celery … worker --pool gevent`")
    if "thread" in pool and settings.openai_api_key is not None:
        # Beside the connections to broker and ledger. Not where children are forked meanwhile.
        threading.Thread(target=_import_early, name="imports", daemon=True).start()


def _import_early() -> None:
    """Import what the first row would import."""
    for name in ("worker.analyzers.openai.making", "genai_prices"):
        importlib.import_module(name)


@worker_process_init.connect(weak=False)
def _forget_parents_books(**_: Any) -> None:
    """A forked child has its parent's memory, but not its threads: it keeps books of its own."""
    global _books, _lock, _texts, analyzers
    _books, _lock, _texts, analyzers = None, threading.Lock(), None, Registry(settings)


def books() -> Bookkeeper:
    """Return this process's bookkeeper; the first call starts it."""
    global _books  # noqa: PLW0603 (one per process, made on first use)
    with _lock:
        if _books is None:
            _books = Bookkeeper(
                ledger.engine(settings),
                worker=_node,
                lease=program.LEASE * settings.visibility_timeout,
                time_limit=settings.time_limit,
                on_stuck=_end_when_drained,
                is_ending=is_ending,
            )
        return _books


def texts() -> Texts:
    """Return this process's texts of documents; the first call opens a way to them."""
    global _texts  # noqa: PLW0603 (one per process, made on first use)
    with _lock:
        if _texts is None:
            _texts = Texts(ledger.second_engine(settings))
        return _texts


class Unexpected(Exception):
    """An unforeseen exception as Celery, Flower and the log are told of it: its kind alone."""


@app.task(name=TASK_NAME, throws=(RowFailed, Unexpected))
def analyze(batch_id: str, row_number: int) -> str:
    """Analyze one row; the message is acknowledged when the ledger has its result."""
    try:
        return run_row(
            batch_id,
            row_number,
            books=books(),
            analyzer=analyzers.get,
            limits=_limits,
            doubts=_doubts,
            texts=texts,
        )
    except (RowFailed, TaskPredicate):
        raise
    except Exception as error:  # what it says may quote a cell
        # How the sheet numbers the row is not known here.
        log.exception("the task %s.%s ended unexpectedly", batch_id, row_number)
        raise Unexpected(type(error).__name__) from None


def _end_when_drained() -> None:
    """Let the other slots finish, then end the process: a stuck thread can't be ended alone."""

    def drain() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        while books().running():
            time.sleep(0.5)
        os._exit(ExitCode.STUCK)

    threading.Thread(target=drain, name="drain", daemon=True).start()


def _is_stuck() -> bool:
    return _books is not None and _books.is_stuck()


def _reaches_the_ledger() -> bool:
    """Tell whether the ledger has answered within the last visibility timeout.

    A worker that alone is cut off from it must not keep its messages from others.
    """
    return _books is None or _books.away_for() < settings.visibility_timeout


Health.is_stuck = staticmethod(_is_stuck)
VisibilityHeartbeat.is_able = staticmethod(_reaches_the_ledger)

program.begin()
