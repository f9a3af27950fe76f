"""The `rowfleet` command line: its commands, and what ends it."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

import click

from rowfleet.errors import InputError, RowfleetError
from rowfleet.exit_codes import ExitCode
from rowfleet.masking import quieten
from submitter.cli import console
from submitter.cli.command import HELP_OPTIONS, DeferringGroup
from submitter.termination import Terminated, raise_on_sigterm


@click.group(cls=DeferringGroup, context_settings=HELP_OPTIONS)
@click.version_option(package_name="rowfleet")
def cli() -> None:
    """Run an OpenAI analysis on every row of a spreadsheet.

    Settings come from the environment: REDIS_URL, DATABASE_URL, OPENAI_API_KEY, OPENAI_BASE_URL
    and ROWFLEET_*. Exit codes: 0 all rows done, 1 some rows failed or were cancelled, 2 the input
    or the configuration is wrong, 3 a service can't be reached, 130 interrupted, 143 ended by
    SIGTERM.
    """


#: Each command's name, where it is in `submitter.cli.commands`, and its help's first sentence.
COMMANDS = (
    ("submit", "submit:submit", "Submit a spreadsheet: one task a row."),
    ("local", "local:local", "Do the whole job on this machine, with nothing else installed."),
    ("progress", "batches:progress", "Show how far a batch is."),
    ("batches", "batches:batches", "List all batches, the newest first."),
    ("failed", "batches:failed", "List a batch's failed rows: row number, attempts, error."),
    (
        "export",
        "batches:export_",
        "Write the finished sheet; rows that are not done yet are marked.",
    ),
    (
        "evidence",
        "evidence:evidence_",
        "Show where a row's answer comes from: document, page and quote of each field.",
    ),
    (
        "try",
        "trial:trial",
        "Try a recipe: ask each model about the same few rows, and show the answers side by side.",
    ),
    (
        "evaluate",
        "evaluate:evaluate_",
        "Say how good a batch's answers are, beside a column of labels.",
    ),
    (
        "compare",
        "compare:compare_",
        "Say how two batches' answers about the same rows differ: two models, or two prompts.",
    ),
    (
        "collect",
        "control:collect",
        "Go on with a batch of --tier batch: fetch answers that are there, send rows that wait.",
    ),
    ("retry", "control:retry", "Run a batch's failed rows again."),
    (
        "resume",
        "control:resume",
        "Let the rest of a batch run, after its sample or when its budget is spent.",
    ),
    (
        "cancel",
        "control:cancel",
        "Cancel a batch: queued rows are dropped without a call, running ones finish.",
    ),
    (
        "review",
        "reviewing:review",
        "Let a person decide on answered rows, in a workbook that goes out and comes back.",
    ),
    ("repair", "control:repair", "Put back rows that the queue lost."),
    ("migrate", "migrate:migrate", "Create the ledger's tables, or bring them up to date."),
    (
        "recipes",
        "recipes:recipes",
        "List the recipes that come with Rowfleet; `recipes copy` makes one yours.",
    ),
    (
        "launch",
        "launch:launch",
        "Submit a spreadsheet as a Kubernetes Job, which is the batch's whole run.",
    ),
    (
        "workers",
        "workers:workers",
        "List the running workers: what Celery says of each, and its pod.",
    ),
)

for _name, _place, _summary in COMMANDS:
    cli.defer(_name, f"submitter.cli.commands.{_place}", _summary)


def main() -> NoReturn:
    """Run `rowfleet` and exit; an error of the user's or a service's is one sentence."""
    logging.basicConfig(level="WARNING", format="%(message)s", handlers=[_log_handler()])
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
        code = ExitCode.INTERRUPTED
    except Terminated:
        console.complain("ended by SIGTERM; the same command again goes on")
        code = ExitCode.TERMINATED
    sys.exit(code if isinstance(code, int) else ExitCode.DONE)


def _log_handler() -> logging.Handler:
    """Return the handler of all logs. It wraps no line, so that a search finds whole sentences."""
    if not console.err.is_terminal:
        return logging.StreamHandler()
    from rich.logging import RichHandler

    return RichHandler(console=console.err, show_path=False, show_time=False)


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
    from submitter import hints  # which imports SQLAlchemy

    context = getattr(error, "ctx", None)
    sentence = " ".join(error.format_message().split()).removesuffix(".")
    path = context.command_path if context else "rowfleet"
    return f"{sentence}; see {path.replace('rowfleet', hints.program(), 1)} --help"
