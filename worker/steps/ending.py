"""Whether this worker is ending, told to all its processes.

Rows that run are finished then; those that only wait for their turn at the API go back at once.
The children of `prefork` get no signal, so it is a byte that they share with their parent.
"""

from __future__ import annotations

import mmap
from typing import Any

from celery import bootsteps
from celery.signals import worker_shutting_down

#: One byte, 1 when the worker is ending; forked children have the same.
_flag = mmap.mmap(-1, 1)


def is_ending() -> bool:
    """Tell whether the worker is to end."""
    return _flag[0] != 0


@worker_shutting_down.connect(weak=False)
def _signalled(**_: Any) -> None:
    # At once: the consumer's loop may be busy with a row (solo).
    _flag[0] = 1


class Ending(bootsteps.StartStopStep):
    """Says so for endings without a signal, as by Flower, before the pool waits for its rows."""

    requires: Any = ("celery.worker.components:Pool",)

    def stop(self, _worker: Any) -> None:
        """Say so."""
        _flag[0] = 1

    terminate = stop
