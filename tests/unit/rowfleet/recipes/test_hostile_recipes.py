"""A recipe from anybody costs what a page of text costs, and reaches nothing outside itself."""

import http.server
import json
import os
import re
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import pytest
import yaml

from rowfleet.errors import InputError
from rowfleet.recipes import bounded_yaml, loading, patterns, schema
from rowfleet.recipes.loading import load, parse
from rowfleet.recipes.recipe import Recipe

GOOD = {
    "name": "triage",
    "columns": ["Subject"],
    "prompt": "Sort tickets for {product}.",
    "variables": {"product": "Lagoon"},
    "output": {"type": "object", "properties": {"team": {"type": "string"}}},
}
TEAM = {"type": "string"}


def output(team=TEAM, **beside):
    return {"type": "object", "properties": {"team": team}, **beside}


def refusal(text):
    with pytest.raises(InputError) as error:
        parse(text, "evil.yaml")
    sentence = str(error.value)
    assert sentence.startswith("evil.yaml: ")
    assert "\n" not in sentence
    assert len(sentence) < 500
    assert error.value.exit_code == 2
    return sentence


def refused_output(schema):
    return refusal(json.dumps({**GOOD, "output": schema}))


def recorded(schema):
    """The recipe as a worker would get it from a ledger whose submitter checked nothing."""
    made = loading.recorded({**GOOD, "output": schema})
    assert made.output == schema
    return made


def with_output(schema):
    return parse(json.dumps({**GOOD, "output": schema}), "good.yaml")


# --- references


@pytest.mark.parametrize(
    "reference",
    [
        "file:///etc/hostname",
        "http://169.254.169.254/latest/meta-data/",
        "https://json-schema.org/draft/2020-12/schema",
        "other.json",
        "//host/x",
        "other.json#/properties/team",
        "",
        " #/properties/team",
        "#/proper\tties/team",
    ],
)
def test_a_reference_that_leaves_the_schema_is_refused(reference):
    sentence = refused_output(output({"$ref": reference}))
    assert "output: at properties/team/$ref: a reference stays inside the schema" in sentence


@pytest.mark.parametrize(
    ("place", "beside"),
    [
        ("items", {"type": "array", "items": {"$ref": "file:///x"}}),
        ("not", {"not": {"$ref": "file:///x"}}),
        ("anyOf/1", {"anyOf": [{}, {"$ref": "file:///x"}]}),
        ("if", {"if": {"$ref": "file:///x"}}),
        ("$defs/a", {"$defs": {"a": {"$ref": "file:///x"}}}),
        ("dependentSchemas/a", {"dependentSchemas": {"a": {"$ref": "file:///x"}}}),
        ("patternProperties/a", {"patternProperties": {"a": {"$ref": "file:///x"}}}),
        ("additionalProperties", {"additionalProperties": {"$ref": "file:///x"}}),
        ("propertyNames", {"propertyNames": {"$ref": "file:///x"}}),
        ("contains", {"contains": {"$ref": "file:///x"}}),
        ("prefixItems/0", {"prefixItems": [{"$ref": "file:///x"}]}),
    ],
)
def test_a_reference_is_found_wherever_a_schema_may_stand(place, beside):
    assert f"at properties/team/{place}/$ref: " in refused_output(output(beside))


@pytest.mark.parametrize(
    "keyword", ["$id", "$dynamicRef", "$dynamicAnchor", "$recursiveRef", "$vocabulary"]
)
def test_keywords_that_move_or_leave_the_schema_are_refused(keyword):
    sentence = refused_output(output({keyword: "http://127.0.0.1:9/x"}))
    assert f"at properties/team/{keyword}: is not taken" in sentence


@pytest.mark.parametrize(
    ("team", "says"),
    [
        ({"enmu": ["a"]}, "enmu: there is no such keyword; did you mean enum?"),
        ({"anyOf": [{}, {"maxLenght": 3}]}, "anyOf/1/maxLenght: there is no such keyword; did "),
        ({"items": {"Type": "string"}}, "items/Type: there is no such keyword; did you mean type?"),
        ({"q" * 500: 1}, "q: there is no such keyword ("),
        ({"nullable": True}, 'nullable: is not of JSON schema 2020-12; use type: [string, "null"]'),
        ({"additionalItems": False}, "additionalItems: is not of JSON schema 2020-12; use items"),
    ],
)
def test_an_unknown_keyword_is_refused_with_the_nearest(team, says):
    sentence = refused_output(output(team))
    assert "output: at properties/team/" in sentence
    assert says in sentence


