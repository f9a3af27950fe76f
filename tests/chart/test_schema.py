"""values.schema.json and the chart's own checks refuse typos, wrong types and contradictions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator

from rowfleet.settings import Settings
from tests.chart.test_changes import merged
from tests.support.chart import helm
from tests.support.chart.cases import SENTINEL
from tests.support.chart.helm import HelmError, Values

KEY: Values = {"openai": {"existingSecret": "openai"}}
#: Mappings whose keys are the user's, by the last part of their path.
FREE = {
    "nodeSelector",
    "affinity",
    "volume",
    "podAnnotations",
    "podLabels",
    "annotations",
    "files",
    "requests",
    "limits",
    "scaleUp",
    "scaleDown",
}


def schema() -> dict[str, Any]:
    said = json.loads((helm.CHART / "values.schema.json").read_text("utf-8"))
    assert isinstance(said, dict)
    return said


def defaults() -> Values:
    said = yaml.safe_load((helm.CHART / "values.yaml").read_text("utf-8"))
    assert isinstance(said, dict)
    return said


def sections(values: Values, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the path of each mapping whose keys are the chart's."""
    yield path
    for key, value in values.items():
        if isinstance(value, dict) and key not in FREE:
            yield from sections(value, (*path, key))


def refusal(values: Values) -> str:
    """Return what helm says to values it must refuse."""
    with pytest.raises(HelmError) as caught:
        helm.template(values)
    return str(caught.value)


def test_schema_is_one_and_the_defaults_pass_it():
    Draft7Validator.check_schema(schema())
    Draft7Validator(schema()).validate(defaults())


@pytest.mark.parametrize("path", list(sections(defaults())), ids=".".join)
def test_unknown_key_is_refused_at_every_level(path: tuple[str, ...]):
    values = merged(defaults(), ".".join((*path, "tpyo")), 1)
    errors = list(Draft7Validator(schema()).iter_errors(values))
    assert [error.validator for error in errors] == ["additionalProperties"]
    assert list(errors[0].absolute_path) == list(path)


@pytest.mark.parametrize("path", list(sections(defaults())), ids=".".join)
def test_schema_knows_the_same_keys_as_the_values_file(path: tuple[str, ...]):
    known, values = schema(), defaults()
    for key in path:
        known, values = known["properties"][key], values[key]
    assert known["properties"].keys() - {"global"} == values.keys() | (
        {"claims"} if path[-1:] == ("resources",) else set()
    )


WRONG = {
    # typos
    "a misspelt section": ("autoscalling.maxReplicas", 3, ["autoscalling"]),
    "a misspelt key": ("worker.slotz", 3, ["worker", "slotz"]),
    "a misspelt key far inside": ("redis.persistence.sise", "1Gi", ["persistence", "sise"]),
    # types and ranges
    "a number as text": ("worker.slots", "many", ["worker/slots"]),
    "a switch as text": ("flower.enabled", "false", ["flower/enabled"]),
    "a list for a mapping": ("worker.nodeSelector", ["a"], ["worker/nodeSelector"]),
    "a mapping for a list": ("worker.tolerations", {"a": "b"}, ["worker/tolerations"]),
    "an annotation that is no text": ("worker.podAnnotations", {"a": True}, ["podAnnotations/a"]),
    "no slot": ("worker.slots", 0, ["worker/slots"]),
    "more slots than the program takes": ("worker.slots", 10_001, ["worker/slots"]),
    "an unknown pool": ("worker.pool", "eventlet", ["worker/pool"]),
    "a queue name that is none": ("worker.queue", "my queue", ["worker/queue"]),
    "a visibility timeout too short": ("worker.visibilityTimeout", 1, ["visibilityTimeout"]),
    "an unknown pull policy": ("image.pullPolicy", "Sometimes", ["image/pullPolicy"]),
    "a registry with a slash behind": ("image.registry", "example.com/", ["image/registry"]),
    "memory that Redis can't read": ("redis.maxmemory", "1Gi", ["redis/maxmemory"]),
    "a volume size that is none": ("postgresql.persistence.size", "lots", ["persistence/size"]),
    "a share of pods that blocks a drain": ("worker.maxUnavailable", "0%", ["maxUnavailable"]),
    "no pod at most": ("autoscaling.maxReplicas", 0, ["autoscaling/maxReplicas"]),
    "a recipe that is no text": ("recipes.files", {"a": {"prompt": "x"}}, ["recipes/files/a"]),
    "a user name with a colon": ("flower.username", "a:b", ["flower/username"]),
    "a port that is none": ("networkPolicy.workerPorts", [0], ["workerPorts/0"]),
}


@pytest.mark.parametrize(("path", "value", "named"), WRONG.values(), ids=WRONG)
def test_wrong_value_is_refused_by_name(path: str, value: Any, named: list[str]):
    said = refusal(merged(KEY, path, value))
    for part in named:
        assert part in said


