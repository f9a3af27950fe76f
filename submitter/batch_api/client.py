"""OpenAI's Batch API: files of requests go up, remote batches run them, files of answers come down.

https://platform.openai.com/docs/guides/batch. `rowfleet.openai_api` knows the content of requests
and answers. Errors are those of `rowfleet.analysis`: another try may mend a Transient; a person
has to mend the cause of a Permanent or Misconfigured.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from math import isfinite
from typing import IO, Any

import httpx2
import openai

from rowfleet.analysis import Misconfigured, Transient, Usage
from rowfleet.ledger.statuses import RemoteStatus
from rowfleet.masking import outside
from rowfleet.openai_api import failures
from rowfleet.openai_api.redirects import refused, stay
from rowfleet.openai_api.replies import json_object
from rowfleet.openai_api.requests import Endpoint
from rowfleet.received import MAX_REPLY

#: Seconds to wait for a connection; for the next bytes of an answer; and for what a file takes.
CONNECT_TIMEOUT, TIMEOUT, FILE_TIMEOUT = 10.0, 60.0, 600.0

#: Name of the metadata that a part's token is kept under, and of those that people read.
TOKEN, BATCH, PART = "rowfleet_token", "rowfleet_batch", "rowfleet_part"

#: Remote batches looked at in one request; the API's most.
PAGE = 100

#: Seconds by which the API's clock and the ledger's may differ when a remote batch is looked for.
CLOCK_SLACK = 3600.0

#: Seconds after which a batch has ended for sure: its day, and one to finish and be cancelled.
OLDEST = 2 * 86_400.0

#: Header by which the SDK marks a request whose reply it does not read itself.
STREAMED = "X-Stainless-Raw-Response"

#: Bytes of a file of answers, at most (10 GiB): 50,000, the most requests of a batch
#: (https://platform.openai.com/docs/guides/batch), of 200 KiB each, which is some 50,000 tokens.
MAX_FILE = 10 << 30

#: Bytes of a file read at a time.
CHUNK = 1 << 16


class Unanswered(Transient):
    """The request may have been carried out or not: its answer did not arrive."""


class NotFound(Misconfigured):
    """The API knows no such batch or file, under this key."""


@dataclass(frozen=True, slots=True)
class Remote:
    """A remote batch as the API describes it."""

    id: str
    status: str
    output_file_id: str | None
    error_file_id: str | None
    #: Requests that are answered, and that failed.
    completed: int
    failed: int
    #: Code and message of an error of the whole batch.
    problems: tuple[tuple[str, str], ...]
    #: When it was made, and when it ended, in Unix seconds; None: it has not, or does not say.
    created_at: int = 0
    ended_at: int | None = None


class BatchAPI:
    """A client for one key. Its calls block; retries are the caller's."""

    def __init__(self, api_key: str, base_url: str | None, *, model: str) -> None:
        """``base_url`` of None is OpenAI's own; ``model`` is named in errors."""
        self._model = model
        self._client = openai.OpenAI(
            api_key=api_key,
            base_url=base_url,
            max_retries=0,
            timeout=httpx2.Timeout(TIMEOUT, connect=CONNECT_TIMEOUT),
            http_client=openai.DefaultHttpxClient(
                event_hooks={"request": [stay], "response": [_read]}
            ),
        )
        self._files = self._client.with_options(
            timeout=httpx2.Timeout(FILE_TIMEOUT, connect=CONNECT_TIMEOUT)
        )

    def upload(self, name: str, content: IO[bytes]) -> str:
        """Send a file of requests, in pieces, from its beginning. Return the API's id for it."""
        content.seek(0)
        with self._errors():
            return _id_of(self._files.files.create(file=(name, content), purpose="batch"))

    def create(
        self, file_id: str, endpoint: Endpoint, *, batch_id: str, part: int, token: str
    ) -> Remote:
        """Make a remote batch. Raises Unanswered if it may have been made nevertheless."""
        with self._errors():
            made = self._client.batches.create(
                input_file_id=file_id,
                endpoint=endpoint,
                completion_window="24h",
                metadata={TOKEN: token, BATCH: batch_id, PART: str(part)},
            )
            return _remote(made)

    def find(self, token: str, since: float) -> Remote | None:
        """Return the remote batch with that token, made at Unix time ``since`` or later."""
        with self._errors():
            for batch in _all_of(self._client.batches.list(limit=PAGE)):  # the newest first
                if json_object(batch.metadata).get(TOKEN) == token:
                    return _remote(batch)
                if _is_before(batch, since - CLOCK_SLACK):
                    break
        return None

    def had_company(self, remote: Remote) -> bool:
        """Tell whether another batch was with the API at any time since ``remote`` was made.

        Seen are those of the key's own project.
        """
        with self._errors():
            for batch in _all_of(self._client.batches.list(limit=PAGE)):  # the newest first
                other = _remote(batch)
                if _is_before(batch, remote.created_at - OLDEST):
                    break
                # A failed batch never waited there.
                if other.id == remote.id or other.status == RemoteStatus.FAILED:
                    continue
                if other.ended_at is None or other.ended_at >= remote.created_at:
                    return True
        return False

    def retrieve(self, remote_id: str) -> Remote:
        """Return how a remote batch is. Raises NotFound if there is none."""
        with self._errors(gone=f"the API knows no batch {remote_id} under this key"):
            return _remote(self._client.batches.retrieve(remote_id))

    def cancel(self, remote_id: str) -> None:
        """Cancel a remote batch; what it has answered so far stays, and is paid for."""
        with self._errors(gone=f"the API knows no batch {remote_id} under this key"):
            try:
                self._client.batches.cancel(remote_id)
            except openai.ConflictError:
                pass  # it has ended already
            except openai.BadRequestError:
                pass  # the same, as some say it

    def download(self, file_id: str, to: IO[bytes]) -> None:
        """Write a file's content, in pieces. Raises Misconfigured for more than MAX_FILE."""
        gone = f"the API has no file {file_id} any more"
        with (
            self._errors(gone=gone),
            self._files.files.with_streaming_response.content(file_id) as response,
        ):
            size = 0
            for piece in response.iter_bytes(CHUNK):
                size += len(piece)
                if size > MAX_FILE:
                    raise Misconfigured(
                        f"the API's file {file_id} is larger than {MAX_FILE >> 20:,} MiB, which "
                        "answers to one file of rows can't be"
                    )
                to.write(piece)

    def delete(self, file_id: str) -> None:
        """Delete a file, if it is there."""
        with suppress(NotFound), self._errors(gone=f"the API has no file {file_id}"):
            self._client.files.delete(file_id)

    def find_files(self, name: str, since: float) -> list[str]:
        """Return the ids of the files of requests with that name, sent at Unix time ``since`` or
        later."""
        found = []
        with self._errors():
            sent = self._client.files.list(purpose="batch", limit=PAGE, order="desc")
            for file in _all_of(sent):
                if file.filename == name:
                    found.append(_id_of(file))
                if _is_before(file, since - CLOCK_SLACK):
                    break
        return found

    @contextmanager
    def _errors(self, *, gone: str | None = None) -> Iterator[None]:
        try:
            yield
        except openai.NotFoundError as error:
            if gone:
                raise NotFound(f"{gone} (404)", said=failures.one_line_of(error)) from None
            raise Misconfigured(
                "the API has no Batch API at this address (404)", said=failures.one_line_of(error)
            ) from None
        except openai.APIStatusError as error:
            failure = failures.from_status(error, Usage(), self._model)
            if failure.is_doubtful:  # no row is asked about here, so none is meant
                raise Misconfigured(failure.reason, said=failure.said or None) from None
            if isinstance(failure, Transient) and error.status_code != 429:
                raise Unanswered(
                    failure.reason, retry_after=failure.retry_after, said=failure.said
                ) from None
            raise failure from None
        except (openai.APIConnectionError, httpx2.HTTPError) as error:
            if redirect := refused(error):
                raise redirect from None
            cause = error.__cause__ or error
            failed, said = "the connection to the API failed", failures.one_line_of(cause)
            if isinstance(cause, (httpx2.ConnectError, httpx2.ConnectTimeout)):
                raise Transient(failed, said=said) from None
            raise Unanswered(failed, said=said) from None
        except openai.APIResponseValidationError as error:
            raise Unanswered(_UNREADABLE, said=failures.one_line_of(error)) from None
        except (AttributeError, TypeError, ValueError, RecursionError) as error:
            # The reply is no JSON, or has another shape: a gateway's page, say.
            raise Unanswered(_UNREADABLE, said=type(error).__name__) from None


