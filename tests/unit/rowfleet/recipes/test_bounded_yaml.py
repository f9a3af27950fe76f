"""YAML that unfolds is refused before it fills the memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from rowfleet.recipes import bounded_yaml
from rowfleet.recipes.loading import parse
from tests.support.recipes import GOOD, refusal


def bomb(levels=9, width=10):
    lines = ["a0: &a0 [x]"]
    for level in range(1, levels):
        lines.append(f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * width)}]")
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (bomb(), "line 6: holds more than 50,000 values once its aliases (*) are written out"),
        ("a: &a {b: 1}\n" + bomb().replace("[x]", "{<<: *a}"), "holds more than 50,000 values"),
        ("a: &a " + "x" * 100_000 + "\nb: [" + "*a, " * 30 + "]", "more than 2,097,152 characters"),
        ("a: &a [*a]", "line 1: *a stands within itself"),
        ("a: &a {<<: *a}", "line 1: *a stands within itself"),
        ("a: *b", "not valid YAML"),
        ("[" * 500 + "]" * 500, "nested more than 100 levels deep"),
        ("{a: " * 500 + "}" * 500, "nested more than 100 levels deep"),
        ("- " * 5_000 + "x", "nested more than 100 levels deep"),
        ("a: " + "9" * 5_000, "a number of 5,000 digits"),
        ("a: " + "1:" * 5_000 + "1", "a number of"),
        ("a: .nan", "is not a number of JSON"),
        ("a: -.inf", "is not a number of JSON"),
        ("a: !!int x", "not valid YAML"),
        ("a: !!float ''", "not valid YAML"),
        ("a: !!binary aGk=", "not valid YAML"),
        ("a: !!set {x}", "not valid YAML"),
        ("a: !!timestamp {}", "not valid YAML"),
        ("yes: 1", "the key True is not text; write it in quotes"),
        ("output: {properties: {1: {}}}", "the key 1 is not text"),
        ("? [a]\n: 1", "not valid YAML"),
        (r'a: "\0"', "holds a character that is none"),
        ("a: 1\n---\nb: 1", "not valid YAML"),
        ("", "a recipe is a YAML mapping"),
    ],
)
def test_yaml_is_read_within_bounds(text, says):
    assert says in refusal(text)


def test_an_alias_may_repeat_a_little():
    text = yaml.safe_dump(GOOD).replace("team:", "team: &team").replace("\n", "\n", 1)
    text = (
        "name: triage\nprompt: Sort.\noutput:\n  type: object\n  properties:\n"
        "    one: &text {type: string}\n    two: *text\n    three: {<<: *text, maxLength: 5}\n"
    )
    assert set(parse(text, "good.yaml").output["properties"]["three"]) == {"type", "maxLength"}


def test_a_date_is_text():
    assert bounded_yaml.load("a: 2026-01-31") == {"a": "2026-01-31"}
    assert bounded_yaml.load("a: 2026-99-99") == {"a": "2026-99-99"}


def test_reading_a_bomb_takes_little_memory(tmp_path):
    """The peak is the process's, so it runs in one of its own."""
    path = tmp_path / "bomb.yaml"
    path.write_text(bomb(levels=12) + "\n" + yaml.safe_dump(GOOD))
    assert path.stat().st_size < 1_500
    script = (
        "import resource, sys; from pathlib import Path\n"
        "from rowfleet.errors import InputError; from rowfleet.recipes.loading import load\n"
        "load(Path(sys.argv[1])); peak = lambda: resource.getrusage(0).ru_maxrss\n"
        "before = peak()\n"
        "try: load(Path(sys.argv[2]))\n"
        "except InputError as error: print(peak() - before, error)\n"
    )
    good = Path(__file__).resolve().parents[4] / "examples" / "recipes" / "support-tickets.yaml"
    done = subprocess.run(
        [sys.executable, "-c", script, good, path], capture_output=True, text=True, check=True
    )
    grown, _, sentence = done.stdout.partition(" ")
    assert "once its aliases" in sentence
    assert int(grown) < 16 << 10  # KiB
