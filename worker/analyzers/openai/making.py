"""Makes the `openai` analyzer from the settings, with the limits that the fleet shares."""

from __future__ import annotations

from rowfleet.rate_limits.lane import PerMinute
from rowfleet.settings import Settings
from worker.analyzers.openai.analyzer import OpenAIAnalyzer
from worker.analyzers.openai.limiter import Limiter
from worker.analyzers.openai.shared_lanes import Lanes
from worker.steps.ending import is_ending


def make(settings: Settings) -> OpenAIAnalyzer:
    """Return the analyzer of a worker with these settings."""
    key = settings.openai_api_key.get_secret_value() if settings.openai_api_key else None
    return OpenAIAnalyzer(key, settings.openai_base_url, limiter(settings, key))


def limiter(settings: Settings, api_key: str | None) -> Limiter:
    """Return a limiter whose lanes are in Redis, shared by all workers with this key."""
    url = settings.broker_url()
    assert url is not None  # a worker without a broker does not start
    given = PerMinute(settings.requests_per_minute, settings.tokens_per_minute)
    lanes = Lanes(
        url,
        prefix=settings.key_prefix,
        queue=settings.queue,
        api_key=api_key or "",
        base_url=settings.openai_base_url,
        limits=given,
    )
    return Limiter(lanes, given, is_ending)
