"""The Job of one spreadsheet, made from the pod that the chart has prepared for submitters.

Everything here takes values and returns manifests; `submitter.cluster.jobs` brings them to a
cluster. The Job treats failures as k8s/submit-job.yaml does.
"""

from __future__ import annotations

import copy
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Any, Final

from rowfleet.errors import InputError
from rowfleet.exit_codes import ExitCode
from submitter.cluster.sheet_location import SHEETS, SheetLocation

Object = dict[str, Any]

#: The container that runs `rowfleet`, in the chart's template and in the manifests.
CONTAINER: Final = "submitter"

#: Where the chart mounts its recipes, and where a recipe that comes with the Job is mounted.
CHART_RECIPES = PurePosixPath("/etc/rowfleet/recipes")
OWN_RECIPE = PurePosixPath("/etc/rowfleet/launch/recipe.yaml")

#: Annotation that tells one command's Job from another's of the same name.
COMMAND = "rowfleet/command"

#: Tries after the first. Kubernetes waits 10 s before the first of them, then twice as long each.
BACKOFF_LIMIT = 6
#: Seconds that an ended Job and its log stay: a day.
TTL_AFTER_FINISHED = 86_400
#: Seconds between SIGTERM and SIGKILL; the submitter needs one or two.
GRACE_PERIOD = 30

#: Exit codes that another try would not change: rows failed and the export is written, or the
#: input is bad.
FINAL = [ExitCode.NOT_ALL_DONE.value, ExitCode.BAD_INPUT.value]
#: The Job fails at once with those. A drained or lost node does not count; any other end counts
#: against BACKOFF_LIMIT.
POD_FAILURE_POLICY: Object = {
    "rules": [
        {
            "action": "FailJob",
            "onExitCodes": {"containerName": CONTAINER, "operator": "In", "values": FINAL},
        },
        {
            "action": "Ignore",
            "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
        },
    ]
}

#: Characters of a Kubernetes name (RFC 1123 label). A Job's is a label of its pods, too.
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class JobRecipe:
    """The recipe that the Job asks with: a file that comes with it, or one of the chart's."""

    path: PurePosixPath
    #: The file's text; None for one of the chart's.
    text: str | None = None


def arguments(
    excel: SheetLocation,
    export: SheetLocation | None,
    *,
    recipe: JobRecipe | None = None,
    options: Mapping[str, object] = MappingProxyType({}),
) -> list[str]:
    """Return what the pod's `rowfleet` is told.

    ``options`` are more options of `submit` with their values, in their order here; flags come
    last. None, False, 0 and no values of several are what `submit` does anyway, and are left out.
    """
    values = {
        "--export": export.argument if export else None,
        "--recipe": str(recipe.path) if recipe else None,
        **{name: value for name, value in options.items() if value is not True},
    }
    # `=`, so that a value that starts with a dash is none of our options.
    given = [
        f"{name}={each}"
        for name, value in values.items()
        for each in (value if isinstance(value, tuple) else (value,))
        if each not in (None, False, 0)
    ]
    flags = [name for name, value in options.items() if value is True]
    return ["submit", f"--excel={excel.argument}", "--wait", *given, *flags]


def command_hash(*parts: object) -> str:
    """Return a hash of all that makes a launch what it is; equal launches are one Job."""
    return hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()[:12]


def job_name(stem: str, digest: str) -> str:
    """Return `rowfleet-STEM-HASH`, a name Kubernetes takes."""
    readable = re.sub(r"[^a-z0-9]+", "-", stem.lower()).strip("-")[:36].strip("-")
    return f"rowfleet-{readable or 'sheet'}-{digest}"


def check_name(name: str) -> str:
    """Return ``name``. Raises InputError if no Job can be called so."""
    if not _NAME.fullmatch(name):
        raise InputError(
            f"--name {name!r}: use up to 63 small letters, digits and dashes, the first and the "
            "last a letter or digit"
        )
    return name


