"""The real worker, with a row that kills it, as one does that needs more memory than there is.

`CHAOS_POISON_ROW=7 celery -A tests.chaos.poison_worker worker`
"""

from __future__ import annotations

import os
import signal

from rowfleet.analysis import Answer, Question
from worker import celery as program

#: The row that kills.
POISON_ROW = int(os.environ["CHAOS_POISON_ROW"])

_real = program._make_analyzer


class Poisoned:
    """Asks the model about every row but one."""

    name = "openai"

    def __init__(self, name: str) -> None:
        self._analyzer = _real(name)

    def answer(self, question: Question) -> Answer:
        """Return the model's answer, or die as the kernel would have it."""
        if question.row_number == POISON_ROW:
            os.kill(os.getpid(), signal.SIGKILL)
        return self._analyzer.answer(question)


program._make_analyzer = Poisoned
app = program.app
