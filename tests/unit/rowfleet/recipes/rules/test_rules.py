"""Rules of a recipe: what is refused when it is read, and what they say of a row."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rowfleet.errors import NoTable
from rowfleet.recipes import loading
from rowfleet.recipes.rules.rewriting import Values
from rowfleet.recipes.rules.rule import Rule, Unjudged
from rowfleet.recipes.rules.shapes import ANY, TEXT, Shape, of_schema
from rowfleet.recipes.rules.syntax import Mistake
from rowfleet.recipes.rules.typing_rules import Scope
from tests.support.recipes import refusal

RECIPE = """\
name: refunds
columns: [Tax, Vendor, Net amount]
prompt: Audit the row.
output:
  type: object
  properties:
    method: {type: string, enum: [usage, headcount]}
    percent: {type: number}
    confidence: {type: integer}
    is_due: {type: boolean}
    note: {type: [string, "null"]}
    lines: {type: array, items: {type: object, properties: {amount: {type: number}}}}
checks:
  - name: sum
    that: CHECK
"""
LINE, COLUMN = 15, 11

#: A check → what is wrong in it, and at which of its characters, from 1.
WRONG = {
    "answer.metod == 'usage'": ("there is no property 'metod'; 'method' is there", 8),
    "row.Taxx > 1": ("there is no column 'Taxx'; 'Tax' is there", 5),
    "row['Net'] > 1": ("there is no column 'Net'; there are Tax, Vendor, Net amount", 5),
    "Tax > 1": ("there is no name 'Tax'; write row.Tax", 1),
    "true && x > 1": ("there is no name 'x'; there are row, answer", 9),
    "lookups.laws['x'] == 1": ("there is no name 'lookups'; there are row, answer", 1),
    "answer.method == 'usge'": (
        "'usge' is none of the values that the schema allows; 'usage' is there",
        18,
    ),
    "answer.method in ['usage', 'x']": (
        "'x' is none of the values that the schema allows; there are headcount, usage",
        28,
    ),
    "answer.percent > 'x'": ("compares a number with text", 1),
    "answer.percent == true": ("compares a number with true or false", 1),
    "answer.lines > 1": ("a list can't be compared", 1),
    "answer.percent in [true]": ("looks for a number among items that are not", 1),
    "'x' in answer.method": ("text has no items; `in` needs a list or a lookup", 8),
    "answer.percent + 1": ("gives a number; it must be true or false", 1),
    "answer.method": ("gives text; it must be true or false", 1),
    "answer.is_due && answer.note": ("has text where true or false is needed", 18),
    "!answer.note": ("has text where true or false is needed", 2),
    "answer.percent ? true : false": ("has a number where true or false is needed", 1),
    "1.0 < -answer.method": ("has text where a number is needed", 8),
    "answer.percent * answer.method > 1": ("reckons with text, which is no number", 18),
    "answer.lines.all(l, l.x > 1)": ("there is no property 'x'; there are amount", 23),
    "answer.method.all(l, l > 1)": ("all goes through a list, and this is text", 1),
    "answer.lines[answer.method] == 1": ("has text where a number is needed", 14),
    "answer.percent[0] == 1": ("a number has no parts", 1),
    "answer.percent.x == 1": ("a number has no 'x'", 16),
    "answer.note.startsWit('x')": ("there is no function 'startsWit'; 'startsWith' is there", 1),
    "answer.note.contains(1)": ("contains needs text, and this is a number", 22),
    "size(answer.percent) > 1": ("a number has no size", 6),
    "has(answer)": ("has() takes a field, such as has(answer.note)", 5),
    "answer.percent = 1": ("'=' is no operator; write ==", 16),
    "answer.percent >": ("the expression ends too early", 16),
    "{'a': 1} == {}": ("a map is not taken in a rule", 1),
}


@pytest.mark.parametrize("that", WRONG)
@pytest.mark.parametrize("written", ["plain", "quoted", "folded"])
def test_a_rule_that_cannot_be_right_is_refused_with_line_and_column(
    that: str, written: str
) -> None:
    sentence, character = WRONG[that]
    line, column = LINE, COLUMN + character - 1
    text = json.dumps(that)
    if written == "plain" and that[0] not in "'!{" and ": " not in that:
        text = that
    elif written != "folded":  # YAML takes some texts only in quotes
        column += 1
    else:
        text, line, column = f">-\n      {that}", LINE + 1, 7 + character - 1
    said = refusal(RECIPE.replace("CHECK", text))
    assert said == f"evil.yaml: checks.sum: {sentence} (line {line}, column {column})"


def test_a_rule_on_several_lines_is_placed_in_its_line() -> None:
    said = refusal(RECIPE.replace("CHECK", "|\n      answer.is_due\n      && answer.x"))
    assert said.endswith("(line 17, column 17)")
    said = refusal(RECIPE.replace("CHECK", '"answer.note == \\"\\" && answer.x"'))
    assert said.endswith("(line 15, column 42)")


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ("auto_approve: answer.confidence >= 95.0 && answer.x", "auto_approve: there is no prop"),
        ("computed: {refund: row.Tax * answer.x}", "computed.refund: there is no property 'x'"),
        ("computed: {refund: {value: 'row.Taxx', decimals: 2}}", "computed.refund: there is no co"),
        ("computed: {percent: row.Tax}", "computed names 'percent', which output asks"),
        ("computed: {a: answer.lines}", "computed.a: gives a list, which no cell can hold"),
        ("computed: {a: answer.b, b: '1'}", "computed.a: there is no property 'b'"),
        ("computed: {a: {value: '1', decimals: 12}}", "decimals"),
        ("computed: {a: {value: '1', rounding: away}}", "rounding"),
        (
            "checks: [{name: a, that: 'true'}, {name: a, that: 'true'}]",
            "checks has the name 'a' tw",
        ),
        ("checks: [{name: a, that: 'true', else: explode}]", "must be 'reask', 'review' or 'fail'"),
        ("checks: [{name: a, that: ''}]", "checks.a: is empty"),
        (f"checks: [{{name: a, that: '{'x' * 1001}'}}]", "at most 1,000 are taken"),
        ("checks: [{name: a, that: '[1].all(a, [1].all(b, true))'}]", "stands within a macro"),
        ("result_columns: {refund: X}", "result_columns names 'refund', which output does not"),
    ],
)
def test_parts_that_cannot_be_right_are_refused(more: str, sentence: str) -> None:
    said = refusal(RECIPE.partition("checks:")[0] + more)
    assert sentence in said


def test_a_recipe_comes_back_from_the_ledger_as_it_was() -> None:
    text = RECIPE.partition("checks:")[0] + (
        "checks:\n  - {name: a, that: row.Tax > 1, else: fail}\n  - {name: b, that: 'true'}\n"
        "computed: {refund: row.Tax / 2, share: {value: '1', decimals: 3}}\n"
        "auto_approve: answer.confidence > 9\nresult_columns: {refund: Refund}\n"
    )
    recipe = loading.parse(text, "r.yaml")
    snapshot = recipe.snapshot()
    assert snapshot["checks"][0]["else"] == "fail"
    assert snapshot["computed"]["refund"] == {"value": "row.Tax / 2"}
    again = loading.again(json.loads(json.dumps(snapshot)), "b")
    assert again == recipe
    assert again.canonical() == recipe.canonical()
    assert list(recipe.headers().values())[-2:] == ["Refund", "AI_Share"]


def test_a_recipe_without_rules_is_recorded_as_before() -> None:
    snapshot = loading.parse(RECIPE.partition("checks:")[0], "r.yaml").snapshot()
    assert not {"checks", "computed", "auto_approve"} & set(snapshot)


SCOPE = Scope(
    {
        "row": Shape("object", {"a": ANY, "b": ANY}, noun="column"),
        "answer": of_schema(
            {
                "type": "object",
                "properties": {
                    "x": {"type": "number"},
                    "y": {"type": "number"},
                    "text": {"type": ["string", "null"]},
                    "items": {
                        "type": "array",
                        "items": {"type": "object", "properties": {"p": {"type": "number"}}},
                    },
                },
            }
        ),
        "name": TEXT,
    }
)
ANSWER = {"x": 0.1, "y": 0.2, "text": "RCW 82", "items": [{"p": 0.1}, {"p": 0.2}]}


def evaluated(source: str, **row: Any) -> Any:
    values = Values({"row": {"a": None, "b": None, **row}, "answer": ANSWER, "name": "n"})
    return Rule(source, SCOPE).value(values)


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("answer.x + answer.y == 0.3", True),  # doubles: 0.30000000000000004
        ("answer.x * 3 <= 0.3", True),
        ("0.3 >= answer.x + answer.y", True),
        ("answer.x + answer.y - 0.3 == 0", True),
        ("answer.items.all(i, i.p * 3 - i.p * 2 == i.p)", True),
        ("answer.items.exists(i, i.p + answer.x == 0.3)", True),
        ("-answer.x + answer.y == answer.x", True),
        ("row.a + ' ' + row.b == 'x y'", True),
        ("answer.text + row.a == 'RCW 82x'", True),
        ("row.a == 'x' ? 'yes' : 'no'", "yes"),
        ("answer.text.startsWith('RCW') && size(answer.items) == 2", True),
        ("row.missing == null || true", None),
        ("[1, 2].exists(n, n == size(answer.items))", True),
        ("answer.items[0].p == answer.x", True),
        ("-1 < 0 && !(2 < 1) && 'a' in ['a']", True),
        ("has(answer.text)", True),
    ],
)
def test_rules_are_cel_with_exact_amounts(source: str, value: Any) -> None:
    if value is None:
        with pytest.raises(Mistake):
            evaluated(source, a="x", b="y")
        return
    assert evaluated(source, a="x", b="y") == value


@pytest.mark.parametrize(
    ("source", "row", "reason"),
    [
        ("row.a * 2 > 1", {}, "row.a is blank"),
        ("row.a * row.b > 1", {"a": 1.0, "b": "x"}, "row.b is no number"),
        ("row.a < 1 && row.b < 2", {}, "row.a and row.b are blank"),
        ("row.a < 1", {"a": "x"}, "values have other types than it compares"),
        ("1 / row.a > 1", {"a": 0.0}, "it divides by zero"),
        ("answer.items[7].p > 1", {}, "it names what is not there"),
        ("row.a", {"a": [1]}, "it is neither a number nor text"),
    ],
)
def test_a_row_that_a_rule_cannot_be_applied_to_says_why(
    source: str, row: dict[str, Any], reason: str
) -> None:
    with pytest.raises(Unjudged, match=reason):
        evaluated(source, **row)


def test_what_is_not_needed_may_be_blank() -> None:
    assert evaluated("row.a == null || row.a * 2 > 1") is True
    assert evaluated("row.b == 0.0 ? 0.0 : row.a / row.b", b=0.0) == 0


def test_without_columns_a_rule_is_checked_against_the_header() -> None:
    text = RECIPE.replace("columns: [Tax, Vendor, Net amount]\n", "")
    recipe = loading.parse(text.replace("CHECK", "row.Tax > 1 && row.Paid"), "r.yaml")
    assert recipe.match_columns(("Tax", "Paid"), "a.csv") == {"Tax": 0, "Paid": 1}
    with pytest.raises(NoTable, match=r"a\.csv: a rule of .* names the column 'Paid'"):
        recipe.match_columns(("Tax", "Vendor"), "a.csv")