def job(
    template: Object,
    *,
    name: str,
    namespace: str,
    digest: str,
    args: Sequence[str],
    excel: SheetLocation,
    export: SheetLocation | None = None,
    recipe: JobRecipe | None = None,
    service_account: str | None = None,
    env_from_secrets: Sequence[str] = (),
) -> Object:
    """Return the Job for a release's PodTemplate, its recipe's ConfigMap (`recipe_map`) included.

    Raises InputError for a template without a container called `submitter`.
    """
    pod = copy.deepcopy(template["template"])
    spec = pod["spec"]
    container = _container(template, spec)
    # Kubernetes fills $(NAME) in from the environment, secrets included; a sheet may be called so.
    container["args"] = [argument.replace("$", "$$") for argument in args]
    for secret in env_from_secrets:
        container.setdefault("envFrom", []).append({"secretRef": {"name": secret}})
    _mount_claims(spec, container, excel, export)
    if recipe and recipe.text is not None:
        _mount(
            spec,
            container,
            {"name": "launch-recipe", "configMap": {"name": name}},
            {"mountPath": str(recipe.path.parent), "readOnly": True},
        )
    if service_account:
        spec["serviceAccountName"] = service_account
    spec["restartPolicy"] = "Never"
    spec["terminationGracePeriodSeconds"] = GRACE_PERIOD
    metadata = {
        k: v for k, v in (pod.get("metadata") or {}).items() if k in ("labels", "annotations")
    }
    if service_account and any(
        place and place.argument.startswith("az:") for place in (excel, export)
    ):
        metadata["labels"] = {**metadata.get("labels", {}), "azure.workload.identity/use": "true"}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": _labels(template),
            "annotations": {COMMAND: digest},
        },
        "spec": {
            "backoffLimit": BACKOFF_LIMIT,
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": copy.deepcopy(POD_FAILURE_POLICY),
            "ttlSecondsAfterFinished": TTL_AFTER_FINISHED,
            "template": {"metadata": metadata, "spec": spec},
        },
    }


def recipe_map(job: Object, text: str) -> Object:
    """Return the ConfigMap with the recipe of a Job. It goes with the Job, once that has a uid."""
    metadata = job["metadata"]
    owner = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "name": metadata["name"],
        "uid": metadata.get("uid"),
    }
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "labels": metadata["labels"],
            **({"ownerReferences": [owner]} if owner["uid"] else {}),
        },
        "data": {OWN_RECIPE.name: text},
    }


def chart_recipes(template: Object) -> str | None:
    """Return the ConfigMap with the chart's recipes, None if the template mounts none."""
    spec = template["template"]["spec"]
    mounts = _container(template, spec).get("volumeMounts") or ()
    names = [m["name"] for m in mounts if PurePosixPath(m["mountPath"]) == CHART_RECIPES]
    for volume in spec.get("volumes") or ():
        if volume["name"] in names and "configMap" in volume:
            return str(volume["configMap"]["name"])
    return None


def _container(template: Object, spec: Object) -> Object:
    for container in spec["containers"]:
        if container["name"] == CONTAINER:
            assert isinstance(container, dict)
            return container
    raise InputError(
        f"the PodTemplate {template['metadata']['name']} has no container called {CONTAINER}; "
        "it is not one of Rowfleet's chart"
    )


def _labels(template: Object) -> dict[str, str]:
    """Return the release's labels; without those that say who made the template, and how."""
    prefix = "app.kubernetes.io/"
    made = (f"{prefix}managed-by", f"{prefix}version")
    kept = template["metadata"].get("labels") or {}
    return {
        **{k: v for k, v in kept.items() if k.startswith(prefix) and k not in made},
        f"{prefix}managed-by": "rowfleet-launch",
    }


def _mount_claims(
    spec: Object, container: Object, excel: SheetLocation, export: SheetLocation | None
) -> None:
    written = export.claim if export else None
    claims = dict.fromkeys(claim for claim in (excel.claim, written) if claim)
    for number, claim in enumerate(claims):
        _mount(
            spec,
            container,
            {"name": f"sheets-{number}", "persistentVolumeClaim": {"claimName": claim}},
            {
                "mountPath": str(SHEETS / claim),
                **({} if claim == written else {"readOnly": True}),
            },
        )
    security = spec.get("securityContext") or {}
    group = security.get("runAsGroup") or security.get("runAsUser")
    if claims and group and "fsGroup" not in security:
        # Else the volume belongs to root, and the export can't be written to it.
        spec["securityContext"] = {
            **security,
            "fsGroup": group,
            "fsGroupChangePolicy": "OnRootMismatch",
        }


def _mount(spec: Object, container: Object, volume: Object, mount: Object) -> None:
    spec.setdefault("volumes", []).append(volume)
    container.setdefault("volumeMounts", []).append({"name": volume["name"], **mount})
