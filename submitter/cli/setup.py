"""The start of a command: settings, ledger, broker, sheet, and the question about it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import SecretStr, ValidationError

from rowfleet import analyzer_kinds, prices
from rowfleet.analyzer_kinds import Kind
from rowfleet.documents.places import root
from rowfleet.documents.places.root import Root
from rowfleet.errors import InputError
from rowfleet.feeding.feeder import Feeder
from rowfleet.ledger import records, schema
from rowfleet.ledger.engine import Engine, check_ledger, open_ledger, reading
from rowfleet.ledger.ledger_errors import LedgerError
from rowfleet.ledger.queries import batch_records
from rowfleet.queue.client import Queue
from rowfleet.rate_limits.cap import Cap
from rowfleet.rate_limits.lane import PerMinute
from rowfleet.recipes import loading
from rowfleet.recipes.recipe import Recipe
from rowfleet.settings import Settings, load_settings
from rowfleet.storage import location, transfer
from submitter.cli import console
from submitter.cli.asked import Asked
from submitter.results import columns, export
from submitter.sheets.header import HeaderOptions
from submitter.sheets.opening import open_sheet
from submitter.sheets.sheet import Sheet
from submitter.submission.lookup_tables import with_tables
from submitter.submission.submission import Terms, check_id


def complete_id(engine: Engine, beginning: str) -> str:
    """Return the id of the batch that the user means. Raises InputError unless it is one."""
    with reading(engine) as connection:
        return batch_records.complete_id(connection, beginning)


def agreed_terms(recipe: Recipe, settings: Settings, asked: Asked) -> Terms:
    """Return the terms for a recipe with analyzer and model settled.

    Raises InputError for a budget that can't be kept, and where rows are compared with each other.
    """
    assert recipe.model is not None
    kind = kind_of(recipe)
    if asked.dedupe and kind.compares_rows:
        raise InputError(
            f"--dedupe: the {kind.name} compare rows with each other, and would find no "
            "duplicates; leave it out"
        )
    if not kind.is_paid:
        return Terms(sample=asked.sample_size, dedupe=asked.dedupe, max_failures=asked.max_failures)
    price = (settings.prices | recipe.prices).get(recipe.model)
    if asked.max_cost is not None:
        check_price(recipe, price)
    return Terms(
        price,
        asked.max_cost,
        asked.max_failures,
        sample=asked.sample_size,
        dedupe=asked.dedupe,
    )


def documents_of(recipe: Recipe, settings: Settings, asked: Asked) -> Root | None:
    """Return the folder of the documents that the recipe has read, None where it has none.

    Raises InputError where it is not given, where nothing reads it, and where it is not there.
    """
    if recipe.documents is None:
        if asked.documents is not None:
            raise InputError(
                f"--documents: the recipe {recipe.name!r} reads no documents; say under documents "
                "which columns name them"
            )
        return None
    given = asked.documents or settings.documents
    if given is None:
        named = " and ".join(recipe.documents.columns)
        raise InputError(
            f"the recipe {recipe.name!r} reads the files that {named} names; give their folder "
            "with --documents"
        )
    found = root.parse(given)
    if found.is_local and not found.path.is_dir():
        raise InputError(f"--documents {found}: there is no such folder")
    return found


def kind_of(recipe: Recipe) -> Kind:
    """Return what sets the recipe's analyzer, which is settled, apart."""
    assert recipe.analyzer is not None
    return analyzer_kinds.get(recipe.analyzer)


def check_price(recipe: Recipe, price: prices.Price | None) -> None:
    """Raise InputError unless it is known what the recipe's model costs on its tier."""
    assert recipe.model is not None
    tier = recipe.options.service_tier
    if not kind_of(recipe).knows_price(recipe.model, tier, price):
        on = f" on the tier {tier}" if tier not in prices.STANDARD_TIERS else ""
        raise InputError(
            f"--max-cost: the price of the model {recipe.model!r}{on} is not known; give it in "
            "ROWFLEET_PRICES or under prices in the recipe"
        )


