"""The commands that talk to a Kubernetes cluster: `rowfleet launch` and `rowfleet workers`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click
from rich.markup import escape
from rich.table import Table

from rowfleet.errors import InputError, RowfleetError, ServiceError
from rowfleet.ledger.statuses import TIERS
from rowfleet.recipes import loading
from rowfleet.recipes.recipe import Analyzer
from rowfleet.settings import load_settings
from submitter.cli import console
from submitter.cli.command import DOLLARS, Command, WholeNumber
from submitter.cli.console import err as _err
from submitter.cli.console import out as _out
from submitter.cluster import client, kubeconfig, manifest, sheet_location
from submitter.costs.sample import MOST_SAMPLED
from submitter.submission import submission

if TYPE_CHECKING:
    from submitter.celery_workers import Worker
    from submitter.cluster.worker_pods import Pod

#: The release that `helm install rowfleet …` makes.
DEFAULT_RELEASE = "rowfleet"


def _say(text: str) -> None:
    console.say(text, to=_err)


def _where(function: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option(
            "--release",
            metavar="NAME",
            help=f"Release of the Helm chart; default: {DEFAULT_RELEASE}.",
        ),
        click.option("--context", metavar="NAME", help="Context of the kubeconfig."),
        click.option(
            "-n", "--namespace", metavar="NAME", help="Namespace; default: the context's."
        ),
    ):
        function = option(function)
    return function


# --- launch


@click.command(
    "launch",
    cls=Command,
    example="rowfleet launch --excel pvc://rowfleet-sheets/Master_Refunds.xlsx"
    " --export pvc://rowfleet-sheets/results.xlsx --wait\n"
    "rowfleet launch --excel s3://invoices/2026/Master_Refunds.xlsx"
    " --env-from-secret rowfleet-storage --print",
)
@click.option(
    "--excel",
    required=True,
    metavar="URI",
    help="The spreadsheet: pvc://CLAIM/PATH on a volume, or s3://, gs://, az://, https://.",
)
@click.option("--export", metavar="URI", help="Write the finished sheet there at the end.")
@click.option("--name", metavar="NAME", help="Name of the Job; default: one from the command.")
@_where
@click.option(
    "--recipe",
    metavar="NAME|FILE",
    help="What to ask: a YAML file here, or the name of one of the chart's or the bundled recipes.",
)
@click.option("--sheet", metavar="NAME", help="Sheet of the workbook; default: the first.")
@click.option(
    "--start-row",
    type=WholeNumber(0),
    default=0,
    metavar="N",
    help="First data row to take, counted from 0 below the header.",
)
@click.option(
    "--num-rows", type=WholeNumber(1), metavar="N", help="Rows to take; default: all the rest."
)
@click.option("--model", metavar="MODEL", help="Model to ask; wins over recipe and setting.")
@click.option(
    "--analyzer",
    type=click.Choice(get_args(Analyzer)),
    help="Who answers: a model, or rules that compute offline; wins over recipe and setting.",
)
@click.option("--batch-id", metavar="ID", help="Name the batch; default: an id from its content.")
@click.option(
    "--max-cost",
    type=DOLLARS,
    metavar="USD",
    help="Start no more rows when the batch has cost so much; default: no limit.",
)
@click.option(
    "--sample",
    "sample_size",
    type=WholeNumber(1, MOST_SAMPLED),
    metavar="N",
    help="Run N random rows, and show them and what the rest would cost.",
)
@click.option(
    "--dedupe",
    is_flag=True,
    help="Ask once about rows whose sent cells are the same, and give all the answer.",
)
@click.option(
    "--tier",
    type=click.Choice(TIERS),
    help="Who runs the rows: the workers, or OpenAI's Batch API at half the price, within a day.",
)
@click.option(
    "--service-account", metavar="NAME", help="Run as this account, for workload identity."
)
@click.option(
    "--env-from-secret",
    "secrets",
    multiple=True,
    metavar="NAME",
    help="Secret whose keys become variables, like credentials for a bucket; may be repeated.",
)
@click.option("--urgent", is_flag=True, help="Let its rows go before those of other batches.")
@click.option("--wait", is_flag=True, help="Follow the Job to its end; exit with the batch's code.")
@click.option("--print", "show", is_flag=True, help="Print the manifest; create nothing.")
def launch_(
    excel: str,
    export: str | None,
    name: str | None,
    namespace: str | None,
    context: str | None,
    release: str | None,
    recipe: str | None,
    sheet: str | None,
    start_row: int,
    num_rows: int | None,
    model: str | None,
    analyzer: str | None,
    batch_id: str | None,
    max_cost: float | None,
    sample_size: int | None,
    dedupe: bool,
    tier: str | None,
    service_account: str | None,
    secrets: Sequence[str],
    urgent: bool,
    wait: bool,
    show: bool,
) -> int:
    """Submit a spreadsheet as a Kubernetes Job, which is the batch's whole run.

    Makes the Job with your kubeconfig from what the chart has installed. Launched again, it follows
    the Job that runs, or replaces the one that has ended; the same content stays the same batch.
    """
    from submitter.cluster import jobs

    if wait and show:
        raise InputError("--print creates nothing that --wait could follow; use one of them")
    source = sheet_location.locate("--excel", excel)
    target = sheet_location.locate("--export", export) if export else None
    if source == target:
        raise InputError(f"--export {export}: is the sheet that is read; give another name")
    if name is not None:
        manifest.check_name(name)
    if batch_id is not None:
        submission.check_id(batch_id)
    own = _own_recipe(recipe, analyzer)
    release = release or DEFAULT_RELEASE
    there = kubeconfig.connect(context=context, namespace=namespace)
    template = jobs.pod_template(there, release)
    asked = jobs.recipe_path(there, template, recipe) if recipe and own is None else own
    arguments = manifest.arguments(
        source,
        target,
        recipe=asked,
        sheet=sheet,
        start_row=start_row,
        num_rows=num_rows,
        model=model,
        analyzer=analyzer,
        batch_id=batch_id,
        urgent=urgent,
        max_cost=max_cost,
        sample_size=sample_size,
        dedupe=dedupe,
        tier=tier,
    )
    text = asked.text if asked else None
    digest = manifest.command_hash(arguments, text, release, service_account, list(secrets))
    job = manifest.job(
        template,
        name=name or manifest.job_name(source.stem, digest),
        namespace=there.namespace,
        digest=digest,
        args=arguments,
        excel=source,
        export=target,
        recipe=asked,
        service_account=service_account,
        env_from_secrets=secrets,
    )
    if show:
        click.echo(_manifest([manifest.recipe_map(job, text)] if text else [], job), nl=False)
        return 0
    started, done = jobs.start(there, job, text)
    _announce(started["metadata"]["name"], there.namespace, done)
    return _follow(there, started) if wait else 0


def _own_recipe(recipe: str | None, analyzer: str | None) -> manifest.JobRecipe | None:
    """Return the recipe of a file here, checked; None if it is a name, to be looked up there."""
    if recipe is None or not (recipe.endswith((".yaml", ".yml")) or "/" in recipe):
        return None
    path = Path(recipe)
    read = loading.load(path)
    loading.check_analyzer(read, analyzer)
    return manifest.JobRecipe(manifest.OWN_RECIPE, path.read_text("utf-8"))


def _manifest(others: list[manifest.Object], job: manifest.Object) -> str:
    import yaml

    class Plain(yaml.SafeDumper):
        """Writes equal values out, where YAML would refer from one to the other."""

        def ignore_aliases(self, data: Any) -> bool:
            return True

    return yaml.dump_all(
        [*others, job], Dumper=Plain, sort_keys=False, allow_unicode=True, width=100
    )


def _announce(name: str, namespace: str, done: str) -> None:
    what = {
        "created": "created",
        "replaced": "created anew; the one before had ended",
        "running": "runs already",
    }[done]
    _say(
        f"Job {name} in the namespace {namespace}: {what}\n"
        f"its log: kubectl logs -n {namespace} -f job/{name}"
    )


def _follow(there: client.Cluster, job: manifest.Object) -> int:
    from submitter.cluster import following

    try:
        return following.follow(there, job, show=console.pass_on, note=_say)
    except KeyboardInterrupt:
        _say("the Job goes on; the same command follows it again")
        raise


# --- workers


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
@_where
@click.option("--json", "as_json", is_flag=True, help="Print JSON for a script to read.")
def workers(namespace: str | None, context: str | None, release: str | None, as_json: bool) -> None:
    """List the running workers: what Celery says of each, and its pod.

    Celery is asked where REDIS_URL is set, the cluster where there is a kubeconfig or a service
    account.
    """
    asked_for = bool(namespace or context or release)
    broker = load_settings().redis_url is not None
    if not broker and not asked_for and not kubeconfig.is_available():
        raise InputError("REDIS_URL is not set, and there is no kubeconfig to list the pods with")
    with ThreadPoolExecutor(1) as pool:
        listed = (
            pool.submit(_pods, namespace, context, release or DEFAULT_RELEASE)
            if asked_for or kubeconfig.is_available()
            else None
        )
        answers = _celery() if broker else []
        try:
            pods = listed.result() if listed else None
        except RowfleetError as error:
            if asked_for or not broker:
                raise
            pods = None
            if isinstance(error, ServiceError) and not as_json:
                _say(f"the pods are not listed: {error}")
    rows = _join(answers, pods or [])
    if as_json:
        console.print_json([row.as_json() for row in rows])
    elif rows:
        _out.print(_table(rows, pods=pods is not None, broker=broker))
    elif broker:
        _out.print("no worker answers on this broker")
    else:
        _out.print("no worker has a pod there")
    if broker and not as_json:
        _say_dead_letters()
    if not broker:
        _say("REDIS_URL is not set: what Celery says of the workers is left out")


def _say_dead_letters() -> None:
    from rowfleet.queue.client import Queue
    from submitter import celery_workers

    settings = load_settings()
    if count := Queue(settings).dead_letters():
        _say(celery_workers.dead_letters(settings.queue, count))


def _celery() -> list[Worker]:
    from rowfleet.queue.client import Queue
    from submitter import celery_workers

    settings = load_settings()
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
