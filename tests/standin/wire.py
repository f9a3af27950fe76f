"""The two wire formats, chat completions and responses, as far as Rowfleet's requests go."""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

#: The sheet row of the ledger's row 0, where the header is in row 1 as in most sheets of the tests.
FIRST_ROW = 2

_ROW = re.compile(r'<row number="(\d+)">\n(.*?)\n</row>', re.DOTALL)


class BadRequest(ValueError):
    """The API would answer 400, or the stand-in can't answer at all; the sentence says why."""


@dataclass(frozen=True, slots=True)
class Ask:
    """What a request asks, whichever of the two APIs it came through."""

    api: str
    model: str
    #: Counted as in the ledger: the sheet row that is sent, less `FIRST_ROW`.
    row: int | None
    #: Hash of the row's number and JSON, or of all texts where there is no row.
    key: str
    #: Names the row in answers: its invoice number if it has one, and its number.
    label: str
    schema: dict[str, Any] | None
    #: Tokens of everything sent, estimated at four characters each.
    prompt_tokens: int
    #: Upper bound on the answer's tokens, if the request has one.
    most_tokens: int | None
    service_tier: str


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the answer reports them; cached and reasoning ones are part of the other two."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0
    reasoning_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Reply:
    """What the model says: a text or a refusal, and why it ended."""

    text: str = ""
    refusal: str | None = None
    #: `stop`, `length` or `content_filter`.
    finish: str = "stop"


def read(api: str, body: Any) -> Ask:
    """Return what the JSON ``body`` of a request to ``api`` asks. Raises BadRequest."""
    if not isinstance(body, dict) or not isinstance(body.get("model"), str):
        raise BadRequest("you must provide a model parameter")
    if body.get("stream"):
        raise BadRequest("the stand-in does not stream")
    messages = body.get("messages" if api == "chat" else "input")
    if isinstance(messages, str) and api == "responses":
        messages = [{"role": "user", "content": messages}]
    if not isinstance(messages, list) or not messages:
        raise BadRequest("there are no messages")
    texts = [(message.get("role"), _text(message.get("content"))) for message in messages]
    row, row_json = _only_row([text for role, text in texts if role == "user"])
    everything = [str(body.get("instructions", "")), *(text for _, text in texts)]
    form = _format(api, body)
    return Ask(
        api=api,
        model=body["model"],
        row=row,
        key=_hash(everything if row is None else [str(row), row_json]),
        label=_label(row, row_json),
        schema=form,
        prompt_tokens=_tokens("".join(everything) + (json.dumps(form) if form else "")),
        most_tokens=body.get("max_completion_tokens" if api == "chat" else "max_output_tokens"),
        service_tier=body.get("service_tier") or "default",
    )


def _text(content: Any) -> str:
    if isinstance(content, list):
        return "".join(part.get("text", "") for part in content)
    return content or ""


def _only_row(texts: list[str]) -> tuple[int | None, str]:
    """Return the number and the JSON of the one row in the user's ``texts``, (None, "") for none.

    A second opening or closing tag means that a cell's text got out of its JSON: refused, so that
    a test sees it.
    """
    text = "\n".join(texts)
    if "<row" not in text and "</row" not in text:
        return None, ""
    found = _ROW.search(text)
    if not found or text.count("<row") != 1 or text.count("</row") != 1:
        raise BadRequest('the user message must hold exactly one <row number="N"> element')
    try:
        cells = json.loads(found[2])
    except ValueError:
        cells = None
    if not isinstance(cells, dict):
        raise BadRequest(f"the row {found[1]} is not a JSON object")
    return int(found[1]) - FIRST_ROW, found[2]


def _format(api: str, body: dict[str, Any]) -> dict[str, Any] | None:
    if api == "chat":
        form = body.get("response_format") or {}
        return form["json_schema"]["schema"] if form.get("type") == "json_schema" else None
    form = (body.get("text") or {}).get("format") or {}
    return form["schema"] if form.get("type") == "json_schema" else None


def _hash(parts: list[str]) -> str:
    return blake2b("\n".join(parts).encode(), digest_size=8).hexdigest()


def _label(row: int | None, row_json: str) -> str:
    if row is None:
        return "no row"
    for name, cell in json.loads(row_json).items():
        if name.replace("_", "").replace(" ", "").casefold() == "invoicenumber" and cell:
            return f"{cell} (row {row})"
    return f"row {row}"


def _tokens(text: str) -> int:
    return max(1, len(text) // 4)


def usage_of(ask: Ask, reply: Reply, fixed: dict[str, int]) -> Usage:
    """Return the estimated usage, with ``fixed`` numbers in their places."""
    estimate = {
        "prompt_tokens": ask.prompt_tokens,
        "completion_tokens": _tokens(reply.text or reply.refusal or ""),
    }
    return Usage(**(estimate | fixed))


def answer(ask: Ask, reply: Reply, usage: Usage, number: int) -> dict[str, Any]:
    """Return the JSON of a 200 answer; ``number`` makes its id unique."""
    make = _chat_completion if ask.api == "chat" else _response
    return make(ask, reply, usage, f"{ask.key}{number:08d}")


def _chat_completion(ask: Ask, reply: Reply, usage: Usage, ident: str) -> dict[str, Any]:
    message: dict[str, Any] = {
        "role": "assistant",
        "content": None if reply.refusal else reply.text,
        "refusal": reply.refusal,
        "annotations": [],
    }
    return {
        "id": f"chatcmpl-{ident}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": ask.model,
        "choices": [
            {"index": 0, "message": message, "logprobs": None, "finish_reason": reply.finish}
        ],
        "usage": {
            "prompt_tokens": usage.prompt_tokens,
            "completion_tokens": usage.completion_tokens,
            "total_tokens": usage.prompt_tokens + usage.completion_tokens,
            "prompt_tokens_details": {"cached_tokens": usage.cached_tokens, "audio_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": usage.reasoning_tokens,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        },
        "service_tier": ask.service_tier,
        "system_fingerprint": "fp_standin",
    }


def _response(ask: Ask, reply: Reply, usage: Usage, ident: str) -> dict[str, Any]:
    reason = {"length": "max_output_tokens", "content_filter": "content_filter"}.get(reply.finish)
    status = "incomplete" if reason else "completed"
    part: dict[str, Any] = (
        {"type": "refusal", "refusal": reply.refusal}
        if reply.refusal
        else {"type": "output_text", "text": reply.text, "annotations": [], "logprobs": []}
    )
    message: dict[str, Any] = {
        "type": "message",
        "id": f"msg_{ident}",
        "status": status,
        "role": "assistant",
        "content": [part],
    }
    return {
        "id": f"resp_{ident}",
        "object": "response",
        "created_at": int(time.time()),
        "status": status,
        "error": None,
        "incomplete_details": {"reason": reason} if reason else None,
        "instructions": None,
        "metadata": {},
        "model": ask.model,
        "output": [message],
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "service_tier": ask.service_tier,
        "usage": {
            "input_tokens": usage.prompt_tokens,
            "input_tokens_details": {
                "cached_tokens": usage.cached_tokens,
                "cache_write_tokens": 0,
            },
            "output_tokens": usage.completion_tokens,
            "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
            "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        },
    }


def error(message: str, kind: str, code: str | None) -> dict[str, Any]:
    """Return the JSON of an answer that is not 200."""
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}
