"""Commands that are printed to be typed next."""

from __future__ import annotations

import sys

import pytest

from submitter import hints


@pytest.fixture(autouse=True)
def no_ledger_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATABASE_URL", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    "source",
    [
        "https://store.example/a.xlsx?X-Amz-Signature=0f3c7a51",
        "https://ann:hunter2@files.example.com/a.xlsx",
        "https://hunter2@files.example.com/a.xlsx",
    ],
)
def test_a_command_whose_url_holds_a_secret_is_not_printed(
    monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["rowfleet", "local", source])
    assert hints.same_again() is None


@pytest.mark.parametrize(
    ("words", "without", "printed"),
    [
        (["local", "a b.xlsx", "--sample", "5"], None, "rowfleet local 'a b.xlsx' --sample 5"),
        (["local", "a.xlsx", "--sample", "5"], "--sample", "rowfleet local a.xlsx"),
        (["local", "a.xlsx", "--sample=5"], "--sample", "rowfleet local a.xlsx"),
        (["local", "None=1.xlsx"], None, "rowfleet local None=1.xlsx"),
        (["local", "a@b.xlsx"], None, "rowfleet local a@b.xlsx"),
    ],
)
def test_the_same_again_is_the_command_as_it_was_given(
    monkeypatch: pytest.MonkeyPatch, words: list[str], without: str | None, printed: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["rowfleet", *words])
    assert hints.same_again(without=without) == printed
