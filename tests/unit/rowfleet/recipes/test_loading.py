"""A recipe that is wrong is refused with a sentence that names what is."""

from pathlib import Path

import pytest
import yaml

from rowfleet.errors import InputError
from rowfleet.recipes.loading import bundled, bundled_text, load, parse
from rowfleet.recipes.recipe import DEFAULT_RECIPE

EXAMPLES = Path(__file__).resolve().parents[4] / "examples" / "recipes"

GOOD = {
    "name": "triage",
    "columns": ["Subject", {"name": "Body", "aliases": ["Message"]}],
    "prompt": "Sort tickets for {product}.",
    "variables": {"product": "Lagoon"},
    "output": {"type": "object", "properties": {"team": {"type": "string"}}},
}


def recipe(**changes):
    return parse(yaml.safe_dump({**GOOD, **changes}, sort_keys=False), "triage.yaml")


def refusal(**changes):
    with pytest.raises(InputError) as error:
        recipe(**changes)
    assert error.value.exit_code == 2
    sentence = str(error.value)
    assert sentence.startswith("triage.yaml: ")
    assert "\n" not in sentence
    return sentence


def test_the_bundled_recipe_stands_up_to_the_checks_that_it_is_spared() -> None:
    assert parse(bundled_text(), "the recipe") == bundled()


def test_the_default_recipe_is_valid():
    default = bundled()
    assert default.name == DEFAULT_RECIPE
    assert [column.name for column in default.columns if column.required] == [
        "Vendor",
        "Invoice_Number",
        "Date",
        "Description",
        "Amount",
        "Tax",
    ]
    assert list(default.headers().values()) == [
        "AI_Refund_Eligible",
        "AI_Basis",
        "AI_Estimated_Refund",
        "AI_Confidence",
        "AI_Explanation",
    ]
    # Strict already, so that what is validated here is what the API is given.
    assert default.strict_schema() == default.output


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.name)
def test_every_example_recipe_is_valid(path):
    assert load(path).instructions()


def test_a_broken_schema_is_named_where_it_breaks():
    broken = {"type": "object", "properties": {"team": {"type": "strin"}}}
    assert "output: not a JSON schema, at properties/team/type: " in refusal(output=broken)


@pytest.mark.parametrize("output", [{"type": "string"}, {"type": "object"}, {}])
def test_an_output_that_is_no_object_is_refused(output):
    assert 'output: must be a JSON schema with "type: object"' in refusal(output=output)


def test_an_unknown_field_is_named():
    assert "promt" in refusal(promt="x")


def test_an_unknown_option_is_named():
    assert "options.temprature" in refusal(options={"temprature": 1})


def test_a_missing_field_is_named():
    with pytest.raises(InputError, match="prompt: is missing"):
        parse(yaml.safe_dump({k: v for k, v in GOOD.items() if k != "prompt"}), "triage.yaml")


def test_an_unknown_placeholder_is_named():
    assert "{prodct} is not in variables" in refusal(prompt="For {prodct}.")


def test_a_placeholder_that_names_a_column_says_where_cells_go():
    sentence = refusal(prompt="Sort {Subject}.")
    assert "cells are sent beside the prompt" in sentence
    assert "the Subject column" in sentence


@pytest.mark.parametrize(
    "prompt", ["{product.__class__}", "{product!r}", "{product:>9}", "{}", "{0}"]
)
def test_a_placeholder_is_only_a_name(prompt):
    assert "must be a plain name from variables" in refusal(prompt=prompt)


def test_a_lone_brace_says_how_to_write_one():
    assert "write a literal brace as {{ or }}" in refusal(prompt="a { b")


def test_variables_are_filled_in_and_double_braces_are_braces():
    assert recipe(prompt="{product}: {{x}}").instructions() == "Lagoon: {x}"


@pytest.mark.parametrize(
    "columns",
    [
        ["Body", "Body"],
        ["Invoice Number", "invoice_number"],
        ["Body", {"name": "Text", "aliases": ["body"]}],
    ],
)
def test_a_column_named_twice_is_refused(columns):
    assert "twice" in refusal(columns=columns)


def test_identity_is_made_of_columns():
    assert "identity names 'From', which is not one of the columns" in refusal(identity=["From"])


def test_result_columns_are_of_the_output_and_differ():
    assert "names 'tame', which output does not have" in refusal(result_columns={"tame": "X"})
    output = {"type": "object", "properties": {"a": {}, "b": {}}}
    twice = refusal(output=output, result_columns={"a": "X", "b": "X"})
    assert "gives the header 'X' twice" in twice


def test_a_header_is_made_from_the_property():
    assert recipe().headers() == {"team": "AI_Team"}
    assert recipe(result_columns={"team": "Owner"}).headers() == {"team": "Owner"}


@pytest.mark.parametrize(
    "header", [("subject", "BODY"), (" Sub ject ", "bo-dy"), ("SUBJECT", "message")]
)
def test_columns_match_whatever_their_case_and_spaces(header):
    assert recipe().match_columns(header, "t.xlsx") == {"Subject": 0, "Body": 1}


