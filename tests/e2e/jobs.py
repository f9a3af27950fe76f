"""Submit Jobs, made from `k8s/submit-job.yaml` the way a user edits it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.e2e.cluster import Cluster, until
from tests.e2e.conftest import manifests
from tests.support.sheets import invoices, results

SHEETS_POD = "rowfleet-sheets"


def put_sheet(cluster: Cluster, home: Path, name: str, rows: int) -> None:
    """Make a sheet of ``rows`` invoices on the volume; other names have other rows."""
    invoices(home / f"{name}.xlsx", rows, prefix=name)
    cluster.kubectl("cp", str(home / f"{name}.xlsx"), f"{SHEETS_POD}:/sheets/{name}.xlsx")


def get_results(cluster: Cluster, home: Path, name: str) -> list[dict[str, object]]:
    """Return the rows of the finished sheet."""
    out = home / f"{name}.results.xlsx"
    cluster.kubectl("cp", f"{SHEETS_POD}:/sheets/{name}.results.xlsx", str(out))
    return results(out)


def job(name: str, image: str, *more: str) -> dict[str, Any]:
    """Return the Job for the sheet of this name, with ``more`` arguments for `submit`."""
    (made,) = manifests("submit-job.yaml")
    made["metadata"]["name"] = name
    container = made["spec"]["template"]["spec"]["containers"][0]
    container["image"] = image
    container["resources"]["requests"]["cpu"] = "50m"
    files = {"--excel": f"/sheets/{name}.xlsx", "--export": f"/sheets/{name}.results.xlsx"}
    container["args"] = ["submit", "--wait", *(word for pair in files.items() for word in pair)]
    container["args"] += more
    return made


def ended(cluster: Cluster, name: str, seconds: float) -> tuple[str, str]:
    """Wait until a Job has ended; return `Complete` or `Failed`, and the reason."""

    def look() -> tuple[str, str] | None:
        conditions = cluster.get("job", name)["status"].get("conditions", ())
        for condition in conditions:
            if condition["type"] in ("Complete", "Failed") and condition["status"] == "True":
                return condition["type"], condition.get("message", "")
        return None

    found: tuple[str, str] = until(look, seconds)
    return found


def log(cluster: Cluster, name: str) -> str:
    """Return what a Job's pod has printed."""
    return cluster.kubectl("logs", f"job/{name}", "--tail=-1")
