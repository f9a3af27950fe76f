"""`rowfleet workers`."""

from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click
from rich.markup import escape
from rich.table import Table

from rowfleet.errors import InputError, RowfleetError, ServiceError
from rowfleet.settings import Settings, load_settings
from submitter.cli import console
from submitter.cli.command import Command
from submitter.cli.options import DEFAULT_RELEASE, json_option, where_options
from submitter.cluster import kubeconfig

if TYPE_CHECKING:
    from submitter.celery_workers import Worker
    from submitter.cluster.worker_pods import Pod


@dataclass(frozen=True, slots=True)
class _Row:
    """One worker: what Celery says of it and the pod it runs in, as far as they are known."""

    worker: Worker | None
    pod: Pod | None

    def as_json(self) -> dict[str, Any]:
        facts = ("name", "pool", "slots", "running", "processed")
        said = {fact: getattr(self.worker, fact, None) for fact in facts}
        return {**said, "pod": dataclasses.asdict(self.pod) if self.pod else None}


@click.command(
    "workers", cls=Command, example="rowfleet workers\nrowfleet workers -n rowfleet --json"
)
@where_options
@json_option
def workers(namespace: str | None, context: str | None, release: str | None, as_json: bool) -> None:
    """List the running workers: what Celery says of each, and its pod.

    Celery is asked where REDIS_URL is set, the cluster where there is a kubeconfig or a service
    account.
    """
    asked_for = bool(namespace or context or release)
    settings = load_settings()
    broker = settings.redis_url is not None
    if not broker and not asked_for and not kubeconfig.is_available():
        raise InputError("REDIS_URL is not set, and there is no kubeconfig to list the pods with")
    with ThreadPoolExecutor(1) as pool:
        listed = (
            pool.submit(_pods, namespace, context, release or DEFAULT_RELEASE)
            if asked_for or kubeconfig.is_available()
            else None
        )
        answers = _celery(settings) if broker else []
        try:
            pods = listed.result() if listed else None
        except RowfleetError as error:
            if asked_for or not broker:
                raise
            pods = None
            if isinstance(error, ServiceError) and not as_json:
                console.note(f"the pods are not listed: {error}")
    rows = _join(answers, pods or [])
    if as_json:
        console.print_json([row.as_json() for row in rows])
    elif rows:
        console.out.print(_table(rows, pods=pods is not None, broker=broker))
    elif broker:
        console.out.print("no worker answers on this broker")
    else:
        console.out.print("no worker has a pod there")
    if broker and not as_json:
        _say_dead_letters(settings)
    if not broker:
        console.note("REDIS_URL is not set: what Celery says of the workers is left out")


def _say_dead_letters(settings: Settings) -> None:
    from rowfleet.queue.client import Queue
    from submitter import celery_workers

    if count := Queue(settings).dead_letters():
        console.note(celery_workers.dead_letters(settings.queue, count))


def _celery(settings: Settings) -> list[Worker]:
    from rowfleet.queue.client import Queue
    from submitter import celery_workers

    Queue(settings).check()
    return celery_workers.list_workers(settings)


def _pods(namespace: str | None, context: str | None, release: str) -> list[Pod]:
    from submitter.cluster.worker_pods import list_pods

    return list_pods(kubeconfig.connect(context=context, namespace=namespace), release)


def _join(answers: list[Worker], pods: list[Pod]) -> list[_Row]:
    """Return a row a worker. Celery's name ends in the host's, which is the pod's."""
    by_host = {pod.name: pod for pod in pods}
    rows = [_Row(worker, by_host.pop(worker.name.partition("@")[2], None)) for worker in answers]
    return rows + [_Row(None, pod) for pod in by_host.values()]


def _table(rows: list[_Row], *, pods: bool, broker: bool) -> Table:
    celery = ("pool", "slots", "running", "processed") if broker else ()
    of_pods = ("pod", "restarts", "age", "node", "deletion cost") if pods else ()
    table = Table("name", *celery, *of_pods)
    for row in rows:
        worker, pod = row.worker, row.pod
        name = worker.name if worker else pod.name if pod else ""
        cells = [str(getattr(worker, fact, "–")) for fact in celery]
        if pods:
            cells += _pod_cells(pod)
        table.add_row(escape(name), *cells)
    return table


def _pod_cells(pod: Pod | None) -> list[str]:
    if pod is None:
        return ["–"] * 5
    ready = "" if pod.ready or pod.phase != "Running" else ", not ready"
    return [
        pod.phase + ready,
        str(pod.restarts),
        _age(pod.started_at),
        pod.node or "–",
        str(pod.deletion_cost),
    ]


def _age(since: datetime | None) -> str:
    if since is None:
        return "–"
    seconds = max(0, round((datetime.now(UTC) - since).total_seconds()))
    for unit, name in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * unit:
            return f"{seconds // unit} {name}"
    return f"{seconds} s"
