"""Extractors open strangers' files: they have no key, and reach broker, ledger and storage only."""

from __future__ import annotations

import json

import pytest

from rowfleet.queue.app import celery_app
from rowfleet.queue.keys import documents
from rowfleet.settings import load_settings
from tests.chart.test_network import allowed
from tests.chart.test_scaling import scaled
from tests.support.chart import helm
from tests.support.chart.cases import Case
from tests.support.chart.helm import Manifest, Values
from tests.support.chart.manifests import component, environment, of_kind

BASE: Values = {"openai": {"apiKey": "sk-only-for-workers"}}
VOLUME = {"persistentVolumeClaim": {"claimName": "invoices"}}
OUTSIDE = {"somewhere": "else"}


def extractor_policy(manifests: list[Manifest]) -> Manifest:
    (found,) = (
        policy
        for policy in of_kind(manifests, "NetworkPolicy")
        if policy["metadata"]["name"].endswith("-extractor")
    )
    return found


def outside_ports(manifests: list[Manifest]) -> set[int]:
    """Return the ports that extractors may reach anywhere."""
    rules = extractor_policy(manifests)["spec"]["egress"]
    return {port["port"] for rule in rules if "to" not in rule for port in rule["ports"]}


def test_no_extractor_has_the_api_key(manifests: list[Manifest], case: Case) -> None:
    pod = component(manifests, "extractor")
    known = environment(pod, "extractor", case.known(manifests))
    assert "OPENAI_API_KEY" not in known
    assert "openai" not in json.dumps(pod.spec).lower().replace("checksum", "")
    assert pod.spec["automountServiceAccountToken"] is False
    (container,) = pod.spec["containers"]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert set(container["resources"]["limits"]) >= {"cpu", "memory"}


def test_an_extractor_of_the_chart_starts_on_the_documents_queue(
    manifests: list[Manifest], case: Case
) -> None:
    pod = component(manifests, "extractor")
    settings = load_settings(environment(pod, "extractor", case.known(manifests)))
    worker = load_settings(
        environment(component(manifests, "worker"), "worker", case.known(manifests))
    )
    assert settings.queue == worker.queue
    assert settings.broker_url() == worker.broker_url()


def test_keda_looks_at_the_documents_queue_and_starts_from_zero() -> None:
    manifests = helm.template({**BASE, "worker": {"queue": "mine"}})
    scaler = scaled(manifests, "extractor")
    assert scaler["spec"]["minReplicaCount"] == 0
    settings = load_settings({}, redis_url="redis://localhost", queue=documents("mine"))
    options = celery_app(settings).conf.broker_transport_options
    keys = {t["name"]: t["metadata"]["listName"] for t in scaler["spec"]["triggers"]}
    assert keys == {
        "queued": settings.queue,
        "inflight": options["unacked_key"],
        "waiting": f"{settings.queue}.waiting",
        "asleep": f"{settings.queue}.asleep",
    }
    (users,) = (
        each["data"]["users.conf"]
        for each in of_kind(manifests, "ConfigMap")
        if "users.conf" in each.get("data", {})
    )
    keda = next(line for line in users.splitlines() if line.startswith("user keda"))
    for key in keys.values():
        assert f"~{key} " in keda, "KEDA may not ask Redis for it"


def test_documents_on_a_volume_need_no_address_outside() -> None:
    manifests = helm.template({**BASE, "documents": {"volume": VOLUME}})
    assert outside_ports(manifests) == {53}
    labels = component(manifests, "extractor").labels
    assert not allowed(manifests, "Egress", labels, OUTSIDE, 443)


def test_a_storage_is_reached_by_its_ports_and_its_addresses_where_they_are_named() -> None:
    root = {**BASE, "documents": {"root": "s3://invoices/2026"}}
    assert outside_ports(helm.template(root)) == {53, 443, 80}
    storage = [{"ipBlock": {"cidr": "10.1.0.0/16"}}]
    narrow = helm.template(
        {**root, "networkPolicy": {"storageTo": storage, "storagePorts": [9000]}}
    )
    assert outside_ports(narrow) == {53}
    (rule,) = (r for r in extractor_policy(narrow)["spec"]["egress"] if r.get("to") == storage)
    assert [port["port"] for port in rule["ports"]] == [9000]


def test_a_volume_is_mounted_read_only_where_documents_are_looked_at_and_read() -> None:
    manifests = helm.template({**BASE, "documents": {"volume": VOLUME}})
    (template,) = of_kind(manifests, "PodTemplate")
    for spec in (component(manifests, "extractor").spec, template["template"]["spec"]):
        (mount,) = (
            each for each in spec["containers"][0]["volumeMounts"] if each["name"] == "documents"
        )
        assert (mount["mountPath"], mount["readOnly"]) == ("/documents", True)
        (volume,) = (each for each in spec["volumes"] if each["name"] == "documents")
        assert volume == {"name": "documents", **VOLUME}
    assert not [v for v in component(manifests, "worker").spec["volumes"] if "documents" in str(v)]
    (env,) = (
        each["data"] for each in of_kind(manifests, "ConfigMap") if "ROWFLEET_QUEUE" in each["data"]
    )
    assert env["ROWFLEET_DOCUMENTS"] == "/documents"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"root": "s3://a", "volume": VOLUME}, "are both set"),
        ({"root": "/data"}, "must be a URI like s3://"),
    ],
)
def test_documents_are_in_one_place(given: Values, said: str) -> None:
    with pytest.raises(helm.HelmError) as caught:
        helm.template({**BASE, "documents": given})
    assert said in str(caught.value)


def test_without_extractors_nothing_of_them_is_made() -> None:
    manifests = helm.template({**BASE, "extractor": {"enabled": False}})
    assert not [m for m in manifests if m["metadata"]["name"].endswith("-extractor")]
