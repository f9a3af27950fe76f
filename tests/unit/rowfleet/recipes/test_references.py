"""References in a recipe's schema stay in it, lead somewhere, and never in a circle."""

from __future__ import annotations

import http.server
import threading

import pytest

from rowfleet.errors import InputError
from rowfleet.recipes import loading, schema
from rowfleet.recipes.recipe import Recipe
from tests.support.recipes import GOOD, TEAM, output, recorded, refused_output, with_output


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
