"""The files that a part has at the API: their names, and their end."""

from __future__ import annotations

import logging
from contextlib import suppress

from rowfleet.analysis import AnalysisError
from rowfleet.ledger.engine import writing
from rowfleet.ledger.part_records import Part
from rowfleet.ledger.transitions import batch_api_parts
from submitter.batch_api.client import BatchAPI, NotFound, Remote
from submitter.batch_api.followed import Followed

log = logging.getLogger(__name__)


def name_of(part: Part) -> str:
    """Return the name of a part's file of questions."""
    return f"{part.batch_id}-{part.part}-{part.token}.jsonl"


def tidy(batch: Followed, api: BatchAPI, part: Part, seen: Remote | None = None) -> None:
    """Delete a settled part's files at the API. If that fails, a later round tries again."""
    try:
        for file_id in _files_of(api, part, seen):
            api.delete(file_id)
    except AnalysisError as error:
        log.info("files of part %d can't be deleted now: %s", part.part, error.reason)
        return
    with writing(batch.engine) as connection:
        batch_api_parts.end(connection, part.token)


def _files_of(api: BatchAPI, part: Part, seen: Remote | None) -> list[str]:
    """Return the ids of the files that the API may have of a part."""
    found = [part.input_file_id] if part.input_file_id else []
    if part.remote_id is not None:
        with suppress(NotFound):
            seen = seen or api.retrieve(part.remote_id)
    elif not found:  # the process that sent it ended before it knew its id
        found = api.find_files(name_of(part), part.created_at.timestamp())
    outputs = (seen.output_file_id, seen.error_file_id) if seen else ()
    return found + [file_id for file_id in outputs if file_id]
