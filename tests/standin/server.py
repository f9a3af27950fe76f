"""The HTTP server: one process, one event loop, one call log."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field
from typing import Any, NoReturn

from aiohttp import web

from tests.standin import wire
from tests.standin.batches import Batches
from tests.standin.calls import Call, CallLog
from tests.standin.config import IMMEDIATE, Config, Fault
from tests.standin.fabricate import Unfabricable, fabricate
from tests.standin.limit import Bucket, duration

#: Largest request in bytes: a row of 32,767-character cells is far below.
MAX_BODY = 64 << 20

#: What a gateway may say in place of the Batch API's reply, with the status 200: its own page, or
#: an object that has nothing in it.
_GARBLED: dict[str | None, Callable[[], web.Response]] = {
    "page": lambda: web.Response(text="<html>Back soon</html>", content_type="text/html"),
    "empty": lambda: web.json_response({}),
}


@dataclass(slots=True)
class Outgoing:
    """An answer that is ready to be written."""

    status: int
    body: dict[str, Any] | str
    headers: dict[str, str] = field(default_factory=dict)
    #: How it is written: `whole`, `half` (then the connection is closed), `drip` or `never`;
    #: `closed`, `reset` and `garbage` as the faults of these names.
    manner: str = "whole"


class Server:
    """The state behind the routes."""

    def __init__(self, config: Config) -> None:
        self.log = CallLog()
        self.batches = Batches(lambda: self.config, self._answer_in_batch)
        self.configure(config)

    def configure(self, config: Config) -> None:
        """Go on with ``config``. Buckets start full again."""
        self.config = config
        self.batches.reset_outages()
        now = asyncio.get_running_loop().time()
        limits = {"requests": config.requests_per_minute, "tokens": config.tokens_per_minute}
        self._buckets = {
            what: Bucket(limit, config.burst_seconds, now)
            for what, limit in limits.items()
            if limit
        }

    def app(self) -> web.Application:
        """Return the application with all routes."""
        app = web.Application(client_max_size=MAX_BODY)
        app.add_routes(
            [
                web.post("/v1/chat/completions", self._calls_of("chat")),
                web.post("/v1/responses", self._calls_of("responses")),
                web.get("/v1/models", self._models),
                web.post("/v1/files", self._upload),
                web.get("/v1/files", self._list_files),
                web.delete("/v1/files/{id}", self._delete_file),
                web.get("/v1/files/{id}/content", self._content),
                web.post("/v1/batches", self._create_batch),
                web.get("/v1/batches", self._list_batches),
                web.get("/v1/batches/{id}", self._retrieve_batch),
                web.post("/v1/batches/{id}/cancel", self._cancel_batch),
                web.get("/_standin/batches", self._get_batches),
                web.get("/_standin/files", self._get_files),
                web.get("/_standin/config", self._get_config),
                web.post("/_standin/config", self._post_config),
                web.get("/_standin/calls", self._get_calls),
                web.delete("/_standin/calls", self._delete_calls),
                web.get("/_standin/summary", self._get_summary),
            ]
        )
        return app

    def _calls_of(self, api: str) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def handle(request: web.Request) -> web.StreamResponse:
            raw = await request.read()
            call = self.log.arrived(api)
            try:
                return await self._serve(request, raw, call)
            finally:
                self.log.ended(call)

        return handle

    async def _serve(self, request: web.Request, raw: bytes, call: Call) -> web.StreamResponse:
        out = self._unauthorized(request, call) or await self._answer(raw, call)
        out.headers["x-request-id"] = f"req_{call.number}"
        for what, bucket in self._buckets.items():
            out.headers = bucket.headers(what) | out.headers
        return await _write(request, out, call)

    def _unauthorized(self, request: web.Request, call: Call | None = None) -> Outgoing | None:
        wanted = self.config.api_key
        if wanted is None or request.headers.get("Authorization") == f"Bearer {wanted}":
            return None
        if call:
            call.outcome = "unauthorized"
        body = wire.error("Incorrect API key provided.", "invalid_request_error", "invalid_api_key")
        return Outgoing(401, body)

    async def _answer(self, raw: bytes, call: Call) -> Outgoing:
        config = self.config
        try:
            body = json.loads(raw)
            if config.keep_bodies:
                call.body = body
            ask = wire.read(call.api, body)
            self.log.identified(call, ask.row, ask.key)
            text = _text(ask)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            call.outcome = "bad_request"
            return Outgoing(400, wire.error(str(error), "invalid_request_error", None))
        if config.models is not None and ask.model not in config.models:
            return _unknown_model(ask, call)
        usage = wire.usage_of(ask, wire.Reply(text), config.usage)
        spent = ask.prompt_tokens + (ask.most_tokens or usage.completion_tokens)
        refused = self._over_limit(ask.model, {"requests": 1, "tokens": spent})
        if refused:
            call.outcome = "over_limit"
            return refused
        fault = config.fault_for(ask.key, ask.row, call.attempt)
        if fault:
            call.outcome = fault.kind
        if not fault or fault.kind not in IMMEDIATE:
            await asyncio.sleep(config.latency_for(ask.key, call.attempt))
        return _failure(fault) or self._reply(ask, text, fault, call)

    def _over_limit(self, model: str, amounts: dict[str, int]) -> Outgoing | None:
        """Return the refusal of a request that takes ``amounts``, None if it is let through."""
        now = asyncio.get_running_loop().time()
        waits = {what: bucket.wait(amounts[what], now) for what, bucket in self._buckets.items()}
        for what, bucket in self._buckets.items():
            if amounts[what] > bucket.per_minute:
                return _too_large(model, what, bucket.per_minute, amounts[what])
        worst = max(waits, key=lambda what: waits[what], default=None)
        if worst is not None and waits[worst] > 0:
            return _too_many(waits[worst], worst, model)
        for what, bucket in self._buckets.items():
            bucket.take(amounts[what])
        return None

    def _reply(self, ask: wire.Ask, text: str, fault: Fault | None, call: Call) -> Outgoing:
        kind = fault.kind if fault else "ok"
        reply = _spoilt(kind, text)
        usage = wire.usage_of(ask, reply, self.config.usage)
        call.prompt_tokens, call.completion_tokens = usage.prompt_tokens, usage.completion_tokens
        manner = {"drop": "half", "drip": "drip", "hang": "never"}.get(kind, "whole")
        return Outgoing(200, wire.answer(ask, reply, usage, call.number), manner=manner)

    async def _models(self, request: web.Request) -> web.Response:
        refused = self._unauthorized(request)
        if refused:
            return web.json_response(refused.body, status=refused.status)
        models = [
            {"id": name, "object": "model", "created": 0, "owned_by": "standin"}
            for name in self.config.models or ("gpt-5-mini",)
        ]
        return web.json_response({"object": "list", "data": models})

    # --- the Batch API

    def _answer_in_batch(self, api: str, body: Any) -> tuple[int, dict[str, Any]] | None:
        """Answer one request of a batch's file, as if it came alone; None: it never would be."""
        call = self.log.arrived("batch")
        if self.config.keep_bodies:
            call.body = body
        try:
            ask = wire.read(api, body)
            self.log.identified(call, ask.row, ask.key)
            fault = self.config.fault_for(ask.key, ask.row, call.attempt)
            call.outcome = fault.kind if fault else "ok"
            if call.outcome == "hang":
                return None
            out = _failure(fault) or self._reply(ask, _text(ask), fault, call)
            call.status, call.delivered = out.status, True
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            call.outcome, call.status = "bad_request", 400
            return 400, wire.error(str(error), "invalid_request_error", None)
        else:
            return out.status, _in_a_line(out.body)
        finally:
            self.log.ended(call)

    async def _batch_api(
        self, request: web.Request, what: str, do: Callable[[], Awaitable[dict[str, Any]]]
    ) -> web.StreamResponse:
        refused = self._unauthorized(request)
        kind = self.batches.outage(what)
        if refused is None and kind not in ("drop", *_GARBLED):
            refused = _failure(Fault(kind, retry_after=0.1)) if kind else None
        if refused:
            return web.json_response(refused.body, status=refused.status, headers=refused.headers)
        try:
            body = await do()
        except (ValueError, TypeError, AttributeError) as error:
            text = wire.error(str(error), "invalid_request_error", None)
            return web.json_response(text, status=400)
        except KeyError as error:
            text = wire.error(f"No such object: {error}", "invalid_request_error", None)
            return web.json_response(text, status=404)
        if kind == "drop" and request.transport:
            request.transport.close()
        return _GARBLED[kind]() if kind in _GARBLED else web.json_response(body)

    async def _upload(self, request: web.Request) -> web.StreamResponse:
        return await self._batch_api(request, "upload", lambda: self.batches.upload(request))

    async def _list_files(self, request: web.Request) -> web.StreamResponse:
        async def page() -> dict[str, Any]:
            limit = int(request.query.get("limit", 20))
            return self.batches.list_files(limit, request.query.get("after"))

        return await self._batch_api(request, "list_files", page)

    async def _delete_file(self, request: web.Request) -> web.StreamResponse:
        async def delete() -> dict[str, Any]:
            return self.batches.delete(request.match_info["id"])

        return await self._batch_api(request, "delete", delete)

    async def _create_batch(self, request: web.Request) -> web.StreamResponse:
        async def create() -> dict[str, Any]:
            return self.batches.create(await request.json())

        return await self._batch_api(request, "create", create)

    async def _list_batches(self, request: web.Request) -> web.StreamResponse:
        async def page() -> dict[str, Any]:
            limit = int(request.query.get("limit", 20))
            return self.batches.list(limit, request.query.get("after"))

        return await self._batch_api(request, "list", page)

    async def _retrieve_batch(self, request: web.Request) -> web.StreamResponse:
        async def retrieve() -> dict[str, Any]:
            return self.batches.batches[request.match_info["id"]].as_json()

        return await self._batch_api(request, "retrieve", retrieve)

    async def _cancel_batch(self, request: web.Request) -> web.StreamResponse:
        async def cancel() -> dict[str, Any]:
            batch = self.batches.batches[request.match_info["id"]]
            self.batches.cancel(batch)
            return batch.as_json()

        return await self._batch_api(request, "cancel", cancel)

    async def _content(self, request: web.Request) -> web.StreamResponse:
        file = self.batches.files.get(request.match_info["id"])
        kind = None if file is None else self.batches.outage("content")
        if kind in _GARBLED:
            return _GARBLED[kind]()
        if file is None or kind:
            text = wire.error("No such File object", "invalid_request_error", None)
            return web.json_response(text, status=404 if file is None else 500)
        return web.FileResponse(file.path)

    async def _get_batches(self, _: web.Request) -> web.Response:
        return web.json_response([b.as_json() for b in self.batches.batches.values()])

    async def _get_files(self, _: web.Request) -> web.Response:
        kept = [f.as_json() for f in self.batches.files.values()]
        return web.json_response(
            {"kept": kept, "uploads": self.batches.uploads, "most": self.batches.most_files}
        )

    async def _get_config(self, _: web.Request) -> web.Response:
        return web.json_response(self.config.as_json())

    async def _post_config(self, request: web.Request) -> web.Response:
        try:
            self.configure(self.config.changed(await request.json()))
        except ValueError as error:
            return web.json_response({"error": str(error)}, status=400)
        return web.json_response(self.config.as_json())

    async def _get_calls(self, request: web.Request) -> web.Response:
        row = request.query.get("row")
        calls = [c for c in self.log.calls if row is None or c.row == int(row)]
        return web.json_response([asdict(call) for call in calls])

    async def _delete_calls(self, _: web.Request) -> web.Response:
        self.log.clear()
        return web.json_response({})

    async def _get_summary(self, _: web.Request) -> web.Response:
        return web.json_response(self.log.summary())


