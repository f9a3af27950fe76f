"""What went wrong with a call, as one of the failures of `analysis`."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from rowfleet.analysis import Misconfigured, Permanent, Transient, Usage
from rowfleet.masking import outside
from rowfleet.openai_api.error_classes import (
    BATCH_ERRORS,
    CLASSES,
    ENDINGS,
    LEVELS,
    LONGEST_WORD,
    ErrorClass,
    Fate,
)
from rowfleet.openai_api.headers import retry_after
from rowfleet.received import read_json

if TYPE_CHECKING:
    import openai

#: The states of a response of the responses API that is no answer.
UNANSWERED_STATES = ("failed", "cancelled", "queued", "in_progress")


def failure_in(
    body: Any, api: str, used: Usage, model: str
) -> Transient | Permanent | Misconfigured | None:
    """Return the error inside an answer of status 200, or None if there is none.

    Gateways send one when they have sent the status before the provider failed; the responses API
    does for a response that has failed.
    """
    if not isinstance(body, dict):
        return None
    choices = body.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    for holder in (body, choice):
        error = holder.get("error") if isinstance(holder, dict) else None
        if error and isinstance(error, dict | str):
            error = error if isinstance(error, dict) else {"message": error}
            said = outside(error.get("message") or error.get("code") or "no reason given")
            status = status_in(error)
            return from_error(status, error, said, used, model)[0]
    state = body.get("status") if api == "responses" else None
    if state in UNANSWERED_STATES:
        return ENDINGS["failed"].failure(used, f"status {state}")
    return None


def from_status(
    error: openai.APIStatusError, used: Usage, model: str
) -> Transient | Permanent | Misconfigured:
    """Return what an HTTP error status means for the row or its batch."""
    after = retry_after(error.response.headers)
    body = error_in(error.body)
    return from_error(error.status_code, body, one_line_of(error), used, model, after)[0]


def from_reply(
    status: int, headers: Mapping[str, str], content: bytes, used: Usage, model: str
) -> tuple[Transient | Permanent | Misconfigured, ErrorClass]:
    """Return what an answer of an error status means, as `from_status` does, and its class."""
    try:
        body = read_json(content)
    except ValueError:
        body = None
    error = error_in(body)
    said = outside(error.get("message") or f"Error code: {status}")
    return from_error(status, error, said, used, model, retry_after(headers))


def code_of(value: object) -> str | None:
    """Return an error's code, which some gateways send as a number."""
    return None if value is None else outside(value)


def one_line_of(error: BaseException) -> str:
    """Return what an error says on one line, without the key an API may quote back."""
    body = getattr(error, "body", None)
    message = body.get("message") if isinstance(body, dict) else None
    return outside(message or error) or type(error).__name__


def from_batch_error(code: str) -> Fate:
    """Return what an error of a remote batch as a whole means for its rows."""
    return BATCH_ERRORS.get(code, Fate.STOP)


def error_in(body: Any) -> Mapping[str, Any]:
    """Return the error object of a reply's JSON; empty if it has none."""
    error = body.get("error", body) if isinstance(body, dict) else None
    return error if isinstance(error, dict) else {}


def words_of(error: Mapping[str, Any]) -> frozenset[str]:
    """Return the codes and types in an error object, in small letters."""
    found: set[str] = set()
    level: Any = error
    for _ in range(LEVELS):
        if not isinstance(level, dict):
            break
        for key in ("code", "type"):
            if isinstance(word := level.get(key), str) and len(word) <= LONGEST_WORD:
                found.add(word.lower())
        metadata = level.get("metadata")
        if isinstance(metadata, dict) and metadata.get("reasons"):  # as OpenRouter flags a row
            found.add("moderation")
        level = level.get("innererror") or level.get("inner_error")
    return frozenset(found)


def class_of(status: int, error: Mapping[str, Any], said: str) -> ErrorClass:
    """Return the class of an error: its HTTP status, error object and message."""
    words = words_of(error)
    param = error.get("param")
    param = param if isinstance(param, str) else ""
    return next(one for one in CLASSES if one.fits(status, words, param, said))


def status_in(error: Mapping[str, Any]) -> int:
    """Return the HTTP status that an error inside a 200 names as its code; 200 if none."""
    code = str(error.get("code"))
    is_status = code.isascii() and code.isdigit() and len(code) == len("500") and code[0] in "45"
    return int(code) if is_status else HTTPStatus.OK


def from_error(
    status: int,
    error: Mapping[str, Any],
    said: str,
    used: Usage,
    model: str,
    after: float | None = None,
) -> tuple[Transient | Permanent | Misconfigured, ErrorClass]:
    """Return what an error means, as an exception, and its class.

    ``said`` is its message, ``used`` what the row's calls used until then, ``after`` the seconds it
    asks to wait.
    """
    found = class_of(status, error, said)
    shown = f"{status} with an error in it" if status == HTTPStatus.OK else status
    reason = found.sentence.format(status=shown, model=model)
    failure: Transient | Permanent | Misconfigured
    match found.fate:
        case Fate.STOP:
            failure = Misconfigured(reason, used, said=said)
        case Fate.FAIL:
            failure = Permanent(reason, used, said=said)
        case _:
            failure = Transient(reason, used, after, said=said)
    failure.is_doubtful = found.is_doubtful
    return failure, found
