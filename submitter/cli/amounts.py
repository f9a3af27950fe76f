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


class Share(float):
    """A share from 0 to 1, written in per cent."""

    def __str__(self) -> str:
        return f"{100 * self:g}%"


class _Percent(click.ParamType[float]):
    name = "percent"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Share:
        text = str(value)
        try:
            percent = float(text.removesuffix("%"))
        except ValueError:
            percent = math.nan
        if not text.endswith("%") or not 0 < percent <= 100:  # which NaN is not, either
            self.fail(
                f"{text[:40]!r} is not a share above 0% and up to 100%, such as 20%", param, ctx
            )
        return Share(percent / 100)


#: A share, which is given as a number from 0 to 1.
PERCENT = _Percent()

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
