"""The `rowfleet` command line."""

from __future__ import annotations

import dataclasses
import logging
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, get_args

import click
from pydantic import SecretStr, ValidationError
from rich.logging import RichHandler
from rich.table import Column, Table
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from rowfleet import prices
from rowfleet.cells import decode
from rowfleet.errors import InputError, RowfleetError, ServiceError
from rowfleet.feeding.feeder import Feeder
from rowfleet.ledger import records, schema
from rowfleet.ledger.engine import (
    check_ledger,
    is_unavailable,
    open_ledger,
    reading,
    unreachable,
    words_of,
)
from rowfleet.ledger.queries import batch_records, parts
from rowfleet.ledger.queries.progress import history, progress_of
from rowfleet.ledger.queries.rows import (
    failed_among,
    failed_rows,
    recorded_rows,
    rows_numbered,
    waiting_to_be_asked,
)
from rowfleet.ledger.records import Progress
from rowfleet.ledger.statuses import TIERS
from rowfleet.ledger.transitions import in_chunks, stopping
from rowfleet.masking import quieten, unbroken
from rowfleet.queue.client import Queue
from rowfleet.rate_limits.cap import Cap
from rowfleet.rate_limits.lane import PerMinute
from rowfleet.recipes import loading
from rowfleet.recipes.recipe import DEFAULT_RECIPE, Analyzer, Recipe
from rowfleet.settings import MOST_SLOTS, Settings, load_settings
from submitter import hints
from submitter.batch_api import tier as batch_tier
from submitter.cli import console, launch
from submitter.cli.command import DOLLARS, HELP_OPTIONS, Group, Number, WholeNumber
from submitter.cli.console import err as _err
from submitter.cli.console import out as _out
from submitter.cli.console import print_json as _print_json
from submitter.cli.console import say as _say
from submitter.costs import bill, sample
from submitter.costs.estimate import estimate
from submitter.costs.sample import MOST_SAMPLED
from submitter.local.worker import queue_of
from submitter.progress import display, presence, watching
from submitter.progress.presence import Presence
from submitter.results import writer
from submitter.sheets import totals
from submitter.sheets.opening import open_sheet
from submitter.sheets.sheet import Sheet
from submitter.storage import location, transfer
from submitter.submission import recording, takeover
from submitter.submission.submission import Range, Submission, Terms, check_id, prepare
from submitter.termination import EXIT_TERMINATED, Terminated, raise_on_sigterm

if TYPE_CHECKING:
    from submitter.local.worker import LocalWorker

#: What the shell sees when Ctrl-C ended a command: 128 + SIGINT.
EXIT_INTERRUPTED = 130


def main() -> NoReturn:
    """Run `rowfleet` and exit; an error of the user's or a service's is one sentence."""
    logging.basicConfig(
        level="WARNING",
        format="%(message)s",
        # Lines of a log are not wrapped: who searches it finds whole sentences.
        handlers=[
            RichHandler(console=_err, show_path=False, show_time=False)
            if _err.is_terminal
            else logging.StreamHandler()
        ],
    )
    quieten(logging.getLogger().handlers)
    raise_on_sigterm()
    try:
        _check_arguments(sys.argv[1:])
        code = cli.main(prog_name="rowfleet", standalone_mode=False)
    except RowfleetError as error:
        console.complain(error)
        code = error.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        code = error.exit_code
    except click.ClickException as error:
        console.complain(_usage(error))
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        code = EXIT_INTERRUPTED
    except Terminated:
        console.complain("ended by SIGTERM; the same command again goes on")
        code = EXIT_TERMINATED
    except DBAPIError as error:
        console.complain(f"the ledger failed: {words_of(error)}")
        code = ServiceError.exit_code
    sys.exit(code if isinstance(code, int) else 0)


def _check_arguments(arguments: Sequence[str]) -> None:
    """Refuse names that are not UTF-8: no terminal, log or ledger can hold them."""
    for argument in arguments:
        raw = os.fsencode(argument)
        try:
            raw.decode()
        except UnicodeDecodeError:
            shown = raw.decode("utf-8", "backslashreplace")
            raise InputError(f"{shown}: the name is not UTF-8; rename the file") from None


def _usage(error: click.ClickException) -> str:
    context = getattr(error, "ctx", None)
    sentence = " ".join(error.format_message().split()).removesuffix(".")
    path = context.command_path if context else "rowfleet"
    return f"{sentence}; see {path.replace('rowfleet', hints.program(), 1)} --help"


def _escaped(text: object) -> str:
    from rich.markup import escape

    return escape(str(text))


@click.group(cls=Group, context_settings=HELP_OPTIONS)
@click.version_option(package_name="rowfleet")
def cli() -> None:
    """Run an OpenAI analysis on every row of a spreadsheet.

    Settings come from the environment: REDIS_URL, DATABASE_URL, OPENAI_API_KEY, OPENAI_BASE_URL
    and ROWFLEET_*. Exit codes: 0 all rows done, 1 some rows failed or were cancelled, 2 the input
    or the configuration is wrong, 3 a service can't be reached, 130 interrupted, 143 ended by
    SIGTERM.
    """


# --- what several commands take


