"""The database's clock decides who may do what: the fleet's own clocks never agree.

`in_seconds(n)` is an SQL expression for the time n seconds from now; `minute()` numbers minutes.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, DateTime, Dialect, Float, Integer, TypeDecorator, literal
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement


class Timestamp(TypeDecorator[datetime]):
    """A time in UTC. SQLite knows no time zones, so it is stored there as UTC without saying so."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Convert to UTC."""
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Say that what came back is UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class _InSeconds(FunctionElement[datetime]):
    type = Timestamp()
    inherit_cache = True


class _Minute(FunctionElement[int]):
    type = Integer()
    inherit_cache = True


def in_seconds(seconds: float | ColumnElement[Any]) -> _InSeconds:
    """Return SQL for the database's time ``seconds`` from now (before now, if negative)."""
    if isinstance(seconds, (int, float)):
        seconds = literal(float(seconds), Float)
    return _InSeconds(seconds)


def now() -> _InSeconds:
    """Return SQL for the database's time."""
    return in_seconds(0)


def minute() -> _Minute:
    """Return SQL for the number of whole minutes since 1970, by the database's clock."""
    return _Minute()


@compiles(_InSeconds, "postgresql")
def _in_seconds_postgresql(element: _InSeconds, compiler: Any, **kw: Any) -> str:
    return f"(clock_timestamp() + make_interval(secs => {compiler.process(element.clauses, **kw)}))"


@compiles(_InSeconds, "sqlite")
def _in_seconds_sqlite(element: _InSeconds, compiler: Any, **kw: Any) -> str:
    # The format SQLAlchemy writes and reads, so that text compares as time does.
    shift = f"({compiler.process(element.clauses, **kw)}) || ' seconds'"
    return f"strftime('%Y-%m-%d %H:%M:%f000', 'now', {shift})"


@compiles(_Minute, "postgresql")
def _minute_postgresql(element: _Minute, compiler: Any, **kw: Any) -> str:
    return "CAST(floor(extract(epoch FROM clock_timestamp()) / 60) AS integer)"


@compiles(_Minute, "sqlite")
def _minute_sqlite(element: _Minute, compiler: Any, **kw: Any) -> str:
    return "CAST(strftime('%s', 'now') / 60 AS integer)"