OAUTH = {
    "provider": "flower.views.auth.GithubLoginHandler",
    "emails": r".*@example\.com",
    "redirectUri": "https://fleet.example.com/login",
    "existingSecret": "oauth",
}


def external_redis(url: str, **more: str) -> Values:
    return {**KEY, "redis": {"enabled": False}, "externalRedis": {"url": url, **more}}


def external_database(**values: str) -> Values:
    return {**KEY, "postgresql": {"enabled": False}, "externalDatabase": values}


def flower(**values: Any) -> Values:
    return {**KEY, "flower": values}


#: Values that no schema refuses in words a user understands, and the keys that the sentence names.
CONTRADICTIONS: dict[str, tuple[Values, list[str]]] = {
    "no key at all": ({}, ["openai.apiKey", "openai.existingSecret"]),
    "two keys": (
        {"openai": {"existingSecret": "openai", "apiKey": SENTINEL}},
        ["openai.apiKey", "openai.existingSecret"],
    ),
    "credentials in the model's URL": (
        merged(KEY, "openai.baseUrl", f"https://me:{SENTINEL}@models.example.com/v1"),
        ["openai.baseUrl"],
    ),
    "credentials in the model's URL with a % of their own": (
        merged(KEY, "openai.baseUrl", f"https://me:{SENTINEL}%zz@models.example.com/v1"),
        ["openai.baseUrl"],
    ),
    "an endpoint without http": (
        merged(KEY, "openai.baseUrl", "api.openai.com"),
        ["openai.baseUrl"],
    ),
    "two sources of recipes": (
        {**KEY, "recipes": {"files": {"a": "prompt: x"}, "existingConfigMap": "b"}},
        ["recipes.files", "recipes.existingConfigMap"],
    ),
    "no broker": ({**KEY, "redis": {"enabled": False}}, ["redis.enabled", "externalRedis.url"]),
    "two brokers": (
        {**KEY, "externalRedis": {"url": "redis://a"}},
        ["redis.enabled", "externalRedis.url"],
    ),
    "two passwords for Redis": (
        {**KEY, "redis": {"password": SENTINEL, "existingSecret": "b"}},
        ["redis.password", "redis.existingSecret"],
    ),
    "two passwords for the external Redis": (
        external_redis("redis://a", password=SENTINEL, existingSecret="b"),
        ["externalRedis.password", "externalRedis.existingSecret"],
    ),
    "a password in the broker's URL": (
        external_redis(f"redis://:{SENTINEL}@a"),
        ["externalRedis.url", "externalRedis.existingSecret"],
    ),
    "a password with a user in the broker's URL": (
        external_redis(f"rediss://me:{SENTINEL}@a/1"),
        ["externalRedis.url", "externalRedis.existingSecret"],
    ),
    "a password with a % of its own in the broker's URL": (
        external_redis(f"redis://:{SENTINEL}%zz@a"),
        ["externalRedis.url"],
    ),
    "a password with a slash of its own in the broker's URL": (
        external_redis(f"redis://:{SENTINEL}/b@a"),
        ["externalRedis.url"],
    ),
    "a password among the options of the broker's URL": (
        external_redis(f"redis://a?password={SENTINEL}"),
        ["externalRedis.url", "externalRedis.existingSecret"],
    ),
    "an external broker's key prefix without one": (
        {**KEY, "externalRedis": {"keyPrefix": "left:"}},
        ["externalRedis", "redis.enabled"],
    ),
    "a broker that is no Redis": (external_redis("amqp://a"), ["externalRedis.url"]),
    "a CA without TLS": (
        external_redis("redis://a", caSecret="ca"),
        ["externalRedis.caSecret", "externalRedis.url"],
    ),
    "no ledger": (
        {**KEY, "postgresql": {"enabled": False}},
        ["postgresql.enabled", "externalDatabase.existingSecret"],
    ),
    "two ledgers": (
        {**KEY, "externalDatabase": {"url": f"postgresql://a:{SENTINEL}@b/c"}},
        ["postgresql.enabled", "externalDatabase"],
    ),
    "two ledgers, one in a secret": (
        {**KEY, "externalDatabase": {"existingSecret": "a"}},
        ["postgresql.enabled", "externalDatabase"],
    ),
    "two URLs for the ledger": (
        external_database(url=f"postgresql://a:{SENTINEL}@b/c", existingSecret="d"),
        ["externalDatabase.url", "externalDatabase.existingSecret"],
    ),
    "a ledger that is no PostgreSQL": (
        external_database(url=f"mysql://a:{SENTINEL}@b/c"),
        ["externalDatabase.url"],
    ),
    "a Redis that is too old": (
        {**KEY, "redis": {"image": {"tag": "7.0-alpine"}}},
        ["redis.image.tag", "7.2"],
    ),
    "two passwords for PostgreSQL": (
        {**KEY, "postgresql": {"password": SENTINEL, "existingSecret": "b"}},
        ["postgresql.password", "postgresql.existingSecret"],
    ),
    "two passwords for the owner of PostgreSQL's tables": (
        {**KEY, "postgresql": {"owner": {"password": SENTINEL, "existingSecret": "b"}}},
        ["postgresql.owner.password", "postgresql.owner.existingSecret"],
    ),
    "an external owner without an external ledger": (
        {**KEY, "externalDatabase": {"ownerSecret": "a"}},
        ["externalDatabase.ownerSecret", "postgresql.enabled"],
    ),
    "certificates without TLS": (
        {**KEY, "tls": {"existingSecret": "a"}},
        ["tls.existingSecret", "tls.enabled"],
    ),
    "TLS for no server of the release's own": (
        {**external_redis("redis://a"), **external_database(existingSecret="d")}
        | {"tls": {"enabled": True}},
        ["tls.enabled", "redis.enabled", "postgresql.enabled"],
    ),
    "a hard limit below the soft one": (
        {**KEY, "worker": {"softTimeLimit": 60, "timeLimit": 60}},
        ["worker.timeLimit", "worker.softTimeLimit"],
    ),
    "a process for each of a hundred slots": (
        {**KEY, "worker": {"pool": "prefork"}},
        ["worker.slots", "worker.pool"],
    ),
    "solo with more than one slot": (
        {**KEY, "worker": {"pool": "solo"}},
        ["worker.slots", "worker.pool"],
    ),
    "fewest pods above the most": (
        {**KEY, "autoscaling": {"minReplicas": 11}},
        ["autoscaling.minReplicas", "autoscaling.maxReplicas", "11", "10"],
    ),
    "idle pods not below the fewest": (
        {**KEY, "autoscaling": {"idleReplicas": 1, "minReplicas": 1}},
        ["autoscaling.idleReplicas", "autoscaling.minReplicas"],
    ),
    "two accounts for Flower": (
        flower(password=SENTINEL, existingSecret="b"),
        ["flower.password", "flower.existingSecret"],
    ),
    "a Flower password that Flower would cut in two": (
        flower(password=f"{SENTINEL},"),
        ["flower.password"],
    ),
    "an Ingress without a host": (
        flower(ingress={"enabled": True}),
        ["flower.ingress.enabled", "flower.ingress.host"],
    ),
    "an Ingress without Flower": (
        flower(enabled=False, ingress={"enabled": True, "host": "a.example"}),
        ["flower.ingress.enabled", "flower.enabled"],
    ),
    "OAuth that lets everybody in": (
        flower(oauth={**OAUTH, "emails": ""}),
        ["flower.oauth.provider", "flower.oauth.emails"],
    ),
    "OAuth without its keys": (
        flower(oauth={**OAUTH, "existingSecret": ""}),
        ["flower.oauth.provider", "flower.oauth.existingSecret"],
    ),
    "OAuth without a provider": (
        flower(oauth={**OAUTH, "provider": ""}),
        ["flower.oauth.provider"],
    ),
    "OAuth and a password": (
        flower(existingSecret="account", oauth=OAUTH),
        ["flower.oauth.provider", "password"],
    ),
}


