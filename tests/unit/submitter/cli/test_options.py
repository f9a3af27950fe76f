"""What `launch` hands on to the `submit` of its Job."""

from __future__ import annotations

import click

from submitter.cli.commands.launch import launch
from submitter.cli.commands.submit import submit
from submitter.cli.options import HANDED_ON, handed_on
from submitter.cluster import manifest, sheet_location

#: Options of `submit` that `launch` takes in a form of its own, and those that no Job needs.
LAUNCHS_OWN = {"--excel", "--export", "--recipe", "--wait"}
NOT_FOR_A_JOB = {"--dry-run", "--json"}


def flags(command: click.Command) -> set[str]:
    return {flag for parameter in command.params for flag in parameter.opts}


def test_launch_forgets_no_option_of_submit() -> None:
    assert flags(submit) == {*HANDED_ON} | LAUNCHS_OWN | NOT_FOR_A_JOB
    assert {*HANDED_ON} | LAUNCHS_OWN <= flags(launch)


def test_submit_is_told_what_launch_was_told() -> None:
    said = [
        *("--dedupe", "--urgent", "--tier", "batch", "--sample", "7", "--max-cost", "2.5"),
        *("--batch-id", "b", "--analyzer", "openai", "--model", "gpt-5", "--num-rows", "10"),
        *("--start-row", "100", "--sheet=-first", "--header-row", "4", "--hidden", "skip"),
        *("--map", "Net=Amount", "--map=-a=b", "--where", "Amount > 1", "--order-by", "A:desc"),
        *("--max-failures", "12.5%"),
        "--keep-totals",
    ]
    with launch.make_context("launch", ["--excel", "s3://in/a.xlsx", *said]) as context:
        options = handed_on(context)
    source = sheet_location.locate("--excel", "s3://in/a.xlsx")
    _, *words = manifest.arguments(source, None, options=options)
    wanted = submit.make_context("submit", ["--excel", "s3://in/a.xlsx", "--wait", *said])
    assert submit.make_context("submit", list(words)).params == wanted.params


def test_the_order_of_the_options_makes_no_other_job() -> None:
    source = sheet_location.locate("--excel", "s3://in/a.xlsx")
    excel = ["--excel", "s3://in/a.xlsx"]
    orders = (["--model", "m", "--dedupe", "--urgent"], ["--urgent", "--dedupe", "--model", "m"])
    told = [
        manifest.arguments(source, None, options=handed_on(context))
        for context in (launch.make_context("launch", excel + order) for order in orders)
    ]
    assert told[0] == told[1]
    assert told[0][2:] == ["--wait", "--model=m", "--urgent", "--dedupe"]
