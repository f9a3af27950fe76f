"""The options of the model's API."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from rowfleet.recipes.parts.base import Part


class ModelOptions(Part):
    """Options passed to the API as they are; unset ones are not sent."""

    _ALWAYS: ClassVar[frozenset[str]] = frozenset(
        {
            *("temperature", "top_p", "max_completion_tokens"),
            *("reasoning_effort", "service_tier", "seed"),
        }
    )

    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh"] | None = None
    service_tier: Literal["auto", "default", "flex", "priority"] | None = None
    seed: int | None = None
