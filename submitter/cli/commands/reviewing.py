"""The command `review`: rows that need a person go out in a workbook, and decisions come back."""

from __future__ import annotations

import click

from rowfleet.errors import InputError
from rowfleet.ledger.engine import Engine, reading
from rowfleet.ledger.queries import batch_records, reviews
from rowfleet.recipes.parts.examples import MOST_EXAMPLES
from rowfleet.storage import location
from rowfleet.storage.location import Location
from submitter import hints
from submitter.cli import console
from submitter.cli.amounts import WholeNumber
from submitter.cli.command import Command
from submitter.cli.console import rows_in_words
from submitter.cli.options import batch_argument, json_option, overwrite_option, source_option
from submitter.cli.setup import complete_id, ledger_of, read_settings, this_process
from submitter.results import export
from submitter.results.export import Target
from submitter.review import few_shot, incoming, outgoing, review_sheet


@click.command(
    cls=Command,
    example="rowfleet review master-refunds-3f9a2c81d04e\n"
    "rowfleet review master-refunds-3f9a2c81d04e --export Master_Refunds.review.xlsx\n"
    "rowfleet review master-refunds-3f9a2c81d04e --import Master_Refunds.review.xlsx\n"
    "rowfleet review master-refunds-3f9a2c81d04e --examples 8 > examples.yaml",
)
@batch_argument
@click.option(
    "--export",
    "export_to",
    type=location.parse,
    metavar="OUT.xlsx",
    help="Write your workbook with a sheet to decide on, the dearest doubt first.",
)
@click.option(
    "--import",
    "import_from",
    type=location.parse,
    metavar="FILE",
    help="Record the decisions in such a workbook: all of them, or none.",
)
@click.option(
    "--examples",
    "count",
    type=WholeNumber(1, MOST_EXAMPLES),
    metavar="N",
    help="Print N reviewed rows as the examples of a recipe, in YAML.",
)
@click.option("--all", "every", is_flag=True, help="Export every answered row.")
@source_option
@overwrite_option
@click.option(
    "--reviewer", metavar="NAME", help="Who decided the imported rows that name no reviewer."
)
@click.option(
    "--supersede",
    is_flag=True,
    help="Import decisions on rows that were decided otherwise after the export, too.",
)
@json_option
def review(
    batch_id: str,
    export_to: Location | None,
    import_from: Location | None,
    count: int | None,
    every: bool,
    source: Location | None,
    overwrite: bool,
    reviewer: str | None,
    supersede: bool,
    as_json: bool,
) -> None:
    """Let a person decide on answered rows, in a workbook that goes out and comes back.

    Without an option it says how many rows wait for a decision, and why. Decisions are kept for
    ever with who, when, before and after, and the newest one on a row gives its final values.
    """
    given = {"--export": export_to, "--import": import_from, "--examples": count}
    chosen = [name for name, value in given.items() if value is not None]
    if len(chosen) > 1:
        raise InputError(f"{' and '.join(chosen)}: give one of them at a time")
    _check_goes_with(chosen, "--export", {"--all": every, "--source": source is not None})
    _check_goes_with(chosen, "--export", {"--overwrite": overwrite})
    _check_goes_with(
        chosen, "--import", {"--reviewer": reviewer is not None, "--supersede": supersede}
    )
    target = None if export_to is None else Target(export_to, source, overwrite=overwrite)
    if target is not None:
        export.check(target)
    engine = ledger_of(read_settings())
    batch_id = complete_id(engine, batch_id)
    if target is not None:
        _export(engine, batch_id, target, every=every, as_json=as_json)
    elif import_from is not None:
        _import(engine, batch_id, import_from, reviewer, supersede=supersede, as_json=as_json)
    elif count is not None:
        console.print_text(few_shot.examples(engine, batch_id, count))
    else:
        _say_what_waits(engine, batch_id, as_json=as_json)


def _check_goes_with(chosen: list[str], option: str, others: dict[str, bool]) -> None:
    for other, is_given in others.items():
        if is_given and chosen != [option]:
            raise InputError(f"{other} goes with {option}; give it, too")


def _export(engine: Engine, batch_id: str, target: Target, *, every: bool, as_json: bool) -> None:
    written = outgoing.export_review(engine, batch_id, target, every=every)
    if as_json:
        console.print_json({"batch_id": batch_id, "rows": written.rows, "file": str(target.out)})
        return
    order = f", those with {written.ranked_by} first" if written.ranked_by else ""
    console.say(
        f"{rows_in_words(written.rows)} to decide on the sheet {review_sheet.TITLE} of "
        f"{target.out}{order}"
    )
    for note in written.exported.written.notes:
        console.note(note)
    back = hints.command("review", batch_id, "--import", str(target.out))
    console.say(f"once it is decided and saved: {back}")


def _import(
    engine: Engine,
    batch_id: str,
    file: Location,
    reviewer: str | None,
    *,
    supersede: bool,
    as_json: bool,
) -> None:
    found = incoming.import_decisions(
        engine, batch_id, file, by=this_process(), reviewer=reviewer, supersede=supersede
    )
    if as_json:
        console.print_json(
            {
                "batch_id": batch_id,
                "decided": found.made,
                "unchanged": found.unchanged,
                "undecided": found.undecided,
                "still_doubtful": len(found.doubtful),
            }
        )
        return
    console.say(
        f"{rows_in_words(found.made)} decided, {found.unchanged:,} as before, "
        f"{found.undecided:,} without a decision"
    )
    if found.doubtful:
        address, reason = found.doubtful[0]
        console.note(
            f"{rows_in_words(len(found.doubtful), 'does', 'do')} not pass the recipe's checks as "
            f"corrected, and {'is' if len(found.doubtful) == 1 else 'are'} recorded all the same; "
            f"the first is {address}: {reason}"
        )
    _say_what_is_next(engine, batch_id)


def _say_what_is_next(engine: Engine, batch_id: str) -> None:
    with reading(engine) as connection:
        batch = batch_records.get_batch(connection, batch_id)
        waiting, _ = reviews.waiting_by_reason(connection, batch_id)
    if waiting:
        need = rows_in_words(waiting, "needs", "need")
        console.say(f"{need} review still: {hints.command('review', batch_id)}")
        return
    out = f"{batch_id}.results{export.default_suffix(location.parse(batch.source), plain=False)}"
    console.say(f"no row needs review; the final values: {hints.command('export', batch_id, out)}")


def _say_what_waits(engine: Engine, batch_id: str, *, as_json: bool) -> None:
    with reading(engine) as connection:
        batch = batch_records.get_batch(connection, batch_id)
        waiting, names = reviews.waiting_by_reason(connection, batch_id)
        decided = reviews.count_decided(connection, batch_id)
    if as_json:
        console.print_json(
            {
                "batch_id": batch_id,
                "needs_review": waiting,
                "reasons": dict(names.most_common()),
                "decided": decided,
            }
        )
        return
    suffix = export.default_suffix(location.parse(batch.source), plain=False)
    out = f"{batch_id}.review{suffix}"
    if not waiting:
        console.say(f"no row of {batch_id} needs review; people decided on {decided:,}")
        everything = hints.command("review", batch_id, "--all", "--export", out)
        console.say(f"to review all answers: {everything}")
        return
    console.say(f"{rows_in_words(waiting, 'needs', 'need')} review; people decided on {decided:,}")
    for name, count in names.most_common():
        console.say(f"{count:>9,}  {name}")
    console.say(
        f"decide on them in a workbook: {hints.command('review', batch_id, '--export', out)}"
    )
