"""How the ledger writes cells, and what a model reads of them."""

from __future__ import annotations

import json
from datetime import date, datetime, time, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowfleet import cells
from rowfleet.cells import Cell, CellError, Formatted, decode_all, encode_all, plain

FORMATS = st.sampled_from(['"£"0.00', "0.0%", "dd/mm/yyyy", "[h]:mm", "0.00"])
NUMBERS = st.one_of(st.integers(-(10**9), 10**9), st.floats(allow_nan=False, allow_infinity=False))
CELLS = st.one_of(
    NUMBERS,
    st.none(),
    st.booleans(),
    st.text(max_size=5),
    st.datetimes(),
    st.times(),
    st.builds(CellError, st.just("#REF!")),
    st.builds(Formatted, st.one_of(NUMBERS, st.datetimes(), st.dates(), st.times()), FORMATS),
)


@given(st.lists(CELLS, max_size=8))
def test_a_row_comes_back_from_the_ledger_as_it_was(row: list[Cell]) -> None:
    again = decode_all(json.loads(json.dumps(encode_all(row))))
    assert again == row
    assert [*map(type, again)] == [*map(type, row)]


def test_a_row_without_formats_is_written_as_in_older_versions() -> None:
    row = [
        1,
        2.5,
        "x",
        None,
        True,
        date(2026, 1, 2),
        time(3),
        timedelta(hours=4),
        CellError("#N/A"),
    ]
    assert encode_all(row) == [
        1, 2.5, "x", None, True,
        {"date": "2026-01-02"}, {"time": "03:00:00"}, {"seconds": 14400.0}, {"error": "#N/A"},
    ]  # fmt: skip


def test_a_row_with_formats_has_its_values_where_workers_of_older_versions_read_them() -> None:
    row = ["Acme", Formatted(102, '"£"0.00'), Formatted(datetime(2026, 1, 2), "dd/mm/yyyy")]
    encoded = encode_all(row)
    assert encoded[: len(row)] == encode_all(["Acme", 102, datetime(2026, 1, 2)])
    # A submitter of an older version decodes the lists too, and cuts them off.
    assert [cells.decode(each) for each in encoded[len(row) :]] == [
        ['"£"0.00', 1],
        ["dd/mm/yyyy", 2],
    ]


@pytest.mark.parametrize(
    ("cell", "sent"),
    [
        (Formatted(102, '"£"#,##0.00'), "£102.00"),
        (Formatted(0.25, "0.0%"), "25.0%"),
        (Formatted(-1234.5, '#,##0.00;(#,##0.00)" EUR"'), "(1,234.50) EUR"),
        (Formatted(1234.5, "#,##0.00"), 1234.5),
        (Formatted(datetime(2026, 1, 2), "dd/mm/yyyy"), "2026-01-02"),
        (Formatted(timedelta(hours=30), "[h]:mm"), "1 day, 6:00:00"),
    ],
)
def test_a_model_reads_what_a_person_sees_and_the_number_where_digits_are_all(
    cell: Formatted, sent: object
) -> None:
    assert plain(cell) == sent
    encoded = encode_all(["x", cell])
    values = cells.sent({"it": 1}, encoded)
    shown = cells.shown({"it": 1}, encoded)
    assert values == {"it": cell.value}
    assert shown.get("it", plain(values["it"])) == sent


def test_a_number_that_is_not_sent_is_not_shown() -> None:
    encoded = encode_all([Formatted(1, '"£"0'), Formatted(2, '"$"0')])
    assert cells.shown({"b": 1, "c": 7}, encoded) == {"b": "$2"}
    assert cells.shown({"a": 0}, [1, 2]) == {}
    assert cells.shown({"a": 0}, []) == {}