def test_a_columns_name_is_preferred_to_its_alias():
    header = ("Message", "Subject", "Body")
    assert recipe().match_columns(header, "t.xlsx") == {"Subject": 1, "Body": 2}


def test_the_first_of_two_like_columns_is_taken():
    assert recipe().match_columns(("Body", "Subject", "body"), "t.xlsx") == {
        "Subject": 1,
        "Body": 0,
    }


def test_missing_columns_are_named_all_at_once():
    with pytest.raises(InputError) as error:
        recipe().match_columns(("From", "Date"), "t.xlsx, sheet Tickets")
    sentence = str(error.value)
    assert sentence.startswith("t.xlsx, sheet Tickets: ")
    assert "needs the columns Subject, Body" in sentence
    assert "From, Date" in sentence


def test_an_optional_column_may_be_missing():
    optional = recipe(columns=["Subject", {"name": "Plan", "required": False}])
    assert optional.match_columns(("Subject",), "t.xlsx") == {"Subject": 0}


def test_without_columns_the_whole_row_is_sent():
    assert recipe(columns=[]).match_columns(("A", "b c"), "t.xlsx") == {"A": 0, "b c": 1}


def test_the_strict_schema_is_closed_at_every_level():
    inner = {"type": "object", "properties": {"x": {"type": "integer"}}}
    output = {
        "type": "object",
        "properties": {"one": inner, "many": {"type": "array", "items": inner}},
        "required": ["one"],
    }
    strict = recipe(output=output).strict_schema()
    closed = {**inner, "additionalProperties": False, "required": ["x"]}
    assert strict["required"] == ["one", "many"]
    assert strict["additionalProperties"] is False
    assert strict["properties"] == {"one": closed, "many": {"type": "array", "items": closed}}


def test_a_property_may_be_called_properties():
    # "properties" is a keyword only where a schema stands, not where its properties' names do.
    output = {"type": "object", "properties": {"properties": {"type": "object", "properties": {}}}}
    strict = recipe(output=output).strict_schema()
    assert set(strict["properties"]) == {"properties"}


def test_equal_recipes_have_the_same_canonical_text():
    assert recipe().canonical() == recipe(description="").canonical()
    assert recipe().canonical() != recipe(prompt="Other.").canonical()


def test_unreadable_files_are_named(tmp_path):
    for name, content, says in (
        ("none.yaml", None, "no such recipe file"),
        ("list.yaml", b"- a", "a recipe is a YAML mapping"),
        ("broken.yaml", b"a: [", "not valid YAML"),
        ("binary.yaml", b"\xff\xfe\x00", "is not UTF-8 text"),
        ("large.yaml", b"#" * (1 << 20) + b"\n#", "larger than 1 MiB"),
    ):
        path = tmp_path / name
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(InputError, match=says) as error:
            load(path)
        assert str(error.value).startswith(str(path))


def test_yaml_cannot_make_objects():
    with pytest.raises(InputError, match="not valid YAML"):
        parse("name: !!python/object/apply:os.getcwd []", "evil.yaml")


WRONG = """\
name: My Recipe
promt: |
  hello
columns:
  - name: A
    alias: [B]
options: {temprature: 1}
variables:
  x: [1]
output: {type: object, properties: {a: {type: string}}}
identity: 3
"""


@pytest.mark.parametrize(
    "said",
    [
        "prompt: is missing;",
        "name: is 'My Recipe'; use up to 63 lower-case letters, digits and dashes",
        "promt: there is no such field; did you mean prompt? (line 2);",
        "columns.0.alias: there is no such field; did you mean aliases? (line 6);",
        "options.temprature: there is no such field; did you mean temperature? (line 7);",
    ],
)
def test_what_is_wrong_is_said_with_field_line_and_what_belongs_there(said: str) -> None:
    with pytest.raises(InputError) as caught:
        parse(WRONG, "mine.yaml")
    sentence = str(caught.value)
    assert sentence.startswith("mine.yaml: ")
    assert said in sentence
    assert "and 2 more" in sentence


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("xyz: 1", "xyz: there is no such field; there are name, description, analyzer"),
        ("model: 5", "model: must be text"),
        ("columns: A", "columns: must be a list (line 4)"),
        ("options: high", "options: must be a mapping of names to values (line 4)"),
        ("options: {reasoning_effort: hi}", "is 'hi', must be 'none', 'minimal'"),
        ("options: {temperature: 3}", "options.temperature: should be less than or equal to 2"),
        ("variables: {x: [1]}", "variables.x: must be text or a number (line 4)"),
        ("columns: [{name: A, required: often}]", "columns.0.required: must be true or false"),
        ("columns: [{aliases: [B]}]", "columns.0.name: is missing (line 4)"),
        ("analyzer: rule", "analyzer: is 'rule', must be 'openai' or 'rules' (line 4)"),
    ],
)
def test_pydantics_words_are_not_shown(line: str, said: str) -> None:
    text = f"name: x\nprompt: p\noutput: {{type: object, properties: {{a: {{}}}}}}\n{line}"
    with pytest.raises(InputError) as caught:
        parse(text, "mine.yaml")
    assert said in str(caught.value)
    assert "nput" not in str(caught.value)
