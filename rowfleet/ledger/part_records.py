"""Values of a batch's parts: each part is one remote batch of the Batch API."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from rowfleet.ledger.statuses import RemoteStatus


@dataclass(frozen=True, slots=True)
class Part:
    """A remote batch as it is recorded."""

    batch_id: str
    part: int
    token: str
    row_count: int
    input_file_id: str | None
    remote_id: str | None
    remote_status: str | None
    asked_at: datetime | None
    created_at: datetime

    @property
    def is_settled(self) -> bool:
        """Whether all its rows are settled or given back, and only its files are left."""
        return self.remote_status == RemoteStatus.SETTLED

    @property
    def is_at_api(self) -> bool:
        """Whether the API has a batch of it that is not settled."""
        return self.remote_id is not None and not self.is_settled

    @property
    def waits_for_room(self) -> bool:
        """Whether its file is with the API, which has refused a batch of it for now."""
        return self.remote_status == RemoteStatus.NO_ROOM
