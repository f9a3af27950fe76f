"""The wire format: a message and its note, written and recognised.

A message names a row. Those on a queue of documents name a document in the same form: its id stands
where a batch's does, and 0 where a row's number does.
"""

from __future__ import annotations

import base64
import json
from typing import Any

from rowfleet.queue.keys import LONGEST_TASK_ID, is_key

#: The tasks: analyze a row, and read a document.
TASK_NAME = "rowfleet.analyze"
EXTRACT = "rowfleet.extract"

#: What stands in a document's message for a row's number.
NO_ROW = 0

#: Bytes of a row's message, at most; it has 1,100. And of its note once it is delivered.
LARGEST_MESSAGE, LARGEST_NOTE = 16 << 10, 32 << 10

#: What Celery's protocol 2 carries beside args and kwargs; rows have no callbacks or chains.
EMBED = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}

#: A message as Celery 5 and kombu write it, to be filled in for each row. A test compares it.
MESSAGE: dict[str, Any] = {
    "body": "",
    "content-encoding": "utf-8",
    "content-type": "application/json",
    "headers": {
        "lang": "py",
        "task": TASK_NAME,
        "id": "",
        "shadow": None,
        "eta": None,
        "expires": None,
        "group": None,
        "group_index": None,
        "retries": 0,
        "timelimit": [None, None],
        "root_id": "",
        "parent_id": None,
        "argsrepr": "()",
        "kwargsrepr": "{}",
        "origin": "rowfleet",
        "ignore_result": True,
        "replaced_task_nesting": 0,
        "stamped_headers": None,
        "stamps": {},
    },
    "properties": {
        "correlation_id": "",
        "reply_to": "",
        "delivery_mode": 2,
        "priority": 0,
        "body_encoding": "base64",
    },
}

#: What differs from message to message: each is short text. Kombu adds ``redelivered``.
_OWN_HEADERS = frozenset(("id", "root_id", "argsrepr", "origin", "redelivered"))

_OWN_TEXTS = frozenset(("correlation_id", "delivery_tag"))

_OWN_DELIVERY = frozenset(("exchange", "routing_key", "redelivered"))


def row_of(text: bytes, task: str = TASK_NAME) -> tuple[str, int] | None:
    """Return the row that a message on the list names; None if it is no message of ``task``.

    A worker can run all that this takes for a message: Celery's own readers let much through at
    which they, or the process, fail later.
    """
    try:
        return _row_of(json.loads(text), task) if len(text) <= LARGEST_MESSAGE else None
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return None


def row_of_note(note: bytes, task: str = TASK_NAME) -> tuple[str, int] | None:
    """Return the row of a delivered message as kombu notes it: the message, and where it goes."""
    if len(note) > LARGEST_NOTE:
        return None
    try:
        message, exchange, routing_key = json.loads(note)
        return _row_of(message, task) if exchange and exchange == routing_key else None
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return None


def is_note(note: bytes) -> bool:
    """Tell whether a note holds a message of Celery's, be it one of another version of ours."""
    if len(note) > LARGEST_NOTE:
        return False
    try:
        message, exchange, routing_key = json.loads(note)
        texts = (message["headers"]["task"], message["properties"]["delivery_tag"])
        return (
            all(isinstance(text, str) for text in (*texts, message["body"], exchange))
            and exchange == routing_key
        )
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return False


def _row_of(message: dict[str, Any], task: str) -> tuple[str, int] | None:
    headers, properties = message["headers"], message["properties"]
    to = properties["delivery_info"]
    args, kwargs, embedded = json.loads(base64.b64decode(message["body"], validate=True))
    names_itself = (
        headers["task"] == task
        and _is_short(headers["id"])
        and _is_short(properties["delivery_tag"])
        and _is_short(to["exchange"])
        and _is_short(to["routing_key"])
        and properties["body_encoding"] == "base64"
    )
    is_ours = (
        all(message[name] == MESSAGE[name] for name in ("content-type", "content-encoding"))
        and _adds_nothing(headers, {**MESSAGE["headers"], "task": task}, _OWN_HEADERS)
        and _adds_nothing(properties, {**MESSAGE["properties"], "delivery_info": to}, _OWN_TEXTS)
        and _adds_nothing(to, {}, _OWN_DELIVERY)
        and _adds_nothing(embedded or {}, EMBED)
        and not kwargs
    )
    return (args[0], args[1]) if names_itself and is_ours and is_key(args) else None


def _adds_nothing(
    found: dict[str, Any], written: dict[str, Any], own: frozenset[str] = frozenset()
) -> bool:
    """Tell whether all fields but each message's ``own`` are as they are written here.

    Celery reads some fifty fields that a row never has: to wait until a time, expire, repeat, send
    a reply or another task, unpack, or take the message for one that was revoked. Instead of
    knowing them all, any other field, and any other value, makes it another program's message.
    """
    return all(
        _is_short(value) or value in (None, "", True) if name in own else value == written.get(name)
        for name, value in found.items()
    )


def _is_short(text: object) -> bool:
    return isinstance(text, str) and 0 < len(text) <= LONGEST_TASK_ID and text.isprintable()
