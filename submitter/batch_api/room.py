"""The API's room for tokens that wait, as far as this process has seen it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from rowfleet.ledger.part_records import Part
from rowfleet.ledger.statuses import RemoteStatus
from rowfleet.openai_api.error_classes import Fate
from rowfleet.openai_api.failures import from_batch_error
from submitter.batch_api.client import Remote

#: While the API has no room and none of our batches to wait for, it is asked again after the first
#: pause, then after twice as long, up to this multiple of it.
LONGEST_PATIENCE = 30.0


@dataclass(slots=True)
class _Split:
    """Rows of parts that were too large by themselves: how many a file, and how many are left."""

    rows: int
    left: int


class Room:
    """Says whether the API may take another part, and how many rows that may have."""

    def __init__(self, *, file_rows: int, poll: float) -> None:
        """``file_rows`` is the most rows of a file; ``poll`` the first pause, in seconds."""
        self._file_rows, self._poll = file_rows, poll
        self._is_limited = self._is_full = False
        self._patience, self._again_at = 0.0, 0.0
        self._split: _Split | None = None

    @property
    def is_full(self) -> bool:
        """Whether the API has refused a part, and has made no room since."""
        return self._is_full

    @property
    def is_split(self) -> bool:
        """Whether rows of a part that was too large by itself wait for smaller files."""
        return self._split is not None

    @property
    def file_rows(self) -> int:
        """The most rows that the next file may have."""
        return self._split.rows if self._split else self._file_rows

    def is_limited(self, parts: Sequence[Part]) -> bool:
        """Tell whether the API has refused a part.

        From then on, parts are handed over one after the other: a file must not be sent in vain,
        and no more of them wait there than must.
        """
        return self._is_limited or any(part.waits_for_room for part in parts)

    def may_take_one(self, parts: Sequence[Part]) -> bool:
        """Tell whether an API that has refused a part may take one now."""
        there = [part for part in parts if part.is_at_api]
        if any(part.remote_status == RemoteStatus.VALIDATING for part in there):
            return False
        return not self._is_full if there else time.monotonic() >= self._again_at

    def sent(self, rows: int) -> None:
        """Note that a file of ``rows`` rows is with the API."""
        if self._split:
            self._split.left -= rows
            if self._split.left <= 0:
                self._split = None

    def accepted(self) -> None:
        """Note that the API has let a part in."""
        self._is_full, self._patience = False, 0.0

    def freed(self) -> None:
        """Note that a part has left the API."""
        self._is_full = False

    def refused(self, *, is_empty: bool) -> None:
        """Note that the API has refused a part; ``is_empty`` says that it has no other of ours."""
        self._is_limited = self._is_full = True
        if is_empty:
            longest = self._poll * LONGEST_PATIENCE
            self._patience = min(2 * self._patience or self._poll, longest)
            self._again_at = time.monotonic() + self._patience

    def too_large(self, rows: int) -> int:
        """Note that a part of ``rows`` rows is too large by itself; return what is left to try.

        That is the most rows of the files in its place, or 0 if there is nothing smaller.
        """
        self._is_limited = True
        if rows <= 1:
            return 0
        left = rows + (self._split.left if self._split else 0)
        self._split = _Split(-(-rows // 2), left)
        return self._split.rows


def last_to_check(parts: Sequence[Part]) -> Part | None:
    """Return the last part with the API if the API has not checked it yet."""
    there = [part for part in parts if part.is_at_api]
    return there[-1] if there and there[-1].remote_status == RemoteStatus.VALIDATING else None


def is_refused(seen: Remote) -> bool:
    """Tell whether a remote batch was refused for want of room, and none of it was answered."""
    if seen.status != RemoteStatus.FAILED or seen.output_file_id or seen.error_file_id:
        return False
    code = seen.problems[0][0] if seen.problems else ""
    return from_batch_error(code) is Fate.WAIT
