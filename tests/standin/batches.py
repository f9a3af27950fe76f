"""The Batch API: files of requests, and batches that answer them, with the API's own limits.

A request in a file is answered as the same request alone would be, and stands in the call log as
one, so that a row that is paid for twice is seen there. Files are kept on disk.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import IO, Any

from aiohttp import web

from tests.standin import wire
from tests.standin.config import Config

#: Requests answered between two looks at whether the batch was cancelled.
SLICE = 50

#: States that a batch leaves no more.
ENDED = ("completed", "failed", "expired", "cancelled")

#: Answers one request: API, body → HTTP status and JSON; None if it never would be answered.
Answer = Callable[[str, Any], tuple[int, dict[str, Any]] | None]

ENDPOINTS = {"/v1/chat/completions": "chat", "/v1/responses": "responses"}


@dataclass(slots=True)
class File:
    """A file with its metadata."""

    id: str
    name: str
    purpose: str
    path: Path
    created: float = field(default_factory=time.time)

    def as_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": "file",
            "bytes": self.path.stat().st_size,
            "created_at": int(self.created),
            "filename": self.name,
            "purpose": self.purpose,
            "status": "processed",
        }


@dataclass(slots=True)
class Batch:
    """A batch; its fields are the API's."""

    id: str
    endpoint: str
    input_file_id: str
    metadata: dict[str, str]
    status: str = "validating"
    created_at: float = field(default_factory=time.time)
    #: When it reached its last state.
    ended_at: float | None = None
    output_file_id: str | None = None
    error_file_id: str | None = None
    total: int = 0
    completed: int = 0
    failed: int = 0
    errors: list[dict[str, Any]] = field(default_factory=list)

    def end(self, status: str) -> None:
        self.status, self.ended_at = status, time.time()

    def as_json(self) -> dict[str, Any]:
        ended = {f"{self.status}_at": int(self.ended_at)} if self.ended_at else {}
        return ended | {
            "id": self.id,
            "object": "batch",
            "endpoint": self.endpoint,
            "errors": {"object": "list", "data": self.errors} if self.errors else None,
            "input_file_id": self.input_file_id,
            "completion_window": "24h",
            "status": self.status,
            "output_file_id": self.output_file_id,
            "error_file_id": self.error_file_id,
            "created_at": int(self.created_at),
            "metadata": self.metadata,
            "request_counts": {
                "total": self.total,
                "completed": self.completed,
                "failed": self.failed,
            },
        }


