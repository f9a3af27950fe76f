"""Commands to type next, as they run where the user is.

The program is named as it was called, which need not be on the PATH; and a ledger that the next
command would not find by itself is named in front.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path

from rowfleet.ledger.records import BatchRecord
from rowfleet.prices import MOST_DOLLARS
from rowfleet.recipes.names import fold
from rowfleet.services.service_urls import sqlite_file


def program() -> str:
    """Return what to type for `rowfleet`."""
    called = sys.argv[0]
    if Path(called).name == "__main__.py":
        return shlex.join([sys.executable, "-m", "submitter"])
    if os.sep not in called:
        return "rowfleet"
    found = shutil.which(Path(called).name)
    if found is not None and Path(found).resolve() == Path(called).resolve():
        return Path(called).name
    return shlex.quote(called)


def command(*arguments: str) -> str:
    """Return the command line that runs `rowfleet` with ``arguments`` on the same ledger."""
    return " ".join([*_where(), program(), *map(shlex.quote, arguments)])


def same_again(*, without: str | None = None) -> str | None:
    """Return the command line this process was started by, None if it may hold a secret.

    A URL's query can be a signature, and a password stands before its `@`. ``without``: an option
    to leave out, with its value.
    """
    words = sys.argv[1:]
    if any("://" in word and ("?" in word or "@" in word) for word in words):
        return None
    if without is not None:
        if without in words:
            at = words.index(without)
            del words[at : at + 2]
        words = [word for word in words if not word.startswith(f"{without}=")]
    return command(*words)


def local_again(record: BatchRecord) -> str:
    """Return the `rowfleet local` that goes on with a batch which one began.

    It names no recipe, analyzer or model: by its id the batch is asked as it is recorded.
    """
    words = ["local", _from_here(record), "--batch-id", record.id]
    if record.start_row:
        words += ["--start-row", str(record.start_row)]
    if record.num_rows is not None:
        words += ["--num-rows", str(record.num_rows)]
    if not record.source.lower().endswith((".csv", ".tsv", ".txt")):
        words += ["--sheet", record.sheet]
    if record.documents is not None:
        words += ["--documents", record.documents]
    return command(*words, *_steered(record), *_chosen(record))


def _from_here(record: BatchRecord) -> str:
    """Return the name that the batch's file has where the user is."""
    if record.origin is None or "://" in record.origin:
        return record.source
    leads_there = Path(record.source).absolute() == Path(record.origin)
    return record.source if leads_there else record.origin


def _steered(record: BatchRecord) -> list[str]:
    """Return the options by which the same header is read, where it may not be found without."""
    words = []
    if record.first_row is not None and record.first_row > 2:
        words += ["--header-row", str(record.first_row - 1)]
    known = {
        column["name"]: {fold(name) for name in (column["name"], *column.get("aliases", ()))}
        for column in record.recipe.get("columns", ())
    }
    for name, place in record.columns.items():
        header = record.header[place]
        if fold(header) not in known.get(name, {fold(name)}):
            words += ["--map", f"{header}={name}"]
    return words


def _chosen(record: BatchRecord) -> list[str]:
    """Return the options by which the same rows are chosen."""
    words = []
    if record.where_expression is not None:
        words += ["--where", record.where_expression]
    if record.order_by is not None:
        words += ["--order-by", record.order_by]
    if record.hidden != "include":
        words += ["--hidden", record.hidden]
    if record.totals == "keep":
        words.append("--keep-totals")
    return words


def larger_budget(batch_id: str, budget: float | None, spent: float | None) -> str:
    """Return the `rowfleet resume` that gives a batch twice the dollars it has had or spent.

    If what it has spent is not known, that is None, and it can go on without a budget alone.
    """
    if spent is None:
        return command("resume", batch_id)
    amount = min(2 * max(budget or 0, spent or 0), MOST_DOLLARS)
    written = f"{amount:.6f}".rstrip("0").rstrip(".")
    return command("resume", batch_id, "--max-cost", written)


def _where() -> list[str]:
    """Return the variables that say where the ledger is.

    A database server's URL holds a password, so it is not printed; the user has exported it.
    """
    url = os.environ.get("DATABASE_URL", "")
    if url:
        try:
            file = sqlite_file(url)
        except ValueError:
            return []
        if file is None:
            return []
        return [f"DATABASE_URL={shlex.quote(f'sqlite:///{os.path.abspath(file)}')}"]
    home = os.environ.get("XDG_STATE_HOME", "")
    return [f"XDG_STATE_HOME={shlex.quote(os.path.abspath(home))}"] if home else []
