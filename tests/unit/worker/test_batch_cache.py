"""Which batches a worker knows without asking the ledger, and which it does not understand."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import Engine, update

from rowfleet.errors import InputError
from rowfleet.ledger.models import Batch
from rowfleet.ledger.queries import batch_records
from rowfleet.recipes.recipe import Recipe
from tests.support.ledger import ECHO, make_batch
from worker import batch_cache
from worker.batch_cache import BatchCache, NotUnderstood

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The batches that were read from the ledger."""
    read: list[str] = []
    get_batch = batch_records.get_batch

    def note(connection: Any, batch_id: str) -> Any:
        read.append(batch_id)
        return get_batch(connection, batch_id)

    monkeypatch.setattr(batch_records, "get_batch", note)
    return read


def set_recipe(engine: Engine, batch_id: str, **changes: Any) -> None:
    recipe = {**ECHO.model_dump(mode="json"), **changes}
    with engine.begin() as connection:
        connection.execute(update(Batch).where(Batch.id == batch_id).values(recipe=recipe))


def test_a_batch_is_read_once_as_long_as_it_is_among_the_last(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, read: list[str]
) -> None:
    monkeypatch.setattr(batch_cache, "BATCHES_KEPT", 2)
    for batch_id in "abc":
        make_batch(engine, 1, batch_id=batch_id)
    cache = BatchCache()
    with engine.connect() as connection:
        for batch_id in "ababcbca":
            info = cache.get(connection, batch_id)
            assert (info.record.id, info.recipe, info.price) == (batch_id, ECHO, None)
    assert read == ["a", "b", "c", "a"]


def test_a_batch_that_is_not_understood_is_read_and_named_once(
    engine: Engine, read: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    make_batch(engine, 1)
    set_recipe(engine, "b", **{f"field_{number:02}": 1 for number in range(30)})
    cache = BatchCache()
    with engine.connect() as connection:
        for _ in range(3):
            with pytest.raises(NotUnderstood) as caught:
                cache.get(connection, "b")
            assert f"{caught.value}".startswith("field_00, field_01, field_02")
            assert len(f"{caught.value}") == 200
    assert read == ["b"]
    assert [record.getMessage()[:42] for record in caplog.records] == [
        "batch b: this worker does not know field_0"
    ]


@pytest.mark.parametrize("kept", ["understood", "not understood"])
def test_the_two_kinds_of_batches_do_not_drive_each_other_out(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, read: list[str], kept: str
) -> None:
    monkeypatch.setattr(batch_cache, "BATCHES_KEPT", 1)
    for batch_id in ("understood", "not understood"):
        make_batch(engine, 1, batch_id=batch_id)
    set_recipe(engine, "not understood", newer=1)
    cache = BatchCache()
    with engine.connect() as connection:
        for batch_id in ("understood", "not understood", kept):
            try:
                cache.get(connection, batch_id)
            except NotUnderstood:
                assert batch_id == "not understood"
    assert len(read) == 2


@pytest.mark.parametrize(
    ("known", "why"),
    [(False, "the analyzer 'openai'"), (True, "the analyzer 'openai' (it does not load)")],
)
def test_an_analyzer_that_is_not_here_is_named_and_one_that_is_broken_says_why(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, known: bool, why: str
) -> None:
    def get(_name: str) -> Any:
        raise InputError("it does not load")

    kinds = SimpleNamespace(get=get, is_known=lambda _name: known)
    monkeypatch.setattr(batch_cache, "analyzer_kinds", kinds)
    make_batch(engine, 1)
    with engine.connect() as connection, pytest.raises(NotUnderstood) as caught:
        BatchCache().get(connection, "b")
    assert f"{caught.value}" == why


def test_a_recipe_that_never_ends_is_not_understood(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def validate(_recipe: Any) -> Any:
        raise RecursionError

    monkeypatch.setattr(Recipe, "model_validate", validate)
    make_batch(engine, 1)
    with engine.connect() as connection, pytest.raises(NotUnderstood) as caught:
        BatchCache().get(connection, "b")
    assert f"{caught.value}" == "an output that refers to itself"