@pytest.mark.parametrize(("values", "named"), CONTRADICTIONS.values(), ids=CONTRADICTIONS)
def test_contradiction_is_refused_in_a_sentence_without_a_secret(values: Values, named: list[str]):
    said = refusal(values)
    assert SENTINEL not in said
    sentence, *hint = said.strip().splitlines()  # helm's own: how to debug the chart
    assert "rowfleet/templates/validate.yaml" in sentence
    for part in named:
        assert part in sentence
    assert len([line for line in hint if line]) <= 1


@pytest.mark.parametrize("tag", ["7", "7.2.4", "8-alpine", "70", "latest", "6fe1c0d"])
def test_every_other_redis_is_taken(tag: str):
    helm.template({**KEY, "redis": {"image": {"tag": tag}}})


def test_each_limit_the_program_has_is_the_schema_s_too():
    """What the schema lets through, the program must take: else pods crash after the install."""
    known = schema()["properties"]["worker"]["properties"]
    fields = {
        "slots": "slots",
        "window": "window",
        "visibilityTimeout": "visibility_timeout",
        "maxRetries": "max_retries",
        "retryDelay": "retry_delay",
        "softTimeLimit": "soft_time_limit",
        "timeLimit": "time_limit",
    }
    program = Settings.model_json_schema()["properties"]
    for key, field in fields.items():
        said = next((p for p in program[field].get("anyOf", []) if "minimum" in p), program[field])
        least = said.get("minimum", said.get("exclusiveMinimum"))
        assert known[key]["minimum"] >= least, key
        assert known[key]["maximum"] <= said["maximum"], key
    assert known["queue"]["pattern"] == program["queue"]["pattern"]
    assert set(known["pool"]["enum"]) == set(program["pool"]["enum"])
