"""The pods that workers run in."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from submitter.cluster.client import Cluster, Object

#: The higher, the later a pod is chosen when there are too many; busy workers raise it.
DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"


@dataclass(frozen=True, slots=True)
class Pod:
    """One worker's pod."""

    name: str
    #: Pending, Running, Succeeded, Failed, Unknown; or Terminating while it finishes its rows.
    phase: str
    ready: bool
    restarts: int
    started_at: datetime | None
    node: str | None
    deletion_cost: int


def list_pods(cluster: Cluster, release: str) -> list[Pod]:
    """List the pods of a release's workers. Raises what a `Cluster` raises."""
    labels = (
        f"app.kubernetes.io/name=rowfleet,app.kubernetes.io/instance={release},"
        "app.kubernetes.io/component=worker"
    )
    return sorted(map(_pod, cluster.list_all("Pod", labels=labels)), key=lambda pod: pod.name)


def _pod(found: Object) -> Pod:
    metadata, status = found["metadata"], found.get("status") or {}
    containers = status.get("containerStatuses") or ()
    started = status.get("startTime")
    return Pod(
        name=metadata["name"],
        phase="Terminating" if "deletionTimestamp" in metadata else status.get("phase", "Unknown"),
        ready=bool(containers) and all(container["ready"] for container in containers),
        restarts=sum(container["restartCount"] for container in containers),
        started_at=datetime.fromisoformat(started) if started else None,
        node=found["spec"].get("nodeName"),
        deletion_cost=_cost((metadata.get("annotations") or {}).get(DELETION_COST)),
    )


def _cost(annotation: str | None) -> int:
    """Return the cost as Kubernetes takes it: a cost that is no number counts as 0."""
    try:
        return int(annotation or 0)
    except ValueError:
        return 0