def test_annotations_and_names_are_no_unknown_keywords():
    marks = {"title": "T", "description": "d", "examples": ["a"], "default": "a", "$comment": "c"}
    marks |= {"deprecated": True, "readOnly": True, "writeOnly": False, "format": "date"}
    marks |= {"contentEncoding": "base64", "contentMediaType": "text/plain", "x-unit": "EUR"}
    inner = {"type": "object", "properties": {"enmu": TEAM}, "const": {"enmu": "a"}}
    assert with_output(output(inner, **marks))


def test_a_recorded_batch_goes_on_whatever_its_keywords():
    snapshot = {**GOOD, "output": output({"enmu": ["a"]})}
    assert loading.again(snapshot, "b-1").problem_with({"team": "b"}) is None
    assert recorded(snapshot["output"]).headers() == {"team": "AI_Team"}
    assert Recipe.model_validate(snapshot)  # as a worker does


def test_another_dialect_is_refused():
    assert "at $schema: must be https://json-schema.org/draft/2020-12/schema" in refused_output(
        output(**{"$schema": "http://127.0.0.1:9/dialect"})
    )
    assert with_output(output(**{"$schema": schema.DIALECT})).problem_with({"team": "a"}) is None


@pytest.mark.parametrize(
    "reference", ["#/$defs/nothing", "#name", "#/properties", "#/examples/0", "#/properties/team/x"]
)
def test_a_reference_leads_to_a_schema(reference):
    # What stands under `examples` is data, which could hold a reference of its own.
    found = refused_output(output({"$ref": reference}, examples=[{"$ref": "file:///x"}]))
    assert f"$ref: {reference!r} leads to no schema in here" in found


@pytest.mark.parametrize(
    "circle",
    [
        output({"$ref": "#/properties/team"}),
        {"type": "object", "properties": {"team": TEAM}, "$ref": "#"},
        output(
            {"$ref": "#/$defs/a"}, **{"$defs": {"a": {"allOf": [{"$ref": "#/properties/team"}]}}}
        ),
        output({"not": {"$ref": "#/properties/team"}}),
        output({"if": {"$ref": "#/properties/team"}, "then": TEAM}),
    ],
)
def test_a_reference_in_a_circle_is_refused(circle):
    assert "$ref: leads back to itself" in refused_output(circle)


def test_references_that_multiply_are_refused():
    doubling = {
        f"a{n}": {"allOf": [{"$ref": f"#/$defs/a{n + 1}"}, {"$ref": f"#/$defs/a{n + 1}"}]}
        for n in range(40)
    }
    found = refused_output(output({"$ref": "#/$defs/a0"}, **{"$defs": {**doubling, "a40": TEAM}}))
    assert "more than 1,000 schemas apply to one value" in found


def test_references_inside_the_schema_are_followed():
    tree = with_output(
        {
            "type": "object",
            "properties": {
                "name": {"$ref": "#/$defs/text"},
                "kind": {"$ref": "#kind"},
                "parts": {"type": "array", "items": {"$ref": "#"}},
            },
            "$defs": {"text": TEAM, "kinds": {"$anchor": "kind", "enum": ["a", "b"]}},
        }
    )
    leaf = {"name": "x", "kind": "a", "parts": []}
    assert tree.problem_with({**leaf, "parts": [leaf, leaf]}) is None
    assert "parts/0/kind" in tree.problem_with({**leaf, "parts": [{**leaf, "kind": "c"}]})
    assert "parts/0/name" in tree.problem_with({**leaf, "parts": [{**leaf, "name": 1}]})


def test_a_property_may_be_called_as_a_keyword_is():
    named = with_output(output({"type": "object", "properties": {"$ref": TEAM, "$id": TEAM}}))
    assert named.problem_with({"team": {"$ref": "file:///x", "$id": "x"}}) is None


def test_a_worker_resolves_nothing_elsewhere(tmp_path):
    asked = []

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *_):
            pass

    secret = tmp_path / "secret.json"
    secret.write_text('{"const": "s3cret"}')
    server = http.server.HTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        for reference in (f"http://127.0.0.1:{server.server_port}/x", secret.as_uri()):
            snapshot = {**GOOD, "output": output({"$ref": reference})}
            with pytest.raises(InputError, match="a reference stays inside the schema"):
                loading.again(snapshot, "b-1")
            try:
                said = recorded(snapshot["output"]).problem_with({"team": "x"})
            except Exception as error:
                said = str(error)
            assert "s3cret" not in str(said)
    finally:
        server.shutdown()
        server.server_close()
    assert asked == []


