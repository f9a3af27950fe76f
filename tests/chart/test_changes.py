"""Pods are made anew when what they read has changed, and for nothing else."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.support.chart import helm
from tests.support.chart.helm import Manifest, Values
from tests.support.chart.manifests import of_kind, pods

BASE: Values = {
    "openai": {"apiKey": "sk-one"},
    "redis": {"password": "redis-one"},
    "postgresql": {"password": "postgres-one", "owner": {"password": "owner-one"}},
    "flower": {"password": "flower-one"},
}


def changed(before: list[Manifest], after: list[Manifest]) -> set[str]:
    """Return the components whose pods differ: of these a rollout makes new ones."""
    was, now = _templates(before), _templates(after)
    return {name for name in was.keys() | now.keys() if was.get(name) != now.get(name)}


def _templates(manifests: list[Manifest]) -> dict[str, str]:
    owners = of_kind(manifests, "Deployment", "StatefulSet")
    return {p.component: json.dumps([p.metadata, p.spec], sort_keys=True) for p in pods(owners)}


def merged(base: Values, path: str, value: Any) -> Values:
    """Return ``base`` with the value at a dotted path set."""
    values = json.loads(json.dumps(base))
    *sections, key = path.split(".")
    at = values
    for section in sections:
        at = at.setdefault(section, {})
    at[key] = value
    return dict(values)


@pytest.fixture(scope="module")
def before() -> list[Manifest]:
    """What an upgrade starts from."""
    return helm.template(BASE)


def test_an_upgrade_that_changes_nothing_rolls_nothing():
    # Without a cluster, passwords that the values do not give are new each time. Pods must not
    # show that.
    values = {"openai": {"existingSecret": "openai"}}
    assert changed(helm.template(values), helm.template(values)) == set()


@pytest.mark.parametrize(
    ("path", "value", "rolled"),
    [
        # Flower reads the same ConfigMap, if nothing of this in it.
        ("openai.model", "gpt-5", {"worker", "extractor", "flower"}),
        ("openai.baseUrl", "https://models.example.com/v1", {"worker", "extractor", "flower"}),
        ("openai.apiKey", "sk-two", {"worker"}),
        # Redis has users that it names.
        ("worker.queue", "another", {"worker", "extractor", "flower", "redis"}),
        ("worker.visibilityTimeout", 60, {"worker", "extractor", "flower"}),
        ("worker.slots", 50, {"worker"}),
        ("redis.password", "redis-two", {"redis"}),  # of Jobs, which start with it
        ("redis.maxmemory", "1gb", {"redis"}),
        ("postgresql.password", "postgres-two", {"postgresql", "worker", "extractor"}),
        ("postgresql.owner.password", "owner-two", {"postgresql"}),
        ("flower.password", "flower-two", {"flower"}),
        ("flower.username", "other", {"flower"}),
        ("flower.urlPrefix", "flower", {"flower"}),
        ("extractor.processes", 4, {"extractor", "postgresql"}),
        ("documents.root", "s3://invoices", {"worker", "extractor", "flower"}),
        ("worker.replicas", 3, set()),
        ("autoscaling.minReplicas", 1, set()),
        ("autoscaling.cooldownPeriod", 60, set()),
        ("recipes.files", {"one": "prompt: x\n"}, set()),
        ("networkPolicy.enabled", False, set()),
        ("submitter.migrate", False, set()),
    ],
)
def test_pods_that_read_a_value_are_made_anew_when_it_changes(
    before: list[Manifest], path: str, value: Any, rolled: set[str]
):
    after = helm.template(merged(BASE, path, value))
    got = changed(before, after)
    assert rolled <= got, f"{path} changes, and {rolled - got} would not notice"
    assert got <= rolled, f"{path} needs no new {got - rolled}"


def test_more_pods_need_no_restart_of_the_broker_or_the_ledger():
    before = helm.template(BASE)
    after = helm.template(merged(BASE, "autoscaling.maxReplicas", 20))
    assert changed(before, after) <= {"postgresql"}  # its most connections go by it


def test_a_new_version_of_the_chart_restarts_neither_broker_nor_ledger(tmp_path: Path):
    chart = tmp_path / "rowfleet"
    shutil.copytree(helm.CHART, chart)
    about = helm.about() | {"version": "9.9.9", "appVersion": "9.9.9"}
    (chart / "Chart.yaml").write_text(json.dumps(about), "utf-8")
    rolled = changed(helm.template(BASE), helm.template(BASE, chart=chart))
    assert rolled == {"worker", "extractor", "flower"}  # whose image is a new one


@pytest.mark.parametrize("field", ["existingSecret", "existingSecretKey"])
def test_another_secret_or_another_key_of_it_counts_too(field: str):
    base = {**BASE, "openai": {"existingSecret": "one"}}
    after = merged(base, f"openai.{field}", "other")
    assert changed(helm.template(base), helm.template(after)) == {"worker"}


SECRETS = [
    "openai.apiKey",
    "redis.password",
    "postgresql.password",
    "postgresql.owner.password",
    "flower.password",
]


@pytest.mark.parametrize("path", SECRETS)
def test_annotations_do_not_tell_a_secret_from_its_guesses(before: list[Manifest], path: str):
    """What changes with a secret is too short to confirm a guess, and another in each release."""
    after = helm.template(merged(BASE, path, "another"))
    elsewhere = helm.template(BASE, release="other")
    marks = _annotations(before)
    changing = {key for key, value in marks.items() if _annotations(after)[key] != value}
    assert changing
    for key in changing:
        assert len(marks[key]) <= 4, key
        assert marks[key] != _annotations(elsewhere)[key], key


def _annotations(manifests: list[Manifest]) -> dict[tuple[str, str], str]:
    owners = of_kind(manifests, "Deployment", "StatefulSet")
    return {
        (pod.component, key): value
        for pod in pods(owners)
        for key, value in pod.metadata["annotations"].items()
    }
