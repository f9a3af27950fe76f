"""A cell that a person wrote becomes the value that the recipe's schema means, or is refused."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any

import pytest

from rowfleet.cells import Cell, CellError, Formatted
from submitter.review.corrections import NotAValueError, corrected

STRING, NUMBER, INTEGER = {"type": "string"}, {"type": "number"}, {"type": "integer"}
BOOLEAN, LIST = {"type": "boolean"}, {"type": "array"}
PERHAPS = {"type": ["string", "null"]}


@pytest.mark.parametrize(
    ("cell", "schema", "value"),
    [
        ("text", STRING, "text"),
        (" text ", STRING, " text "),
        ('""', STRING, ""),
        ("null", STRING, "null"),
        ("null", PERHAPS, None),
        ("null", {"type": ["number", "null"]}, None),
        (5, STRING, "5"),
        (5.0, STRING, "5"),
        (5.25, STRING, "5.25"),
        (True, STRING, "TRUE"),
        (date(2026, 2, 1), STRING, "2026-02-01"),
        (datetime(2026, 2, 1), STRING, "2026-02-01"),
        (datetime(2026, 2, 1, 12), STRING, "2026-02-01 12:00:00"),
        (datetime(2026, 2, 1, 12), STRING | {"format": "date-time"}, "2026-02-01T12:00:00"),
        (timedelta(hours=1), STRING, "1:00:00"),
        (5, NUMBER, 5),
        (5.5, NUMBER, 5.5),
        (5.0, INTEGER, 5),
        (5.5, INTEGER, 5.5),  # the schema refuses it, with its own sentence
        ("5", INTEGER, 5),
        ("-5", NUMBER, -5),
        (" 5.50 ", NUMBER, 5.5),
        (".5", NUMBER, 0.5),
        ("1e3", NUMBER, 1000.0),
        (Formatted(0.25, "0%"), NUMBER, 0.25),
        (True, BOOLEAN, True),
        ("false", BOOLEAN, False),
        ("TRUE", BOOLEAN, True),
        ('["a", 1]', LIST, ["a", 1]),
        ('{"a": null}', {"type": "object"}, {"a": None}),
        ("b", {"enum": ["a", "b"]}, "b"),
        ("2", {"enum": [1, 2]}, 2),
        ("c", {"enum": ["a", "b"]}, "c"),  # the schema refuses it
        ("anything", {}, "anything"),
        (5, {}, 5),
        ("x", {"anyOf": [STRING, NUMBER]}, "x"),
        ("x", True, "x"),
    ],
)
def test_a_cell_is_the_value_that_the_schema_means(cell: Cell, schema: Any, value: Any) -> None:
    found = corrected(cell, schema)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("cell", "schema", "sentence"),
    [
        ("much", NUMBER, "'much' is none of number"),
        ("1,5", NUMBER, "'1,5' is none of number"),
        ("5.5", INTEGER, "'5.5' is none of integer"),
        ("null", NUMBER, "'null' is none of number"),
        ("nan", NUMBER, "'nan' is none of number"),
        ("1e999", NUMBER, "the cell holds a number that is too large"),
        ("yes", BOOLEAN, "'yes' is none of boolean"),
        (5, BOOLEAN, "the number 5 is none of boolean"),
        (5, LIST, "the number 5 is none of array"),
        (CellError("#REF!"), STRING, "the cell holds the error #REF!"),
        ("[1", LIST, "'[1' is no JSON, such as"),
        ("[NaN]", LIST, "'[NaN]' is no JSON"),
        ("[Infinity]", LIST, "'[Infinity]' is no JSON"),
        ("[1e999]", LIST, "the cell holds a number that is too large"),
        ("[" * 30_000, LIST, "is no JSON"),
        ("[" + "9" * 5_000 + "]", LIST, "is no JSON"),
        ("9" * 30_000, NUMBER, "is none of number"),
    ],
)
def test_what_is_no_value_is_refused_in_a_sentence(cell: Cell, schema: Any, sentence: str) -> None:
    with pytest.raises(NotAValueError) as caught:
        corrected(cell, schema)
    assert sentence in str(caught.value)
    assert len(str(caught.value)) < 120