def test_answers_of_a_batch_are_read_with_a_recipe_that_is_no_longer_taken():
    old = recorded(output({"pattern": "(?=a)b"}))
    assert old.headers() == {"team": "AI_Team"}


# --- patterns


@pytest.mark.parametrize(
    "pattern", ["^(a+)+$", "^(a|a)*$", "^(.*a){12}$", "(x+x+)+y", "^([a-z]+)*[0-9]$"]
)
def test_a_pattern_is_matched_in_linear_time(pattern):
    # Python's `re` needs hours for it, and pytest's own limit ends the test.
    limited = with_output(output({"type": "string", "pattern": pattern}))
    assert "does not match" in limited.problem_with({"team": "a" * 20_000 + "!"})
    by_name = with_output(output({"type": "object", "patternProperties": {pattern: False}}))
    assert by_name.problem_with({"team": {"a" * 20_000 + "!": 1}}) is None
    closed = with_output(
        output(
            {"type": "object", "patternProperties": {pattern: {}}, "additionalProperties": False}
        )
    )
    assert "is not one of" in closed.problem_with({"team": {"a" * 20_000 + "!": 1}})


@pytest.mark.parametrize(
    ("pattern", "says"),
    [
        ("(?=a)b", "there is no look-around"),
        ("(?<!a)b", "there is no look-around"),
        (r"(a)\1", "backreferences are not supported"),
        ("(a", "unclosed group"),
        ("a)|(b", "closes no group"),
        ("[a", "is written with a \\ before it"),
        ("[][a{999}]{999}", "is written with a \\ before it"),
        ("(?x)a{ 9 }", "is not taken"),
        ("(?:a{1,60}){60}", "stands for"),
        ("a{0,999999}", "stands for"),
        ("(?:^){900000}", "stands for"),
        (r"\w{500}", "too much memory"),
        (r"\p{L}{1000}", "too much memory"),
    ],
)
def test_a_pattern_that_cannot_be_matched_so_is_refused(pattern, says):
    for keyword, value in (("pattern", pattern), ("patternProperties", {pattern: {}})):
        sentence = refused_output(output({keyword: value}))
        assert f"at properties/team/{keyword}: " in sentence
        assert says in sentence


@pytest.mark.parametrize(
    ("pattern", "good", "bad"),
    [
        (r"^\d{4}-\d{2}-\d{2}$", "2026-01-31", "2026-1-31"),
        (r"^[A-Z]{2}[0-9]{2}[A-Z0-9]{11,30}$", "DE02120300000000202051", "DE0212"),
        (r"^[^@\s]+@[^@\s]+\.[a-z]{2,}$", "a@b.com", "a@b"),
        ("(?i)^(yes|no)$", "YES", "maybe"),
        (r"^\w{1,40}$", "Größe", "a b"),
        ("b", "abc", "acd"),
        (r"^[\[\]{}]+$", "[{}]", "()"),
        ("^a$", "a", "a\n"),
        ("^.{1,1500}$", "x" * 1500, "x" * 1501),
    ],
)
def test_usual_patterns_work(pattern, good, bad):
    limited = with_output(output({"type": "string", "pattern": pattern}))
    assert limited.problem_with({"team": good}) is None
    assert "does not match" in limited.problem_with({"team": bad})


def test_a_text_too_long_for_a_cell_matches_no_pattern():
    matcher = patterns.compiled("a")
    assert matcher.is_in("a" * patterns.MAX_TEXT)
    assert not matcher.is_in("a" * (patterns.MAX_TEXT + 1))


def test_too_many_patterns_are_refused():
    many = {str(n): {"pattern": f"{n}a"} for n in range(schema.MAX_PATTERNS + 1)}
    assert "more than 32 different patterns" in refused_output(
        output({"type": "object", "properties": many})
    )


# --- sizes


@pytest.mark.parametrize(
    ("team", "says"),
    [
        ({"enum": list(range(1001))}, "has 1,001 enum values"),
        ({"enum": ["x" * 60_000, "y" * 60_001]}, "characters in names, enum values"),
        ({"const": "x" * 120_001}, "characters in names, enum values"),
        ({"minLength": 1e9}, "at properties/team/minLength: asks for more than 32,767"),
        ({"minItems": 100_000}, "at properties/team/minItems: asks for more"),
        ({"properties": {f"p{n}": {} for n in range(5000)}}, "has 5,001 properties"),
        ({"anyOf": [{}] * 10_000}, "has more than 10,000 schemas"),
        ({"anyOf": [{}] * 1_001}, "more than 1,000 schemas apply to one value"),
    ],
)
def test_a_schema_is_bounded(team, says):
    assert says in refused_output(output(team))


