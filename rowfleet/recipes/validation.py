"""Whether an answer fits a recipe's schema, decided within bounded work."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from jsonschema.validators import extend
from referencing.jsonschema import EMPTY_REGISTRY

from rowfleet.recipes import patterns

#: Steps of checking one answer; a step takes some 10 µs, and an answer of 1,000 values some 5,000.
MAX_STEPS = 100_000


class _TooMuch(Exception):
    """The answer takes more steps to check than an answer may."""


#: Steps left for the answer that is checked now.
_left: ContextVar[list[int]] = ContextVar("steps left")


def _spend(steps: int) -> None:
    left = _left.get()
    left[0] -= steps
    if left[0] < 0:
        raise _TooMuch


_Keyword = Callable[[Any, Any, Any, Any], Any]


def _counted(keyword: _Keyword) -> _Keyword:
    def counted(
        validator: Any, value: Any, instance: Any, schema: Any
    ) -> Iterator[ValidationError]:
        _spend(1 + (len(value) >> 3 if isinstance(value, (list, dict)) else 0))
        for error in keyword(validator, value, instance, schema) or ():
            # A message repeats the whole value, and `anyOf` keeps one for each of its schemas.
            _spend(len(error.message) >> 6)
            error.message = error.message[:500]
            yield error

    return counted


def _pattern(validator: Any, pattern: str, instance: Any, _: Any) -> Iterator[ValidationError]:
    if validator.is_type(instance, "string") and not _is_in(pattern, instance):
        yield ValidationError(f"{instance[:60]!r} does not match {pattern[:100]!r}")


def _is_in(pattern: str, text: str) -> bool:
    matcher = patterns.compiled(pattern)
    # Two positions and 250 characters take about a step, in the worst case.
    _spend(matcher.positions * len(text) // 500)
    return matcher.is_in(text)


def _pattern_properties(
    validator: Any, by_pattern: dict[str, Any], instance: Any, _: Any
) -> Iterator[ValidationError]:
    if not validator.is_type(instance, "object"):
        return
    for pattern, schema in by_pattern.items():
        for name, value in instance.items():
            if _is_in(pattern, name):
                yield from validator.descend(value, schema, path=name, schema_path=pattern)


def _additional_properties(
    validator: Any, allowed: Any, instance: Any, schema: dict[str, Any]
) -> Iterator[ValidationError]:
    if not validator.is_type(instance, "object"):
        return
    known, by_pattern = schema.get("properties", {}), schema.get("patternProperties", {})
    for name, value in instance.items():
        if name not in known and not any(_is_in(pattern, name) for pattern in by_pattern):
            if allowed is False:
                yield ValidationError(f"the property {name[:60]!r} is not one of the schema's")
            else:
                yield from validator.descend(value, allowed, path=name)


def _unique_items(validator: Any, wanted: bool, instance: Any, _: Any) -> Iterator[ValidationError]:
    if wanted and validator.is_type(instance, "array"):
        _spend(len(instance) >> 2)
        if len({_hashable(item) for item in instance}) < len(instance):
            yield ValidationError("an item stands there twice")


def _hashable(value: Any) -> Any:
    """Return a key; two values have equal keys if JSON schema takes them for equal."""
    if isinstance(value, dict):
        return ("object", frozenset((name, _hashable(each)) for name, each in value.items()))
    if isinstance(value, list):
        return ("array", tuple(map(_hashable, value)))
    return (isinstance(value, bool), value)


_Validator: Any = extend(  # type: ignore[no-untyped-call]  # its stub has no types
    Draft202012Validator,
    {
        name: _counted(keyword)
        for name, keyword in {
            **Draft202012Validator.VALIDATORS,
            "pattern": _pattern,
            "patternProperties": _pattern_properties,
            "additionalProperties": _additional_properties,
            "uniqueItems": _unique_items,
        }.items()
    },
)


def validator(schema: dict[str, Any]) -> Draft202012Validator:
    """Return what checks values against ``schema``, a checked one. It retrieves nothing."""
    made: Draft202012Validator = _Validator(schema, registry=EMPTY_REGISTRY)
    return made


def first_problem(checker: Draft202012Validator, value: Any) -> tuple[str, str] | None:
    """Return where ``value`` does not fit and why, as `a/0/b` and a sentence; None if it does.

    A value that can't be checked in MAX_STEPS, or is nested too deeply for it, does not fit.
    """
    token = _left.set([MAX_STEPS])
    try:
        problem = next(iter(checker.iter_errors(value)), None)
    except _TooMuch:
        return "", "it takes too long to check against the recipe's schema"
    except RecursionError:
        return "", "it is nested too deeply"
    except (OverflowError, ValueError):  # `multipleOf`, of what no float can hold
        return "", "a number in it is too large to be checked"
    finally:
        _left.reset(token)
    if problem is None:
        return None
    return "/".join(map(str, problem.absolute_path)), problem.message
