"""An upgrade takes an older release's values over, or a sentence says which are missing."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart.test_changes import merged
from tests.chart.test_schema import KEY, defaults, schema
from tests.support.chart import helm
from tests.support.chart.cases import CASES
from tests.support.chart.helm import HelmError, Values
from tests.support.chart.manifests import of_kind

UPGRADING = (helm.ROOT / "UPGRADING.md").read_text("utf-8")

#: Values that the chart before 0.1.0 did not have. Every other default is the same in both.
NEW_IN_0_1_0 = (
    "redis.users",
    "postgresql.owner",
    "externalDatabase.ownerSecret",
    "externalDatabase.ownerSecretKey",
    "tls",
)


def without(values: Values, paths: tuple[str, ...]) -> Values:
    """Return ``values`` without the values at dotted paths."""
    for path in paths:
        values = merged(values, path, None)
        *sections, key = path.split(".")
        at = values
        for section in sections:
            at = at[section]
        del at[key]
    return values


@pytest.fixture
def chart_after_reuse_values(tmp_path: Path) -> Path:
    """The chart as `helm upgrade --reuse-values` renders it: with the older chart's defaults.

    See `reuseValues` in helm's pkg/action/upgrade.go.
    """
    chart = tmp_path / "rowfleet"
    shutil.copytree(helm.CHART, chart)
    older = without(defaults(), NEW_IN_0_1_0)
    (chart / "values.yaml").write_text(yaml.safe_dump(older), "utf-8")
    return chart


def test_reuse_values_is_refused_with_the_names_of_the_missing_values(chart_after_reuse_values):
    with pytest.raises(HelmError) as caught:
        helm.template(KEY, chart=chart_after_reuse_values)
    assert "nil pointer" not in str(caught.value)
    for section, name in [("", "tls"), ("/redis", "users"), ("/postgresql", "owner")]:
        assert f"at '{section}': missing property '{name}'" in str(caught.value)


def test_upgrading_shows_the_refusal_as_helm_prints_it(chart_after_reuse_values):
    with pytest.raises(HelmError) as caught:
        helm.template(KEY, chart=chart_after_reuse_values)
    printed = [line for line in str(caught.value).splitlines() if "missing property" in line]
    shown = re.search(r"```text\n(.*?)```", UPGRADING, re.DOTALL)
    assert shown is not None
    assert sorted(printed) == shown[1].splitlines()


@pytest.mark.parametrize("name", list(CASES))
def test_reset_then_reuse_values_takes_an_older_release_over(name):
    case = CASES[name]
    values = without(case.values, _given(case.values, NEW_IN_0_1_0))
    manifests = helm.template(values, api_versions=case.api_versions)
    assert of_kind(manifests, "Deployment")


def _given(values: Values, paths: tuple[str, ...]) -> tuple[str, ...]:
    """Return those of the paths that ``values`` has."""
    return tuple(path for path in paths if _has(values, path.split(".")))


def _has(values: Any, keys: list[str]) -> bool:
    if not keys:
        return True
    return isinstance(values, dict) and keys[0] in values and _has(values[keys[0]], keys[1:])


def sections_of(known: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[str]:
    """Yield the dotted path of each section that the schema describes."""
    for name, value in known["properties"].items():
        if "properties" in value:
            yield ".".join((*path, name))
            yield from sections_of(value, (*path, name))


@pytest.mark.parametrize("section", list(sections_of(schema())))
def test_section_that_is_taken_away_gives_a_sentence_or_a_release(section):
    *parents, name = section.split(".")
    place = "".join(f"/{parent}" for parent in parents)
    refusal, manifests = "", []
    try:
        manifests = helm.template(merged(KEY, section, None))
    except HelmError as error:
        refusal = str(error)
    images = re.findall(r"'image': '([^']*)'", str(manifests))
    assert f"at '{place}': missing property '{name}'" in refusal or images
    assert all(re.fullmatch(r"[\w./-]+:[\w.-]+", image) for image in images)


@pytest.mark.parametrize("path", NEW_IN_0_1_0)
def test_upgrading_names_every_new_value(path):
    assert re.search(rf"`{re.escape(path)}\b", UPGRADING)
