"""Messages that name no row, in every way that came to mind."""

from __future__ import annotations

import base64
import copy
import json
import zlib
from typing import Any

from rowfleet.queue.client import Queue
from rowfleet.queue.message import TASK_NAME
from rowfleet.settings import load_settings

GOOD: dict[str, Any] = json.loads(Queue._message(Queue(load_settings(
    {}, redis_url="redis://127.0.0.1:1/0", queue="q")), "b", 7, False))  # fmt: skip

#: What stands in each message here that must be in no log.
SECRET = "DE02120300000000202051"


def changed(**changes: Any) -> str:
    """Return a good message with other parts: a dict adds to the part of its name."""
    message = copy.deepcopy(GOOD)
    for name, part in changes.items():
        key = name.replace("_", "-")
        message[key] = {**message[key], **part} if isinstance(part, dict) else part
    return json.dumps(message)


def without(*path: str) -> str:
    """Return a good message that lacks a part."""
    message = copy.deepcopy(GOOD)
    part = message
    for name in path[:-1]:
        part = part[name]
    del part[path[-1]]
    return json.dumps(message)


def body(value: object) -> str:
    return base64.b64encode(json.dumps(value).encode()).decode()


#: Headers by which Celery waits, drops, repeats, reports or names a message otherwise.
ASKS_FOR_MORE = {
    "eta": "2036-01-01T00:00:00+00:00", "expires": "2036-01-01T00:00:00+00:00", "retries": 3,
    "timelimit": [60, 30], "ignore_result": False, "shadow": "x", "group": "g", "group_index": 1,
    "parent_id": "p", "replaced_task_nesting": 1, "root_id": {"a": 1}, "stamps": {"a": 1},
    "kwargsrepr": "x", "lang": "c", "countdown": 60, "chord": "c", "more": SECRET,
}  # fmt: skip

#: 10 kB that unpack to 10 MB.
BOMB = base64.b64encode(zlib.compress(bytes(10 << 20), 9)).decode()

GARBAGE: list[str | bytes] = [
    b"", b"5", b"[1,2]", b"null", b"\xff\xfe\x00", b"{", b"[" * 5_000, b"NaN", SECRET.encode(),
    json.dumps({"__type__": "uuid", "__value__": SECRET}),
    json.dumps({"headers": {}, "properties": {"delivery_tag": SECRET}}),
    without("body"), without("headers"), without("properties"), without("headers", "task"),
    without("headers", "id"), without("properties", "delivery_tag"),
    without("properties", "delivery_info"), without("properties", "delivery_info", "exchange"),
    without("content-type"), without("content-encoding"), without("properties", "body_encoding"),
    changed(body=None), changed(body=SECRET), changed(body=5), changed(headers=[1]),
    changed(body=base64.b64encode(SECRET.encode()).decode()),
    changed(body=body([[{"a": SECRET}, 7], {}, {}])), changed(body=body([["b"], {}, {}])),
    changed(body=body([["b" * 100, 7], {}, {}])), changed(body=body([["b\0", 7], {}, {}])),
    changed(body=body([["b", 10**30], {}, {}])), changed(body=body([["b", "7"], {}, {}])),
    changed(body=body([["b", 7], {"x": SECRET}, {}])),
    changed(body=body([["b", 7, SECRET], {}, {}])),
    changed(body=body([["b", 7], {}, {"callbacks": [{"task": SECRET}]}])), changed(body=body(5)),
    changed(body="[" * 1_000), changed(headers={"task": SECRET}), changed(headers={"task": [1]}),
    changed(headers={"id": {"a": 1}}), changed(headers={"id": "x" * 10_000}),
    changed(headers={"eta": "9999-01-01T00:00:00"}), changed(headers={"expires": SECRET}),
    changed(headers={"compression": "application/x-gzip"}), changed(headers={"retries": SECRET}),
    changed(headers={"timelimit": [SECRET, 1]}), changed(headers={"timelimit": 5}),
    changed(content_type="application/x-python-serialize"), changed(content_encoding=SECRET),
    changed(properties={"delivery_tag": {"a": 1}}), changed(properties={"delivery_info": SECRET}),
    changed(properties={"body_encoding": "rot13"}), changed(padding=SECRET * 2_000),
    changed(body="!!!"), changed(body=body([])), changed(body=body([[], {}, {}])),
    changed(headers={"id": [1]}), changed(headers={"stamped_headers": 5}),
    changed(headers={"stamped_headers": [SECRET], "stamps": {}}), changed(body=BOMB),
    changed(headers={"compression": "application/x-gzip"}, body=BOMB),
    changed(headers={"compression": "bzip2"}), changed(headers={"compression": [1]}),
    *(changed(headers={name: value}) for name, value in ASKS_FOR_MORE.items()),
    changed(headers={"timelimit": []}), changed(headers={"timelimit": [0, 1e-9]}),
    changed(headers={"retries": -1}), changed(headers={"ignore_result": None}),
    *(changed(body=body([["b", 7], {}, {name: [{"task": TASK_NAME, "args": ["b", 8]}]}]))
      for name in ("callbacks", "errbacks", "chain", "chord", "more")),
    changed(properties={"reply_to": SECRET}), changed(properties={"priority": 9}),
    changed(properties={"priority": "x"}), changed(properties={"expiration": "1"}),
    changed(properties={"correlation_id": [1]}), changed(properties={"more": 5}),
]  # fmt: skip
