"""The manifests in k8s/: valid, restricted, and with the names that the chart gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

K8S = Path(__file__).parents[3] / "k8s"
JOBS = ("submit-job.yaml", "submit-job-s3.yaml")
APPLIED = (*JOBS, "pvc.yaml", "sheets-pod.yaml")


def read(name: str) -> dict[str, Any]:
    loaded = yaml.safe_load((K8S / name).read_text("utf-8"))
    assert isinstance(loaded, dict)
    return loaded


def pod(name: str) -> dict[str, Any]:
    manifest = read(name)
    spec = manifest["spec"]
    found: dict[str, Any] = spec["template"]["spec"] if manifest["kind"] == "Job" else spec
    return found


@pytest.mark.parametrize("version", ["1.31", "1.37"])
@pytest.mark.parametrize("name", APPLIED)
def test_kubernetes_takes_it(name: str, version: str) -> None:
    kubernetes_validate.validate(read(name), version, strict=True)


@pytest.mark.parametrize("name", [*JOBS, "sheets-pod.yaml"])
def test_the_pod_is_restricted(name: str) -> None:
    spec = pod(name)
    assert spec["enableServiceLinks"] is False
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    (container,) = spec["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["resources"].keys() == {"requests", "limits"}


@pytest.mark.parametrize("name", JOBS)
def test_the_job_fails_at_once_for_what_stays_wrong_and_goes_on_when_a_node_is_lost(
    name: str,
) -> None:
    spec = read(name)["spec"]
    final, lost = spec["podFailurePolicy"]["rules"]
    codes = {"containerName": "submitter", "operator": "In", "values": [1, 2]}
    assert final == {"action": "FailJob", "onExitCodes": codes}
    assert lost["action"] == "Ignore"
    assert [condition["type"] for condition in lost["onPodConditions"]] == ["DisruptionTarget"]
    assert spec["backoffLimit"] > 0
    assert spec["ttlSecondsAfterFinished"] > 0
    assert spec["template"]["spec"]["restartPolicy"] == "Never"


@pytest.mark.parametrize("name", JOBS)
def test_its_arguments_are_those_of_submit_and_its_variables_the_charts(name: str) -> None:
    from submitter.cli.commands.submit import submit

    (container,) = pod(name)["containers"]
    assert container["name"] == "submitter"
    command, *options = container["args"]
    assert command == "submit"
    said = submit.make_context("submit", options).params
    assert said["wait"]
    assert said["export_to"]
    assert {"configMapRef": {"name": "rowfleet-env"}} in container["envFrom"]
    secrets = {
        v["name"]: v["valueFrom"]["secretKeyRef"] for v in container["env"] if "valueFrom" in v
    }
    assert secrets == {
        "REDIS_PASSWORD": {"name": "rowfleet-redis", "key": "redis-password"},
        "PGPASSWORD": {"name": "rowfleet-postgresql", "key": "postgres-password"},
        "OPENAI_API_KEY": {"name": "openai", "key": "OPENAI_API_KEY", "optional": True},
    }


def test_sheets_are_on_the_claim_and_writable() -> None:
    claim = read("pvc.yaml")["metadata"]["name"]
    for name in ("submit-job.yaml", "sheets-pod.yaml"):
        spec = pod(name)
        (volume,) = (v for v in spec["volumes"] if v["name"] == "sheets")
        assert volume["persistentVolumeClaim"]["claimName"] == claim
        assert spec["securityContext"]["fsGroup"] == 10001
        mounts = {m["name"]: m["mountPath"] for m in spec["containers"][0]["volumeMounts"]}
        assert mounts["sheets"] == "/sheets"


def test_the_playground_lets_an_ingress_in() -> None:
    cluster = read("kind-cluster.yaml")
    assert (cluster["kind"], cluster["apiVersion"]) == ("Cluster", "kind.x-k8s.io/v1alpha4")
    control_plane, *_ = cluster["nodes"]
    ports = {port["containerPort"] for port in control_plane["extraPortMappings"]}
    assert ports == {80, 443}
    assert isinstance(read("keda-values.yaml"), dict)


def test_the_readme_lists_every_file() -> None:
    listed = (K8S / "README.md").read_text("utf-8")
    assert [
        path.name for path in sorted(K8S.glob("*.yaml")) if f"({path.name})" not in listed
    ] == []
