"""What `--dry-run` shows."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from rowfleet.ledger import records
from rowfleet.ledger.engine import open_ledger, reading
from rowfleet.ledger.ledger_errors import LedgerError
from rowfleet.ledger.queries.progress import history
from rowfleet.ledger.statuses import Tier
from rowfleet.recipes.recipe import Recipe
from rowfleet.settings import Settings
from submitter.cli import console, selected
from submitter.cli.console import rows_in_words
from submitter.cli.setup import kind_of
from submitter.costs import bill
from submitter.costs.documents import count
from submitter.costs.documents import sentences as sentences_of_documents
from submitter.costs.estimate import estimate
from submitter.submission.submission import Submission


def show_dry_run(
    submission: Submission, settings: Settings, *, tier: Tier | None, as_json: bool
) -> int:
    """Show what the submission would take, and what about it may be a mistake."""
    opened, recipe, terms = submission.sheet, submission.recipe, submission.terms
    start, number = submission.rows.start_row, submission.rows.num_rows
    documents = count(submission)
    about = estimate(
        opened,
        start,
        number,
        recipe,
        price=terms.price,
        history=_history(settings, recipe),
        tier=tier,
        document_tokens=0 if documents is None else documents.tokens or 0,
    )
    if as_json:
        facts = {
            "sheet": opened.title,
            "analyzer": recipe.analyzer,
            "model": recipe.model,
            **selected.facts(submission),
        }
        if documents is not None:
            facts["documents"] = dataclasses.asdict(documents)
        console.print_json({"dry_run": True, **facts, **dataclasses.asdict(about)})
        return 0
    console.say(f"{opened.where}: {rows_in_words(about.rows, 'is', 'are')} fine to submit")
    for sentence in (
        *selected.read_as(submission),
        *selected.left_out(submission.selection),
        *selected.unknown_keys(submission),
    ):
        console.say(sentence)
    for sentence in () if documents is None else sentences_of_documents(documents):
        console.say(sentence)
    kind = kind_of(recipe)
    if not kind.is_paid and not kind.asks_a_model:
        console.say(f"analyzer {kind.name}: computed offline, no tokens and no cost")
    else:
        hint = tier != Tier.BATCH and terms.sample is None
        sentences = (
            bill.estimated(about, kind.name, recipe.model, hint=hint)
            if kind.asks_a_model
            else [bill.without_tokens(about, kind.name)]
        )
        for sentence in (*sentences, *bill.on_terms(about, terms)):
            console.say(sentence)
        if kind.asks_openai and settings.openai_api_key is None:
            console.say(
                "OPENAI_API_KEY is not set: a dry run needs none, the rows do where they run"
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
    except LedgerError:  # away, or not ours yet; an estimate does without
        return None