def _read(response: httpx2.Response) -> None:
    """Read a reply within its bound, which the SDK's client does not have.

    A file's content is left to `download`, which keeps no more than a piece of it in memory; an
    error in its place is not.
    """
    if response.is_success and response.request.headers.get(STREAMED) == "stream":
        return
    content = bytearray()
    for piece in response.iter_bytes():
        content += piece
        if len(content) > MAX_REPLY:
            raise Unanswered(f"the API's reply is larger than {MAX_REPLY >> 20} MiB")
    response._content = bytes(content)


#: The SDK makes objects of whatever JSON there is, and checks none of it.
_UNREADABLE = "the API's reply could not be read"


def _all_of(page: Any) -> Iterator[Any]:
    """Yield what a list holds, page by page.

    Raises TypeError for a page that has no list: a batch that it does not name may be there.
    """
    before = None
    while True:
        if not isinstance(page.data, list):
            raise TypeError("no list")
        last = _id_of(page.data[-1]) if page.data else None
        if last == before:  # a gateway that knows no pages sends the first one for ever
            return
        yield from page.data
        if not page.has_next_page():
            return
        before, page = last, page.get_next_page()


def _id_of(made: Any) -> str:
    """Return the id of a batch or file. Raises TypeError if it has none."""
    if not isinstance(made.id, str) or not made.id:
        raise TypeError("no id")
    return made.id


def _is_before(made: Any, moment: float) -> bool:
    """Tell whether a batch or file says that it was made before a Unix time."""
    return 0 < _number(made.created_at) < moment


def _number(value: object) -> int:
    """Return a count or a time; 0 for what is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 0
    return int(value) if isfinite(value) else 0


def _remote(batch: Any) -> Remote:
    """Return what a batch says, as far as it does. Raises TypeError without id and status."""
    if not isinstance(batch.status, str):
        raise TypeError("no status")
    counts, errors = batch.request_counts, getattr(batch.errors, "data", None)
    files = (batch.output_file_id, batch.error_file_id)
    output, error = (file if isinstance(file, str) else None for file in files)
    ends = (batch.completed_at, batch.expired_at, batch.cancelled_at, batch.failed_at)
    return Remote(
        _id_of(batch),
        batch.status,
        output,
        error,
        _number(getattr(counts, "completed", 0)),
        _number(getattr(counts, "failed", 0)),
        tuple(
            (outside(getattr(one, "code", "") or ""), outside(getattr(one, "message", "") or ""))
            for one in (errors if isinstance(errors, list) else ())
        ),
        _number(batch.created_at),
        next(filter(None, map(_number, ends)), None),
    )
