"""What the least script does that asks about rows: the SDK's call in a pool of threads.

    python -m benchmarks.baselines.bare_calls THREADS WARM_UP ROWS

Prints JSON: seconds from the first of ROWS calls to the last answer, and the CPU seconds of that.
"""

from __future__ import annotations

import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import openai

from benchmarks.harness import sheets
from benchmarks.harness.fleet import MODEL, RECIPE
from rowfleet.analysis import Question
from rowfleet.ledger.records import FIRST_ROW
from rowfleet.openai_api.requests import chat_request, messages


def requests(rows: int) -> list[dict[str, Any]]:
    """Return the requests that a worker makes for the same rows."""
    columns = RECIPE.match_columns(sheets.HEADER, "the sheet")
    made = []
    for number, row in enumerate(sheets.typed_rows(rows)):
        cells = {name: row[index] for name, index in columns.items()}
        question = Question(RECIPE, MODEL, FIRST_ROW + number, cells)
        made.append(chat_request(question, messages(question)))
    return made


def main(threads: int, warm_up: int, rows: int) -> None:
    """Make the calls and print what they took."""
    client = openai.OpenAI(
        max_retries=0,
        http_client=openai.DefaultHttpxClient(
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=None)
        ),
    )

    def call(request: dict[str, Any]) -> Any:
        answer = client.chat.completions.create(**request)
        return json.loads(answer.choices[0].message.content or "")

    asked = requests(rows)
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(call, asked[:warm_up]))
        began, before = time.monotonic(), os.times()
        answers = list(pool.map(call, asked))
        seconds, after = time.monotonic() - began, os.times()
    assert len(answers) == rows
    cpu = after.user + after.system - before.user - before.system
    print(json.dumps({"seconds": seconds, "cpu_seconds": cpu}))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
