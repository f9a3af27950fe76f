"""What is in rendered manifests: pods, what they refer to, and their environment."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tests.support.chart.helm import Manifest

#: (kind, name) of an object.
Reference = tuple[str, str]
Labels = Mapping[str, str]


@dataclass(frozen=True)
class Pod:
    """A pod that some object makes."""

    owner: Manifest
    metadata: dict[str, Any]
    spec: dict[str, Any]

    @property
    def name(self) -> str:
        """Kind and name of the object that makes it."""
        return title(self.owner)

    @property
    def labels(self) -> Labels:
        return self.metadata.get("labels", {})

    @property
    def component(self) -> str:
        return self.labels["app.kubernetes.io/component"]

    @property
    def containers(self) -> list[dict[str, Any]]:
        """Its containers, those that run first too."""
        return [*self.spec.get("initContainers", []), *self.spec["containers"]]

    def container(self, name: str) -> dict[str, Any]:
        return next(c for c in self.containers if c["name"] == name)


def title(manifest: Manifest) -> str:
    return f"{manifest['kind']}/{manifest['metadata']['name']}"


def of_kind(manifests: Iterable[Manifest], *kinds: str) -> list[Manifest]:
    return [manifest for manifest in manifests if manifest["kind"] in kinds]


def pods(manifests: Iterable[Manifest]) -> list[Pod]:
    """Return every pod that the manifests make, once each."""
    return [pod for manifest in manifests for pod in _pods(manifest)]


def _pods(manifest: Manifest) -> Iterator[Pod]:
    match manifest["kind"]:
        case "Pod":
            yield Pod(manifest, manifest["metadata"], manifest["spec"])
        case "PodTemplate":
            yield _templated(manifest, manifest["template"])
        case "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet" | "Job":
            yield _templated(manifest, manifest["spec"]["template"])
        case "CronJob":
            yield _templated(manifest, manifest["spec"]["jobTemplate"]["spec"]["template"])


def _templated(owner: Manifest, template: dict[str, Any]) -> Pod:
    return Pod(owner, template.get("metadata", {}), template["spec"])


def component(manifests: Iterable[Manifest], name: str) -> Pod:
    """Return the one pod of a component."""
    (pod,) = [pod for pod in pods(manifests) if pod.component == name]
    return pod


def references(manifest: Manifest) -> set[Reference]:
    """Return the ConfigMaps, Secrets, ServiceAccounts and the rest that ``manifest`` needs."""
    found = {reference for pod in _pods(manifest) for reference in _of_pod(pod)}
    spec = manifest.get("spec", {})
    match manifest["kind"]:
        case "StatefulSet":
            found.add(("Service", spec["serviceName"]))
        case "Ingress":
            found |= {("Secret", tls["secretName"]) for tls in spec.get("tls", [])}
            found |= {
                ("Service", path["backend"]["service"]["name"])
                for rule in spec["rules"]
                for path in rule["http"]["paths"]
            }
        case "RoleBinding":
            found.add((manifest["roleRef"]["kind"], manifest["roleRef"]["name"]))
            found |= {(subject["kind"], subject["name"]) for subject in manifest["subjects"]}
        case "ScaledObject":
            target = spec["scaleTargetRef"]
            found.add((target.get("kind", "Deployment"), target["name"]))
            for trigger in spec["triggers"]:
                if "authenticationRef" in trigger:
                    found.add(("TriggerAuthentication", trigger["authenticationRef"]["name"]))
        case "TriggerAuthentication":
            found |= {("Secret", item["name"]) for item in spec["secretTargetRef"]}
        case "ValidatingAdmissionPolicyBinding":
            found.add(("ValidatingAdmissionPolicy", spec["policyName"]))
    return found


def _of_pod(pod: Pod) -> Iterator[Reference]:
    if "serviceAccountName" in pod.spec:
        yield "ServiceAccount", pod.spec["serviceAccountName"]
    for secret in pod.spec.get("imagePullSecrets", []):
        yield "Secret", secret["name"]
    volumes = {template["metadata"]["name"] for template in _claims(pod.owner)}
    for volume in pod.spec.get("volumes", []):
        volumes.add(volume["name"])
        yield from _of_volume(volume)
    for container in pod.containers:
        for mount in container.get("volumeMounts", []):
            if mount["name"] not in volumes:
                yield "volume", mount["name"]  # which nothing can satisfy
        for source in container.get("envFrom", []):
            yield _source(source)
        for variable in container.get("env", []):
            source = variable.get("valueFrom", {})
            if "configMapKeyRef" in source:
                yield "ConfigMap", source["configMapKeyRef"]["name"]
            if "secretKeyRef" in source:
                yield "Secret", source["secretKeyRef"]["name"]


def _claims(owner: Manifest) -> list[dict[str, Any]]:
    return list(owner.get("spec", {}).get("volumeClaimTemplates", []))


def _of_volume(volume: Mapping[str, Any]) -> Iterator[Reference]:
    if "configMap" in volume:
        yield "ConfigMap", volume["configMap"]["name"]
    if "secret" in volume:
        yield "Secret", volume["secret"]["secretName"]
    if "persistentVolumeClaim" in volume:
        yield "PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]


def _source(source: Mapping[str, Any]) -> Reference:
    """Return the object that an item of a container's envFrom names."""
    if "configMapRef" in source:
        return "ConfigMap", source["configMapRef"]["name"]
    return "Secret", source["secretRef"]["name"]


def data(manifests: Iterable[Manifest]) -> dict[Reference, dict[str, str]]:
    """Return what the ConfigMaps and Secrets hold, by object, as pods would see it."""
    found = {}
    for manifest in of_kind(manifests, "ConfigMap", "Secret"):
        content = dict(manifest.get("data", {}))
        if manifest["kind"] == "Secret":
            content = {key: base64.b64decode(value).decode() for key, value in content.items()}
            content |= manifest.get("stringData", {})
        found[manifest["kind"], manifest["metadata"]["name"]] = content
    return found


def environment(
    pod: Pod, container: str, known: Mapping[Reference, Mapping[str, str]]
) -> dict[str, str]:
    """Return the variables that a container would find. Raises KeyError for a missing key.

    ``known`` is what ConfigMaps and Secrets hold.
    """
    found: dict[str, str] = {}
    spec = pod.container(container)
    for source in spec.get("envFrom", []):
        held = known[_source(source)]
        found |= {source.get("prefix", "") + key: value for key, value in held.items()}
    for variable in spec.get("env", []):
        match variable:
            case {"value": value}:
                found[variable["name"]] = value
            case {"valueFrom": {"secretKeyRef": {"name": name, "key": key}}}:
                found[variable["name"]] = known["Secret", name][key]
            case {"valueFrom": {"configMapKeyRef": {"name": name, "key": key}}}:
                found[variable["name"]] = known["ConfigMap", name][key]
            case {"valueFrom": {"fieldRef": {"fieldPath": path}}}:
                found[variable["name"]] = f"the pod's {path}"
            case {"name": name}:
                found[name] = ""
    return found


def selected(selector: Mapping[str, Any], labels: Labels) -> bool:
    """Tell whether a LabelSelector takes these labels."""
    return selector.get("matchLabels", {}).items() <= labels.items() and all(
        _expression(labels.get(rule["key"]), rule) for rule in selector.get("matchExpressions", [])
    )


def _expression(value: str | None, rule: Mapping[str, Any]) -> bool:
    match rule["operator"]:
        case "In":
            return value in rule["values"]
        case "NotIn":
            return value not in rule["values"]
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
    raise ValueError(f"Kubernetes has no operator {rule['operator']}")
