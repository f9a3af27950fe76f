"""Helm as the tests run it: without the user's settings, and with no cluster to ask."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.support.tools import helm

ROOT = Path(__file__).parents[3]
CHART = ROOT / "charts" / "rowfleet"

#: What a cluster with KEDA serves beside what Helm takes for granted.
KEDA = (
    "keda.sh/v1alpha1",
    "keda.sh/v1alpha1/ScaledObject",
    "keda.sh/v1alpha1/TriggerAuthentication",
)
#: What Kubernetes itself serves from 1.30 on; Helm without a cluster knows groups, but no kinds.
ADMISSION_POLICIES = (
    "admissionregistration.k8s.io/v1/ValidatingAdmissionPolicy",
    "admissionregistration.k8s.io/v1/ValidatingAdmissionPolicyBinding",
)

Values = dict[str, Any]
Manifest = dict[str, Any]


class HelmError(Exception):
    """Helm said no; the message is what it printed."""


def about() -> dict[str, Any]:
    """Return what Chart.yaml says."""
    said = yaml.safe_load((CHART / "Chart.yaml").read_text("utf-8"))
    assert isinstance(said, dict)
    return said


def run(*words: str | Path, values: Values | None = None) -> str:
    """Run helm with ``values`` on its input; return its output. Raises HelmError if it fails."""
    with tempfile.TemporaryDirectory(prefix="helm-") as home:
        done = subprocess.run(
            [helm(), *words, *(["--values", "-"] if values is not None else [])],
            input=json.dumps(values or {}),
            env={
                "HOME": home,
                "HELM_CACHE_HOME": f"{home}/cache",
                "HELM_CONFIG_HOME": f"{home}/config",
                "HELM_DATA_HOME": f"{home}/data",
                "KUBECONFIG": f"{home}/none",
            },
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        raise HelmError(done.stderr + done.stdout)
    return done.stdout


def lint(values: Values, *, chart: Path = CHART) -> str:
    """Run `helm lint --strict`; return what it says."""
    return run("lint", "--strict", chart, values=values)


def template(
    values: Values,
    *,
    api_versions: Sequence[str] = (*KEDA, *ADMISSION_POLICIES),
    release: str = "rowfleet",
    namespace: str = "audit",
    chart: Path = CHART,
) -> list[Manifest]:
    """Render the chart, hooks and tests too. Raises HelmError, and ValueError for a doubled key."""
    apis = [word for version in api_versions for word in ("--api-versions", version)]
    text = run("template", release, chart, "--namespace", namespace, *apis, values=values)
    return load(text)


def load(text: str) -> list[Manifest]:
    """Return the documents of a YAML stream. Raises ValueError for a key that is there twice."""
    return [document for document in yaml.load_all(text, _StrictLoader) if document]


_SafeLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # in C, where the wheel has it


class _StrictLoader(_SafeLoader):
    """A loader that refuses what Kubernetes refuses and PyYAML overlooks: a key given twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = {key for key in keys if keys.count(key) > 1}
        if twice:
            raise ValueError(f"{', '.join(sorted(twice))} twice{node.start_mark}")
        return super().construct_mapping(node, deep)
