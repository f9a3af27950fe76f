"""The base of every part of a recipe: no unknown fields, and a canonical form that stays."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer


class Part(BaseModel):
    """A mapping in a recipe file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    #: Fields that are always written out. A field that is added later is left out while it has its
    #: default: recorded batches stay the same batches, and older workers can read new ones.
    _ALWAYS: ClassVar[frozenset[str]] = frozenset()

    @model_serializer(mode="wrap")
    def _without_later_defaults(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = serialize(self)
        for name, field in type(self).model_fields.items():
            if name not in self._ALWAYS and getattr(self, name) == field.get_default(
                call_default_factory=True
            ):
                values.pop(field.alias or name, None)
        return values