def _options(*decorators: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def apply(function: Any) -> Any:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return apply


_json = click.option("--json", "as_json", is_flag=True, help="Print JSON for a script to read.")
_dry = click.option(
    "--dry-run", is_flag=True, help="Check everything and estimate; send and record nothing."
)
_batch = click.argument("batch_id")


def _complete(engine: Engine, beginning: str) -> str:
    """Return the id of the batch that the user means. Raises InputError unless it is one."""
    with reading(engine) as connection:
        return batch_records.complete_id(connection, beginning)


_asked = _options(
    click.option("--sheet", metavar="NAME", help="Sheet of the workbook; default: the first."),
    click.option(
        "--start-row",
        type=int,
        default=0,
        metavar="N",
        help="First data row to take, counted from 0 below the header.",
    ),
    click.option("--num-rows", type=int, metavar="N", help="Rows to take; default: all the rest."),
    click.option(
        "--recipe",
        "recipe_file",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="What to ask, as YAML; default: what the batch of --batch-id was asked, else the "
        f"bundled {DEFAULT_RECIPE}.",
    ),
    click.option("--model", metavar="MODEL", help="Model to ask; wins over recipe and setting."),
    click.option(
        "--analyzer",
        type=click.Choice(get_args(Analyzer)),
        help="Who answers: a model, or rules that compute offline; wins over recipe and setting.",
    ),
    click.option(
        "--batch-id",
        metavar="ID",
        help="Name the batch; default: an id from its content, so that equal content continues.",
    ),
    click.option(
        "--export",
        "export_to",
        type=location.parse,
        metavar="OUT.xlsx",
        help="Write the finished sheet there at the end; a path or a URI, as for a sheet to read.",
    ),
)
_terms = _options(
    click.option(
        "--max-cost",
        type=DOLLARS,
        metavar="USD",
        help="Start no more rows when the batch has cost so much; default: no limit.",
    ),
    click.option(
        "--sample",
        "sample_size",
        type=WholeNumber(1, MOST_SAMPLED),
        metavar="N",
        help="Run N random rows, and show them and what the rest would cost; the rest waits for "
        "rowfleet resume, or for the same command without this.",
    ),
    click.option(
        "--dedupe",
        is_flag=True,
        help="Ask once about rows whose sent cells are the same, and give all the answer.",
    ),
)


def _agreed(
    recipe: Recipe,
    settings: Settings,
    *,
    max_cost: float | None,
    sample_size: int | None,
    dedupe: bool,
) -> Terms:
    """Return the terms for a recipe with analyzer and model settled.

    Raises InputError for a budget that can't be kept, and where rows are compared with each other.
    """
    assert recipe.model is not None
    if recipe.analyzer != "openai":
        if dedupe:
            raise InputError(
                "--dedupe: the rules compare rows with each other, and would find no duplicates; "
                "leave it out"
            )
        return Terms(sample=sample_size)  # the rules cost nothing
    price = (settings.prices | recipe.prices).get(recipe.model)
    if max_cost is not None:
        _check_price(recipe, price)
    return Terms(price, max_cost, sample_size, dedupe)


def _check_price(recipe: Recipe, price: prices.Price | None) -> None:
    """Raise InputError unless it is known what the recipe's model costs on its tier."""
    assert recipe.model is not None
    tier = recipe.options.service_tier
    if not prices.is_known(recipe.model, tier, price):
        on = f" on the tier {tier}" if tier not in prices.STANDARD_TIERS else ""
        raise InputError(
            f"--max-cost: the price of the model {recipe.model!r}{on} is not known; give it in "
            "ROWFLEET_PRICES or under prices in the recipe"
        )


def _decide(
    recipe: Recipe,
    settings: Settings,
    analyzer: str | None,
    model: str | None,
    *,
    dry_run: bool = False,
) -> Recipe:
    """Return the recipe with analyzer and model settled: option, recipe, setting, in that order.

    A ``dry_run`` sends nothing, so that it needs no key for a question that only a model answers.
    """
    default = settings.default_analyzer()
    if dry_run and not loading.rules_can_answer(recipe):
        default = "openai"
    loading.check_analyzer(recipe, analyzer, default)
    return recipe.model_copy(
        update={
            "analyzer": analyzer or recipe.analyzer or default,
            "model": model or recipe.model or settings.model,
        }
    )


def _recipe(
    file: Path | None, settings: Settings, batch_id: str | None, *, dry_run: bool = False
) -> Recipe:
    """Return what is asked: by the file, else as the batch ``batch_id`` is recorded, else bundled.

    ``file`` may be the name of a bundled recipe, where there is no file of that name.

    Raises InputError for a file that is no recipe, and an id that can't be one.
    """
    if file is not None:
        is_name = str(file) in loading.bundled_names() and not file.exists()
        return loading.bundled(str(file)) if is_name else loading.load(file)
    record = None if batch_id is None else _recorded(settings, batch_id, dry_run=dry_run)
    if record is None:
        return loading.bundled()
    recipe = loading.again(record.recipe, record.id)
    price = _recorded_price(record)
    return recipe if price is None else recipe.model_copy(update={"prices": {record.model: price}})


def _recorded_price(record: records.BatchRecord) -> prices.Price | None:
    """Return the price that a user gave the batch's model, None for that of the list."""
    try:
        return None if record.price is None else prices.Price.model_validate(record.price)
    except ValidationError:
        raise InputError(
            f"the price of batch {record.id} was recorded by another version, and can't be read"
        ) from None


def _recorded(
    settings: Settings, batch_id: str, *, dry_run: bool = False
) -> records.BatchRecord | None:
    """Return the batch of that id, None where there is none or no ledger yet.

    A ledger of an older version is brought up to date first, except for a ``dry_run``.
    """
    check_id(batch_id)
    assert settings.database_url is not None
    engine = open_ledger(settings.database_url.get_secret_value())
    if engine.dialect.name == "sqlite" and not Path(str(engine.url.database)).exists():
        return None
    try:
        with reading(engine) as connection:
            if schema.current(connection) is None:
                return None
        if not dry_run:
            engine = _ledger(settings, create=True)
        with reading(engine) as connection:
            return batch_records.find_batch(connection, batch_id)
    except DBAPIError as error:
        if dry_run:  # away, or not ours yet; a look does without
            return None
        raise unreachable(engine, error) from None


def _settings(**options: Any) -> Settings:
    """Return the settings, with the local ledger where none is named."""
    settings = load_settings(**options)
    if settings.database_url is None:
        from submitter.local.state import default_database_url

        settings = load_settings(**options, database_url=default_database_url())
    return settings


def _ledger(settings: Settings, *, create: bool = False) -> Engine:
    """Open the ledger; one that isn't there yet is made only by those who ``create``."""
    assert settings.database_url is not None
    engine = open_ledger(settings.database_url.get_secret_value())
    if create:
        try:
            schema.migrate(engine)
        except OSError as error:
            raise InputError(
                f"the ledger can't be made at {engine.url.database}: {error.strerror}; "
                "set DATABASE_URL"
            ) from None
        return engine
    if engine.dialect.name == "sqlite" and not Path(str(engine.url.database)).exists():
        raise InputError(
            f"there is no ledger at {engine.url.database}: a submit makes one, where DATABASE_URL "
            "says"
        )
    check_ledger(engine)
    with reading(engine) as connection:
        found = schema.current(connection)
    if found is None:
        where = engine.url.render_as_string(hide_password=True)
        raise InputError(f"there is no ledger in {where} yet; a submit makes it")
    if found != schema.head():
        raise InputError(
            f"the ledger has the schema {found}, this version works with {schema.head()}; "
            "a submit with the newer version brings it up to date"
        )
    return engine


def _feeder(engine: Engine, settings: Settings) -> Feeder:
    queue = Queue(settings)
    queue.check()
    cap = Cap(engine, queue, PerMinute(settings.requests_per_minute, settings.tokens_per_minute))
    return Feeder(
        engine, queue, window=settings.window, redelivery=settings.visibility_timeout, cap=cap
    )


def _check_export(out: location.Location, source: location.Location | None = None) -> None:
    """Raise InputError unless the finished sheet can be written, and is not the one it is from."""
    if isinstance(out, location.Uri):
        transfer.check_target(out, source)
        return
    if (
        isinstance(source, Path)
        and os.path.exists(out)
        and os.path.exists(source)
        and out.samefile(source)
    ):
        raise InputError(f"--export {out}: is the sheet that is read; give another name")
    try:
        writer.check_target(out)
    except OSError as error:  # a name too long, a directory that may not be looked into
        raise InputError(f"{out}: can't be written: {error.strerror}") from None


@contextmanager
def _opened(source: location.Location, sheet: str | None, recipe: Recipe) -> Iterator[Sheet]:
    with (
        transfer.downloaded(source) as file,
        open_sheet(file, sheet, recipe=recipe, name=str(source)) as opened,
    ):
        yield opened


def _as_json(progress: Progress) -> dict[str, object]:
    facts = dataclasses.asdict(progress)
    del facts["retried_for"]
    return {k: v for k, v in facts.items() if k not in ("reason", "is_idle") or v}


# --- submit and local


@cli.command(
    example="rowfleet submit --excel Master_Refunds.xlsx --wait --export results.xlsx\n"
    "rowfleet submit --excel Master_Refunds.xlsx --start-row 100 --num-rows 100"
)
@click.option(
    "--excel",
    "source",
    required=True,
    type=location.parse,
    metavar="SHEET.xlsx",
    help="The spreadsheet: .xlsx, .xlsm or .csv; a path, or s3://, gs://, az:// or https://.",
)
@_asked
@_terms
@click.option("--urgent", is_flag=True, help="Let its rows go before those of other batches.")
@click.option(
    "--tier",
    type=click.Choice(TIERS),
    help="Who runs the rows: the workers, or OpenAI's Batch API at half the price, within a day.",
)
@click.option("--wait", is_flag=True, help="Stay until the batch has ended; exit with its code.")
@_dry
@_json
def submit(
    source: location.Location,
    sheet: str | None,
    start_row: int,
    num_rows: int | None,
    recipe_file: Path | None,
    model: str | None,
    analyzer: str | None,
    batch_id: str | None,
    export_to: location.Location | None,
    max_cost: float | None,
    sample_size: int | None,
    dedupe: bool,
    urgent: bool,
    tier: str | None,
    wait: bool,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Submit a spreadsheet: one task a row.

    The same content submitted again continues the same batch: nothing is paid for twice. --sample
    waits for the sample as --wait does.
    """
    if export_to and not wait and sample_size is None:
        raise InputError("--export needs --wait; or use `rowfleet export BATCH_ID OUT.xlsx` later")
    if export_to:
        _check_export(export_to, source)
    settings = _settings()
    asked = _recipe(recipe_file, settings, batch_id, dry_run=dry_run)
    recipe = _decide(asked, settings, analyzer, model, dry_run=dry_run)
    terms = _agreed(recipe, settings, max_cost=max_cost, sample_size=sample_size, dedupe=dedupe)
    wait = wait or sample_size is not None
    if tier == "batch":
        batch_tier.check(recipe, urgent=urgent, terms=terms)
        if not dry_run:
            batch_tier.api_key(settings)
    rows = Range(start_row, num_rows)
    with _opened(source, sheet, recipe) as opened:
        opened.count(start_row, num_rows)
        submission = prepare(
            opened,
            rows,
            recipe,
            queue=batch_tier.QUEUE if tier == "batch" else settings.queue,
            batch_id=batch_id,
            urgent=urgent,
            terms=terms,
            tier=tier,
        )
        if dry_run:
            return _dry_run(submission, settings, tier=tier, as_json=as_json)
        if load_settings().database_url is None:
            raise InputError(
                "DATABASE_URL is not set; write DATABASE_URL=postgresql://USER:PASSWORD@HOST/NAME, "
                "the ledger the workers use too; `rowfleet local` needs neither it nor a broker"
            )
        if tier != "batch":
            Queue(settings).check()
        engine = _ledger(settings, create=True)
        feeder = None if tier == "batch" else _feeder(engine, settings)
        queue_for = None if tier == "batch" else takeover.for_fleet(engine, settings.queue)
        submission, found = recording.begin(engine, submission, queue_for)
        recording.fill(engine, feeder, submission, found)
    _announce(engine, submission, again=found is not None, as_json=as_json and not wait)
    if tier == "batch" or (found is not None and found.tier == "batch"):
        return _follow(engine, settings, submission.batch_id, export_to, wait=wait, as_json=as_json)
    if not wait:
        return 0
    with (
        _said_how_to_go_on(),
        display.display(_err if as_json else _out, quiet=as_json) as show,
    ):
        progress = watching.until_ended(engine, submission.batch_id, show=show, feeder=feeder)
    return _conclude(engine, progress, export_to, as_json=as_json)


def _follow(
    engine: Engine,
    settings: Settings,
    batch_id: str,
    export_to: location.Location | None,
    *,
    wait: bool,
    as_json: bool,
) -> int:
    """Bring a batch through the Batch API: to its end with ``wait``, else as far as is possible."""
    with display.display(_err if as_json else _out, quiet=as_json or not wait) as show:
        progress = batch_tier.follow(
            engine, settings, batch_id, wait=wait, show=show, say=_say_quietly(as_json)
        )
    if wait or progress.status == "stopped":
        return _conclude(engine, progress, export_to, as_json=as_json)
    return 0


def _say_quietly(as_json: bool) -> Callable[[str], None]:
    def say(sentence: str) -> None:
        if not as_json:
            console.say(sentence, to=_err)

    return say


def _dry_run(submission: Submission, settings: Settings, *, tier: str | None, as_json: bool) -> int:
    """Show what the submission would take, and what about it may be a mistake."""
    opened, recipe, terms = submission.sheet, submission.recipe, submission.terms
    start, number = submission.rows.start_row, submission.rows.num_rows
    about = estimate(
        opened,
        start,
        number,
        recipe,
        price=terms.price,
        history=_history(settings, recipe),
        tier=tier,
    )
    if as_json:
        facts = {"sheet": opened.title, "analyzer": recipe.analyzer, "model": recipe.model}
        _print_json({"dry_run": True, **facts, **dataclasses.asdict(about)})
        return 0
    _say(f"{opened.where}: {_rows(about.rows, 'is', 'are')} fine to submit")
    if recipe.analyzer == "rules":
        _say("analyzer rules: computed offline, no tokens and no cost")
    else:
        hint = tier != "batch" and terms.sample is None
        _say(bill.estimated(about, recipe.model, hint=hint))
        for line in bill.on_terms(about, terms):
            _say(line)
        if settings.openai_api_key is None:
            _say("OPENAI_API_KEY is not set: a dry run needs none, the rows do where they run")
    if (total := totals.last_row(opened, start, number)) is not None:
        row, text = total
        _say(
            f"the last row, {row}, begins with {text!r}: if it is a row of totals, leave it out "
            f"with --num-rows {row - start}"
        )
    return 0


def _history(settings: Settings, recipe: Recipe) -> records.History | None:
    """Return what earlier batches like this took, None where there are none or no ledger."""
    assert settings.database_url is not None
    assert recipe.model is not None
    engine = open_ledger(settings.database_url.get_secret_value())
    if engine.dialect.name == "sqlite" and not Path(str(engine.url.database)).exists():
        return None
    try:
        with reading(engine) as connection:
            return history(connection, recipe.name, recipe.model)
    except DBAPIError:  # away, or not ours yet; an estimate does without
        return None


def _announce(engine: Engine, submission: Submission, *, again: bool, as_json: bool) -> None:
    progress = watching.read_progress(engine, submission.batch_id)
    if as_json:
        _print_json({"batch_id": submission.batch_id, "continued": again, "rows": progress.total})
        return
    openai = submission.recipe.analyzer == "openai"
    what = "this continues a batch submitted before" if again else "recorded"
    follow = hints.command("progress", submission.batch_id, "--watch")
    _err.print(
        f"batch [bold]{submission.batch_id}[/]: {_rows(progress.total)}, {what}; analyzer "
        f"{submission.recipe.analyzer}"
        + (f", model {_escaped(submission.recipe.model)}" if openai else "")
        + f"\nfollow it with: {_escaped(follow)}",
        highlight=False,
        soft_wrap=True,
    )


def _conclude(
    engine: Engine, progress: Progress, export_to: location.Location | None, *, as_json: bool
) -> int:
    shown = _as_json(progress)
    if progress.status == "sampled":
        shown |= _show_sample(engine, progress, say=not as_json)
    if as_json:
        _print_json(shown)
    if progress.status == "stopped":
        raise InputError(
            f"batch {progress.batch_id} was stopped: {(progress.reason or '').rstrip('.')}; "
            "once that is mended, submit the same again and it goes on"
        )
    if export_to:
        _export_patiently(engine, progress.batch_id, export_to, say=not as_json)
    if progress.status == "budget_exhausted" and not as_json:
        _err.print(
            f"{_rows(progress.pending, 'was', 'were')} not started: {progress.reason}; to go on: "
            f"{_escaped(_larger_budget(progress))}",
            highlight=False,
            soft_wrap=True,
        )
    if progress.failed and not as_json:
        _err.print(
            f"{_rows(progress.failed)} failed; see: "
            f"{_escaped(hints.command('failed', progress.batch_id))}",
            highlight=False,
            soft_wrap=True,
        )
    return watching.exit_code(progress)


def _larger_budget(progress: Progress) -> str:
    return hints.larger_budget(progress.batch_id, progress.max_cost_usd, progress.cost_usd)


def _show_sample(engine: Engine, progress: Progress, *, say: bool) -> dict[str, object]:
    """Show what a sample came to and what the rest would cost; return it for a script."""
    with reading(engine) as connection:
        record = batch_records.get_batch(connection, progress.batch_id)
        sampled = rows_numbered(connection, record.id, record.sample or ())
        rest = waiting_to_be_asked(connection, record.id)
    projection = sample.project(sampled, rest)
    if say:
        for line in bill.results(sampled, loading.recorded(record.recipe).headers()):
            _out.print(line, markup=False, highlight=False, soft_wrap=True)
        said = bill.projected(projection, progress.cost_usd, progress.possibly_billed_calls)
        _out.print(said, highlight=False, soft_wrap=True)
        _say(f"to run them: {_what_runs_the_rest(record)}")
    return {
        "sample": [dataclasses.asdict(row) for row in sampled],
        "rest": dataclasses.asdict(projection),
    }


def _what_runs_the_rest(record: records.BatchRecord) -> str:
    """Return how a batch goes on after its sample."""
    resume = hints.command("resume", record.id)
    if record.queue == queue_of(record.id):  # no worker is there that would resume it
        return hints.same_again(without="--sample") or "the same again without --sample"
    return f"the same again without --sample, or, where workers run, {resume}"


#: Keys of the columns that say who answered, and which row has the same answer; no property of an
#: output can be called so.
_ANALYZER, _SAME_AS = "\0analyzer", "\0same as"


def _export_patiently(engine: Engine, batch_id: str, out: location.Location, *, say: bool) -> None:
    """Write the finished sheet, again for as long as the ledger is away; say so once."""
    away = False
    while True:
        try:
            _export(engine, batch_id, out, say=say)
            return
        except DBAPIError as error:
            if not is_unavailable(error):
                raise
            if not away:
                problem = unreachable(engine, error)
                logging.getLogger(__name__).warning("%s; the export waits for it", problem)
            away = True
            time.sleep(recording.PAUSE)


def _export(
    engine: Engine, batch_id: str, out: location.Location, *, say: bool
) -> records.BatchRecord:
    with transfer.uploaded(out) as file, reading(engine) as connection:
        record = batch_records.get_batch(connection, batch_id)
        rows = recorded_rows(connection, batch_id)
        analyzer = record.analyzer + (f" ({record.model})" if record.analyzer == "openai" else "")
        written = writer.write_sheet(
            file,
            title=record.sheet,
            header=record.header,
            formats=record.formats,
            widths=record.widths,
            result_headers={
                **loading.recorded(record.recipe).headers(),
                _ANALYZER: "AI_Analyzer",
                **({_SAME_AS: "AI_Same_As_Row"} if record.dedupe else {}),
            },
            rows=(
                writer.FinishedRow(
                    row.number,
                    [decode(c) for c in row.cells],
                    row.status,
                    {**(row.output or {}), _SAME_AS: row.same_as}
                    | ({_ANALYZER: analyzer} if row.output else {}),
                    row.error,
                )
                for row in rows
            ),
        )
    if say:
        _say(f"{_rows(written)} written to {out}")
    return record


@cli.command(example="rowfleet local examples/Master_Refunds.xlsx")
@click.argument("source", type=location.parse, metavar="SHEET.xlsx")
@_asked
@_terms
@click.option(
    "--slots",
    type=WholeNumber(1, MOST_SLOTS),
    metavar="N",
    help="Rows to run at once; default: 100.",
)
@_dry
@_json
def local(
    source: location.Location,
    sheet: str | None,
    start_row: int,
    num_rows: int | None,
    recipe_file: Path | None,
    model: str | None,
    analyzer: str | None,
    batch_id: str | None,
    export_to: location.Location | None,
    max_cost: float | None,
    sample_size: int | None,
    dedupe: bool,
    slots: int | None,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Do the whole job on this machine, with nothing else installed.

    Runs an embedded Valkey and a SQLite ledger unless REDIS_URL and DATABASE_URL name others, and
    a Celery worker. Writes SHEET.results.xlsx. Ctrl-C stops; the same again goes on.
    """
    from contextlib import ExitStack

    from submitter.local.broker import embedded_broker
    from submitter.local.state import state_directory
    from submitter.local.worker import LocalWorker, Run

    beside = source.with_suffix("") if isinstance(source, Path) else source.stem
    out = export_to or Path(f"{beside}.results.xlsx")
    _check_export(out, source)
    settings = _settings(slots=slots)
    asked = _recipe(recipe_file, settings, batch_id, dry_run=dry_run)
    recipe = _decide(asked, settings, analyzer, model, dry_run=dry_run)
    if recipe.analyzer == "openai" and settings.openai_api_key is None and not dry_run:
        offline = loading.rules_can_answer(recipe)
        raise InputError(
            "OPENAI_API_KEY is not set; set it"
            + (", or use --analyzer rules, which computes offline" if offline else "")
        )
    terms = _agreed(recipe, settings, max_cost=max_cost, sample_size=sample_size, dedupe=dedupe)
    rows = Range(start_row, num_rows)
    with _said_how_to_go_on(), ExitStack() as stack:
        opened = stack.enter_context(_opened(source, sheet, recipe))
        opened.count(start_row, num_rows)
        submission = prepare(
            opened,
            rows,
            recipe,
            queue=settings.queue,
            batch_id=batch_id,
            terms=terms,
            tier="workers",
        )
        if dry_run:
            return _dry_run(submission, settings, tier=None, as_json=as_json)
        engine = _ledger(settings, create=True)
        if settings.redis_url is None:
            # A broker of its own needs a queue of its own: the ledger may be shared.
            broker = SecretStr(stack.enter_context(embedded_broker()))
            settings = settings.model_copy(update={"redis_url": broker, "redis_password": None})
            run = Run(engine)
            queue_for = takeover.for_local(engine, run)
        else:
            Queue(settings).check()
            run = Run(engine, settings.queue)
            queue_for = takeover.for_fleet(engine, settings.queue)
        stack.callback(run.end)
        run.free_rows_of_dead_runs()
        submission, found = recording.begin(engine, submission, queue_for)
        settings = settings.model_copy(update={"queue": submission.queue})
        feeder = _feeder(engine, settings)
        if settings.queue == queue_of(submission.batch_id):
            stack.callback(run.put_queue_back, settings.queue)
        worker = LocalWorker(settings, state_directory(), run)
        stack.push(
            lambda kind, *_: _stop(worker, interrupted=kind in (KeyboardInterrupt, Terminated))
        )
        worker.start()
        recording.fill(engine, feeder, submission, found)

        def look_after() -> None:
            worker.watch()
            run.free_rows_of_dead_runs()

        _announce(engine, submission, again=found is not None, as_json=False)
        with display.display(_err if as_json else _out, quiet=as_json) as show:
            progress = watching.until_ended(
                engine, submission.batch_id, show=show, feeder=feeder, each_time=look_after
            )
    return _conclude(engine, progress, out, as_json=as_json)


@contextmanager
def _said_how_to_go_on() -> Iterator[None]:
    """After Ctrl-C, print the command that goes on."""
    try:
        yield
    except KeyboardInterrupt:
        _err.print(
            f"to go on: {_escaped(hints.same_again() or 'the same command again')}",
            highlight=False,
            soft_wrap=True,
        )
        raise


def _stop(worker: LocalWorker, *, interrupted: bool) -> None:
    if interrupted:
        _err.print("finishing the rows that run; press Ctrl-C again to end them at once")
    try:
        worker.stop()
    except (KeyboardInterrupt, Terminated):
        _err.print("ended; their rows start anew next time")


# --- looking at batches


@cli.command(example="rowfleet progress master-refunds-3f9a2c81d04e --watch")
@_batch
@click.option("--watch", "follow", is_flag=True, help="Stay until the batch has ended.")
@_json
def progress(batch_id: str, follow: bool, as_json: bool) -> int:
    """Show how far a batch is. With --watch the exit code is the batch's, as with submit --wait.

    Watching ends with exit code 1 when rows are left and nothing is there that would run them.
    """
    settings = _settings()
    engine = _ledger(settings)
    batch_id = _complete(engine, batch_id)
    with reading(engine) as connection:
        runner = Presence(engine, settings, batch_records.get_batch(connection, batch_id))
    if follow:
        # A script reads one JSON object a line; a person sees a bar.
        if as_json:
            end = watching.until_ended(
                engine,
                batch_id,
                show=lambda p: _print_json(_as_json(runner.seen(p))),
                each_time=runner.look,
            )
            return watching.exit_code(end)
        with display.display(_out) as show:
            end = watching.until_ended(
                engine,
                batch_id,
                show=lambda p: show(runner.seen(p)),
                each_time=runner.look,
            )
            return watching.exit_code(end)
    current = runner.seen(watching.read_progress(engine, batch_id))
    if as_json:
        _print_json(_as_json(current))
    else:
        _out.print(display.panel(current))
    return 0


@cli.command(example="rowfleet batches")
@_json
def batches(as_json: bool) -> None:
    """List all batches, the newest first."""
    settings = _settings()
    engine = _ledger(settings)
    with reading(engine) as connection:
        read = [
            (record, progress_of(connection, record.id))
            for record in batch_records.batches(connection)
        ]
    running = {record.queue: record for record, p in read if p.status == "running"}
    idle = {q for q, record in running.items() if Presence(engine, settings, record).is_idle()}
    listed = [
        (record, presence.idle(p) if p.status == "running" and record.queue in idle else p)
        for record, p in read
    ]
    if as_json:
        _print_json(
            [{"source": r.source, "created_at": r.created_at, **_as_json(p)} for r, p in listed]
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
            table.add_row(*map(_escaped, shown))
        width = console.natural_width(table)
        if not _out.is_terminal or width <= _out.width:
            break
    console.print_whole(table)


#: Columns of `batches`; a narrow terminal does without the last ones.
_LISTED = ("batch", "status", "rows", "done", "failed", "cost", "source", "submitted")


@cli.command(example="rowfleet failed master-refunds-3f9a2c81d04e")
@_batch
@_json
def failed(batch_id: str, as_json: bool) -> None:
    """List a batch's failed rows: row number, attempts, error."""
    engine = _ledger(_settings())
    batch_id = _complete(engine, batch_id)
    with reading(engine) as connection:
        rows = failed_rows(connection, batch_id)
    if as_json:
        _print_json([dataclasses.asdict(row) for row in rows])
        return
    if not rows:
        _say(f"no row of {batch_id} has failed")
        return
    table = Table("row", "attempts", "error")
    for row in rows:
        table.add_row(str(row.row), str(row.attempts), _escaped(row.error))
    _out.print(table)


@cli.command(
    "export", example="rowfleet export master-refunds-3f9a2c81d04e Master_Refunds.results.xlsx"
)
@_batch
@click.argument("out", type=location.parse, metavar="OUT.xlsx")
def export_(batch_id: str, out: location.Location) -> int:
    """Write the finished sheet; rows that are not done yet are marked.

    The exit code is 1 if rows of the sheet are not recorded yet, and so are missing.
    """
    _check_export(out)
    engine = _ledger(_settings())
    record = _export(engine, _complete(engine, batch_id), out, say=True)
    if record.status != "loading":
        return 0
    console.complain(
        f"batch {record.id} is not wholly recorded: rows of {record.source} are missing here; "
        f"{presence.HOW_TO_RECORD.format(record.source)}"
    )
    return 1


# --- acting on batches


@cli.command(
    example="rowfleet collect master-refunds-3f9a2c81d04e\n"
    "rowfleet collect master-refunds-3f9a2c81d04e --wait --export results.xlsx"
)
@_batch
@click.option("--wait", is_flag=True, help="Stay until the batch has ended; exit with its code.")
@click.option(
    "--export",
    "export_to",
    type=location.parse,
    metavar="OUT.xlsx",
    help="Write the finished sheet there at the end; a path or a URI, as for a sheet to read.",
)
@_json
def collect(batch_id: str, wait: bool, export_to: location.Location | None, as_json: bool) -> int:
    """Go on with a batch of --tier batch: fetch answers that are there, send rows that wait.

    Needs no sheet, and no submitter that waits.
    """
    if export_to and not wait:
        raise InputError("--export needs --wait; or use `rowfleet export BATCH_ID OUT.xlsx` later")
    if export_to:
        _check_export(export_to)
    settings = _settings()
    engine = _ledger(settings)
    batch_id = _complete(engine, batch_id)
    with reading(engine) as connection:
        if batch_records.get_batch(connection, batch_id).tier != "batch":
            raise InputError(f"batch {batch_id} is run by workers; there is nothing to collect")
    code = _follow(engine, settings, batch_id, export_to, wait=wait, as_json=as_json)
    if not wait:
        current = watching.read_progress(engine, batch_id)
        if as_json:
            _print_json(_as_json(current))
        else:
            _out.print(display.line(current), markup=False, highlight=False, soft_wrap=True)
    return code


@cli.command(
    example="rowfleet retry master-refunds-3f9a2c81d04e\n"
    "rowfleet retry master-refunds-3f9a2c81d04e --row 17 --row 42"
)
@_batch
@click.option("--row", "numbers", type=int, multiple=True, metavar="N", help="Only this row.")
@_json
def retry(batch_id: str, numbers: Sequence[int], as_json: bool) -> None:
    """Run a batch's failed rows again."""
    settings = _settings()
    engine = _ledger(settings)
    batch_id = _complete(engine, batch_id)
    with reading(engine) as connection:
        batch_record = batch_records.get_batch(connection, batch_id)
        if batch_record.status == "stopped":
            raise InputError(_stopped(batch_record))
        if batch_record.status == "budget_exhausted":
            raise InputError(
                f"batch {batch_id} may cost no more: {batch_record.reason}; first: "
                f"{_larger_budget(watching.read_progress(engine, batch_id))}"
            )
        unfailed = sorted(set(numbers) - failed_among(connection, batch_id, numbers))
        if unfailed:
            raise InputError(f"--row {unfailed[0]}: row {unfailed[0]} of {batch_id} has not failed")
    again = in_chunks.retry_failed(engine, batch_id, list(numbers) or None, by=_this_process())
    if as_json:
        _print_json({"batch_id": batch_id, "rows": again})
        return
    if not again:
        _say(f"no row of {batch_id} has failed")
        return
    _say(f"{_rows(len(again))} of {batch_id} to run again")
    if batch_record.tier == "batch":
        _say(f"send them with: {hints.command('collect', batch_id, '--wait')}")
        return
    runner = Presence(engine, settings, batch_record)
    if settings.redis_url is not None and not runner.is_local:
        _wake(engine, settings, batch_record)
    if runner.is_there():
        _say(f"follow it with: {hints.command('progress', batch_id, '--watch')}")
    else:
        _say(f"nothing runs the batch now; {runner.remedy()}")


def _wake(engine: Engine, settings: Settings, record: records.BatchRecord) -> None:
    """Put the batch's rows on its queue, so that an autoscaler has a reason to start workers."""
    try:
        queue = settings.model_copy(update={"queue": record.queue})
        _feeder(engine, queue).feed(only=record.id)
    except ServiceError as error:  # the workers feed it, too
        logging.getLogger(__name__).warning("not feeding for now, no row is lost: %s", error)


def _rows(count: int, verb: str = "", verb_of_several: str = "") -> str:
    """Return a number of rows in words, with the verb that goes with it."""
    words = ("1 row", verb) if count == 1 else (f"{count:,} rows", verb_of_several)
    return " ".join(word for word in words if word)


def _stopped(record: records.BatchRecord) -> str:
    return (
        f"batch {record.id} was stopped: {record.reason}; once that is mended, submit the same "
        "sheet again and it goes on"
    )


@cli.command(
    example="rowfleet resume master-refunds-3f9a2c81d04e\n"
    "rowfleet resume master-refunds-3f9a2c81d04e --max-cost 25"
)
@_batch
@click.option(
    "--max-cost",
    type=DOLLARS,
    metavar="USD",
    help="What the batch may cost altogether, from its beginning; default: what is left of its "
    "budget, and no limit if that is spent.",
)
@_json
def resume(batch_id: str, max_cost: float | None, as_json: bool) -> None:
    """Let the rest of a batch run, after its sample or when its budget is spent.

    Feeds the queue if REDIS_URL is set, so that an autoscaler has a reason to start workers.
    """
    settings = _settings()
    engine = _ledger(settings)
    batch_id = _complete(engine, batch_id)
    with engine.begin() as connection:
        record = batch_records.get_batch(connection, batch_id)
        if record.status == "stopped":
            raise InputError(_stopped(record))
        if record.status in ("finished", "cancelled"):
            raise InputError(f"batch {batch_id} has ended already: it is {record.status}")
        if record.tier == "batch":
            raise InputError(
                f"batch {batch_id} goes through the Batch API: "
                f"{hints.command('collect', batch_id, '--wait')}"
            )
        if max_cost is not None and record.analyzer == "openai":
            asked = loading.recorded({**record.recipe, "model": record.model})
            _check_price(asked, _recorded_price(record))
            spent = progress_of(connection, batch_id).cost_usd
            if spent is None:
                raise InputError(
                    f"--max-cost {max_cost:g}: what batch {batch_id} has cost is not known (a call "
                    "has no known price, or its answer no token counts), so no budget can be kept; "
                    f"without one: {hints.command('resume', batch_id)}"
                )
            if spent >= max_cost:
                raise InputError(
                    f"--max-cost {max_cost:g}: {display.dollars(spent)} are spent already; "
                    "give what the batch may cost altogether"
                )
        stopping.end_sample(connection, batch_id)
        # Rules cost nothing, so that a budget of theirs would only hold them up.
        is_dropped = max_cost is None and record.status == "budget_exhausted"
        if is_dropped or max_cost is not None:
            limit = max_cost if record.analyzer == "openai" else None
            stopping.set_budget(connection, batch_id, limit)
    runner = Presence(engine, settings, record)
    if settings.redis_url is not None and not runner.is_local:
        queue = settings.model_copy(update={"queue": record.queue})
        _feeder(engine, queue).feed(only=batch_id)
    current = runner.seen(watching.read_progress(engine, batch_id))
    if as_json:
        _print_json(_as_json(current))
        return
    _out.print(display.line(current), markup=False, highlight=False, soft_wrap=True)
    if is_dropped:
        _say("the batch has no budget any more, and all its rows run; --max-cost gives it one")
    if not runner.is_there():
        _say(f"nothing runs the batch now; {runner.remedy()}")


@cli.command(example="rowfleet cancel master-refunds-3f9a2c81d04e")
@_batch
@_json
def cancel(batch_id: str, as_json: bool) -> None:
    """Cancel a batch: queued rows are dropped without a call, running ones finish.

    Remote batches of --tier batch are cancelled, too.
    """
    settings = _settings()
    engine = _ledger(settings)
    batch_id = _complete(engine, batch_id)
    with engine.begin() as connection:
        record = batch_records.get_batch(connection, batch_id)
        cancelled = stopping.cancel(connection, batch_id, by=_this_process())
        left = bool(parts.parts_of(connection, batch_id))
    swept = in_chunks.sweep(engine, batch_id, by=_this_process())
    if not cancelled and not (record.status == "cancelled" and (left or swept)):
        raise InputError(f"batch {batch_id} has ended already")
    if left:
        batch_tier.cancel(engine, settings, batch_id)
    current = watching.read_progress(engine, batch_id)
    if as_json:
        _print_json(_as_json(current))
    else:
        _out.print(display.line(current), markup=False, highlight=False, soft_wrap=True)


@cli.command(example="rowfleet repair master-refunds-3f9a2c81d04e")
@_batch
@_json
def repair(batch_id: str, as_json: bool) -> None:
    """Put back rows that the queue lost. Safe at any time; the fleet does it by itself."""
    settings = _settings()
    engine = _ledger(settings)
    batch_id = _complete(engine, batch_id)
    with reading(engine) as connection:
        record = batch_records.get_batch(connection, batch_id)
    if record.tier == "batch":
        raise InputError(
            f"batch {batch_id} is not on a queue; `rowfleet collect {batch_id}` goes on with it"
        )
    runner = Presence(engine, settings, record)
    if runner.is_local:
        raise InputError(
            f"batch {batch_id} is on no broker that stays; the run that goes on with it repairs "
            f"it: {hints.local_again(record)}"
        )
    queue = record.queue
    feeder = _feeder(engine, settings.model_copy(update={"queue": queue}))
    back = feeder.repair(only=batch_id)
    feeder.feed(only=batch_id)
    dead = Queue(settings.model_copy(update={"queue": queue})).dead_letters()
    if as_json:
        _print_json({"batch_id": batch_id, "put_back": back, "dead_letters": dead})
    else:
        _say(f"{_rows(back)} of {batch_id} put back")
        if dead:
            from submitter import celery_workers  # which imports kombu

            _say(celery_workers.dead_letters(queue, dead))


@cli.command(example="rowfleet migrate --wait 60")
@click.option(
    "--wait",
    "seconds",
    type=Number(min=0),
    default=0,
    metavar="SECONDS",
    help="Keep trying for so long while the database can't be reached; default: try once.",
)
def migrate(seconds: float) -> None:
    """Create the ledger's tables, or bring them up to date. A submit does so, too.

    Safe to run at any time, by several at once.
    """
    deadline = time.monotonic() + seconds
    settings = _settings()
    said = False
    while True:
        try:
            engine = _ledger(settings, create=True)
        except ServiceError as error:
            if isinstance(error, schema.NewerSchemaError) or time.monotonic() >= deadline:
                raise
            if not said:
                _err.print(f"{_escaped(error)}; waiting", highlight=False, soft_wrap=True)
            said = True
            time.sleep(watching.INTERVAL)
        else:
            break
    where = engine.url.render_as_string(hide_password=True)
    _out.print(
        f"the ledger in {_escaped(where)} has the schema {schema.head()}",
        highlight=False,
        soft_wrap=True,
    )


@cli.group(
    "recipes",
    cls=Group,
    invoke_without_command=True,
    example="rowfleet recipes\nrowfleet recipes copy invoice-refunds my-recipe.yaml",
)
@click.pass_context
def recipes_(context: click.Context) -> None:
    """List the recipes that come with Rowfleet; `recipes copy` makes one yours.

    `--recipe FILE` takes the copy, changed as you like.
    """
    if context.invoked_subcommand is not None:
        return
    for name in loading.bundled_names():
        recipe = loading.bundled(name)
        _say(f"{name}  {' '.join(recipe.description.split())}")
    _say(f"copy one with: {hints.program()} recipes copy {DEFAULT_RECIPE}")


@recipes_.command(
    example="rowfleet recipes copy invoice-refunds\n"
    "rowfleet recipes copy invoice-refunds my-recipe.yaml"
)
@click.argument("name")
@click.argument("file", type=click.Path(path_type=Path), required=False)
def copy(name: str, file: Path | None) -> None:
    """Copy a bundled recipe to FILE, by default NAME.yaml here. No file is overwritten."""
    if name not in loading.bundled_names():
        raise InputError(
            f"there is no bundled recipe {name!r}; there are {', '.join(loading.bundled_names())}"
        )
    file = file or Path(f"{name}.yaml")
    try:
        with file.open("x", encoding="utf-8") as copied:
            copied.write(loading.bundled_text(name))
    except FileExistsError:
        raise InputError(f"{file}: is there already; give another name") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{file}: can't be written: {reason}") from None
    _say(f"{file} written; use it with: --recipe {shlex.quote(str(file))}")


# --- in a cluster

cli.add_command(launch.launch_)
cli.add_command(launch.workers)


def _this_process() -> str:
    return f"cli-{os.getpid()}"
