"""What calls cost, what a budget admits, and what a bill is estimated to be."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from genai_prices import Usage, calc_price
from genai_prices.data_snapshot import get_snapshot

from rowfleet import prices
from rowfleet.analysis import Question
from rowfleet.errors import InputError
from rowfleet.ledger.queries.budget import FIRST_ROWS, Budget
from rowfleet.ledger.records import History, SampledRow
from rowfleet.prices import Price
from rowfleet.recipes import loading
from rowfleet.recipes.recipe import Recipe
from submitter.costs import bill, estimate, sample, tokens
from submitter.sheets.opening import open_sheet
from tests.standin import Standin
from tests.support.ledger import ECHO
from tests.support.sheets import invoices
from worker.analyzers.openai.analyzer import OpenAIAnalyzer

MILLION = {"prompt_tokens": 1_000_000, "completion_tokens": 1_000_000}


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (MILLION, 2.25),
        ({**MILLION, "cached_tokens": 1_000_000}, 2.025),  # the prompt's tokens, a tenth as dear
        ({**MILLION, "service_tier": "default"}, 2.25),
        ({**MILLION, "service_tier": "auto"}, 2.25),
        ({**MILLION, "service_tier": "flex"}, 1.125),
        ({**MILLION, "service_tier": "priority"}, 4.05),
        ({**MILLION, "service_tier": "scale"}, None),
        ({**MILLION, "cached_tokens": 2_000_000}, None),  # more than there were: no usage to price
    ],
)
def test_list_prices(usage: dict[str, Any], expected: float | None) -> None:
    cost = prices.dollars("gpt-5-mini", **usage)
    assert cost == (None if expected is None else pytest.approx(expected))


def test_tokens_that_fill_the_cache_have_their_own_price() -> None:
    call = {"prompt_tokens": 1_000_000, "completion_tokens": 0}
    dearer = prices.dollars("gpt-6-sol", **call, cache_write_tokens=1_000_000)
    plain = prices.dollars("gpt-6-sol", **call)
    assert dearer is not None
    assert plain is not None
    assert dearer > plain


@pytest.mark.parametrize("model", ["my-deployment", "ft:gpt-4o-mini:acme::1"])
def test_a_model_without_a_list_price_is_unknown_and_not_free(model: str) -> None:
    assert prices.dollars(model, **MILLION) is None
    assert not prices.is_known(model)


def test_a_tier_that_the_table_does_not_have_is_unknown_and_not_the_standard_price() -> None:
    assert prices.is_known("gpt-4o-mini")
    assert not prices.is_known("gpt-4o-mini", "flex")


def test_remembered_rates_give_what_the_table_gives() -> None:
    (openai,) = (p for p in get_snapshot().providers if p.id == "openai")
    draw = random.Random(6)  # the same usages each time
    compared = 0
    for model, tier, processing in product(
        [model.id for model in openai.models], [None, "flex", "priority"], [None, "batch"]
    ):
        for _ in range(8):
            prompt, cached, written, completion = (
                draw.choice((0, 1, draw.randrange(5_000), draw.randrange(400_000)))
                for _ in range(4)
            )
            ours = prices.dollars(
                model,
                prompt_tokens=prompt,
                cached_tokens=cached,
                cache_write_tokens=written,
                completion_tokens=completion,
                service_tier=tier,
                processing=processing,
            )
            facts = {"service_tier": tier, "processing": processing}
            try:
                table = calc_price(
                    Usage(
                        input_tokens=prompt,
                        cache_read_tokens=cached,
                        cache_write_tokens=written,
                        output_tokens=completion,
                    ),
                    model,
                    provider_id="openai",
                    price_context={k: v for k, v in facts.items() if v} or None,
                )
            except (LookupError, ValueError):
                assert ours is None
                continue
            if ours is None:  # a tier that the table does not have
                assert tier
                continue
            compared += 1
            assert ours == float(table.total_price), (model, tier, processing)
    assert compared > 1_000


def test_a_price_of_ones_own_wins() -> None:
    price = Price(input=2, cached=1, output=10)
    assert prices.dollars("gpt-5-mini", **MILLION, price=price) == pytest.approx(12)
    half = prices.dollars("x", **MILLION, cached_tokens=500_000, price=price, service_tier="flex")
    assert half == pytest.approx(11.5)
    uncached = prices.dollars("x", **MILLION, cached_tokens=9, price=Price(input=2, output=10))
    assert uncached == pytest.approx(12)


def test_prices_decide_no_answer_so_they_make_no_other_batch() -> None:
    priced = Recipe.model_validate(
        {**ECHO.model_dump(mode="json"), "prices": {"m": {"input": 1, "output": 2}}}
    )
    assert priced.prices["m"].output == 2
    assert priced.canonical() == ECHO.canonical()
    assert "prices" not in priced.snapshot()


@pytest.mark.parametrize("text", ["{m: {input: 1}}", "{m: {input: -1, output: 2}}", "{m: 3}"])
def test_a_wrong_price_in_a_recipe_is_named(text: str) -> None:
    with pytest.raises(InputError, match=r"r\.yaml: prices\.m"):
        loading.parse(f"{_yaml()}\nprices: {text}", "r.yaml")


def _yaml() -> str:
    return "name: r\nprompt: Say.\noutput: {type: object, properties: {a: {type: string}}}"


# --- budgets


def budget(**changes: float) -> Budget:
    known: dict[str, Any] = {
        "max_cost": 1.0,
        "spent": 0.5,
        "unpriced_calls": 0,
        "ended": 1000,
        "priced": 1000,
        "cost_squared": 0.5**2 / 1000,  # all cost the same
    }
    return Budget(**(known | changes))


def test_equal_rows_are_admitted_up_to_the_last_cent() -> None:
    assert budget().admits() == 1000
    assert budget(max_cost=0.5004).admits() == 0
    assert budget(max_cost=0.5005).admits() == 1


def test_nothing_is_admitted_of_a_budget_that_is_spent_or_not_known() -> None:
    assert budget(spent=1.0).admits() == budget(unpriced_calls=1).admits() == 0
    assert "$1.0000" in budget(spent=1.0).reason()
    assert "not known" in budget(unpriced_calls=1).reason()


def test_few_rows_run_until_some_have_ended() -> None:
    assert budget(spent=0, ended=0, priced=0, cost_squared=0).admits() == FIRST_ROWS
    assert budget(spent=0.0005, ended=1, priced=1, cost_squared=0.0005**2).admits() == 11


def test_calls_that_may_be_billed_are_taken_for_paid() -> None:
    assert budget(possibly_billed=400).admits() == 600  # each as dear as the mean
    assert budget(possibly_billed=1000).admits() == 0
    spent = budget(possibly_billed=1000)
    assert spent.is_spent
    assert spent.reason() == (
        "$0.5000 of its budget of $1.0000 are spent, and $0.5000 are set aside for 1,000 calls "
        "that ended without an answer and may be billed"
    )


def test_calls_that_may_be_billed_are_bounded_before_the_first_answer() -> None:
    unknown = {"spent": 0, "ended": 0, "priced": 0, "cost_squared": 0, "unseen_cost": 0.01}
    assert budget(**unknown, possibly_billed=99).admits() == FIRST_ROWS
    assert budget(**unknown, possibly_billed=100).admits() == 0


def test_the_more_rows_differ_the_more_is_set_aside() -> None:
    assert budget(cost_squared=0.001).admits() < budget().admits()


def test_a_budget_is_met_from_below_whatever_rows_cost() -> None:
    draw = random.Random(7)
    for _ in range(20):
        costs = [draw.choice([1, 1, 1, 1, 20]) * draw.uniform(0.5, 1.5) for _ in range(4000)]
        spent = squared = 0.0
        ended, flying, limit = 0, [], sum(costs) / 2
        while costs:
            state = Budget(limit, spent, 0, ended, ended, squared)
            while costs and len(flying) < min(200, state.admits()):
                flying.append(costs.pop())
            if not flying:
                break
            cost = flying.pop(draw.randrange(len(flying)))
            spent, squared, ended = spent + cost, squared + cost**2, ended + 1
        spent += sum(flying)
        assert 0.97 * limit < spent < 1.005 * limit


# --- estimates


@pytest.fixture
def estimated(tmp_path: Path) -> Callable[..., estimate.Estimate]:
    def run(recipe: Recipe | None = None, rows: int = 300, **known: Any) -> estimate.Estimate:
        path = invoices(tmp_path / "sheet.xlsx", rows)
        asked = recipe or loading.bundled().model_copy(
            update={"analyzer": "openai", "model": "gpt-4o-mini"}
        )
        with open_sheet(path, None, recipe=asked, name="sheet.xlsx") as sheet:
            return estimate.estimate(sheet, 0, None, asked, **known)

    return run


def test_an_estimate_counts_what_a_worker_sends(
    estimated: Callable[..., estimate.Estimate],
) -> None:
    recipe = loading.bundled()
    cells = {"Vendor": "Vendor 3", "Invoice Number": "INV-103", "Date": "2026-01-20"}
    with Standin.lent(keep_bodies=True) as standin:
        OpenAIAnalyzer("sk-any", standin.base_url).answer(
            Question(recipe, "gpt-4o-mini", 103, {**cells, "Amount": 203, "Tax": 8})
        )
        body = standin.calls()[0].body
    assert body is not None
    schema = json.dumps(body["response_format"]["json_schema"]["schema"], separators=(",", ":"))
    texts = [schema, *(message["content"] for message in body["messages"])]
    sent = sum(tokens.count(text, "gpt-4o-mini") for text in texts)
    found = estimated()
    assert found.rows == 300
    assert found.sampled_rows == estimate.SAMPLE
    assert found.prompt_tokens / 300 == pytest.approx(sent, rel=0.05)


def test_an_estimate_counts_currencies(tmp_path: Path) -> None:
    recipe = loading.bundled().model_copy(update={"analyzer": "openai", "model": "gpt-4o-mini"})
    tokens = []
    for code in ("0.00", '"£"0.00'):
        book = openpyxl.load_workbook(invoices(tmp_path / "sheet.xlsx", 20))
        for row in range(2, 22):
            book.worksheets[0].cell(row, 5).number_format = code
        book.save(tmp_path / "sheet.xlsx")
        with open_sheet(tmp_path / "sheet.xlsx", recipe=recipe) as sheet:
            tokens.append(estimate.estimate(sheet, 0, None, recipe).prompt_tokens)
    assert tokens[1] >= tokens[0] + 20


def test_the_range_holds_the_estimate(estimated: Callable[..., estimate.Estimate]) -> None:
    found = estimated()
    assert found.cost_low_usd is not None
    assert found.cost_usd is not None
    assert found.cost_high_usd is not None
    assert found.cost_low_usd < found.cost_usd < found.cost_high_usd


def test_earlier_batches_make_the_range_narrower(
    estimated: Callable[..., estimate.Estimate],
) -> None:
    found = estimated(history=History(1_000, 90_000, 0, 800_000))
    assert found.completion_tokens == 300 * 90
    guess = estimated()
    assert width(found) < width(guess)


def width(found: estimate.Estimate) -> float:
    assert found.cost_high_usd is not None
    assert found.cost_low_usd is not None
    return found.cost_high_usd / found.cost_low_usd


def test_what_a_model_reasons_is_in_the_range(estimated: Callable[..., estimate.Estimate]) -> None:
    bundled = loading.bundled().model_copy(update={"analyzer": "openai"})
    thinks = estimated(bundled.model_copy(update={"model": "gpt-5-mini"}))
    assert width(thinks) > 5
    assert tokens.reasons("gpt-5-mini")
    assert tokens.reasons("o4-mini")
    assert not tokens.reasons("gpt-5-chat-latest")
    assert not tokens.reasons("gpt-4o")


def test_an_estimate_of_an_unknown_price_says_so(
    estimated: Callable[..., estimate.Estimate],
) -> None:
    bundled = loading.bundled().model_copy(update={"analyzer": "openai", "model": "mine"})
    assert estimated(bundled).cost_high_usd is None
    assert estimated(bundled, price=Price(input=1, output=1)).cost_usd


def test_a_projection_widens_with_the_spread_and_narrows_with_the_sample() -> None:
    def rows(*costs: float | None) -> list[SampledRow]:
        return [SampledRow(n, "done", {}, None, cost) for n, cost in enumerate(costs)]

    equal = sample.project(rows(0.01, 0.01, 0.01, 0.01), 1000)
    assert equal.cost_low_usd == equal.cost_usd == equal.cost_high_usd == pytest.approx(10)
    few, many = (
        sample.project(rows(0.01, 0.02), 1000),
        sample.project(rows(*[0.01, 0.02] * 50), 1000),
    )
    assert few.cost_high_usd is not None
    assert many.cost_high_usd is not None
    assert few.cost_high_usd > many.cost_high_usd > 15
    assert sample.project(rows(0.01, None), 5).cost_usd is None
    assert sample.project(rows(0.01, 0.02), 0).cost_usd == 0


def test_a_samples_rows_say_which_of_them_need_review() -> None:
    why = [{"name": "cited", "message": "no such law"}]
    rows = [
        SampledRow(2, "done", {"a": 1}, None, 0.5, "needs_review", why),
        SampledRow(3, "done", {"a": 1}, None, 0.5, "auto_approved"),
        SampledRow(4, "done", {"a": 1}, None, 0.5),
    ]
    ends = [line.split(" · ", 1)[1] for line in bill.results(rows, {"a": "AI_A"})]
    assert ends == [
        "AI_A 1 · needs review: cited: no such law",
        "AI_A 1 · auto approved",
        "AI_A 1",
    ]
