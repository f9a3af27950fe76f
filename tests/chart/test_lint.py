"""`helm lint`: the chart as its authors' own tool sees it."""

from __future__ import annotations

import re

from tests.support.chart import helm
from tests.support.chart.cases import Case


def test_helm_lint_finds_nothing(case: Case):
    said = helm.lint(case.values)
    assert "1 chart(s) linted, 0 chart(s) failed" in said
    assert "[WARNING]" not in said
    assert "[ERROR]" not in said


def test_chart_is_of_the_project_s_version():
    pyproject = (helm.ROOT / "pyproject.toml").read_text("utf-8")
    version = re.search(r'^version = "(.+)"$', pyproject, re.MULTILINE)
    assert version is not None
    assert helm.about()["appVersion"] == version[1]


def test_no_template_is_without_a_resource_of_its_own():
    """One template, one resource: a reader finds it by its file's name."""
    crowded = {
        str(file.relative_to(helm.CHART)): count
        for file in (helm.CHART / "templates").rglob("*.yaml")
        if (count := len(re.findall(r"^kind:", file.read_text("utf-8"), re.MULTILINE))) > 1
    }
    assert crowded == {}
