"""Values of an answer as cells."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

import pytest

from submitter.results.answer_values import answer_cell

DATE, MOMENT = {"type": "string", "format": "date"}, {"type": "string", "format": "date-time"}


@pytest.mark.parametrize(
    ("value", "schema", "cell"),
    [
        ("2026-03-05", DATE, date(2026, 3, 5)),
        ("2026-03-05T06:07:08", MOMENT, datetime(2026, 3, 5, 6, 7, 8)),
        ("2026-03-05T06:07:08Z", MOMENT, "2026-03-05T06:07:08Z"),  # no cell has an offset
        ("on 5 March", DATE, "on 5 March"),
        ("2026-03-05", {"type": "string"}, "2026-03-05"),  # may be a number of an invoice
        ("2026-03-05", None, "2026-03-05"),
        (None, DATE, None),
        (True, DATE, True),
        (2**60, None, "1152921504606846976"),  # a cell would round it
        ([1, "ü"], None, '[1, "ü"]'),
    ],
)
def test_a_value_loses_nothing_and_a_date_is_one(value: Any, schema: Any, cell: Any) -> None:
    found = answer_cell(value, schema)
    assert (found, type(found)) == (cell, type(cell))
