"""A tag is released only if all files agree with it; the notes are the changelog's section."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
CHART = Path("charts", "rowfleet", "Chart.yaml")
CHANGELOG = """\
# Changelog

## [0.2.0] - 2027-01-02

### Added

- One thing, which takes
  two lines. See [UPGRADING](UPGRADING.md) and [the form](https://keepachangelog.com).
- Another:
  - with a line below it.

## [0.1.0] - 2026-12-01

- The first.
"""

Edit = Callable[[str], str]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """The files that a release looks at, all of version 0.2.0."""
    for name in (Path("pyproject.toml"), CHART, Path(".ci", "release.py")):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    for name in (Path("pyproject.toml"), CHART):
        edit(tmp_path / name, at_0_2_0)
    (tmp_path / "CHANGELOG.md").write_text(CHANGELOG, "utf-8")
    return tmp_path


def at_0_2_0(text: str) -> str:
    """Return ``text`` with 0.2.0 as each version in it."""
    return re.sub(r"^((?:v|appV)ersion\W+)[\d.]+", r"\g<1>0.2.0", text, flags=re.MULTILINE)


def edit(file: Path, change: Edit) -> None:
    """Change a file's text."""
    before = file.read_text("utf-8")
    assert change(before) != before
    file.write_text(change(before), "utf-8")


def release(tree: Path, tag: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            sys.executable,
            tree / ".ci" / "release.py",
            tag,
            "ghcr.io/acme",
            "https://github.com/Acme/fork",
        ],
        capture_output=True,
        text=True,
        check=False,
    )


def test_notes_are_the_section_and_how_to_install(tree):
    done = release(tree, "v0.2.0")
    assert (done.returncode, done.stderr) == (0, "")
    section, install = done.stdout.split("### Install")
    assert section.splitlines() == [
        "### Added",
        "",
        "- One thing, which takes two lines. See"
        " [UPGRADING](https://github.com/Acme/fork/blob/v0.2.0/UPGRADING.md)"
        " and [the form](https://keepachangelog.com).",
        "- Another:",
        "  - with a line below it.",
        "",
    ]
    assert "oci://ghcr.io/acme/charts/rowfleet --version 0.2.0" in install
    assert "https://github.com/Acme/fork/blob/v0.2.0/SECURITY.md#verify-a-release" in install


@pytest.mark.parametrize(
    ("name", "change", "sentence"),
    [
        (
            "pyproject.toml",
            lambda text: text.replace('version = "0.2.0"', 'version = "0.3.0"'),
            "the tag is v0.2.0, but pyproject.toml is 0.3.0",
        ),
        (
            CHART,
            lambda text: text.replace("\nversion: 0.2.0", "\nversion: 0.3.0"),
            "the tag is v0.2.0, but version in charts/rowfleet/Chart.yaml is 0.3.0",
        ),
        (
            CHART,
            lambda text: text.replace('appVersion: "0.2.0"', 'appVersion: "0.3.0"'),
            "the tag is v0.2.0, but appVersion in charts/rowfleet/Chart.yaml is 0.3.0",
        ),
        (
            "CHANGELOG.md",
            lambda text: text.replace("2027-01-02", "unreleased"),
            "CHANGELOG.md has no section for 0.2.0 with a date",
        ),
    ],
)
def test_version_that_differs_anywhere_is_one_sentence(tree, name, change, sentence):
    edit(tree / name, change)
    done = release(tree, "v0.2.0")
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"{sentence}\n")


@pytest.mark.parametrize("tag", ["0.2.0", "v0.2", "v0.2.0-rc.1", "main"])
def test_tag_of_another_form_is_refused(tree, tag):
    done = release(tree, tag)
    assert done.returncode == 2
    assert done.stderr == f"the tag is {tag}, but a release's tag is like v0.1.0\n"


def test_project_and_chart_have_one_version_and_the_changelog_is_of_the_known_form():
    done = release(ROOT, "v9.9.9")
    given = set(re.findall(r"(?:pyproject.toml|Chart.yaml) is (\S+)", done.stderr))
    assert len(given) == 1
    headings = re.findall(r"^## .*$", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert headings[0].startswith(f"## [{given.pop()}] - ")
    kinds = "Added|Changed|Deprecated|Removed|Fixed|Security"
    form = re.compile(rf"## \[\d+\.\d+\.\d+\] - (unreleased|\d{{4}}-\d\d-\d\d)|### ({kinds})")
    changelog = (ROOT / "CHANGELOG.md").read_text("utf-8").splitlines()
    assert [line for line in changelog if line.startswith("##") and not form.fullmatch(line)] == []