def _in_a_line(body: Any) -> Any:
    """Return the body of an answer as a line of a batch's file holds it: JSON, where it is."""
    try:
        return json.loads(body) if isinstance(body, str) else body
    except ValueError:
        return body


def _text(ask: wire.Ask) -> str:
    """Return the right answer to ``ask``: JSON for a schema, else a sentence."""
    if ask.schema is None:
        return f"An answer about {ask.label}."
    try:
        return json.dumps(fabricate(ask.schema, ask.key, ask.label))
    except Unfabricable as error:
        raise wire.BadRequest(f"the stand-in can't make up a value for {error}") from None


def _spoilt(kind: str, text: str) -> wire.Reply:
    """Return the reply with the fault ``kind`` worked into the right answer ``text``."""
    match kind:
        case "refusal":
            return wire.Reply(refusal="I'm sorry, I can't help with that.")
        case "length":
            return wire.Reply(text[: len(text) // 2], finish="length")
        case "content_filter":
            return wire.Reply(finish="content_filter")
        case "invalid_json":
            return wire.Reply(text[: len(text) // 2])
        case "missing_field" | "wrong_type":
            return wire.Reply(_violating(kind, text))
    return wire.Reply(text)


def _violating(kind: str, text: str) -> str:
    try:
        value = json.loads(text)
    except ValueError:
        return text
    if not isinstance(value, dict) or not value:
        return "[]" if isinstance(value, dict) else "{}"
    first = next(iter(value))
    if kind == "missing_field":
        del value[first]
    else:
        value[first] = None if isinstance(value[first], dict) else {"wrong": "type"}
    return json.dumps(value)


def _failure(fault: Fault | None) -> Outgoing | None:
    """Return the answer to a fault that is not a 200, or None."""
    if fault is None:
        return None
    match fault.kind:
        case "rate_limit":
            return _too_many(fault.retry_after)
        case "insufficient_quota":
            text = "You exceeded your current quota, please check your plan and billing details."
            return Outgoing(429, wire.error(text, "insufficient_quota", "insufficient_quota"))
        case "resource_unavailable":
            text = "Resource Unavailable. Try again, or use the default service tier."
            return Outgoing(429, wire.error(text, "rate_limit_error", "resource_unavailable"))
        case "forbidden":
            return Outgoing(403, "<h1>forbidden</h1>")
        case "server_error":
            text = "The server had an error while processing your request."
            return Outgoing(500, wire.error(text, "server_error", None))
        case "unavailable":
            text = "The engine is currently overloaded, please try again later."
            body = wire.error(text, "service_unavailable", None)
            return Outgoing(503, body, {"Retry-After": f"{fault.retry_after:g}"})
        case "verbatim":
            return Outgoing(fault.status, fault.text, dict(fault.headers))
        case "closed" | "reset" | "garbage":
            return Outgoing(200, "", manner=fault.kind)
    return None


def _too_many(wait: float, what: str = "requests", model: str = "the model") -> Outgoing:
    short = {"requests": "RPM", "tokens": "TPM"}[what]
    text = (
        f"Rate limit reached for {model} on {what} per min ({short}). "
        f"Please try again in {duration(wait)}."
    )
    headers = {
        "Retry-After": f"{wait:.3f}".rstrip("0").rstrip("."),
        "retry-after-ms": str(max(1, round(wait * 1000))),
        f"x-ratelimit-remaining-{what}": "0",
        f"x-ratelimit-reset-{what}": duration(wait),
    }
    return Outgoing(429, wire.error(text, what, "rate_limit_exceeded"), headers)


def _too_large(model: str, what: str, limit: float, amount: int) -> Outgoing:
    text = (
        f"Request too large for {model} on {what} per min: Limit {limit:.0f}, Requested {amount}. "
        "The input or output tokens must be reduced in order to run successfully."
    )
    return Outgoing(429, wire.error(text, what, "rate_limit_exceeded"))


def _unknown_model(ask: wire.Ask, call: Call) -> Outgoing:
    call.outcome = "unknown_model"
    text = f"The model `{ask.model}` does not exist or you do not have access to it."
    return Outgoing(404, wire.error(text, "invalid_request_error", "model_not_found"))


def _break_off(request: web.Request, manner: str) -> NoReturn:
    """End the connection without an answer."""
    transport = request.transport
    if transport is not None:
        if manner == "garbage":
            transport.write(b"\x16\x03 this is no HTTP\r\n\r\n")
        if manner == "reset":
            transport.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
            )
        transport.close()
    raise asyncio.CancelledError


async def _write(request: web.Request, out: Outgoing, call: Call) -> web.StreamResponse:
    """Write ``out`` to the client the way it says, and record in ``call`` what was written."""
    if out.manner == "never":
        await asyncio.Event().wait()
    if out.manner in ("closed", "reset", "garbage"):
        _break_off(request, out.manner)
    body = (out.body if isinstance(out.body, str) else json.dumps(out.body)).encode()
    response = web.StreamResponse(status=out.status, headers=out.headers)
    if "Content-Type" not in out.headers:
        response.content_type = "application/json"
    response.content_length = len(body)
    await response.prepare(request)
    call.status = out.status
    match out.manner:
        case "half":
            await response.write(body[: len(body) // 2])
            if request.transport:
                request.transport.close()
            return response
        case "drip":
            for at in range(len(body)):
                await response.write(body[at : at + 1])
                await asyncio.sleep(1)
        case _:
            await response.write(body)
    await response.write_eof()
    call.delivered = True
    return response
