"""`from rowfleet import run`: Python's rows go to the API and come back with their answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from rowfleet import run
from rowfleet.errors import InputError
from rowfleet.settings import VARIABLES, Settings
from tests.standin import Standin
from tests.support.workers import Start, environment

ROWS: list[dict[str, Any]] = [
    {"Review": f"It came on day {n}", "Stars": n % 5 + 1} for n in range(12)
]


#: The stand-in counts from the first row below a sheet's header.
FIRST_OF_A_SHEET = 2


class Mood(BaseModel):
    """What a customer feels."""

    mood: str
    is_angry: bool


QUESTION: dict[str, Any] = {"prompt": "What does the customer feel?", "model": "gpt-5-mini"}


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, standin: Standin) -> None:
    """The environment of a program on a machine without services."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    for name, value in standin.environment().items():
        monkeypatch.setenv(name, value)


class Frame:
    """As much of a DataFrame of pandas' as is used: it gives records, and takes columns."""

    def __init__(self, columns: dict[str, list[Any]]) -> None:
        self._data = columns

    @property
    def columns(self) -> list[str]:
        return list(self._data)

    def to_dict(self, orient: str) -> list[dict[str, Any]]:
        assert orient == "records"
        rows = zip(*self._data.values(), strict=True)
        return [dict(zip(self._data, values, strict=True)) for values in rows]

    def assign(self, **columns: list[Any]) -> Frame:
        return Frame({**self._data, **columns})


@pytest.mark.usefixtures("alone")
def test_a_list_comes_back_with_answers_and_is_paid_for_once(standin: Standin) -> None:
    answered = run(ROWS, Mood, **QUESTION)
    assert [{name: row[name] for name in ROWS[0]} for row in answered] == ROWS
    assert {row["AI_Status"] for row in answered} == {"done"}
    assert {type(row["AI_Is_Angry"]) for row in answered} == {bool}
    assert [row["AI_Row"] for row in answered] == list(range(12))
    for number, row in enumerate(answered):  # the stand-in says whose answer it is
        assert f"row {number - FIRST_OF_A_SHEET}:" in row["AI_Mood"]
    assert run(ROWS, Mood, **QUESTION) == answered
    assert run(answered, Mood, **QUESTION) == answered  # earlier answers are no data
    assert standin.summary()["calls"] == 12


@pytest.mark.usefixtures("alone")
def test_a_frame_comes_back_as_a_frame(standin: Standin, tmp_path: Path) -> None:
    recipe = tmp_path / "mood.yaml"
    recipe.write_text(
        "name: mood\nprompt: What does the customer feel?\ncolumns: [Review]\n"
        "output: {type: object, properties: {mood: {type: string}}}\n"
    )
    frame = Frame({"Review": ["good", "", "bad"], "Seen": [None, None, None]})
    answered = run(frame, recipe, model="gpt-5-mini")
    assert type(answered) is Frame
    rows = answered.to_dict("records")
    assert [row["Review"] for row in rows] == ["good", "", "bad"]
    assert [row["AI_Status"] for row in rows] == ["done", None, "done"]  # a blank row is skipped
    assert standin.summary()["calls"] == 2


@pytest.mark.usefixtures("alone")
def test_a_row_that_fails_says_why_and_the_others_are_answered(standin: Standin) -> None:
    standin.configure(faults=[{"kind": "refusal", "attempts": 99, "fraction": 1.0, "rows": [3]}])
    answered = run(ROWS, Mood, **QUESTION)
    failed = [row for row in answered if row["AI_Status"] != "done"]
    assert len(failed) == 1
    assert failed[0]["AI_Status"] == "failed"
    assert "refused" in failed[0]["AI_Error"]
    assert failed[0]["AI_Mood"] is None


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"recipe": Mood}, "Mood: say with prompt what is asked"),
        ({"prompt": "What?"}, "prompt goes with a pydantic model"),
        ({"recipe": "gone.yaml"}, "gone.yaml: no such recipe file"),
        ({}, "needs the columns Vendor"),
        ({"rows": [], "recipe": Mood, "prompt": "?"}, "rows: there are none"),
        ({"recipe": Mood, "prompt": "?", "fleet": True}, "REDIS_URL is not set|DATABASE_URL"),
    ],
)
def test_what_can_t_be_run_is_said_in_one_sentence(
    options: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=sentence):
        run(options.pop("rows", ROWS), **options)
    assert not (tmp_path / "state").exists()


@pytest.mark.usefixtures("alone")
def test_a_batch_that_is_stopped_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with Standin.lent(api_key="sk-right") as standin:
        monkeypatch.setenv("OPENAI_BASE_URL", standin.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", "sk-wrong-key")
        with pytest.raises(InputError, match="was rejected by the API") as caught:
            run(ROWS, Mood, **QUESTION)
    assert "sk-wrong-key" not in str(caught.value)


def test_a_fleet_runs_the_rows(
    fleet: Settings, start: Start, standin: Standin, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment(fleet).items():
        monkeypatch.setenv(name, value)
    start(fleet)
    answered = run(ROWS, Mood, fleet=True, **QUESTION)
    assert {row["AI_Status"] for row in answered} == {"done"}
    assert standin.summary()["calls"] == 12
