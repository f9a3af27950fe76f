"""The workflows run what `make` runs, hold no right they don't need, and pass their linters."""

from __future__ import annotations

import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support import tools

ROOT = Path(__file__).parents[3]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
SCRIPTS = [ROOT / ".ci" / "run", *sorted((ROOT / "charts").rglob("*.sh"))]

#: The jobs that may write, and what.
WRITERS = {
    ("release", "image"): {"packages", "id-token"},
    ("release", "chart"): {"packages", "id-token"},
    ("release", "github"): {"contents"},
    ("release", "pypi"): {"id-token"},
}

Job = dict[str, Any]


def load(path: Path) -> dict[str, Any]:
    """Return a workflow. YAML 1.1 takes its key `on` for true."""
    said = yaml.safe_load(path.read_text("utf-8"))
    assert isinstance(said, dict)
    return said


def jobs() -> Iterator[tuple[str, str, Job]]:
    """Yield each job with its workflow's name and its own."""
    for path in WORKFLOWS:
        for name, job in load(path)["jobs"].items():
            yield path.stem, name, job


def steps() -> Iterator[dict[str, Any]]:
    for _, _, job in jobs():
        yield from job.get("steps", [])


def lint(folder: Path) -> str:
    """Return what actionlint and zizmor find in a folder's workflows."""
    path = {"PATH": str(tools.shellcheck().parent)}
    files = sorted((folder / ".github" / "workflows").glob("*.yml"))
    found = [
        subprocess.run(command, cwd=folder, env=path, capture_output=True, text=True, check=False)
        for command in (
            [tools.actionlint(), "-no-color", *files],
            [tools.zizmor(), "--offline", "--no-progress", "--quiet", "--color=never", ".github"],
        )
    ]
    return "".join(done.stdout + done.stderr for done in found if done.returncode)


def test_linters_find_nothing():
    assert lint(ROOT) == ""


@pytest.mark.parametrize(
    ("step", "finding"),
    [
        ("run: echo ${{ github.typo }}", "typo"),
        ("run: cat $HOME/notes", "SC2086"),
        ("run: echo ${{ github.head_ref }}", "template-injection"),
        ("uses: actions/checkout@v7", "unpinned-uses"),
    ],
)
def test_linters_find_a_mistake(tmp_path, step, finding):
    folder = tmp_path / ".github" / "workflows"
    folder.mkdir(parents=True)
    (folder / "ci.yml").write_text(
        "on: pull_request\npermissions: {}\njobs:\n  one:\n    runs-on: ubuntu-latest\n"
        f"    steps:\n      - {step}\n"
    )
    assert finding in lint(tmp_path)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_shellcheck_finds_nothing(script):
    done = subprocess.run([tools.shellcheck(), script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_every_action_is_pinned_by_a_commit_that_a_comment_names():
    for path in WORKFLOWS:
        for line in path.read_text("utf-8").splitlines():
            used = re.search(r"\buses: (?!\./)(.*)", line)
            assert not used or re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", used[1])


def test_workflows_have_no_right_and_each_job_states_its_own():
    for path in WORKFLOWS:
        assert load(path)["permissions"] == {}
    for workflow, name, job in jobs():
        writes = {scope for scope, right in job["permissions"].items() if right != "read"}
        assert writes == WRITERS.get((workflow, name), set())


def test_scripts_hold_no_expression_and_no_secret():
    """An expression becomes part of the script, and so of a program's arguments."""
    scripts = [step["run"] for step in steps() if "run" in step]
    assert scripts
    assert [script for script in scripts if "${{" in script] == []
    assert not any("secrets." in path.read_text("utf-8") for path in WORKFLOWS)


def test_step_fails_with_any_program_of_its_pipes():
    assert {load(path)["defaults"]["run"]["shell"] for path in WORKFLOWS} == {"bash"}


def test_ci_runs_what_anyone_runs_on_the_versions_that_the_project_names():
    ci = load(ROOT / ".github" / "workflows" / "ci.yml")
    assert {"push", "pull_request", "workflow_call"} <= ci[True].keys()
    test = ci["jobs"]["test"]
    assert ".ci/run" in [step.get("run") for step in test["steps"]]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    named = [
        classifier.removeprefix("Programming Language :: Python :: ")
        for classifier in project["classifiers"]
        if re.fullmatch(r"Programming Language :: Python :: 3\.\d+", classifier)
    ]
    assert test["strategy"]["matrix"]["python"] == named
    assert f">={named[0]}" == project["requires-python"]


def test_nothing_is_published_before_the_tests_pass():
    release = load(ROOT / ".github" / "workflows" / "release.yml")["jobs"]
    assert release["test"]["uses"] == "./.github/workflows/ci.yml"

    def waits_for(name: str) -> set[str]:
        needs = release[name].get("needs", [])
        direct = {needs} if isinstance(needs, str) else set(needs)
        return direct.union(*map(waits_for, direct))

    for _, name in WRITERS:
        assert {"test", "notes"} <= waits_for(name)


def test_release_needs_nothing_that_only_one_repository_has():
    """A fork releases under its own name, and publishes to PyPI only if it says so."""
    text = (ROOT / ".github" / "workflows" / "release.yml").read_text("utf-8")
    assert set(re.findall(r"ghcr\.io/(\S+?)[\"\s]", text)) == {"${OWNER,,}"}
    assert load(ROOT / ".github" / "workflows" / "release.yml")["jobs"]["pypi"]["if"] == (
        "vars.PUBLISH_TO_PYPI == 'true'"
    )


def test_cluster_is_made_as_the_playground_is():
    """Its file says so in its first lines, and people paste them."""
    playground = (ROOT / "k8s" / "kind-cluster.yaml").read_text("utf-8")
    said = " ".join(playground.replace("#", "").replace("\\", "").split())
    steps = load(ROOT / ".github" / "workflows" / "cluster.yml")["jobs"]["chart"]["steps"]
    ran = " ".join(" ".join(step.get("run", "").replace("\\", "").split()) for step in steps)
    for command in (
        "kind create cluster --config k8s/kind-cluster.yaml",
        "kind load docker-image --name rowfleet",
        *re.findall(r"helm install keda .*? --wait", said),
    ):
        assert command in said
        assert command in ran
    assert "helm install keda" in ran
