"""The real worker, with an analyzer that never comes back from one row.

`celery -A tests.support.stuck_worker worker`. No endpoint can do that: calls end by their deadline.
The others take `TEST_ROW_SECONDS`. The health file is touched five times a second.
"""

from __future__ import annotations

import os
import time

from rowfleet.analysis import Answer, Question
from worker import celery as program
from worker.steps import health

#: Seconds for each of the others.
SECONDS = float(os.environ.get("TEST_ROW_SECONDS", "0.2"))

#: The row of the sheet that it is stuck in.
STUCK_ROW = 3


class Stuck:
    """Answers every row but one."""

    name = "openai"

    def answer(self, question: Question) -> Answer:
        """Return an answer, or sleep past every limit."""
        time.sleep(3600 if question.row_number == STUCK_ROW else SECONDS)
        return Answer({"answer": "x", "score": 1})


health.INTERVAL = 0.2
program.analyzers.put("openai", Stuck())
app = program.app
