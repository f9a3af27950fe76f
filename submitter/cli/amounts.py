"""The kinds of numbers that options take."""

from __future__ import annotations

import math
from typing import Any

import click

from rowfleet.prices import LEAST_DOLLARS, MOST_DOLLARS


class _Dollars(click.ParamType[float]):
    name = "dollars"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        try:
            amount = float(value)
        except ValueError:
            amount = math.nan
        if not LEAST_DOLLARS <= amount <= MOST_DOLLARS:  # which NaN is not, either
            self.fail(
                f"{value!r} is not an amount in dollars, from {LEAST_DOLLARS:g} to "
                f"{MOST_DOLLARS:,}",
                param,
                ctx,
            )
        return amount


#: An amount of money that may be spent.
DOLLARS = _Dollars()


class WholeNumber(click.IntRange):
    """A whole number within bounds; anything else is refused in plain words."""

    name = "whole number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number."""
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter:
            bounds = ""
            if self.min is not None:
                bounds = f" from {self.min:,}" + ("" if self.max is None else f" to {self.max:,}")
            self.fail(f"{str(value)[:40]!r} is not a whole number{bounds}", param, ctx)


class Number(click.FloatRange):
    """A number within bounds, which messages call so. NaN, which no bound refuses, is none."""

    name = "number"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the number."""
        number = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value!r} is not a number", param, ctx)
        return number
