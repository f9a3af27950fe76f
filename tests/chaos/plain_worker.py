"""The other side: a plain Celery app, as the usual guide has it, with Celery's own defaults.

`celery -A tests.chaos.plain_worker worker`; `python -m tests.chaos.plain_worker SHEET` puts a
sheet's rows on the queue. REDIS_URL is the broker, PLAIN_RESULTS an SQLite file,
PLAIN_RETRY_DELAY the seconds before a row is tried again.
"""

from __future__ import annotations

import json
import os
import sqlite3
import sys
from contextlib import closing
from functools import cache
from typing import Any

import openai
import openpyxl
from celery import Celery

from tests.standin.wire import FIRST_ROW

app = Celery("plain", broker=os.environ["REDIS_URL"])


@cache
def client() -> openai.OpenAI:
    """Return this child's client. Its own retries are off: tries again are Celery's, below."""
    return openai.OpenAI(max_retries=0)


@app.task(bind=True, name="plain.analyze")
def analyze(self: Any, number: int, row: dict[str, Any]) -> None:
    """Ask the model about a row and write its answer down."""
    # The row is marked as the stand-in wants it, to tell the rows of its call log apart.
    text = f'<row number="{number + FIRST_ROW}">\n{json.dumps(row)}\n</row>'
    try:
        completion = client().chat.completions.create(
            model="gpt-5-mini",
            messages=[
                {"role": "system", "content": "Say whether this invoice needs a refund."},
                {"role": "user", "content": text},
            ],
        )
    except (openai.RateLimitError, openai.InternalServerError) as error:
        raise self.retry(exc=error, countdown=float(os.environ["PLAIN_RETRY_DELAY"])) from error
    with closing(sqlite3.connect(os.environ["PLAIN_RESULTS"], timeout=60)) as results, results:
        results.execute(
            "INSERT INTO results (row, answer) VALUES (?, ?)",
            (number, completion.choices[0].message.content),
        )


def enqueue(sheet: str) -> None:
    """Put every row of a sheet on the queue."""
    with closing(sqlite3.connect(os.environ["PLAIN_RESULTS"])) as results:
        results.execute("PRAGMA journal_mode=WAL")
        results.execute("CREATE TABLE results (row INTEGER, answer TEXT)")
    header, *rows = openpyxl.load_workbook(sheet).worksheets[0].iter_rows(values_only=True)
    for number, cells in enumerate(rows):
        analyze.delay(number, dict(zip(header, map(str, cells), strict=True)))


if __name__ == "__main__":
    enqueue(sys.argv[1])
