"""How a proposed cascade is shown on a terminal."""

from __future__ import annotations

from rich.table import Table

from submitter.cli import console
from submitter.evaluation.report.plots import percent, shown
from submitter.evaluation.threshold import Cascade, Step

#: Steps of the table at most, the chosen one among them.
SHOWN = 12


def show(found: Cascade) -> None:
    """Print the steps that were looked at, and what the chosen one would save."""
    proposal = found.proposal
    console.say(
        f"a cascade, by {proposal.rows:,} labelled rows: {found.cheap_model} alone is right in "
        f"{shown(proposal.cheap)}, {found.strong_model} alone in {shown(proposal.strong)}"
    )
    table = Table("confidence from", "goes up", "right", "less than the stronger at most", "cost")
    for step in _few(proposal.steps, proposal.chosen):
        mark = " ←" if step is proposal.chosen else ""
        table.add_row(
            "none stands" if step.confidence is None else percent(step.confidence) + mark,
            percent(step.goes_up),
            percent(step.accuracy.value),
            f"{max(0.0, -step.least) * 100:.1f} points",
            "unknown" if step.cost is None else percent(step.cost),
        )
    console.print_whole(table)
    console.say(_sentence(found))


def _few(steps: tuple[Step, ...], chosen: Step) -> list[Step]:
    if len(steps) <= SHOWN:
        return list(steps)
    every = -(-len(steps) // (SHOWN - 2))
    last = len(steps) - 1
    return [
        step
        for place, step in enumerate(steps)
        if place % every == 0 or place == last or step is chosen
    ]


def _sentence(found: Cascade) -> str:
    proposal, chosen = found.proposal, found.proposal.chosen
    margin = f"{proposal.margin * 100:g} points"
    if found.goes_up_if is None or (chosen.cost is not None and chosen.cost >= 1):
        return (
            f"no cascade: within {margin} of {found.strong_model} none costs less than sending it "
            "all rows; label more rows, or allow a larger --margin"
        )
    saved = (
        "what it saves is not known (a model has no known price)"
        if chosen.cost is None
        else f"it costs {percent(chosen.cost)} of sending all rows to {found.strong_model}, and "
        f"saves {percent(1 - chosen.cost)}"
    )
    if chosen.goes_up == 0:
        return f"every answer of {found.cheap_model} may stand; {saved}"
    return (
        f"send a row up if {found.goes_up_if}: {percent(chosen.goes_up)} of the rows go up; "
        f"{saved}; accuracy {shown(chosen.accuracy)}, with 95 % confidence at most {margin} below "
        f"{found.strong_model}"
    )
