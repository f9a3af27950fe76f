"""`rowfleet evidence`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from rich.table import Table

from rowfleet.exit_codes import ExitCode
from rowfleet.ledger.engine import reading
from rowfleet.ledger.queries import batch_records
from submitter.cli import console
from submitter.cli.command import Command
from submitter.cli.options import batch_argument, json_option
from submitter.cli.setup import complete_id, ledger_of, read_settings
from submitter.results.citing.cited_pages import CitedField, cited_fields, write_pictures


@click.command(
    "evidence",
    cls=Command,
    example="rowfleet evidence refunds-with-invoices-3f9a2c81d04e 7 --png pages",
)
@batch_argument
@click.argument("row", type=click.IntRange(min=1))
@click.option(
    "--png",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="Also write a picture of each cited page, the quote marked; needs the documents.",
)
@json_option
def evidence_(batch_id: str, row: int, png: Path | None, as_json: bool) -> int:
    """Show where a row's answer comes from: document, page and quote of each field.

    ROW is the row's number in the sheet, as AI_Row has it. The exit code is 1 if a quote is not in
    its document.
    """
    engine = ledger_of(read_settings())
    batch_id = complete_id(engine, batch_id)
    with reading(engine) as connection:
        batch = batch_records.get_batch(connection, batch_id)
        fields = cited_fields(connection, batch, row - batch.sheet_row(0))
    pictures = [] if png is None else list(write_pictures(fields, png, row))
    if as_json:
        console.print_json([_facts(each) for each in fields])
    else:
        _show(fields)
    for picture in pictures:
        console.note(f"written: {picture}")
    missing = any(each.source is not None and not each.source.is_found for each in fields)
    return ExitCode.NOT_ALL_DONE if missing else ExitCode.DONE


def _facts(cited: CitedField) -> dict[str, Any]:
    name = None if cited.document is None else cited.document.path
    source = None if cited.source is None else cited.source.encoded(name)
    return {"field": cited.field, "value": cited.value, "source": source}


def _show(fields: list[CitedField]) -> None:
    table = Table("field", "value", "document", "page", "quote", "found")
    for each in fields:
        source, value = each.source, "" if each.value is None else str(each.value)
        if source is None:
            table.add_row(each.field, console.escaped(value), "", "", "", "")
            continue
        name = str(source.document) if each.document is None else each.document.path
        found = "yes" if source.share == 1 else f"{source.share:.0%}"
        shown = (value, name, str(source.page), source.quote, found if source.is_found else "no")
        table.add_row(each.field, *map(console.escaped, shown))
    console.out.print(table)
