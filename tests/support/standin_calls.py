"""Calls of the stand-in through the SDK that a worker uses."""

from __future__ import annotations

import json

import openai

from rowfleet.recipes.loading import bundled
from tests.standin import Standin
from tests.standin.wire import FIRST_ROW

SCHEMA = bundled().strict_schema()


def client(standin: Standin, **options: object) -> openai.OpenAI:
    return openai.OpenAI(
        base_url=standin.base_url, **{"api_key": "sk-any", "max_retries": 0} | options
    )


def messages(row: int, **cells: object) -> list[dict[str, str]]:
    text = json.dumps({"Invoice_Number": f"INV-{row}", **cells}).replace("<", "\\u003c")
    return [
        {"role": "system", "content": "Audit this."},
        {"role": "user", "content": f'<row number="{row + FIRST_ROW}">\n{text}\n</row>'},
    ]


def chat(standin: Standin, row: int = 1, schema: object = SCHEMA, **options: object):
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema, "strict": True}}
    return client(standin, **options).chat.completions.create(
        model="gpt-5-mini", messages=messages(row), response_format=form
    )


def respond(standin: Standin, row: int = 1):
    form = {"format": {"type": "json_schema", "name": "x", "schema": SCHEMA, "strict": True}}
    return client(standin).responses.create(model="gpt-5-mini", input=messages(row), text=form)


def outcomes(standin: Standin) -> dict[str, int]:
    return standin.summary()["outcomes"]
