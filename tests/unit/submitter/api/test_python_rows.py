"""Rows of Python become cells, or one clear sentence."""

from __future__ import annotations

import math
import subprocess
import sys
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

import rowfleet
from rowfleet.errors import InputError
from submitter.api import models, python_rows
from submitter.results import columns


class NumPy:
    """A number of NumPy's gives Python's."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def item(self) -> Any:
        return self._value


class Stamp(datetime):
    """A moment of pandas' is a datetime of its own class."""

    def to_pydatetime(self) -> datetime:
        return datetime(self.year, self.month, self.day)


class NAType:
    """pandas' NA is neither the same as itself nor another."""

    def __ne__(self, _: object) -> Any:
        return self

    def __bool__(self) -> bool:
        raise TypeError("boolean value of NA is ambiguous")

    __hash__ = None  # type: ignore[assignment]  # pandas' has one, which is of no use here


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ("a\0b\ud800", "a\ufffdb\ufffd"),
        (Decimal("10.10"), 10.1),
        (Decimal("10.00"), 10),
        (math.nan, None),
        (NAType(), None),
        (NumPy(3), 3),
        (True, True),
        (date(2026, 5, 1), date(2026, 5, 1)),
        (Stamp(2026, 5, 1), datetime(2026, 5, 1)),
        (datetime(2026, 5, 1, tzinfo=UTC), "2026-05-01T00:00:00+00:00"),
    ],
)
def test_values_become_cells_that_lose_nothing(value: Any, cell: Any) -> None:
    (found,) = python_rows.of([{"a": value}]).rows[0]
    assert (type(found), found) == (type(cell), cell)


def test_columns_are_those_of_all_rows_in_their_order() -> None:
    table = python_rows.of([{"b": 1}, {"a": 2, "b": 3}])
    assert table == python_rows.Table(("b", "a"), [[1, None], [3, 2]])


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ("text", "pass a list of dicts or a pandas DataFrame"),
        ([1, 2], "pass a list of dicts or a pandas DataFrame"),
        ([{1: "x"}], "a column is called 1; give it a name"),
        ([{"a": 1}, {"a": ["x"]}], "row 1: 'a' is of the type list; cells hold text"),
        ([{"a": "x" * (2 << 20)}], "row 0: 'a' has more than 1,048,576 characters"),
    ],
)
def test_rows_that_are_none_are_refused_in_one_sentence(rows: Any, sentence: str) -> None:
    with pytest.raises(InputError) as caught:
        python_rows.of(rows)
    assert sentence in str(caught.value)
    assert "xxx" not in str(caught.value)


class OpenInvoice(BaseModel):
    is_open: bool


def test_a_pydantic_model_is_a_recipe() -> None:
    recipe = models.recipe_of(OpenInvoice, "Is it open?")
    assert (recipe.name, recipe.prompt) == ("open-invoice", "Is it open?")
    assert recipe.headers() == {"is_open": "AI_Is_Open"}
    with pytest.raises(InputError, match="OpenInvoice: say with prompt what is asked"):
        models.recipe_of(OpenInvoice, None)


def test_importing_rowfleet_imports_no_more_than_before(tmp_path: Path) -> None:
    code = "import rowfleet, sys; print(*sorted(n for n in sys.modules if 'rowfleet' in n))"
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    assert "rowfleet.python" not in ran.stdout.split()
    assert "rowfleet" in ran.stdout.split()
    with pytest.raises(AttributeError, match="has no attribute 'walk'"):
        rowfleet.walk  # noqa: B018 (it is looked up)


def test_where_only_the_core_is_installed_run_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("rowfleet.python.run.ENGINE", "not_installed.running:run")
    with pytest.raises(InputError, match="not_installed is not installed"):
        rowfleet.run([{"a": 1}])


def test_answers_of_an_earlier_run_are_not_sent() -> None:
    recipe = models.recipe_of(OpenInvoice, "Is it open?")
    earlier = {"AI_Is_Open": True, "AI_Analyzer": "x", "AI_Row": 0, "AI_Status": "done"}
    table = python_rows.of([{"Vendor": "Acme", **earlier}, {"Vendor": " "}])
    sheet = python_rows.sheet(table, recipe, columns.answer_headers(recipe))
    assert sheet.columns == {"Vendor": 0}
    assert list(sheet.rows()) == [(0, ["Acme"])]
    assert sheet.first_row == 0
