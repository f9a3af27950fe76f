"""A release of Rowfleet on the cluster that the environment names.

`make e2e` with E2E_CONTEXT (a context of the kubeconfig), E2E_WORKER_IMAGE and E2E_SUBMITTER_IMAGE,
which the cluster must be able to run, and KEDA on it. E2E_NAMESPACE names the namespace, which
must not exist yet; it is removed at the end, with the volumes in it. Nothing is pulled that is
there already. E2E_KEDA_NAMESPACE names KEDA's namespace (default `keda`): its operator is
restarted, so other scaling on that cluster waits for it. With E2E_TLS=1 the release encrypts its
Redis and PostgreSQL.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chaos import report as reports
from tests.e2e import standin as standins
from tests.e2e.cluster import Cluster, until
from tests.e2e.standin import Standin

ROOT = Path(__file__).parents[2]
CHART = str(ROOT / "charts" / "rowfleet")
RELEASE = "rowfleet"
WORKERS = f"app.kubernetes.io/instance={RELEASE},app.kubernetes.io/component=worker"
NEEDED = ("E2E_CONTEXT", "E2E_WORKER_IMAGE", "E2E_SUBMITTER_IMAGE")


@pytest.fixture(scope="session")
def images() -> dict[str, str]:
    """Return the images of worker and submitter."""
    missing = [name for name in NEEDED if not os.environ.get(name)]
    if missing:
        pytest.exit(f"these tests need a cluster: {', '.join(missing)} not set", returncode=2)
    return {
        "worker": os.environ["E2E_WORKER_IMAGE"],
        "submitter": os.environ["E2E_SUBMITTER_IMAGE"],
    }


@pytest.fixture(scope="session")
def cluster(images: dict[str, str]) -> Iterator[Cluster]:
    """A namespace that lets only restricted pods in."""
    name = os.environ.get("E2E_NAMESPACE") or f"rowfleet-e2e-{uuid.uuid4().hex[:6]}"
    cluster = Cluster(os.environ["E2E_CONTEXT"], name)
    cluster.kubectl("get", "crd", "scaledobjects.keda.sh")
    cluster.kubectl("create", "namespace", name)
    try:
        cluster.kubectl("label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted")
        yield cluster
    finally:
        try:
            cluster.helm("uninstall", RELEASE, "--ignore-not-found", "--wait")
        finally:
            cluster.kubectl("delete", "namespace", name, "--timeout=300s")


@pytest.fixture(scope="session")
def standin(cluster: Cluster, images: dict[str, str]) -> Standin:
    """The model's API, in the cluster, with answers after three seconds."""
    server = Standin(cluster)
    server.start(images["worker"], latency=3)
    return server


@pytest.fixture(scope="session")
def values(images: dict[str, str]) -> dict[str, Any]:
    """The release's values: pods of 20 slots, at most four, Flower under a prefix."""
    return {
        "openai": {"apiKey": "sk-standin", "baseUrl": standins.BASE_URL},
        "worker": {
            "image": _image(images["worker"]),
            "slots": 20,
            "resources": {"requests": {"cpu": "50m", "memory": "128Mi"}},
        },
        "submitter": {
            "image": _image(images["submitter"]),
            "resources": {"requests": {"cpu": "50m", "memory": "128Mi"}},
        },
        "autoscaling": {"maxReplicas": 4},
        "flower": {"urlPrefix": "flower"},
        "redis": {"resources": {"requests": {"cpu": "50m"}}},
        "postgresql": {"resources": {"requests": {"cpu": "50m"}}},
        "tls": {"enabled": os.environ.get("E2E_TLS") == "1"},
    }


def _image(reference: str) -> dict[str, str]:
    repository, colon, tag = reference.rpartition(":")
    if not colon or "/" in tag:
        raise ValueError(f"{reference} has no tag")
    return {"repository": repository, "tag": tag}


@pytest.fixture(scope="session")
def release(cluster: Cluster, standin: Standin, values: dict[str, Any]) -> Cluster:
    """An installed release, whose broker, ledger and Flower are ready."""
    cluster.helm("install", RELEASE, CHART, "--timeout", "300s", values=values)
    for workload in ("statefulset/rowfleet-redis", "statefulset/rowfleet-postgresql"):
        cluster.kubectl("rollout", "status", workload, "--timeout=180s")
    cluster.kubectl("rollout", "status", "deployment/rowfleet-flower", "--timeout=180s")
    cluster.wait("scaledobject", f"{RELEASE}-worker", "condition=Ready")
    return cluster


@pytest.fixture(scope="session")
def volume(release: Cluster, images: dict[str, str]) -> Cluster:
    """The release with a volume for sheets, and a pod through which files get there and back."""
    (claim,) = manifests("pvc.yaml")
    (pod,) = manifests("sheets-pod.yaml")
    pod["spec"]["containers"][0]["image"] = images["submitter"]
    release.apply(claim, pod)
    release.wait("pod", "rowfleet-sheets", "condition=Ready")
    return release


def manifests(name: str) -> list[dict[str, Any]]:
    """Return the objects of a file of `k8s/`."""
    return list(yaml.safe_load_all((ROOT / "k8s" / name).read_text("utf-8")))


@pytest.fixture
def no_workers(release: Cluster) -> Cluster:
    """The release at rest: no row, and no worker pod."""
    until(lambda: not release.get("pods", selector=WORKERS), 300)
    return release


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    _report.add(report)


def pytest_sessionfinish() -> None:
    _report.write()


_report = reports.Report()
