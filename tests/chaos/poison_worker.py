"""The real worker, with a row that kills it, as one does that needs more memory than there is.

`CHAOS_POISON_ROW=7 celery -A tests.chaos.poison_worker worker`
"""

from __future__ import annotations

import os
import signal

from rowfleet.analysis import Answer, Question
from rowfleet.settings import Settings
from tests.standin.wire import FIRST_ROW
from worker import celery as program
from worker.analyzers.openai import making

#: The row that kills.
POISON_ROW = int(os.environ["CHAOS_POISON_ROW"])

_make = making.make


class Poisoned:
    """Asks the model about every row but one."""

    name = "openai"

    def __init__(self, settings: Settings) -> None:
        self._analyzer = _make(settings)

    def answer(self, question: Question) -> Answer:
        """Return the model's answer, or die as the kernel would have it."""
        if question.row_number == FIRST_ROW + POISON_ROW:
            os.kill(os.getpid(), signal.SIGKILL)
        return self._analyzer.answer(question)


making.make = Poisoned
app = program.app
