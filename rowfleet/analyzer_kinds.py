"""The kinds of analyzers: what sets each apart, and which there are.

No other module compares an analyzer's name; each asks the `Kind` instead. The built-in kinds are
listed here. Other distributions add theirs with an entry point in the group `rowfleet.analyzers`:
its name is the analyzer's, its value names a `Kind`. A plug-in is imported when its name is first
looked up, so that commands that use none stay quick.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Final, Protocol

from rowfleet import prices
from rowfleet.errors import InputError
from rowfleet.masking import outside
from rowfleet.prices import Price
from rowfleet.usage import Usage

#: The entry points' group.
GROUP: Final = "rowfleet.analyzers"


class Pricing(Protocol):
    """Says what calls cost."""

    def __call__(
        self,
        usage: Usage,
        *,
        model: str,
        service_tier: str | None,
        price: Price | None,
        processing: str | None,
    ) -> float | None:
        """Return what ``usage`` costs in USD, None if that is not known.

        ``price`` is the user's own for the model, if there is one. ``processing`` is `batch` for
        calls through OpenAI's Batch API.
        """
        ...


def by_tokens(
    usage: Usage,
    *,
    model: str,
    service_tier: str | None,
    price: Price | None,
    processing: str | None,
) -> float | None:
    """Return what the tokens cost, by the user's price or OpenAI's list; see `rowfleet.prices`."""
    return prices.dollars(
        model,
        prompt_tokens=usage.prompt_tokens,
        cached_tokens=usage.cached_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        completion_tokens=usage.completion_tokens,
        service_tier=service_tier,
        price=price,
        processing=processing,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What the programs need to know of an analyzer before it answers."""

    #: What `--analyzer` and a recipe's `analyzer` call it, and the ledger stores.
    name: str
    #: `module:function` that makes the analyzer from the `Settings`. Only workers import it.
    made_by: str
    #: What its calls cost; None: they cost nothing.
    dollars: Pricing | None = None
    #: Whether the model decides the answer, so that it is named beside the analyzer.
    asks_a_model: bool = False
    #: Whether it calls OpenAI's API: with its key, within the fleet's limits for each model, and
    #: also through the Batch API.
    asks_openai: bool = False
    #: Whether it is told which earlier rows have the same identity columns.
    compares_rows: bool = False
    #: The bundled recipe whose output is all that it can fill; None: it fills any recipe's.
    fills: str | None = None

    @property
    def is_paid(self) -> bool:
        """Whether its answers cost money, so that budgets and prices matter."""
        return self.dollars is not None

    def knows_price(
        self, model: str, service_tier: str | None = None, price: Price | None = None
    ) -> bool:
        """Tell whether a call to ``model`` has a known price."""
        if self.dollars is None:
            return True
        one = Usage(calls=1, prompt_tokens=1, completion_tokens=1)
        cost = self.dollars(
            one, model=model, service_tier=service_tier, price=price, processing=None
        )
        return cost is not None


BUILT_IN: Final = {
    kind.name: kind
    for kind in (
        Kind(
            name="openai",
            made_by="worker.analyzers.openai.making:make",
            dollars=by_tokens,
            asks_a_model=True,
            asks_openai=True,
        ),
        Kind(
            name="rules",
            made_by="worker.analyzers.rules.analyzer:make",
            compares_rows=True,
            fills="refunds-with-invoices",
        ),
    )
}

#: The analyzer for a recipe that names none, where OPENAI_API_KEY is set and where it is not.
WITH_KEY, WITHOUT_KEY = BUILT_IN["openai"], BUILT_IN["rules"]


def names() -> list[str]:
    """Return all names: the built-in ones, then those of plug-ins. No plug-in is imported."""
    return [*BUILT_IN, *sorted(_plugins().keys() - BUILT_IN)]


def is_known(name: str) -> bool:
    """Tell whether an analyzer of that name is built in or installed."""
    return name in BUILT_IN or name in _plugins()


def choices() -> str:
    """Return the names for a sentence: `'a', 'b' or 'c'`."""
    *first, last = map(repr, names())
    return f"{', '.join(first)} or {last}"


def get(name: str) -> Kind:
    """Return the kind of that name.

    Raises InputError with a sentence if there is none, or if its plug-in can't be used.
    """
    if name in BUILT_IN:
        return BUILT_IN[name]
    if name not in _plugins():
        raise InputError(f"there is no analyzer {name!r}; it must be {choices()}")
    return _loaded(name)


def find(name: str) -> Kind | None:
    """Return the kind of that name, None if this installation has none that can be used."""
    try:
        return get(name)
    except InputError:
        return None


@cache
def _plugins() -> dict[str, tuple[EntryPoint, ...]]:
    found: dict[str, tuple[EntryPoint, ...]] = {}
    for point in entry_points(group=GROUP):
        found[point.name] = (*found.get(point.name, ()), point)
    return found


@cache
def _loaded(name: str) -> Kind:
    """Import a plug-in and return its kind. Raises InputError if it is broken."""
    points = _plugins()[name]
    values = {point.value for point in points}
    if len(values) > 1:
        raise InputError(
            f"the analyzer {name!r} is installed more than once, as {' and '.join(sorted(values))};"
            " uninstall all but one"
        )
    value = points[0].value
    try:
        kind = points[0].load()
    except Exception as error:  # it is another's code, and may raise anything
        raise InputError(
            f"the analyzer {name!r} can't be loaded from {value}: "
            f"{type(error).__name__}: {outside(error)}"
        ) from None
    if not isinstance(kind, Kind) or kind.name != name:
        raise InputError(
            f"the analyzer {name!r} can't be used: {value} is not a rowfleet.analyzer_kinds.Kind "
            "of that name"
        )
    return kind
