"""Every pod passes the "restricted" Pod Security Standard, and some more.

The checks are the standard's own, https://kubernetes.io/docs/concepts/security/pod-security-standards,
written out: an admission controller says the same, but only on a cluster.
"""

from __future__ import annotations

from typing import Any

from tests.support.chart.cases import Case
from tests.support.chart.helm import ADMISSION_POLICIES, Manifest
from tests.support.chart.manifests import Pod, pods

#: Volumes that "restricted" allows.
VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}


def violations(pod: Pod) -> list[str]:
    """Return what the "restricted" standard has against a pod, a phrase each."""
    found = []
    security = pod.spec.get("securityContext", {})
    for field in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.spec.get(field):
            found.append(field)
    for field in ("sysctls", "seLinuxOptions", "windowsOptions"):
        if field in security:
            found.append(field)
    for volume in pod.spec.get("volumes", []):
        found += [f"volume {kind}" for kind in volume.keys() - {"name"} - VOLUMES]
    for container in pod.containers:
        found += [f"{container['name']}: {phrase}" for phrase in _of_container(container, security)]
    return found


def _of_container(container: dict[str, Any], pod: dict[str, Any]) -> list[str]:
    own = container.get("securityContext", {})
    both = {**pod, **own}
    capabilities = own.get("capabilities", {})
    checks = {
        "may escalate its privileges": own.get("allowPrivilegeEscalation") is not False,
        "is privileged": own.get("privileged", False),
        "may run as root": both.get("runAsNonRoot") is not True,
        "runs as root": both.get("runAsUser") == 0,
        "keeps capabilities": "ALL" not in capabilities.get("drop", []),
        "adds capabilities": bool(set(capabilities.get("add", [])) - {"NET_BIND_SERVICE"}),
        "has no seccomp profile": both.get("seccompProfile", {}).get("type")
        not in ("RuntimeDefault", "Localhost"),
        "changes /proc": own.get("procMount", "Default") != "Default",
        "has SELinux options": "seLinuxOptions" in own,
        "takes a host's port": any("hostPort" in port for port in container.get("ports", [])),
    }
    return [phrase for phrase, wrong in checks.items() if wrong]


def shortcomings(pod: Pod) -> list[str]:
    """Return where a pod falls behind what this project asks of each, beyond the standard."""
    found = []
    user = pod.spec.get("securityContext", {}).get("runAsUser")
    if not (isinstance(user, int) and user > 0):  # kubelet can't tell that a name is not root's
        found.append("has no numeric user")
    if pod.spec.get("enableServiceLinks") is not False:
        found.append("gets a variable for each Service")
    for container in pod.containers:
        if container.get("securityContext", {}).get("readOnlyRootFilesystem") is not True:
            found.append(f"{container['name']}: can write to its image")
        requests = container.get("resources", {}).get("requests", {})
        if not {"cpu", "memory"} <= requests.keys():
            found.append(f"{container['name']}: requests no CPU or no memory")
        if "memory" not in container["resources"].get("limits", {}):
            found.append(f"{container['name']}: may take a node's memory")
        if (
            container["image"].partition("/")[2].endswith(":latest")
            or ":" not in container["image"]
        ):
            found.append(f"{container['name']}: has an image without a tag")
    return found


def test_pods_pass_the_restricted_standard(manifests: list[Manifest]):
    found = {pod.name: violations(pod) for pod in pods(manifests)}
    assert {name: wrong for name, wrong in found.items() if wrong} == {}


def test_pods_write_to_no_image_and_ask_for_what_they_use(manifests: list[Manifest]):
    found = {pod.name: shortcomings(pod) for pod in pods(manifests)}
    assert {name: wrong for name, wrong in found.items() if wrong} == {}


def test_only_workers_have_a_token_and_only_to_say_what_they_cost(
    manifests: list[Manifest], case: Case
):
    cost = case.values.get("worker", {}).get("podDeletionCost", {})
    served = set(ADMISSION_POLICIES) <= set(case.api_versions)
    wanted = cost.get("enabled", True) and cost.get("admissionPolicy", True) and served
    with_token = {
        pod.component for pod in pods(manifests) if pod.spec["automountServiceAccountToken"]
    }
    assert with_token == ({"worker"} if wanted else set())
    accounts = [m for m in manifests if m["kind"] == "ServiceAccount"]
    assert [a for a in accounts if a.get("automountServiceAccountToken") is not False] == []


def test_standard_s_checks_see_a_pod_that_breaks_each():
    pod = {
        "securityContext": {"sysctls": [], "runAsUser": 0},
        "hostNetwork": True,
        "volumes": [{"name": "root", "hostPath": {"path": "/"}}],
        "containers": [
            {
                "name": "bad",
                "image": "bad",
                "resources": {},
                "securityContext": {
                    "privileged": True,
                    "procMount": "Unmasked",
                    "seLinuxOptions": {},
                    "capabilities": {"add": ["SYS_ADMIN"]},
                },
                "ports": [{"hostPort": 80}],
            }
        ],
    }
    owner = {"kind": "Pod", "metadata": {"name": "bad"}}
    assert len(violations(Pod(owner, {}, pod))) == 13
    assert len(shortcomings(Pod(owner, {}, pod))) == 6
