"""What a recipe says of documents."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rowfleet.errors import InputError
from rowfleet.recipes import loading
from rowfleet.recipes.recipe import Recipe
from tests.support.ledger import ECHO


def recipe(tmp_path: Path, documents: str, columns: str = "[Vendor, Invoice]") -> Recipe:
    file = tmp_path / "recipe.yaml"
    file.write_text(
        "name: audit\nprompt: Audit the row.\n"
        f"columns: {columns}\ndocuments: {documents}\n"
        "output: {type: object, properties: {verdict: {type: string}}}\n"
    )
    return loading.load(file)


def test_one_column_may_be_written_as_its_name(tmp_path: Path) -> None:
    found = recipe(tmp_path, "{columns: Invoice}").documents
    assert found is not None
    assert found.columns == ("Invoice",)
    assert (found.send, found.missing, found.max_pages) == ("text", "fail", 20)


@pytest.mark.parametrize(
    ("documents", "said"),
    [
        ("{columns: Receipt}", "names the column 'Receipt', which is not one of the columns"),
        ("{columns: []}", "documents.columns"),
        ("{columns: Invoice, missing: ignore}", "documents.missing"),
        ("{columns: Invoice, send: photos}", "documents.send"),
        ("{columns: Invoice, max_pages: 0}", "documents.max_pages"),
        ("{columns: Invoice, send: images, max_pages: 21}", "max_pages may be 20 at most"),
        ("{columns: Invoice, languages: English}", "documents.languages"),
        ("{columns: Invoice, page: 3}", "documents.page"),
    ],
)
def test_a_mistake_is_one_sentence(tmp_path: Path, documents: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        recipe(tmp_path, documents)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_recipe_without_documents_is_the_same_as_before() -> None:
    assert "documents" not in ECHO.canonical()


def test_what_is_read_goes_by_languages_and_way_of_sending(tmp_path: Path) -> None:
    def reading(**fields: Any) -> str:
        listed = ", ".join(f"{name}: {value}" for name, value in fields.items())
        found = recipe(tmp_path, f"{{columns: Invoice, {listed}}}").documents
        assert found is not None
        return found.reading

    plain = reading(send="text")
    assert reading(missing="answer_without") == plain
    assert reading(max_pages=3) == plain
    others = {
        reading(languages="[eng, deu]"),
        reading(send="images", max_pages=3),
        reading(send="images", max_pages=4),
        reading(send="file"),
    }
    assert len(others | {plain}) == 5
