"""checkov, all of its Kubernetes checks on, over everything the chart and k8s/ make.

What does not hold is listed with its reason in policy-exceptions.yaml, and nowhere else.
"""

from __future__ import annotations

import json
import re
import subprocess
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import yaml

from tests.chart import jobs
from tests.support import tools
from tests.support.chart.cases import CASES, rendered
from tests.support.chart.helm import Manifest

EXCEPTIONS = yaml.safe_load(Path(__file__).with_name("policy-exceptions.yaml").read_text("utf-8"))


def test_checkov_finds_nothing_that_is_not_accounted_for(tmp_path: Path):
    for name in CASES:
        _write(tmp_path, name, rendered(name))
    for file in jobs.FILES:
        _write(tmp_path, f"k8s {file.stem}", jobs.load(file))
    report = _checkov(tmp_path)
    assert report["summary"]["parsing_errors"] == 0
    assert report["summary"]["skipped"] == 0  # by an annotation, say
    assert report["summary"]["passed"] > 1000

    failed = {(c["check_id"], _title(c["resource"])) for c in report["results"]["failed_checks"]}
    unexplained = {f"{check} {at}" for check, at in failed if not _excused(check, at)}
    assert unexplained == set()
    idle = {
        f"{check} {where}"
        for check, said in EXCEPTIONS.items()
        for where in said["where"]
        if not any(check == c and fnmatchcase(at, where) for c, at in failed)
    }
    assert idle == set(), "exceptions that nothing needs"


def test_every_exception_has_its_reason():
    assert [check for check, said in EXCEPTIONS.items() if not said["why"]] == []


def _write(folder: Path, name: str, manifests: list[Manifest]) -> None:
    """Write manifests as they would be installed: each way in a namespace of its own."""
    namespace = re.sub(r"[^a-z0-9]+", "-", name.lower())
    placed = [{**m, "metadata": {**m["metadata"], "namespace": namespace}} for m in manifests]
    (folder / f"{namespace}.yaml").write_text(yaml.safe_dump_all(placed), "utf-8")


def _checkov(folder: Path) -> dict[str, Any]:
    words = ["--framework", "kubernetes", "--skip-download", "--quiet", "--compact", "--soft-fail"]
    done = subprocess.run(
        [tools.checkov(), "--directory", folder, *words, "--output", "json"],
        cwd=folder,  # without the user's own configuration
        capture_output=True,
        text=True,
        check=True,
    )
    report = json.loads(done.stdout)
    assert isinstance(report, dict)
    return report


def _title(resource: str) -> str:
    """Turn checkov's KIND.NAMESPACE.NAME into KIND/NAME."""
    kind, _, name = resource.split(".", 2)
    return f"{kind}/{name}"


def _excused(check: str, at: str) -> bool:
    return any(fnmatchcase(at, where) for where in EXCEPTIONS.get(check, {"where": []})["where"])
