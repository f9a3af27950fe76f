"""Errors a user can cause or mend. Each carries the one sentence the user reads."""

from __future__ import annotations

from rowfleet.exit_codes import ExitCode


class RowfleetError(Exception):
    """Base of all errors whose text is meant for the user; never shown with a traceback."""

    #: What the process exits with when this error ends it.
    exit_code = ExitCode.NOT_ALL_DONE


class InputError(RowfleetError):
    """The sheet, the recipe, an option or a setting is wrong. The sentence names which."""

    exit_code = ExitCode.BAD_INPUT


class NoTable(InputError):
    """A sheet has no table, or not the one that the recipe needs; another sheet may have it."""


class ServiceError(RowfleetError):
    """The broker, the ledger's database or object storage can't be reached."""

    exit_code = ExitCode.SERVICE_AWAY
