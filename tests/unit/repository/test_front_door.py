"""What the pages at the front tell a newcomer to run is there."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[3]
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
SECURITY = (ROOT / "SECURITY.md").read_text("utf-8")
RELEASE = ROOT / ".github" / "workflows" / "release.yml"
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / ".github").glob("*.md")])
FORMS = [ROOT / ".github" / "ISSUE_TEMPLATE" / f"{name}.yml" for name in ("bug", "feature")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_target_of_make_that_a_page_names_is_there(page):
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text("utf-8"), re.M))
    code = re.findall(r"```console\n(.*?)```|`([^`\n]+)`", page.read_text("utf-8"), re.DOTALL)
    named = re.findall(r"(?:^|[$&] )make ([a-z0-9-]+)", "\n".join(map("".join, code)), re.M)
    assert set(named) <= targets
    assert named or page.name not in {"CONTRIBUTING.md", "README.md"}


@pytest.mark.parametrize(
    "command",
    re.findall(r"^\$ (.*pytest.*?)(?: +#.*)?$", CONTRIBUTING, re.M),
    ids=lambda _: "command",  # a keyword in the test's name would find the test itself
)
def test_command_that_runs_some_tests_finds_some(command):
    python, *words = shlex.split(command)
    assert python == ".venv/bin/python"
    done = subprocess.run(
        [sys.executable, *words, "--collect-only", "-q"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_one_command_sets_a_contributor_up():
    block = re.search(r"## Set up\n.*?```console\n\$ (.*?)\n", CONTRIBUTING, re.DOTALL)
    assert block is not None
    assert block[1] == "make demo"


def test_signatures_are_verified_under_the_names_that_the_release_gives():
    text = RELEASE.read_text("utf-8")
    jobs = yaml.safe_load(text)["jobs"]
    identity = re.search(r"OWNER/REPOSITORY/(\S+)@refs/tags/v", SECURITY)
    assert identity is not None
    assert ROOT / identity[1] == RELEASE
    names = set(re.findall(r"ghcr\.io/OWNER/([\w/-]+):", SECURITY))
    images = {f"rowfleet-{p}" for p in jobs["image"]["strategy"]["matrix"]["program"]}
    assert jobs["image"]["env"]["IMAGE"].endswith("/rowfleet-${{ matrix.program }}")
    assert jobs["chart"]["env"]["CHARTS"].endswith("/charts")
    assert names == {*images, "charts/rowfleet"}


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.stem)
def test_form_asks_each_thing_once_and_wants_the_first(form):
    said = yaml.safe_load(form.read_text("utf-8"))
    asked = [field for field in said["body"] if field["type"] != "markdown"]
    ids = [field["id"] for field in asked]
    assert len(ids) == len(set(ids))
    assert all(field["attributes"]["label"] for field in asked)
    assert asked[0]["validations"] == {"required": True}
