"""Tables of lookups are read from sheets and files, within bounds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import openpyxl
import pytest

from rowfleet.errors import InputError
from rowfleet.recipes import loading
from rowfleet.recipes.parts import lookups
from submitter.submission.lookup_tables import with_tables

RECIPE = """\
name: r
columns: [Vendor]
prompt: p
output: {type: object, properties: {law: {type: string}}}
"""


def recipe(lookup: str, checks: str = "[]") -> Any:
    return loading.parse(f"{RECIPE}lookups: {{t: {lookup}}}\nchecks: {checks}\n", "r.yaml")


def table(tmp_path: Path, rows: list[list[Any]], lookup: str, checks: str = "[]") -> Any:
    book = openpyxl.Workbook()
    book.active.append(["Vendor"])
    sheet = book.create_sheet("Table")
    for row in rows:
        sheet.append(row)
    path = tmp_path / "book.xlsx"
    book.save(path)
    return with_tables(recipe(lookup, checks), path, "book.xlsx", None).lookups["t"].entries


def test_a_sheet_of_the_workbook_is_a_table_by_its_key(tmp_path: Path) -> None:
    rows = [["Rates", None], ["Code", "Rate"], [7, 6.5], [" WA ", "x"], [None, 1], ["OR", None]]
    assert table(tmp_path, rows[1:], "{sheet: Table, key: code}") == {
        "7": {"Rate": 6.5},
        "WA": {"Rate": "x"},
        "OR": {"Rate": None},
    }
    assert table(tmp_path, rows[1:], "{sheet: Table, key: Code, columns: [rate]}")["7"] == {
        "rate": 6.5
    }


@pytest.mark.parametrize(
    ("lookup", "sentence"),
    [
        (
            "{sheet: Other, key: Code}",
            "lookups.t: book.xlsx: no sheet 'Other'; there are 'Sheet', 'T",
        ),
        ("{sheet: Table, key: Kode}", "there is no column 'Kode'; there are Code, Rate"),
        ("{sheet: Table, key: Code, columns: [x]}", "there is no column 'x'; there are Code, Rate"),
        ("{file: none.csv, key: Code}", "lookups.t: none.csv: no such file"),
    ],
)
def test_a_table_that_cannot_be_read_is_one_sentence(
    tmp_path: Path, lookup: str, sentence: str
) -> None:
    with pytest.raises(InputError) as error:
        table(tmp_path, [["Code", "Rate"], ["a", 1]], lookup)
    assert sentence in str(error.value)


def test_a_key_stands_in_one_row(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"sheet 'Table': rows 2 and 4 have the same key"):
        table(tmp_path, [["Code"], ["a"], ["b"], [" a"]], "{sheet: Table, key: Code}")


def test_rules_are_checked_again_with_the_columns_of_the_table(tmp_path: Path) -> None:
    rows = [["Code", "Rate"], ["a", 1]]
    check = "[{name: rate, that: 'lookups.t[row.Vendor].Rat > 1'}]"
    with pytest.raises(InputError, match=r"checks\.0\.that: there is no column 'Rat'; 'Rate' is"):
        table(tmp_path, rows, "{sheet: Table, key: Code}", check)
    check = "[{name: rate, that: 'lookups.t[row.Vendor].Rate == \"x\"'}]"
    with pytest.raises(InputError, match="compares a number with text"):
        table(tmp_path, rows, "{sheet: Table, key: Code}", check)


def test_tables_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [["Code", "Text"], *([n, "x" * 90] for n in range(50))]
    monkeypatch.setattr(lookups, "MAX_JSON_CHARS", 3_000)
    with pytest.raises(InputError, match="lookups have 5,"):
        table(tmp_path, rows, "{sheet: Table, key: Code}")
    assert len(table(tmp_path, rows, "{sheet: Table, key: Code, columns: [Code]}")) == 50
    monkeypatch.setattr("submitter.submission.lookup_tables.MAX_ENTRIES", 49)
    with pytest.raises(InputError, match="has more than 49 keys"):
        table(tmp_path, rows, "{sheet: Table, key: Code}")


@pytest.mark.parametrize(
    ("lookup", "sentence"),
    [
        ("{}", "must have values, table, sheet or file, and has none of them"),
        ("{sheet: T, table: {a: {}}, key: K}", "and has sheet and table"),
        ("{values: [a], file: f.csv}", "and has values and file"),
        ("{sheet: T}", "needs key: the column that holds the keys"),
        ("{values: [a], join: Paid}", "lookups.t joins 'Paid', which is no column"),
        ("{values: [a], missing: explode}", "must be 'review' or 'allow'"),
        ("{values: [a], kee: b}", "there is no such field; did you mean key?"),
    ],
)
def test_a_lookup_that_cannot_be_right_is_refused(lookup: str, sentence: str) -> None:
    with pytest.raises(InputError) as error:
        recipe(lookup)
    assert sentence in str(error.value)


@pytest.mark.parametrize(
    ("that", "sentence"),
    [
        ("lookups.t == 1", "a table can't be compared"),
        ("size(lookups.t) == 1", "a table has no size"),
        ("lookups.x[row.Vendor] == 1", "there is no lookup 'x'; there are t"),
        ("lookups.t[row.Vendor].b == 1", "there is no column 'b'; there are a"),
        ("lookups.t[row.Vendor].a == 'x'", "compares a number with text"),
        ("true in lookups.t", "true or false is no key of a lookup"),
        ("[lookups.t] == [1]", "a lookup is used as `… in lookups.t` or `lookups.t[…]`"),
    ],
)
def test_a_rule_uses_a_lookup_by_its_keys(that: str, sentence: str) -> None:
    with pytest.raises(InputError) as error:
        recipe("{table: {k: {a: 1}}}", f'[{{name: c, that: "{that}"}}]')
    assert sentence in str(error.value)


@pytest.mark.parametrize("file", ["../secret.csv", "{absolute}", "link.csv", "a/../../secret.csv"])
def test_no_file_outside_the_recipe_s_folder_is_read(tmp_path: Path, file: str) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text("Code,Rate\n7,6.5\n")
    folder = tmp_path / "recipes"
    folder.mkdir()
    (folder / "link.csv").symlink_to(secret)
    named = file.format(absolute=secret)
    with pytest.raises(InputError, match=r"lookups\.t: .*lies outside the recipe's folder"):
        with_tables(
            recipe(f"{{file: {named!r}, key: Code}}"), secret, "book.xlsx", folder / "r.yaml"
        )
