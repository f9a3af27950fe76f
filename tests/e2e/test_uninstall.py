"""What is left when a release is gone. In a namespace of its own: the other tests need theirs."""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.cluster import Cluster
from tests.e2e.conftest import CHART, RELEASE

#: Kinds of all that a release makes.
KINDS = (
    "deployments,statefulsets,replicasets,pods,jobs,services,ingresses,configmaps,secrets,"
    "serviceaccounts,roles,rolebindings,networkpolicies,poddisruptionbudgets,podtemplates,"
    "horizontalpodautoscalers,scaledobjects,triggerauthentications,persistentvolumeclaims"
)


@pytest.fixture
def another(cluster: Cluster) -> Any:
    """A second namespace."""
    other = Cluster(cluster.context, f"{cluster.namespace}-gone")
    cluster.kubectl("create", "namespace", other.namespace)
    yield other
    other.helm("uninstall", RELEASE, "--ignore-not-found", "--wait")
    cluster.kubectl("delete", "namespace", other.namespace, "--timeout=300s")


def test_uninstall_leaves_nothing_but_the_volumes_and_a_new_install_works_with_them(
    another: Cluster, values: dict[str, Any]
) -> None:
    before = _objects(another)
    for _ in range(2):  # the second time with the volumes, and new passwords
        said = another.helm("install", RELEASE, CHART, "--timeout", "300s", values=values)
        assert "leaves the volumes of Redis and PostgreSQL behind" in said
        another.helm("test", RELEASE, "--timeout", "180s")
        another.helm("uninstall", RELEASE, "--wait")
        another.kubectl("wait", "pods", "--all", "--for=delete", "--timeout=120s")
        claims = {
            "persistentvolumeclaim/data-rowfleet-redis-0",
            "persistentvolumeclaim/data-rowfleet-postgresql-0",
        }
        assert _objects(another) - before == claims
    policies = another.kubectl("get", "validatingadmissionpolicies", "--output", "name")
    assert another.namespace not in policies


def _objects(cluster: Cluster) -> set[str]:
    names = cluster.kubectl("get", KINDS, "--output", "name").split()
    return {name.replace(".apps", "").replace(".v1", "") for name in names}
