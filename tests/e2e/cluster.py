"""A cluster that a kubeconfig leads to, and one namespace of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.support.tools import helm, kubectl

Manifest = dict[str, Any]

#: The environment that the tests were started in: in each test, KUBECONFIG leads nowhere.
ENVIRONMENT = dict(os.environ)

#: Seconds that anything which is not a batch may take.
PATIENCE = 180


class CommandError(Exception):
    """kubectl or helm said no; the message is what it printed."""


@dataclass(frozen=True)
class Cluster:
    """One namespace of the cluster at ``context``."""

    context: str
    namespace: str

    def kubectl(self, *words: str, data: bytes | None = None) -> str:
        """Run kubectl in the namespace; return what it prints. Raises CommandError."""
        where = ("--context", self.context, "--namespace", self.namespace)
        return _run([str(kubectl()), *where, *words], data)

    def helm(self, *words: str, values: Manifest | None = None) -> str:
        """Run helm in the namespace, with ``values`` on its input. Raises CommandError."""
        where = ("--kube-context", self.context, "--namespace", self.namespace)
        given = ("--values", "-") if values is not None else ()
        data = json.dumps(values).encode() if values is not None else None
        return _run([str(helm()), *words, *where, *given], data)

    def get(self, kind: str, name: str = "", *, selector: str = "") -> Any:
        """Return an object, or the list of all of a kind that ``selector`` selects."""
        words = ["get", kind, *([name] if name else []), "--output", "json"]
        said = json.loads(self.kubectl(*words, *(["--selector", selector] if selector else [])))
        return said if name else said["items"]

    def apply(self, *manifests: Manifest) -> None:
        """Create or change objects."""
        every = {"apiVersion": "v1", "kind": "List", "items": list(manifests)}
        self.kubectl("apply", "-f", "-", data=json.dumps(every).encode())

    def wait(self, kind: str, name: str, what: str, seconds: float = PATIENCE) -> None:
        """Wait until ``what`` (as in `kubectl wait --for`) holds. Raises CommandError if not."""
        self.kubectl("wait", f"{kind}/{name}", f"--for={what}", f"--timeout={seconds:g}s")

    @contextmanager
    def watching(self, selector: str) -> Iterator[Watch]:
        """Watch the pods that ``selector`` selects for as long as the block lasts."""
        where = ("--context", self.context, "--namespace", self.namespace)
        process = subprocess.Popen(
            [
                *(str(kubectl()), *where, "get", "pods", "--selector", selector),
                *("--watch", "--output-watch-events", "--output", "json"),
            ],
            stdout=subprocess.PIPE,
            text=True,
            env=ENVIRONMENT,
        )
        watch = Watch()
        reader = threading.Thread(target=watch.read, args=(process.stdout,), daemon=True)
        reader.start()
        try:
            yield watch
        finally:
            process.terminate()
            process.wait()
            reader.join()


@dataclass
class Watch:
    """What became of pods, in order."""

    #: Unix time → how many pods were ready from then on.
    ready: list[tuple[float, int]] = field(default_factory=list)
    #: Pods that have been ready.
    were_ready: set[str] = field(default_factory=set)
    #: Pod → how its container ended, None while it has not.
    exits: dict[str, int | None] = field(default_factory=dict)
    restarts: dict[str, int] = field(default_factory=dict)
    #: Pods that have been told to end.
    ending: set[str] = field(default_factory=set)
    #: Values the pods' deletion cost had.
    costs: set[str] = field(default_factory=set)

    def read(self, stream: Any) -> None:
        """Read watch events until the stream ends."""
        now_ready: set[str] = set()
        for line in stream:
            self._note(json.loads(line), now_ready)

    def _note(self, event: Manifest, now_ready: set[str]) -> None:
        pod = event["object"]
        name = pod["metadata"]["name"]
        if event["type"] != "DELETED" and is_ready(pod):
            now_ready.add(name)
            self.were_ready.add(name)
        else:
            now_ready.discard(name)
        if not self.ready or self.ready[-1][1] != len(now_ready):
            self.ready.append((time.time(), len(now_ready)))
        if pod["metadata"].get("deletionTimestamp"):
            self.ending.add(name)
        cost = (
            pod["metadata"].get("annotations", {}).get("controller.kubernetes.io/pod-deletion-cost")
        )
        if cost is not None:
            self.costs.add(cost)
        self.exits.setdefault(name, None)
        for status in pod["status"].get("containerStatuses", ()):
            ended = status["state"].get("terminated") or status["lastState"].get("terminated")
            if ended:
                self.exits[name] = ended["exitCode"]
            self.restarts[name] = status["restartCount"]

    def ended_badly(self) -> dict[str, tuple[int | None, int]]:
        """Return exit code and restarts of the pods that have not ended in order.

        One that is told to end while it starts has nothing to finish: SIGTERM ends it at once.
        """
        good = {True: (None, 0), False: (None, 0, 128 + signal.SIGTERM)}
        return {
            pod: (code, self.restarts.get(pod, 0))
            for pod, code in self.exits.items()
            if code not in good[pod in self.were_ready] or self.restarts.get(pod)
        }

    def at_least(self, count: int) -> float | None:
        """Return when ``count`` pods were ready for the first time."""
        return next((at for at, ready in self.ready if ready >= count), None)


def restricted(name: str, container: Manifest, **spec: Any) -> Manifest:
    """Return a pod that the `restricted` Pod Security Standard lets in."""
    secure = {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    tmp = {"name": "tmp", "mountPath": "/tmp"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": 0,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 10001,
                "fsGroup": 10001,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [{**container, "securityContext": secure, "volumeMounts": [tmp]}],
            "volumes": [{"name": "tmp", "emptyDir": {}}],
            **spec,
        },
    }


def is_ready(pod: Manifest) -> bool:
    """Return whether a pod is ready."""
    conditions = pod["status"].get("conditions", ())
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def until(condition: Callable[[], Any], seconds: float = PATIENCE, every: float = 0.5) -> Any:
    """Return what ``condition`` returns once that is true. Raises TimeoutError if it is not."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not so after {seconds:g} s")
        time.sleep(every)
    return value


def _run(command: Sequence[str], data: bytes | None) -> str:
    done = subprocess.run(
        command, input=data, capture_output=True, timeout=900, check=False, env=ENVIRONMENT
    )
    if done.returncode:
        raise CommandError((done.stderr + done.stdout).decode(errors="replace").strip())
    return done.stdout.decode()
