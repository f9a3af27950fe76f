"""Lines of the Batch API's files: requests go up, results come down."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from rowfleet.analysis import AnalysisError, Answer, Question, Transient, Usage
from rowfleet.masking import outside
from rowfleet.openai_api import failures
from rowfleet.openai_api.error_classes import Fate
from rowfleet.openai_api.failures import code_of, one_line_of
from rowfleet.openai_api.replies import json_object, parse, text_of, usage_of
from rowfleet.openai_api.requests import ENDPOINTS, messages, request
from rowfleet.received import read_json
from rowfleet.recipes.recipe import Recipe

#: How the error of a row begins whose answer the Batch API gave and that did not fit the schema.
INVALID = "the answer was not valid"


def batch_line(question: Question, number: int) -> bytes:
    """Return the line of a Batch API file that asks ``question``, of the ledger's row ``number``.

    https://platform.openai.com/docs/guides/batch
    """
    line = {
        "custom_id": f"row-{number}",
        "method": "POST",
        "url": ENDPOINTS[question.recipe.api],
        "body": request(question, messages(question)),
    }
    return json.dumps(line, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


@dataclass(frozen=True, slots=True)
class BatchResult:
    """A line of a Batch API output or error file."""

    row_number: int
    status: int | None
    body: Any
    #: The API's code and message for a request that was not made.
    code: str | None = None
    message: str | None = None

    @property
    def was_not_made(self) -> bool:
        """Whether the batch was cancelled before the request's turn."""
        return self.code == "batch_cancelled"

    def answer(self, recipe: Recipe, model: str) -> Answer:
        """Return the answer. Raises Transient, Permanent or Misconfigured if it is none.

        An answer that does not fit the schema is a Transient whose sentence begins with INVALID.
        """
        if self.status is None:
            raise self._unanswered(model)
        body = self.body if isinstance(self.body, dict) else {}
        if self.status != HTTPStatus.OK:
            found = failures.error_in(body)
            said = outside(found.get("message") or self.body)
            raise failures.from_error(self.status, found, said, Usage(), model)[0]
        usage = usage_of(body, recipe.api)
        try:
            text = text_of(body, recipe.api, usage, model)
        except ValueError as error:
            raise Transient(
                "the API's reply could not be read", usage, said=one_line_of(error)
            ) from None
        output, problem = parse(text, recipe, usage)
        if output is None:
            raise Transient(INVALID, usage, said=problem)
        return Answer(output, usage)

    def _unanswered(self, model: str) -> AnalysisError:
        """Return what the API's code for a request that was not answered means."""
        error = {"code": self.code}
        status = failures.status_in(error)
        said = f"not answered by the Batch API ({self.code}): {self.message}"
        failure, found = failures.from_error(status, error, said, Usage(), model)
        if found.fate is not Fate.RETRY:
            return failure
        return Transient(f"not answered by the Batch API ({self.code})", said=self.message)


def read_batch_line(line: bytes) -> BatchResult | None:
    """Return what a line of an output or error file says; None if that is not of a row."""
    try:
        said = read_json(line)
        number = _ROW.fullmatch(said["custom_id"])
    except (ValueError, KeyError, TypeError):
        return None
    if number is None:
        return None
    response, error = json_object(said.get("response")), json_object(said.get("error"))
    status = response.get("status_code")
    return BatchResult(
        int(number[1]),
        status if isinstance(status, int) and not isinstance(status, bool) else None,
        response.get("body"),
        code_of(error.get("code")),
        outside(error.get("message") or ""),
    )


#: What `batch_line` calls a row. A sheet has 1,048,576 rows.
_ROW = re.compile(r"row-([0-9]{1,9})")
