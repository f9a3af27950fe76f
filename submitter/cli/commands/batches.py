"""The commands that look at batches: progress, batches, failed, export."""

from __future__ import annotations

import dataclasses

import click
from rich.table import Column, Table

from rowfleet.exit_codes import ExitCode
from rowfleet.ledger.engine import reading
from rowfleet.ledger.queries import batch_records
from rowfleet.ledger.queries.progress import progress_of
from rowfleet.ledger.queries.rows import failed_rows
from rowfleet.ledger.statuses import BatchStatus
from rowfleet.masking import unbroken
from rowfleet.storage import location
from submitter.cli import console
from submitter.cli.command import Command
from submitter.cli.console import progress_facts
from submitter.cli.options import (
    batch_argument,
    json_option,
    overwrite_option,
    plain_option,
    source_option,
)
from submitter.cli.run import write_results
from submitter.cli.setup import complete_id, ledger_of, read_settings
from submitter.progress import display, presence, watching
from submitter.progress.presence import Presence
from submitter.results import export
from submitter.results.export import Target


@click.command(cls=Command, example="rowfleet progress master-refunds-3f9a2c81d04e --watch")
@batch_argument
@click.option("--watch", "follow", is_flag=True, help="Stay until the batch has ended.")
@json_option
def progress(batch_id: str, follow: bool, as_json: bool) -> int:
    """Show how far a batch is. With --watch the exit code is the batch's, as with submit --wait.

    Watching ends with exit code 1 when rows are left and nothing is there that would run them.
    """
    settings = read_settings()
    engine = ledger_of(settings)
    batch_id = complete_id(engine, batch_id)
    with reading(engine) as connection:
        runner = Presence(engine, settings, batch_records.get_batch(connection, batch_id))
    if follow:
        # A script reads one JSON object a line; a person sees a bar.
        if as_json:
            end = watching.until_ended(
                engine,
                batch_id,
                show=lambda p: console.print_json(progress_facts(runner.seen(p))),
                each_time=runner.look,
            )
            return watching.exit_code(end)
        with display.display(console.out) as show:
            end = watching.until_ended(
                engine,
                batch_id,
                show=lambda p: show(runner.seen(p)),
                each_time=runner.look,
            )
            return watching.exit_code(end)
    current = runner.seen(watching.read_progress(engine, batch_id))
    if as_json:
        console.print_json(progress_facts(current))
    else:
        console.out.print(display.panel(current))
    return 0


@click.command(cls=Command, example="rowfleet batches")
@json_option
def batches(as_json: bool) -> None:
    """List all batches, the newest first."""
    settings = read_settings()
    engine = ledger_of(settings)
    with reading(engine) as connection:
        read = [
            (record, progress_of(connection, record.id))
            for record in batch_records.batches(connection)
        ]
    running = {record.queue: record for record, p in read if p.status == BatchStatus.RUNNING}
    idle = {q for q, record in running.items() if Presence(engine, settings, record).is_idle()}
    listed = [
        (
            record,
            presence.idle(p) if p.status == BatchStatus.RUNNING and record.queue in idle else p,
        )
        for record, p in read
    ]
    if as_json:
        console.print_json(
            [
                {"source": r.source, "created_at": r.created_at, **progress_facts(p)}
                for r, p in listed
            ]
        )
        return
    cells = [
        {
            "batch": record.id,
            "status": display.state(current),
            "rows": f"{current.total:,}",
            "done": f"{current.done:,}",
            "failed": f"{current.failed:,}",
            "cost": "unknown" if current.cost_usd is None else display.dollars(current.cost_usd),
            "source": record.source,
            "submitted": f"{record.created_at.astimezone():%Y-%m-%d %H:%M}",
        }
        for record, current in listed
    ]
    for left_out in (), ("source",), ("source", "submitted"):
        table = Table(*(Column(name, no_wrap=True) for name in _LISTED if name not in left_out))
        for row in cells:
            shown = (unbroken(row[name]) for name in _LISTED if name not in left_out)
            table.add_row(*map(console.escaped, shown))
        width = console.natural_width(table)
        if not console.out.is_terminal or width <= console.out.width:
            break
    console.print_whole(table)


#: Columns of `batches`; a narrow terminal does without the last ones.
_LISTED = ("batch", "status", "rows", "done", "failed", "cost", "source", "submitted")


@click.command(cls=Command, example="rowfleet failed master-refunds-3f9a2c81d04e")
@batch_argument
@json_option
def failed(batch_id: str, as_json: bool) -> None:
    """List a batch's failed rows: row number, attempts, error."""
    engine = ledger_of(read_settings())
    batch_id = complete_id(engine, batch_id)
    with reading(engine) as connection:
        rows = failed_rows(connection, batch_id)
    if as_json:
        console.print_json([dataclasses.asdict(row) for row in rows])
        return
    if not rows:
        console.say(f"no row of {batch_id} has failed")
        return
    table = Table("row", "attempts", "error")
    for row in rows:
        table.add_row(str(row.row), str(row.attempts), console.escaped(row.error))
    console.out.print(table)


@click.command(
    "export",
    cls=Command,
    example="rowfleet export master-refunds-3f9a2c81d04e Master_Refunds.results.xlsx",
)
@batch_argument
@click.argument("out", type=location.parse, metavar="OUT.xlsx")
@source_option
@plain_option
@overwrite_option
def export_(
    batch_id: str,
    out: location.Location,
    source: location.Location | None,
    plain: bool,
    overwrite: bool,
) -> int:
    """Write the finished sheet; rows that are not done yet are marked.

    It is your workbook with the answers in it. A .csv gets a new workbook, as with --plain. Where
    OUT ends in .csv, a text file is written.

    The exit code is 1 if rows of the sheet are not recorded yet, and so are missing.
    """
    finished = Target(out, source, plain, overwrite)
    export.check(finished)
    engine = ledger_of(read_settings())
    record = write_results(engine, complete_id(engine, batch_id), finished, say=True)
    if record.status != BatchStatus.LOADING:
        return ExitCode.DONE
    console.complain(
        f"batch {record.id} is not wholly recorded: rows of {record.source} are missing here; "
        f"{presence.HOW_TO_RECORD.format(record.source)}"
    )
    return ExitCode.NOT_ALL_DONE
