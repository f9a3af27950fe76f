"""The OpenAI stand-in inside the cluster, run by Rowfleet's own worker image.

It brings what the image lacks: its own modules, and aiohttp's Python files, as one archive that
Python imports from. So the cluster needs no image that a release does not have.
"""

from __future__ import annotations

import importlib.util
import io
import json
import zipfile
from pathlib import Path
from typing import Any

from tests.e2e.cluster import Cluster, restricted
from tests.standin.calls import Call

#: aiohttp and what it imports. Each has an accelerator in C that it can do without.
PACKAGES = (
    "aiohappyeyeballs",
    "aiohttp",
    "aiosignal",
    "attr",
    "attrs",
    "frozenlist",
    "idna",
    "multidict",
    "propcache",
    "typing_extensions",
    "yarl",
)
WITHOUT_ACCELERATORS = ("AIOHTTP", "FROZENLIST", "MULTIDICT", "PROPCACHE", "YARL")

NAME, PORT = "standin", 8080
BASE_URL = f"http://{NAME}:{PORT}/v1"


class Standin:
    """A stand-in running as a pod of the cluster, behind a Service of the same name."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def start(self, image: str, *, latency: float) -> None:
        """Start it; ``latency`` is the seconds each answer takes."""
        self._cluster.apply(_pod(image, latency), _service())
        self._cluster.wait("pod", NAME, "jsonpath={.status.phase}=Running")
        unpack = "cat > /tmp/part && mv /tmp/part /tmp/standin.zip"
        self._cluster.kubectl("exec", "-i", NAME, "--", "sh", "-c", unpack, data=_archive())
        self._cluster.wait("pod", NAME, "condition=Ready")

    def configure(self, **changes: Any) -> None:
        """Change settings of `tests.standin.config.Config` from now on."""
        self._ask("config", changes)

    def summary(self) -> dict[str, Any]:
        """Return the totals of the calls since it was last cleared."""
        summary: dict[str, Any] = self._ask("summary")
        return summary

    def calls(self) -> list[Call]:
        """Return the call log in order of arrival."""
        return [Call(**call) for call in self._ask("calls")]

    def clear(self) -> None:
        """Forget the calls so far."""
        self._ask("calls", method="DELETE")

    def _ask(self, path: str, body: Any = None, method: str | None = None) -> Any:
        script = (
            "import json, sys, urllib.request as u; path, body, method = json.load(sys.stdin); "
            f"url = 'http://127.0.0.1:{PORT}/_standin/' + path; "
            "data = json.dumps(body).encode() if body is not None else None; "
            "print(u.urlopen(u.Request(url, data, method=method)).read().decode())"
        )
        asked = json.dumps([path, body, method]).encode()
        said = self._cluster.kubectl("exec", "-i", NAME, "--", "python", "-c", script, data=asked)
        return json.loads(said) if said.strip() else None


def _archive() -> bytes:
    files = io.BytesIO()
    with zipfile.ZipFile(files, "w", zipfile.ZIP_DEFLATED) as archive:
        for package in (*PACKAGES, "tests.standin"):
            spec = importlib.util.find_spec(package)
            assert spec is not None
            assert spec.origin is not None
            home, inside = Path(spec.origin).parent, package.replace(".", "/")
            if spec.submodule_search_locations is None:
                archive.write(spec.origin, f"{inside}.py")
                continue
            for file in home.rglob("*.py"):
                archive.write(file, f"{inside}/{file.relative_to(home)}")
        archive.writestr("tests/__init__.py", "")
    return files.getvalue()


def _pod(image: str, latency: float) -> dict[str, Any]:
    start = (
        "until [ -e /tmp/standin.zip ]; do sleep 0.2; done; "
        f"exec python -m tests.standin --host 0.0.0.0 --port {PORT} --latency {latency}"
    )
    env = {f"{name}_NO_EXTENSIONS": "1" for name in WITHOUT_ACCELERATORS}
    container = {
        "name": NAME,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["sh", "-c", start],
        "env": [
            {"name": key, "value": value}
            for key, value in {**env, "PYTHONPATH": "/tmp/standin.zip"}.items()
        ],
        "readinessProbe": {"tcpSocket": {"port": PORT}, "periodSeconds": 1},
    }
    pod = restricted(NAME, container)
    pod["metadata"]["labels"] = {"app": NAME}
    return pod


def _service() -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": NAME},
        "spec": {"selector": {"app": NAME}, "ports": [{"port": PORT}]},
    }
