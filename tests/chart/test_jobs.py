"""The manifests in k8s/: valid, as safe as the chart's, and made for what the chart makes."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from rowfleet.settings import load_settings
from submitter.cli.main import cli
from tests.chart import jobs, schemas
from tests.chart.test_pod_security import shortcomings, violations
from tests.support.chart import helm
from tests.support.chart.cases import CASES, rendered
from tests.support.chart.helm import Manifest
from tests.support.chart.manifests import (
    Pod,
    Reference,
    component,
    environment,
    of_kind,
    pods,
    references,
    selected,
)

#: What the files tell the user to make, or that another of them makes.
MADE: dict[Reference, dict[str, str]] = {
    ("Secret", "rowfleet-storage"): {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"},
    ("Secret", "openai"): {"OPENAI_API_KEY": "sk"},
}
SUBMITTING = [file for file in jobs.FILES if of_kind(jobs.load(file), "Job")]


def ids(file: Path) -> str:
    return file.name


@pytest.fixture
def chart() -> list[Manifest]:
    """A release called `rowfleet` with nothing but its key: what the files are written for."""
    return rendered("minimal")


@pytest.fixture(params=SUBMITTING, ids=ids)
def file(request: pytest.FixtureRequest) -> Path:
    """A file with a submit Job."""
    assert isinstance(request.param, Path)
    return request.param


@pytest.fixture
def pod(file: Path) -> Pod:
    """The Job's pod."""
    (found,) = pods(jobs.load(file))
    return found


def test_there_is_a_job_for_a_volume_and_one_for_object_storage():
    assert {"submit-job.yaml", "submit-job-s3.yaml"} <= {file.name for file in SUBMITTING}


@pytest.mark.parametrize("version", schemas.kubernetes_versions())
@pytest.mark.parametrize("file", jobs.FILES, ids=ids)
def test_kubernetes_takes_it(file: Path, version: str):
    assert [e for m in jobs.load(file) for e in schemas.errors(m, version)] == []


@pytest.mark.parametrize("file", jobs.FILES, ids=ids)
def test_pods_are_as_safe_as_the_chart_s(file: Path):
    for pod in pods(jobs.load(file)):
        assert violations(pod) == []
        assert shortcomings(pod) == []
        assert pod.spec["automountServiceAccountToken"] is False


@pytest.mark.parametrize("file", jobs.FILES, ids=ids)
def test_what_it_refers_to_is_made_by_the_chart_or_a_file_here(file: Path, chart: list[Manifest]):
    mine = [m for other in jobs.FILES for m in jobs.load(other)]
    there = {(m["kind"], m["metadata"]["name"]) for m in [*chart, *mine]} | MADE.keys()
    assert set().union(*map(references, jobs.load(file))) - there == set()


def test_submitter_gets_the_variables_that_the_chart_s_own_would(pod: Pod, chart: list[Manifest]):
    theirs = component(chart, "submitter").container("submitter")
    mine = pod.container("submitter")
    assert mine["env"] == theirs["env"]
    for source in theirs["envFrom"]:
        assert source in mine["envFrom"]
    known = CASES["minimal"].known(chart) | MADE
    loaded = load_settings(environment(pod, "submitter", known))
    assert loaded.broker_url()
    assert loaded.database_url


def test_pod_is_the_chart_s_but_for_the_sheet(pod: Pod, chart: list[Manifest]):
    theirs = component(chart, "submitter")
    assert pod.container("submitter")["image"] == theirs.container("submitter")["image"]
    assert "command" not in pod.container("submitter")  # the image's entry point
    mounts = {m["mountPath"] for m in pod.container("submitter")["volumeMounts"]}
    assert "/tmp" in mounts


def test_network_policies_let_the_pod_through(pod: Pod, chart: list[Manifest]):
    theirs = component(chart, "submitter").labels
    for policy in of_kind(chart, "NetworkPolicy"):
        selector = policy["spec"]["podSelector"]
        assert selected(selector, pod.labels) == selected(selector, theirs)
    assert pod.labels["app.kubernetes.io/component"] == "submitter"


def test_job_fails_at_once_on_bad_input_and_goes_on_when_a_node_is_lost(file: Path):
    (job,) = of_kind(jobs.load(file), "Job")
    rules = job["spec"]["podFailurePolicy"]["rules"]
    at_once = [r["onExitCodes"] for r in rules if r["action"] == "FailJob"]
    assert any(r["operator"] == "In" and 2 in r["values"] for r in at_once)
    assert not any(3 in r["values"] for r in at_once)
    ignored = [r["onPodConditions"][0] for r in rules if r["action"] == "Ignore"]
    assert {"type": "DisruptionTarget", "status": "True"} in ignored
    assert job["spec"]["backoffLimit"] > 0
    assert job["spec"]["ttlSecondsAfterFinished"] > 0
    assert job["spec"]["template"]["spec"]["restartPolicy"] == "Never"


def test_command_line_is_one_that_the_program_takes(file: Path, pod: Pod):
    verb, *words = pod.container("submitter")["args"]
    command = cli.get_command(click.Context(cli), verb)
    assert command is not None
    command.make_context(verb, list(words), resilient_parsing=True)
    # Options in comments are there to be uncommented.
    offered = re.findall(r"#\s*- (--[a-z-]+)", file.read_text("utf-8"))
    known = {name for parameter in command.params for name in parameter.opts}
    assert {*offered, *(w for w in words if w.startswith("--"))} <= known
    assert {"--excel", "--wait", "--export"} <= set(words)


def test_sheet_s_paths_are_on_the_volume(pod: Pod):
    container = pod.container("submitter")
    paths = [word for word in container["args"] if word.startswith("/")]
    mounts = [m["mountPath"] for m in container["volumeMounts"] if not m.get("readOnly")]
    for path in paths:
        assert any(path.startswith(f"{mount}/") for mount in mounts), path


def test_kind_s_and_keda_s_files_are_yaml():
    for file in sorted(jobs.FOLDER.glob("*.yaml")):
        assert helm.load(file.read_text("utf-8")), file.name
