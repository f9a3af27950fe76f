"""The NetworkPolicies, played through: each pod reaches what it needs, and nothing else does.

A policy that forgets something is seen only on a cluster whose network enforces it; so the rules
are evaluated here, for connections inside the release's namespace and out of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from tests.support.chart.cases import CASES, Case, rendered
from tests.support.chart.helm import Manifest
from tests.support.chart.manifests import Labels, component, of_kind, pods, selected

#: A pod of another application in the release's namespace.
STRANGER: Labels = {"app.kubernetes.io/name": "another"}

GUARDED = [n for n, c in CASES.items() if c.values.get("networkPolicy", {}).get("enabled", True)]

#: Ports that the release's own servers listen on.
PORTS = {"redis": 6379, "postgresql": 5432, "flower": 5555}

#: Who asks whom, by component.
NEEDED = {
    ("worker", "redis"),
    ("worker", "postgresql"),
    ("extractor", "redis"),
    ("extractor", "postgresql"),
    ("submitter", "redis"),
    ("submitter", "postgresql"),
    ("migration", "postgresql"),
    ("flower", "redis"),
    ("test", "redis"),
    ("test", "postgresql"),
    ("test", "flower"),
}


@pytest.fixture(params=GUARDED)
def name(request: pytest.FixtureRequest) -> str:
    """Name of a case with network policies."""
    return str(request.param)


def allowed(
    manifests: list[Manifest],
    direction: str,
    pod: Labels,
    peer: Labels,
    port: int,
    *,
    namespace: Labels | None = None,
    protocol: str = "TCP",
) -> bool:
    """Tell whether ``pod`` may be asked by ``peer`` (Ingress), or may ask it (Egress), on ``port``.

    ``namespace``: labels of the peer's namespace; None: the pod's own.
    """
    policies = [
        policy["spec"]
        for policy in of_kind(manifests, "NetworkPolicy")
        if direction in policy["spec"]["policyTypes"]
        and selected(policy["spec"]["podSelector"], pod)
    ]
    rules = [rule for policy in policies for rule in policy.get(direction.lower()) or []]
    key = "from" if direction == "Ingress" else "to"
    return not policies or any(
        _port(rule, port, protocol)
        and (not rule.get(key) or any(_peer(p, peer, namespace) for p in rule[key]))
        for rule in rules
    )


def _port(rule: Mapping[str, Any], port: int, protocol: str) -> bool:
    ports = rule.get("ports")
    return not ports or any(
        p.get("port", port) == port and p.get("protocol", "TCP") == protocol for p in ports
    )


def _peer(peer: Mapping[str, Any], labels: Labels, namespace: Labels | None) -> bool:
    if "ipBlock" in peer:
        return False  # an address outside: no pod
    if "namespaceSelector" in peer:
        if not selected(peer["namespaceSelector"], namespace or {}):
            return False
    elif namespace is not None:
        return False
    return selected(peer.get("podSelector", {}), labels)


def _labels(manifests: list[Manifest]) -> dict[str, Labels]:
    return {pod.component: pod.labels for pod in pods(manifests)}


def test_components_reach_what_they_need_and_no_other_server(manifests: list[Manifest]):
    labels = _labels(manifests)
    servers = {name: port for name, port in PORTS.items() if name in labels}
    for asker in labels:
        for server, port in servers.items():
            out = allowed(manifests, "Egress", labels[asker], labels[server], port)
            into = allowed(manifests, "Ingress", labels[server], labels[asker], port)
            assert (out and into) == ((asker, server) in NEEDED), f"{asker} → {server}"


def test_strangers_in_the_namespace_reach_neither_broker_nor_ledger(manifests: list[Manifest]):
    labels = _labels(manifests)
    for server in ("redis", "postgresql"):
        if server in labels:
            assert not allowed(manifests, "Ingress", labels[server], STRANGER, PORTS[server])


def test_keda_reaches_the_broker_from_its_namespace_only(manifests: list[Manifest], case: Case):
    labels = _labels(manifests)
    if "redis" in labels:
        keda = case.values.get("networkPolicy", {}).get("kedaNamespace", "keda")
        for namespace, wanted in ((keda, True), ("elsewhere", False)):
            there = {"kubernetes.io/metadata.name": namespace}
            operator = {"app": "keda-operator"}
            got = allowed(manifests, "Ingress", labels["redis"], operator, 6379, namespace=there)
            assert got == wanted, namespace


def test_every_pod_that_asks_by_name_reaches_dns(manifests: list[Manifest]):
    dns, system = {"k8s-app": "kube-dns"}, {"kubernetes.io/metadata.name": "kube-system"}
    for pod in pods(manifests):
        if pod.component not in ("redis", "postgresql"):
            for protocol in ("UDP", "TCP"):
                assert allowed(
                    manifests, "Egress", pod.labels, dns, 53, namespace=system, protocol=protocol
                ), (pod.name, protocol)


def test_servers_open_no_connection(manifests: list[Manifest]):
    for name, labels in _labels(manifests).items():
        if name in ("redis", "postgresql"):
            assert not allowed(manifests, "Egress", labels, STRANGER, 443, namespace={})


def test_workers_reach_the_model_and_the_cluster_s_api(manifests: list[Manifest], case: Case):
    worker = _labels(manifests)["worker"]
    base = case.values.get("openai", {}).get("baseUrl", "")
    ports = {443, 6443} | ({8000} if ":8000" in base else set())
    for port in ports:
        assert allowed(manifests, "Egress", worker, {}, port, namespace={"any": "where"}), port
    assert not allowed(manifests, "Egress", worker, {}, 25, namespace={"any": "where"})


def test_submitters_reach_the_model_for_the_batch_tier(manifests: list[Manifest], case: Case):
    submitter = _labels(manifests)["submitter"]
    base = case.values.get("openai", {}).get("baseUrl", "")
    for port in {443} | ({8000} if ":8000" in base else set()):
        assert allowed(manifests, "Egress", submitter, {}, port, namespace={"any": "where"}), port
    assert not allowed(manifests, "Egress", submitter, {}, 25, namespace={"any": "where"})


def test_external_services_are_reached_on_the_port_of_their_url():
    manifests = rendered("everything external")
    for name in ("worker", "submitter", "flower", "test"):
        labels = component_labels(manifests, name)
        for port, wanted in ((6380, True), (5432, name != "flower")):
            got = allowed(manifests, "Egress", labels, {}, port, namespace={"out": "side"})
            assert got == wanted, (name, port)
    # A URL without a port means Redis' own.
    bare = rendered("external Redis without a password")
    for name in ("worker", "submitter", "flower"):
        labels = component_labels(bare, name)
        assert allowed(bare, "Egress", labels, {}, 6379, namespace={"out": "side"}), name


def component_labels(manifests: list[Manifest], name: str) -> Labels:
    return next(pod.labels for pod in pods(manifests) if pod.component == name)


def test_flower_is_asked_by_whom_the_values_name():
    labels = component(rendered("everything on"), "flower").labels
    ingress = {"name": "ingress-nginx"}
    for namespace, wanted in ((ingress, True), ({"name": "other"}, False), (None, False)):
        got = allowed(
            rendered("everything on"), "Ingress", labels, STRANGER, 5555, namespace=namespace
        )
        assert got == wanted
    assert allowed(rendered("minimal"), "Ingress", labels | STRANGER, STRANGER, 5555)


def test_pods_of_the_release_are_denied_by_default(manifests: list[Manifest]):
    for pod in pods(manifests):
        new = {**pod.labels, "app.kubernetes.io/component": "something new"}
        for direction in ("Ingress", "Egress"):
            assert not allowed(manifests, direction, new, STRANGER, 443), pod.name
