"""What an answer must meet beyond its schema."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import ConfigDict, Field

from rowfleet.recipes.parts.base import Part


class Check(Part):
    """A condition on the row and its answer, and what follows where it does not hold."""

    model_config = ConfigDict(serialize_by_alias=True)

    _ALWAYS: ClassVar[frozenset[str]] = frozenset({"name", "that"})

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$")
    #: A condition in CEL over `row`, `answer` and `lookups`.
    that: str
    #: A sentence for the model that is asked again, and for the person who reviews the row.
    message: str = Field(default="", max_length=300)
    #: `reask` tells the model, which answers once more; `review` marks the row; `fail` fails it.
    otherwise: Literal["reask", "review", "fail"] = Field(default="review", alias="else")

    @property
    def sentence(self) -> str:
        """The message, or what the check says."""
        return self.message or f"{self.that} does not hold"
