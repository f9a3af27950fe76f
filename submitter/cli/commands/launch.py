"""`rowfleet launch`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from rowfleet.errors import InputError
from rowfleet.recipes import loading
from rowfleet.storage import schemes
from submitter.cli import console
from submitter.cli.amounts import WholeNumber
from submitter.cli.command import Command
from submitter.cli.options import (
    DEFAULT_RELEASE,
    answer_options,
    batch_id_option,
    documents_option,
    handed_on,
    overwrite_option,
    plain_option,
    rows_options,
    terms_options,
    tier_option,
    urgent_option,
    where_options,
)
from submitter.cluster import client, kubeconfig, manifest, sheet_location
from submitter.submission import submission


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
    help=f"The spreadsheet: pvc://CLAIM/PATH on a volume, or {schemes.listed(schemes.remote())}.",
)
@click.option("--export", metavar="URI", help="Write the finished sheet there at the end.")
@plain_option
@overwrite_option
@click.option("--name", metavar="NAME", help="Name of the Job; default: one from the command.")
@where_options
@click.option(
    "--recipe",
    metavar="NAME|FILE",
    help="What to ask: a YAML file here, or the name of one of the chart's or the bundled recipes.",
)
@rows_options(WholeNumber(0), WholeNumber(1))
@documents_option
@answer_options
@batch_id_option()
@terms_options()
@tier_option
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
@urgent_option
@click.option("--wait", is_flag=True, help="Follow the Job to its end; exit with the batch's code.")
@click.option("--print", "show", is_flag=True, help="Print the manifest; create nothing.")
@click.pass_context
def launch(
    click_context: click.Context,
    /,
    excel: str,
    export: str | None,
    name: str | None,
    namespace: str | None,
    context: str | None,
    release: str | None,
    recipe: str | None,
    service_account: str | None,
    secrets: Sequence[str],
    wait: bool,
    show: bool,
    analyzer: str | None,
    batch_id: str | None,
    **_handed_on: object,
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
    arguments = manifest.arguments(source, target, recipe=asked, options=handed_on(click_context))
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
    by_file = next((name for name, lookup in read.lookups.items() if lookup.file), None)
    if by_file is not None:
        raise InputError(
            f"{path}: lookups.{by_file} is in a file, which the pod does not see; write its rows "
            "into the recipe as a table, or into a sheet of the workbook"
        )
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
    console.note(f"Job {name} in the namespace {namespace}: {what}")
    console.note(f"its log: kubectl logs -n {namespace} -f job/{name}")


def _follow(there: client.Cluster, job: manifest.Object) -> int:
    from submitter.cluster import following

    try:
        return following.follow(there, job, show=console.pass_on, note=console.note)
    except KeyboardInterrupt:
        console.note("the Job goes on; the same command follows it again")
        raise