class Batches:
    """All files and batches since the start."""

    def __init__(self, config: Callable[[], Config], answer: Answer) -> None:
        self._config = config
        self._answer = answer
        self._home: tempfile.TemporaryDirectory[str] | None = None
        self.files: dict[str, File] = {}
        #: Files of requests that were ever uploaded, and the most files that were there at once.
        self.uploads = 0
        self.most_files = 0
        self._numbers = 0
        self.batches: dict[str, Batch] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._outages: Counter[str] = Counter()

    def reset_outages(self) -> None:
        """Begin with the first of each configured outage again."""
        self._outages.clear()

    def outage(self, what: str) -> str | None:
        """Return the fault that the next request to do ``what`` meets."""
        kinds = self._config().outages.get(what, ())
        at = self._outages[what]
        self._outages[what] += 1
        return kinds[at] if at < len(kinds) else None

    async def upload(self, request: web.Request) -> dict[str, Any]:
        """Store a file. Raises BadRequest."""
        fields: dict[str, str] = {}
        file = None
        async for part in await request.multipart():
            if part.name == "file":
                file = self._new_file(part.filename or "file", "batch")
                with file.path.open("wb") as out:
                    while piece := await part.read_chunk(1 << 20):
                        out.write(piece)
            else:
                fields[part.name] = (await part.read()).decode()
        if file is None or fields.get("purpose") != "batch":
            raise wire.BadRequest("a file and the purpose batch are required")
        if file.path.stat().st_size > self._config().batch_bytes:
            raise wire.BadRequest("the file is larger than batches may be")
        self.uploads += 1
        self._keep(file)
        return file.as_json()

    def delete(self, file_id: str) -> dict[str, Any]:
        """Delete a file. Raises BadRequest while a batch reads it, KeyError if there is none."""
        if any(b.input_file_id == file_id and b.status not in ENDED for b in self.batches.values()):
            raise wire.BadRequest("a batch reads this file")
        self.files.pop(file_id).path.unlink()
        return {"id": file_id, "object": "file", "deleted": True}

    def list_files(self, limit: int, after: str | None) -> dict[str, Any]:
        """Return a page of files, the newest first."""
        return _page({i: f.as_json() for i, f in self.files.items()}, limit, after)

    def _keep(self, file: File) -> None:
        self.files[file.id] = file
        self.most_files = max(self.most_files, len(self.files))

    def create(self, body: Any) -> dict[str, Any]:
        """Make a batch and let it run. Raises BadRequest."""
        if body.get("completion_window") != "24h" or body.get("endpoint") not in ENDPOINTS:
            raise wire.BadRequest("no such completion window or endpoint")
        if body.get("input_file_id") not in self.files:
            raise wire.BadRequest(f"no such file: {body.get('input_file_id')}")
        metadata = body.get("metadata") or {}
        if len(metadata) > 16 or any(len(k) > 64 or len(v) > 512 for k, v in metadata.items()):
            raise wire.BadRequest("the metadata is too large")
        batch = Batch(
            f"batch_{len(self.batches) + 1:04d}", body["endpoint"], body["input_file_id"], metadata
        )
        self.batches[batch.id] = batch
        task = asyncio.create_task(self._run(batch))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return batch.as_json()

    def list(self, limit: int, after: str | None) -> dict[str, Any]:
        """Return a page of batches, the newest first."""
        return _page({i: b.as_json() for i, b in self.batches.items()}, limit, after)

    def cancel(self, batch: Batch) -> None:
        """Begin to cancel a batch. Raises BadRequest if it has ended."""
        if batch.status in ENDED:
            raise wire.BadRequest(f"Cannot cancel a batch with status '{batch.status}'.")
        batch.status = "cancelling"

    def _new_file(self, name: str, purpose: str) -> File:
        if self._home is None:
            self._home = tempfile.TemporaryDirectory(prefix="standin-")
        self._numbers += 1
        path = Path(self._home.name) / f"file-{self._numbers:04d}"
        path.touch()
        return File(path.name, name, purpose, path)

    async def _run(self, batch: Batch) -> None:
        await asyncio.sleep(0)
        source = self.files[batch.input_file_id].path
        problem = await asyncio.to_thread(self._problem_with, batch, source)
        if code := self.outage("validate"):
            problem = _problem(code, f"The batch failed: {code}.")
        problem = problem or self._no_room(batch)
        if problem:
            batch.errors = [problem]
            batch.end("failed")
            return
        if batch.status == "validating":
            batch.status = "in_progress"
        outputs = self._new_file("output.jsonl", "batch_output")
        errors = self._new_file("errors.jsonl", "batch_output")
        with (
            source.open("rb") as lines,
            outputs.path.open("wb") as out,
            errors.path.open("wb") as err,
        ):
            late = await self._answer_all(batch, lines, out, err)
        for file, name in ((outputs, "output_file_id"), (errors, "error_file_id")):
            if file.path.stat().st_size:
                self._keep(file)
                setattr(batch, name, file.id)
        if batch.status == "cancelling":
            batch.end("cancelled")
        else:
            batch.end("expired" if late else "completed")

    def _problem_with(self, batch: Batch, source: Path) -> dict[str, Any] | None:
        """Return the API's error for a file that it does not take."""
        config = self._config()
        seen: set[str] = set()
        models: set[str] = set()
        with source.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                try:
                    said = json.loads(line)
                    ident, model = said["custom_id"], said["body"]["model"]
                    fits = said["method"] == "POST" and said["url"] == batch.endpoint
                except (ValueError, KeyError, TypeError):
                    return _problem("invalid_json_line", "This line is not a request.", number)
                if not fits:
                    return _problem("mismatched_endpoint", "The URL is another.", number)
                if ident in seen:
                    return _problem("duplicate_custom_id", f"{ident} is there twice.", number)
                if config.models is not None and model not in config.models:
                    return _problem("model_not_found", f"There is no model {model}.", number)
                seen.add(ident)
                models.add(model)
        batch.total = len(seen)
        if not seen:
            return _problem("empty_file", "The file has no requests.")
        if len(models) > 1:
            return _problem("mismatched_model", "All requests must be for one model.")
        if batch.total > config.batch_requests:
            return _problem("too_many_tasks", "The file has too many requests.")
        return None

    def _no_room(self, batch: Batch) -> dict[str, Any] | None:
        """Return the API's error if too much waits already, of all batches that it has taken."""
        most = self._config().batch_waiting
        taken = ("in_progress", "finalizing", "cancelling")
        waiting = sum(b.total for b in self.batches.values() if b.status in taken)
        if most is None or waiting + batch.total <= most:
            return None
        return _problem("token_limit_exceeded", "Enqueued token limit reached for this model.")

    async def _answer_all(
        self, batch: Batch, lines: IO[bytes], out: IO[bytes], err: IO[bytes]
    ) -> bool:
        """Answer line for line over the configured time. Return whether some were too late."""
        late = False
        for group in _slices(lines):
            for line in group:
                said = json.loads(line)
                if batch.status == "cancelling":
                    answer, code = None, "batch_cancelled"
                else:
                    answer, code = (
                        self._answer(ENDPOINTS[said["url"]], said["body"]),
                        "batch_expired",
                    )
                    late = late or answer is None
                ok = answer is not None and answer[0] == 200
                batch.completed += ok
                batch.failed += not ok
                (out if ok else err).write(_line(batch, said["custom_id"], answer, code))
            await self._pause(batch, len(group) / batch.total)
        return late

    async def _pause(self, batch: Batch, part: float) -> None:
        """Wait for ``part`` of the time that a batch takes, but not for one that is cancelled."""
        began = time.monotonic()
        while batch.status != "cancelling":
            left = began + part * self._config().batch_seconds - time.monotonic()
            if left <= 0:
                break
            await asyncio.sleep(min(left, 0.05))


def _slices(lines: IO[bytes]) -> Iterator[list[bytes]]:
    while group := list(islice(lines, SLICE)):
        yield group


def _line(batch: Batch, ident: str, answer: tuple[int, dict[str, Any]] | None, code: str) -> bytes:
    said: dict[str, Any] = {"id": f"batch_req_{batch.id}_{ident}", "custom_id": ident}
    if answer is None:
        text = "This request could not be executed before the completion window expired."
        said |= {"response": None, "error": {"code": code, "message": text}}
    else:
        response = {"status_code": answer[0], "request_id": f"req_{ident}", "body": answer[1]}
        said |= {"response": response, "error": None}
    return json.dumps(said).encode() + b"\n"


def _page(items: dict[str, dict[str, Any]], limit: int, after: str | None) -> dict[str, Any]:
    ids = list(reversed(items))
    start = ids.index(after) + 1 if after else 0
    page = ids[start : start + limit]
    return {
        "object": "list",
        "data": [items[one] for one in page],
        "first_id": page[0] if page else None,
        "last_id": page[-1] if page else None,
        "has_more": start + limit < len(ids),
    }


def _problem(code: str, message: str, line: int | None = None) -> dict[str, Any]:
    return {"code": code, "message": message, "line": line, "param": None}
