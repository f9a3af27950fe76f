"""What Kubernetes and KEDA take for a valid object: each field known, each value of its type.

Kubernetes' schemas are those it publishes. KEDA's come from its resource definitions too, by way of
a package that writes them out as Python classes; they are read here, not run.
"""

from __future__ import annotations

import ast
import functools
import json
import re
from typing import Any

import jsonschema
from jsonschema import Draft202012Validator
from kubernetes_validate import utils as kubernetes
from referencing import Registry, Resource

from tests.support import tools
from tests.support.chart import helm
from tests.support.chart.helm import Manifest

Schema = dict[str, Any]

#: A field's constraints in KEDA's classes, and what JSON schema calls them.
CONSTRAINTS = {
    "ge": "minimum",
    "le": "maximum",
    "gt": "exclusiveMinimum",
    "lt": "exclusiveMaximum",
    "pattern": "pattern",
    "min_length": "minLength",
    "max_length": "maxLength",
}
SCALARS = {
    "str": {"type": "string"},
    "int": {"type": "integer"},
    "float": {"type": "number"},
    "bool": {"type": "boolean"},
    "AwareDatetime": {"type": "string"},
    "Any": {},
}


def kubernetes_versions() -> list[str]:
    """Return the oldest Kubernetes that the chart is for, and the newest with a known schema."""
    oldest = re.search(r"\d+\.\d+\.\d+", helm.about()["kubeVersion"])
    assert oldest is not None
    return [oldest[0], kubernetes.latest_version()]


def errors(manifest: Manifest, version: str) -> list[str]:
    """Return what Kubernetes ``version``, or KEDA, would refuse in ``manifest``."""
    return list(_errors(json.dumps(manifest, sort_keys=True), version))


@functools.cache
def _errors(text: str, version: str) -> tuple[str, ...]:
    manifest = json.loads(text)
    api_version, kind = manifest["apiVersion"], manifest["kind"]
    if api_version.startswith("keda.sh/"):
        found = [
            *_validator(version, "objectmeta-meta-v1").iter_errors(manifest["metadata"]),
            *_keda(kind).iter_errors(manifest),
        ]
    else:
        group = re.sub(r"^([^./]*)[^/]*/", r"\1-", api_version)
        try:
            validator = _validator(version, f"{kind.lower()}-{group}")
        except FileNotFoundError:
            return (f"{kind}: Kubernetes {version} has none in {api_version}",)
        found = list(validator.iter_errors(manifest))
    return tuple(f"{kind} {error.json_path}: {error.message[:300]}" for error in found)


@functools.cache
def _validator(version: str, name: str) -> Draft202012Validator:
    schema = kubernetes.schema_contents(f"{_folder(version)}/{name}.json", version)
    return Draft202012Validator(schema, registry=_definitions(version))


@functools.cache
def _definitions(version: str) -> Registry[Schema]:
    contents = kubernetes.schema_contents(f"{_folder(version)}/_definitions.json", version)
    return Resource.from_contents(contents) @ Registry()


def _folder(version: str) -> str:
    return f"kubernetes-json-schema/v{version}-local-strict"


@functools.cache
def _keda(kind: str) -> Draft202012Validator:
    schema = {"$ref": f"#/$defs/{kind}", "$defs": _keda_definitions()}
    assert kind in schema["$defs"], f"KEDA has no {kind}"
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


@functools.cache
def _keda_definitions() -> dict[str, Schema]:
    module = ast.parse(tools.keda_types().read_text("utf-8"))
    # Its metadata is the same as any object's, and looked at as such.
    definitions: dict[str, Schema] = {"ObjectMeta": {"type": "object"}}
    for node in module.body:
        if isinstance(node, ast.ClassDef):
            definitions[node.name] = _class(node)
    return definitions


def _class(node: ast.ClassDef) -> Schema:
    properties: dict[str, Schema] = {}
    # An object's own version and kind have a default in Python, and none in YAML.
    whole_object = ast.unparse(node.bases[0]) == "Resource"
    required = ["apiVersion", "kind"] if whole_object else []
    for field in node.body:
        if (
            not isinstance(field, ast.AnnAssign)
            or ast.unparse(field.annotation) == "ClassVar[dict]"
        ):
            continue
        assert isinstance(field.target, ast.Name)
        schema, alias = _type(field.annotation)
        if field.target.id == "root":
            return schema
        name = alias or field.target.id
        properties[name] = schema
        if field.value is None:
            required.append(name)
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


def _type(node: ast.expr) -> tuple[Schema, str | None]:
    """Return the schema of an annotation, and the name the field has in YAML if it says one.

    A value that may be None may be left out there; it may not be null.
    """
    match node:
        case ast.Name(name):
            return SCALARS.get(name, {"$ref": f"#/$defs/{name}"}), None
        case ast.BinOp(ast.expr() as left, ast.BitOr(), ast.Constant(None)):
            return _type(left)
        case ast.BinOp(ast.expr() as left, ast.BitOr(), ast.expr() as right):
            return {"anyOf": [_type(left)[0], _type(right)[0]]}, None
        case ast.Subscript(ast.Name("list"), item):
            return {"type": "array", "items": _type(item)[0]}, None
        case ast.Subscript(ast.Name("dict"), ast.Tuple([ast.Name("str"), item])):
            return {"type": "object", "additionalProperties": _type(item)[0]}, None
        case ast.Subscript(ast.Name("Literal"), choices):
            given = ast.literal_eval(choices)
            return {"enum": list(given) if isinstance(given, tuple) else [given]}, None
        case ast.Subscript(ast.Name("Annotated"), ast.Tuple([inner, ast.Call(keywords=words)])):
            schema, alias = _type(inner)
            return _constrained(schema, words), _said(words).get("alias", alias)
    raise jsonschema.SchemaError(f"can't read KEDA's type {ast.unparse(node)}")


def _constrained(schema: Schema, words: list[ast.keyword]) -> Schema:
    said = {CONSTRAINTS[k]: v for k, v in _said(words).items() if k not in ("alias", "description")}
    if schema.get("type") == "array":
        said = {key.replace("Length", "Items"): value for key, value in said.items()}
    return {**schema, **said}


def _said(words: list[ast.keyword]) -> dict[str, Any]:
    return {str(word.arg): ast.literal_eval(word.value) for word in words}