def recipe_of(
    asked: Asked, settings: Settings, given: Recipe | None = None, *, dry_run: bool = False
) -> Recipe:
    """Return the recipe with analyzer and model settled: option, recipe, setting, in that order.

    ``given`` is a recipe that came otherwise. A ``dry_run`` sends nothing, so that it needs no key
    for a question that only a model answers.

    Raises InputError for a file that is no recipe, an id that can't be one, and an analyzer that
    can't answer the recipe.
    """
    recipe = given or _recipe_for(asked.recipe_file, settings, asked.batch_id, dry_run=dry_run)
    default = settings.default_analyzer()
    if dry_run and not loading.can_answer(analyzer_kinds.WITHOUT_KEY, recipe):
        default = analyzer_kinds.WITH_KEY.name
    loading.check_analyzer(recipe, asked.analyzer, default)
    return recipe.model_copy(
        update={
            "analyzer": asked.analyzer or recipe.analyzer or default,
            "model": asked.model or recipe.model or settings.model,
        }
    )


def _recipe_for(
    file: Path | None, settings: Settings, batch_id: str | None, *, dry_run: bool
) -> Recipe:
    """Return what is asked: by the file, else as the batch ``batch_id`` is recorded, else bundled.

    ``file`` may be the name of a bundled recipe, where there is no file of that name.
    """
    if file is not None:
        is_name = str(file) in loading.bundled_names() and not file.exists()
        return loading.bundled(str(file)) if is_name else loading.load(file)
    record = None if batch_id is None else recorded_batch(settings, batch_id, dry_run=dry_run)
    if record is None:
        return loading.bundled()
    recipe = loading.again(record.recipe, record.id)
    price = recorded_price(record)
    return recipe if price is None else recipe.model_copy(update={"prices": {record.model: price}})


def recorded_price(record: records.BatchRecord) -> prices.Price | None:
    """Return the price that a user gave the batch's model, None for that of the list."""
    try:
        return None if record.price is None else prices.Price.model_validate(record.price)
    except ValidationError:
        raise InputError(
            f"the price of batch {record.id} was recorded by another version, and can't be read"
        ) from None


def recorded_batch(
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
            engine = ledger_of(settings, create=True)
        with reading(engine) as connection:
            return batch_records.find_batch(connection, batch_id)
    except LedgerError:
        if dry_run:  # away, or not ours yet; a look does without
            return None
        raise


def read_settings(**options: Any) -> Settings:
    """Return the settings, with the local ledger where none is named."""
    return with_a_ledger(load_settings(**options))


def with_a_ledger(settings: Settings) -> Settings:
    """Return the settings with the local ledger where they name none."""
    if settings.database_url is not None:
        return settings
    from submitter.local.state import default_database_url

    return settings.model_copy(update={"database_url": SecretStr(default_database_url())})


def ledger_of(settings: Settings, *, create: bool = False) -> Engine:
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


def feeder_for(engine: Engine, settings: Settings) -> Feeder:
    """Return the feeder of the settings' queue. Raises ServiceError if the broker is away."""
    queue = Queue(settings)
    queue.check()
    cap = Cap(engine, queue, PerMinute(settings.requests_per_minute, settings.tokens_per_minute))
    return Feeder(
        engine, queue, window=settings.window, redelivery=settings.visibility_timeout, cap=cap
    )


@contextmanager
def opened_sheet(
    source: location.Location,
    asked: Asked,
    recipe: Recipe,
    settings: Settings,
    finished: export.Target | None = None,
) -> Iterator[tuple[Sheet, Recipe]]:
    """Download the spreadsheet if it is elsewhere, and open it as the recipe reads it.

    Gives the recipe, too, with the tables of its lookups. Raises InputError for what can't be read,
    and for a workbook that can't become the ``finished`` sheet. If none is asked for yet, a
    sentence says that it can't.
    """
    answers = columns.answer_headers(recipe)
    header = HeaderOptions(asked.header_row, asked.maps, answers)
    with transfer.downloaded(source) as file:
        recipe = with_tables(recipe, file, str(source), asked.recipe_file)
        with open_sheet(
            file,
            asked.sheet,
            recipe=recipe,
            name=str(source),
            by_pattern=settings.sheet_reader == "pattern",
            header=header,
        ) as opened:
            _check_takes_answers(file, opened, recipe, asked, finished)
            yield opened, recipe


def _check_takes_answers(
    file: Path, sheet: Sheet, recipe: Recipe, asked: Asked, finished: export.Target | None
) -> None:
    try:
        export.check_workbook(file, sheet, columns.least_headers(recipe), finished)
    except InputError as error:
        if finished is not None:
            raise
        if not asked.plain:
            console.note(f"the answers can't be written into this workbook as it is: {error}")


def this_process() -> str:
    """Return what the ledger's history calls this process."""
    return f"cli-{os.getpid()}"
