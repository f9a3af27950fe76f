"""A launched Job in its cluster: bring it there once, and follow it to its end."""

from __future__ import annotations

import logging
import time
from typing import Literal

from rowfleet.errors import InputError, ServiceError
from rowfleet.recipes import loading
from submitter.cluster.client import Cluster, NotFound, Object, Taken
from submitter.cluster.following import INTERVAL, ended
from submitter.cluster.manifest import (
    CHART_RECIPES,
    COMMAND,
    OWN_RECIPE,
    JobRecipe,
    chart_recipes,
    recipe_map,
)

log = logging.getLogger(__name__)

#: Seconds to wait until a Job that is replaced is gone.
DELETION_TIMEOUT = 60.0
Start = Literal["created", "replaced", "running"]


def pod_template(cluster: Cluster, release: str) -> Object:
    """Return the release's PodTemplate for submitters.

    Raises InputError, which names the releases that are there, if it is not.
    """
    component, instance = "app.kubernetes.io/component", "app.kubernetes.io/instance"
    found = {}
    for template in cluster.list_all("PodTemplate"):
        name = template["metadata"]["name"]
        labels = template["metadata"].get("labels") or {}
        if labels.get(component) == "submitter" or name.endswith("-submitter"):
            found[labels.get(instance) or name.removesuffix("-submitter")] = template
    if release in found:
        return found[release]
    there = f"it has {', '.join(sorted(found))}" if found else "it has none; see --namespace"
    raise InputError(
        f"--release {release}: no such release in the namespace {cluster.namespace} of the cluster "
        f"{cluster.which} (no PodTemplate {release}-submitter); {there}"
    )


def recipe_path(cluster: Cluster, template: Object, name: str) -> JobRecipe:
    """Return one of the recipes that the chart was given, or that come with Rowfleet.

    Raises InputError if there is none of that name.
    """
    config_map = chart_recipes(template)
    known: list[str] = []
    if config_map is not None:
        try:
            known = sorted(cluster.get("ConfigMap", config_map).get("data") or {})
        except NotFound:
            known = []
    if f"{name}.yaml" not in known:
        if name in loading.bundled_names():
            return JobRecipe(OWN_RECIPE, loading.bundled_text(name))
        names = ", ".join(key.removesuffix(".yaml") for key in known) or "none"
        raise InputError(
            f"--recipe {name}: is neither a file here (NAME.yaml) nor a recipe of the release, "
            f"which has {names}"
        )
    return JobRecipe(CHART_RECIPES / f"{name}.yaml")


def start(cluster: Cluster, manifest: Object, recipe: str | None) -> tuple[Object, Start]:
    """Bring the Job to the cluster, unless it runs there. Return it, and the action taken.

    One that has ended is replaced. ``recipe`` is the text of a recipe that comes with the Job.
    Raises InputError if the name is taken by a Job of another command.
    """
    name = manifest["metadata"]["name"]
    done: Start = "created"
    deadline = time.monotonic() + DELETION_TIMEOUT
    while True:
        try:
            job = cluster.create(manifest)
            break
        except Taken:
            pass
        try:
            found = cluster.get("Job", name)
        except NotFound:
            continue
        if "deletionTimestamp" not in found["metadata"]:
            _check_same(found, manifest)
            if not ended(found):
                return found, "running"
            cluster.delete("Job", name, found["metadata"]["uid"])
            done = "replaced"
        if time.monotonic() > deadline:
            raise ServiceError(
                f"the ended Job {name} does not go away: {_finalizers(found)}; delete it first"
            )
        time.sleep(INTERVAL / 4)
    if recipe is not None:
        try:
            _put(cluster, recipe_map(job, recipe))
        except BaseException:
            cluster.delete("Job", name, job["metadata"]["uid"])
            raise
    return job, done


def _check_same(found: Object, manifest: Object) -> None:
    theirs = (found["metadata"].get("annotations") or {}).get(COMMAND)
    if theirs != manifest["metadata"]["annotations"][COMMAND]:
        raise InputError(
            f"--name {found['metadata']['name']}: there is a Job of that name for something else; "
            "choose another, or delete it"
        )


def _finalizers(found: Object) -> str:
    held = found["metadata"].get("finalizers")
    return f"it is held by {', '.join(held)}" if held else "its deletion hangs"


def _put(cluster: Cluster, manifest: Object) -> None:
    """Create the object, or put it in the place of one left by a Job of the same name."""
    for _ in range(5):
        try:
            cluster.create(manifest)
            return
        except Taken:
            pass
        try:
            cluster.replace(manifest)
            return
        except (NotFound, Taken):
            continue
    raise ServiceError(f"the ConfigMap {manifest['metadata']['name']} can't be written")
