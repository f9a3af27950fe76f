"""The worker's probes: their commands, as the chart has them, run on a file of each age."""

from __future__ import annotations

import os
import shlex
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.chart.cases import rendered
from tests.support.chart.helm import Manifest

Passes = Callable[[str], bool]


@pytest.fixture
def passes(tmp_path: Path) -> Passes:
    """Tell whether a probe of the worker passes where its file is `health` in this directory."""
    container = _worker_container(rendered("minimal"))
    (file,) = (e["value"] for e in container["env"] if e["name"] == "ROWFLEET_HEALTH_FILE")

    def run(probe: str) -> bool:
        command = container[probe]["exec"]["command"]
        assert file in shlex.join(command)
        words = [word.replace(file, "health") for word in command]
        return subprocess.run(words, cwd=tmp_path, capture_output=True, check=False).returncode == 0

    return run


def _worker_container(manifests: list[Manifest]) -> Manifest:
    (deployment,) = (
        found
        for found in manifests
        if (found["kind"], found["metadata"]["name"]) == ("Deployment", "rowfleet-worker")
    )
    container: Manifest = deployment["spec"]["template"]["spec"]["containers"][0]
    return container


def test_no_probe_passes_without_a_file(passes: Passes) -> None:
    assert not passes("startupProbe")
    assert not passes("livenessProbe")


@pytest.mark.parametrize(("age", "alive"), [(0, True), (20, True), (40, False), (4000, False)])
def test_the_worker_lives_while_its_file_is_fresh(
    passes: Passes, tmp_path: Path, age: int, alive: bool
) -> None:
    file = tmp_path / "health"
    file.touch()
    at = time.time() - age
    os.utime(file, (at, at))
    assert passes("startupProbe")
    assert passes("livenessProbe") is alive
