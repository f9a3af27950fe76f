"""The manifests in k8s/, which a user applies by hand beside a release called `rowfleet`."""

from __future__ import annotations

from pathlib import Path

from tests.support.chart import helm
from tests.support.chart.helm import Manifest

FOLDER = helm.ROOT / "k8s"

#: Manifests for a cluster with the release, not for kind or helm.
FILES = [
    file
    for file in sorted(FOLDER.glob("*.yaml"))
    if any("metadata" in document for document in helm.load(file.read_text("utf-8")))
]


def load(file: Path) -> list[Manifest]:
    return helm.load(file.read_text("utf-8"))
