"""The real worker, with an analyzer that never comes back from one row.

`celery -A tests.stuck_worker worker`. No endpoint can do that: calls end by their deadline.
"""

from __future__ import annotations

import time

from worker import celery as program
from worker.analyzers import Answer, Question

#: The row it is stuck in.
STUCK_ROW = 1


class Stuck:
    """Answers every row but one at once."""

    name = "openai"

    def answer(self, question: Question) -> Answer:
        """Return an answer, or sleep past every limit."""
        time.sleep(3600 if question.row_number == STUCK_ROW else 0.2)
        return Answer({"answer": "x", "score": 1})


program._analyzers["openai"] = Stuck()
app = program.app
