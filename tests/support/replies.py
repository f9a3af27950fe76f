"""Questions to an API, and the texts of its replies."""

from __future__ import annotations

import json
from typing import Any

from rowfleet.analysis import Question
from rowfleet.recipes.recipe import Recipe
from tests.support.ledger import ECHO
from worker.analyzers.openai.analyzer import OpenAIAnalyzer

RIGHT = json.dumps({"answer": "x", "score": 1})
USED = {"prompt_tokens": 5, "completion_tokens": 7}
HTML = {"Content-Type": "text/html"}


def ask(base_url: str, api: str = "chat_completions", key: str = "sk-right", **more: Any) -> Any:
    recipe = Recipe.model_validate({**ECHO.model_dump(mode="json"), "api": api})
    asked = {"row_number": 3, "cells": {"Name": "A"}, "time_limit": 20, **more}
    return OpenAIAnalyzer(key, base_url).answer(Question(recipe, "gpt-5-mini", **asked))


def error(message: str, code: str | None = None) -> str:
    return json.dumps({"error": {"message": message, "type": "t", "param": None, "code": code}})


def completion(**message: Any) -> str:
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", **message}}
    return json.dumps({"choices": [choice], "usage": USED})


def response(**fields: Any) -> str:
    part = {"type": "output_text", "text": RIGHT}
    reasoning = {"type": "reasoning", "summary": []}
    message = {"type": "message", "content": [part]}
    return json.dumps({"status": "completed", "output": [reasoning, message], **fields})