def test_a_deep_schema_is_refused():
    deep = TEAM
    for _ in range(schema.MAX_DEPTH):
        deep = {"items": deep}
    assert "nested more than 32 levels deep" in refused_output(output(deep))


def test_a_prompt_is_bounded_with_its_variables():
    grown = {**GOOD, "variables": {"product": "x" * 100_000}, "prompt": "{product}" * 11}
    assert "prompt: has more than 1,048,576 characters" in refusal(json.dumps(grown))
    bomb = {**GOOD, "variables": {"product": "x" * 500_000}, "prompt": "{product}" * 50_000}
    assert "prompt: has more than 1,048,576 characters" in refusal(json.dumps(bomb))


def test_columns_are_bounded():
    many = {**GOOD, "columns": [{"name": "A", "aliases": [str(n) for n in range(16_384)]}]}
    assert "columns has more than 16,384 names and aliases" in refusal(json.dumps(many))


KEYWORDS = (
    "$ref $anchor $schema enum const pattern patternProperties properties anyOf items not "
    "minLength $defs dependentSchemas required type multipleOf uniqueItems"
)


@pytest.mark.parametrize("value", [True, 1, "x", None, [], {}])
@pytest.mark.parametrize("keyword", KEYWORDS.split())
def test_a_wrong_type_in_a_schema_is_a_sentence(keyword, value):
    with suppress(InputError):
        assert with_output(output({keyword: value})).problem_with({"team": 1}) is not Ellipsis


# --- answers


def test_an_answer_takes_a_bounded_number_of_steps():
    # Two references a level: an answer of 25 levels would take 2**25 checks.
    doubling = with_output(
        {
            "type": "object",
            "properties": {"a": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/twice"}]}},
            "$defs": {
                "twice": {
                    "allOf": [
                        {"type": "object", "properties": {"b": {"$ref": "#/$defs/maybe"}}},
                        {"type": "object", "properties": {"b": {"$ref": "#/$defs/maybe"}}},
                    ]
                },
                "maybe": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/twice"}]},
            },
        }
    )
    answer = None
    for _ in range(25):
        answer = {"b": answer}
    assert "takes too long to check" in doubling.problem_with({"a": answer})


def test_a_large_answer_is_checked():
    table = with_output(
        output({"type": "array", "items": {"type": "object", "properties": {"a": TEAM, "b": TEAM}}})
    )
    rows = [{"a": "x", "b": "y"}] * 5_000
    assert table.problem_with({"team": rows}) is None
    assert "team/5000/b" in table.problem_with({"team": [*rows, {"a": "x", "b": 1}]})


def test_items_are_compared_in_linear_time():
    unique = with_output(output({"type": "array", "uniqueItems": True}))
    items = [{"a": [number], "b": True} for number in range(20_000)]
    assert unique.problem_with({"team": items}) is None
    assert "twice" in unique.problem_with({"team": [*items, {"b": True, "a": [0.0]}]})
    assert unique.problem_with({"team": [True, 1, [1], {"a": 1}, "1", None]}) is None


@pytest.mark.parametrize("number", [10**400, float("nan"), float("inf")])
def test_a_number_that_cannot_be_divided_does_not_fit(number):
    halves = with_output(output({"type": "number", "multipleOf": 0.5}))
    assert halves.problem_with({"team": number}) is not None
    assert halves.problem_with({"team": 1.5}) is None


def test_a_deep_answer_does_not_fit():
    tree = with_output(
        {
            "type": "object",
            "properties": {"a": {"type": ["object", "null"]}},
            "$defs": {},
            "additionalProperties": False,
        }
    )
    nested = with_output(output({"type": "array", "items": {"$ref": "#/properties/team"}}))
    deep = []
    for _ in range(3_000):
        deep = [deep]
    assert "nested too deeply" in nested.problem_with({"team": deep})
    assert tree.problem_with({"a": None}) is None


# --- YAML


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


# --- the file


@pytest.mark.parametrize("name", ["folder", "pipe", "/dev/zero"])
def test_a_recipe_is_a_regular_file(tmp_path, name):
    path = tmp_path / name
    if name == "folder":
        path.mkdir()
    elif name == "pipe":
        os.mkfifo(path)
    with pytest.raises(InputError) as error:
        load(path)
    assert re.match(rf"{path}: (is a directory|not a regular file|can't be read)", str(error.value))


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
