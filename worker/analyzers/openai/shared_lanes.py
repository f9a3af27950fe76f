"""The lanes in Redis, asked on behalf of one process."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from rowfleet.queue.keys import LANES, SOCKET_TIMEOUT
from rowfleet.rate_limits.lane import SCRIPT, Granted, PerMinute, Report, arguments, lane_name, read


class Lanes:
    """The lanes in Redis. Connects on first use, on the loop that uses it."""

    def __init__(
        self,
        url: str,
        *,
        prefix: str,
        queue: str,
        api_key: str,
        base_url: str | None,
        limits: PerMinute,
    ) -> None:
        self._url = url
        self._prefix = prefix
        self._index = f"{prefix}{queue}{LANES}"
        self._whose = (api_key, base_url)
        self._limits = limits
        self._process = uuid.uuid4().hex
        self._script: Any = None

    async def ask(self, model: str, report: Report, costs: Sequence[float]) -> Granted:
        """Report, and ask for turns. Raises redis.RedisError or OSError if Redis is away."""
        if self._script is None:
            client: Redis = Redis.from_url(
                self._url,
                socket_timeout=AWAY,
                socket_connect_timeout=AWAY,
                health_check_interval=SOCKET_TIMEOUT,
                retry=Retry(NoBackoff(), 1),
            )
            self._script = client.register_script(SCRIPT)
        lane = lane_name(self._prefix, model, *self._whose)
        answer = await self._script(
            keys=[lane, f"{lane}.processes", self._index],
            args=arguments(self._process, model, self._limits, report, costs),
        )
        return read(answer)


#: Seconds for which a broker that did not answer is not asked again.
AWAY = 5.0
