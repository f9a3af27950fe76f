"""The set-up that guides to Celery show: a task a row, the row in its message, a process a call.

`celery -A benchmarks.baselines.guide_worker worker --concurrency 10`.
"""

from __future__ import annotations

import os
from typing import Any

import openai
from celery import Celery

app = Celery("guide", broker=os.environ["REDIS_URL"])
_client = openai.OpenAI()


@app.task(name="analyze")
def analyze(request: dict[str, Any]) -> str | None:
    """Make the call and return what it says."""
    return _client.chat.completions.create(**request).choices[0].message.content
