"""The times that the simulation of the autoscaler needs, read off a cluster's timestamps.

    python -m tests.e2e.curve 300:3:20:4:3 600:3:10:8:3 --output build/curve.json

Each argument is a shape: rows, seconds for each, slots of a pod, most pods, runs. The environment
names the cluster as for `make e2e`. Each run is a Job from zero pods and back; with 0 rows, so many
pods start and end at once that have nothing to do. Nothing is read off the curve: Redis says when
rows are queued (`MONITOR`), a watch what becomes of pods, the ledger which pod ran which row, the
stand-in when each call came and ended. All clocks must agree, as those of a cluster of one node do
on which this runs, too.
"""

from __future__ import annotations

import argparse
import calendar
import json
import os
import random
import re
import subprocess
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.e2e import jobs, standin
from tests.e2e.cluster import ENVIRONMENT, Cluster, Manifest, is_ready, until
from tests.e2e.conftest import CHART, RELEASE, WORKERS, manifests
from tests.e2e.standin import Standin
from tests.e2e.trial import AS_ADMIN
from tests.support.tools import kubectl

#: What KEDA asks for in each look, first of all; it asks for the same when the HPA wants to know.
LOOK = re.compile(r'^([0-9.]+) \[.*\] "(?i:llen)" "rowfleet"')
#: What puts a row on the queue.
PUSH = re.compile(r'^([0-9.]+) \[.*\] "(?i:lpush|rpush)" "rowfleet(?:\.urgent)?"')

#: KEDA's annotation for a number of pods that holds whatever there is to do.
PAUSED = "autoscaling.keda.sh/paused-replicas"
#: Seconds for which the node is watched at rest, before and after a run.
REST = 5.0
#: What a container sees as `/proc/stat` is the node's; its first line is the sum of its cores.
READ_TIMES = (
    "grep -c '^cpu[0-9]' /proc/stat; "
    "while read -r times < /proc/stat; do echo $times; sleep 0.2; done"
)
#: `/proc/stat` counts hundredths of a second (`USER_HZ`).
USER_HZ = 100


@dataclass
class Pod:
    """When what became of a worker's pod: Unix times, 0 while it has not."""

    created: float = 0.0
    scheduled: float = 0.0
    running: float = 0.0
    ready: float = 0.0
    first_line: float = 0.0
    told_to_end: float = 0.0
    gone: float = 0.0
    #: Arrival and end of its calls at the model, in order of arrival.
    calls: list[tuple[float, float]] = field(default_factory=list)


@dataclass
class Run:
    """One batch from zero pods and back; Unix times."""

    rows: int
    latency: float
    slots: int
    most: int
    applied: float = 0.0
    submitter: Pod = field(default_factory=Pod)
    first_queued: float = 0.0
    all_queued: float = 0.0
    #: When the Deployment was told how many pods to have.
    wanted: list[tuple[float, int]] = field(default_factory=list)
    looks: list[float] = field(default_factory=list)
    pods: dict[str, Pod] = field(default_factory=dict)
    last_active: str = ""
    #: Cores of the node, and CPU seconds that all of it has used since its start, time by time.
    cores: int = 0
    used: list[tuple[float, float]] = field(default_factory=list)

    def cpu(self, start: float, end: float) -> float:
        """Return the CPU seconds that the node used between two times, as near as was looked."""
        inside = [used for at, used in self.used if start <= at <= end]
        return inside[-1] - inside[0] if inside else 0.0


def follow(words: Sequence[str], each: Callable[[str], None]) -> subprocess.Popen[str]:
    """Start kubectl and give each line that it prints to ``each``."""
    process = subprocess.Popen(
        [str(kubectl()), *words], stdout=subprocess.PIPE, text=True, env=ENVIRONMENT
    )

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            each(line)

    threading.Thread(target=read, daemon=True).start()
    return process


class Observer:
    """Notes of a run what the cluster says of it while it happens."""

    def __init__(self, cluster: Cluster, run: Run) -> None:
        self._cluster = cluster
        self._run = run

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch for as long as the block lasts."""
        where = ("--context", self._cluster.context, "--namespace", self._cluster.namespace)
        stream = ("--watch", "--output-watch-events", "--output", "json")
        each: list[tuple[tuple[str, ...], Callable[[str], None]]] = [
            (("get", "pods", "--selector", WORKERS, *stream), self._worker),
            (("get", "pods", "--selector", "job-name", *stream), self._submitter),
            (("get", "deployment", f"{RELEASE}-worker", *stream), self._deployment),
            (("exec", f"{RELEASE}-redis-0", "--", *AS_ADMIN, "MONITOR"), self._redis),
            (("exec", "rowfleet-sheets", "--", "sh", "-c", READ_TIMES), self._times),
        ]
        with ExitStack() as stack:
            for words, note in each:
                process = follow([*where, *words], note)
                stack.callback(process.wait)
                stack.callback(process.terminate)
            time.sleep(2)  # for the watches to be there
            time.sleep(REST)
            yield
            time.sleep(REST)

    def _worker(self, line: str) -> None:
        event = json.loads(line)
        name = event["object"]["metadata"]["name"]
        self._note(event, self._run.pods.setdefault(name, Pod()))

    def _submitter(self, line: str) -> None:
        event = json.loads(line)
        if event["object"]["metadata"]["creationTimestamp"] and self._run.applied:
            self._note(event, self._run.submitter)

    @staticmethod
    def _note(event: Manifest, pod: Pod) -> None:
        now, seen = time.time(), event["object"]
        pod.created = pod.created or now
        if seen["spec"].get("nodeName"):
            pod.scheduled = pod.scheduled or now
        if any("running" in s["state"] for s in seen["status"].get("containerStatuses", ())):
            pod.running = pod.running or now
        if is_ready(seen):
            pod.ready = pod.ready or now
        if seen["metadata"].get("deletionTimestamp"):
            pod.told_to_end = pod.told_to_end or now
        if event["type"] == "DELETED":
            pod.gone = now

    def _deployment(self, line: str) -> None:
        count = json.loads(line)["object"]["spec"]["replicas"]
        if not self._run.wanted or self._run.wanted[-1][1] != count:
            self._run.wanted.append((time.time(), count))

    def _times(self, line: str) -> None:
        if not line.startswith("cpu "):
            self._run.cores = int(line)
            return
        user, nice, system, _idle, _iowait, *interrupts = map(int, line.split()[1:9])
        used = user + nice + system + sum(interrupts)
        self._run.used.append((time.time(), used / USER_HZ))

    def _redis(self, line: str) -> None:
        if found := LOOK.match(line):
            self._run.looks.append(float(found[1]))
        elif found := PUSH.match(line):
            self._run.first_queued = self._run.first_queued or float(found[1])
            self._run.all_queued = float(found[1])


def measure(cluster: Cluster, standin_: Standin, image: str, run: Run) -> None:
    """Submit a batch to a fleet at rest, follow it to no pod, and fill in ``run``."""
    until(lambda: not cluster.get("pods", selector=WORKERS), 300)
    time.sleep(random.uniform(1, 16))  # any phase of KEDA's and of the HPA's looks
    name = f"curve-{uuid.uuid4().hex[:6]}"
    first_lines: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as home:
        jobs.put_sheet(cluster, Path(home), name, run.rows)
    standin_.clear()
    standin_.configure(latency=run.latency)
    with Observer(cluster, run).watching():
        run.applied = time.time()
        cluster.apply(jobs.job(name, image, "--batch-id", name))
        cluster.wait("job", name, "condition=complete", 600)
        for pod in cluster.get("pods", selector=WORKERS):
            first_lines[pod["metadata"]["name"]] = _first_line(cluster, pod["metadata"]["name"])
        until(lambda: not cluster.get("pods", selector=WORKERS), 300, every=2)
        scaled = cluster.get("scaledobject", f"{RELEASE}-worker")
        run.last_active = scaled["status"].get("lastActiveTime", "")
    ran_by = _ran_by(cluster, name)
    for call in standin_.calls():
        assert call.row is not None
        run.pods[ran_by[call.row]].calls.append((call.time, call.ended or 0.0))
    for pod_name, at in first_lines.items():
        run.pods[pod_name].first_line = at
    cluster.kubectl("delete", "job", name)


def idle(cluster: Cluster, run: Run) -> None:
    """Let as many pods as there may be start at once, and end at once, without a row."""

    def want(pods: int) -> None:
        words = ("annotate", "scaledobject", f"{RELEASE}-worker", "--overwrite")
        cluster.kubectl(*words, f"{PAUSED}={pods}")

    want(0)
    until(lambda: not cluster.get("pods", selector=WORKERS), 300)
    with Observer(cluster, run).watching():
        run.applied = time.time()
        want(run.most)
        until(lambda: sum(pod.ready > 0 for pod in list(run.pods.values())) == run.most, 300)
        time.sleep(REST)  # for a first row they would be ready now
        want(0)
        until(lambda: all(pod.gone for pod in list(run.pods.values())), 300)


def _first_line(cluster: Cluster, pod: str) -> float:
    said = cluster.kubectl("logs", pod, "--timestamps", "--limit-bytes=200").split(" ", 1)[0]
    return _unix(said)


def _unix(said: str) -> float:
    whole, _, fraction = said.rstrip("Z").partition(".")
    seconds = time.strptime(whole + " UTC", "%Y-%m-%dT%H:%M:%S %Z")
    return calendar.timegm(seconds) + float(f"0.{fraction or 0}")


def _ran_by(cluster: Cluster, batch: str) -> dict[int, str]:
    sql = f"SELECT number, worker FROM rows WHERE batch_id = '{batch}'"
    said = cluster.kubectl(
        *("exec", f"{RELEASE}-postgresql-0", "--", "psql", "-qAtX", "-U", "rowfleet"),
        *("-d", "rowfleet", "-c", sql),
    )
    found = (line.split("|") for line in said.splitlines())
    return {int(number): worker.partition("@")[2] for number, worker in found}


def _told(run: Run) -> str:
    """Return a run in short: seconds from the apply, for each pod from its creation."""
    calls = [call for pod in run.pods.values() for call in pod.calls]
    last, gone = max(ended for _, ended in calls), max(pod.gone for pod in run.pods.values())
    told = min(pod.told_to_end for pod in run.pods.values())
    first, *others = sorted(run.pods.values(), key=lambda pod: pod.created)
    serving = max((min(pod.calls)[0] for pod in others if pod.calls), default=0.0)
    lines = [
        f"queued {run.first_queued - run.applied:.2f}, "
        f"pods wanted {', '.join(f'{n} at {at - run.applied:.2f}' for at, n in run.wanted[1:])}, "
        f"first call {min(calls)[0] - run.applied:.1f}, last answer {last - run.applied:.1f}, "
        f"no pod {gone - last:.1f} later, "
        f"{sum(pod.gone - pod.created for pod in run.pods.values()):.0f} pod-seconds",
        f"  CPU seconds of the node, {run.cores} cores: "
        f"{run.cpu(run.applied - REST, run.applied) / REST:.2f} a second at rest, "
        f"{run.cpu(gone, gone + REST) / REST:.2f} after; "
        f"{run.cpu(first.created, min(first.calls)[0]):.2f} until the first call, "
        f"{run.cpu(others[0].created if others else 0.0, serving):.2f} until all others call, "
        f"{run.cpu(serving, last):.2f} from then to the last answer in {last - serving:.1f} s, "
        f"{run.cpu(told, gone):.2f} from SIGTERM to no pod",
    ]
    for pod in (first, *others):
        begun, ended = sorted(at for at, _ in pod.calls), sorted(at for _, at in pod.calls)
        gaps = [late - early for late, early in zip(begun[run.slots :], ended, strict=False)]
        lines.append(
            f"  pod at {pod.created - run.applied:.2f}: "
            f"container {pod.running - pod.created:.2f}, "
            f"first line {pod.first_line - pod.created:.2f}, "
            f"first call {begun[0] - pod.created if begun else 0:.2f}, "
            f"ready {pod.ready - pod.created:.2f}; {len(begun)} rows, "
            f"{sum(gaps) / max(1, len(gaps)):.2f} between; "
            f"gone {pod.gone - pod.told_to_end:.2f} after SIGTERM"
        )
    return "\n".join(lines)


def _told_idle(run: Run) -> str:
    """Return a run without rows in short."""
    pods = run.pods.values()
    created, told = min(pod.created for pod in pods), min(pod.told_to_end for pod in pods)
    gone, rest = max(pod.gone for pod in pods), run.cpu(run.applied - REST, run.applied) / REST
    starts = (run.cpu(created, told) - rest * (told - created)) / run.most
    ends = (run.cpu(told, gone) - rest * (gone - told)) / run.most
    return (
        f"{run.most} pods at once, {run.cores} cores, {rest:.2f} busy at rest: "
        f"{starts:.2f} CPU seconds for a start, ready after "
        f"{max(pod.ready for pod in pods) - created:.1f} s; "
        f"{ends:.2f} for an end, gone after {gone - told:.1f} s"
    )


def _values(images: dict[str, str], slots: int, most: int) -> Manifest:
    small = {"requests": {"cpu": "50m", "memory": "128Mi"}}

    def image(reference: str) -> dict[str, str]:
        repository, _, tag = reference.rpartition(":")
        return {"repository": repository, "tag": tag}

    return {
        "openai": {"apiKey": "sk-standin", "baseUrl": standin.BASE_URL},
        "worker": {"image": image(images["worker"]), "slots": slots, "resources": small},
        "submitter": {"image": image(images["submitter"]), "resources": small},
        "autoscaling": {"maxReplicas": most},
        "redis": {"resources": {"requests": {"cpu": "50m"}}},
        "postgresql": {"resources": {"requests": {"cpu": "50m"}}},
    }


def main() -> None:
    """Measure, and write every timestamp of every run."""
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.curve", description=__doc__)
    parser.add_argument("shapes", nargs="+", help="ROWS:LATENCY:SLOTS:MOST:RUNS")
    parser.add_argument("--output", type=Path, required=True)
    asked = parser.parse_args()
    images = {
        "worker": os.environ["E2E_WORKER_IMAGE"],
        "submitter": os.environ["E2E_SUBMITTER_IMAGE"],
    }
    cluster = Cluster(os.environ["E2E_CONTEXT"], f"rowfleet-curve-{uuid.uuid4().hex[:6]}")
    cluster.kubectl("create", "namespace", cluster.namespace)
    runs: list[Run] = []
    try:
        server = Standin(cluster)
        server.start(images["worker"], latency=3)
        (claim,), (pod,) = manifests("pvc.yaml"), manifests("sheets-pod.yaml")
        pod["spec"]["containers"][0]["image"] = images["submitter"]
        cluster.apply(claim, pod)
        for shape in asked.shapes:
            rows, latency, slots, most, count = map(int, shape.split(":"))
            cluster.helm(
                *("upgrade", "--install", RELEASE, CHART, "--timeout", "300s", "--wait"),
                values=_values(images, slots, most),
            )
            cluster.wait("pod", "rowfleet-sheets", "condition=Ready")
            cluster.wait("scaledobject", f"{RELEASE}-worker", "condition=Ready")
            for _ in range(count):
                run = Run(rows, latency, slots, most)
                if rows:
                    measure(cluster, server, images["submitter"], run)
                else:
                    idle(cluster, run)
                runs.append(run)
                asked.output.write_text(json.dumps([asdict(run) for run in runs], indent=1))
                print(f"{shape}: {_told(run) if rows else _told_idle(run)}", flush=True)
            if not rows:
                name = f"{RELEASE}-worker"
                cluster.kubectl("annotate", "scaledobject", name, f"{PAUSED}-")
    finally:
        try:
            cluster.helm("uninstall", RELEASE, "--ignore-not-found", "--wait")
        finally:
            cluster.kubectl("delete", "namespace", cluster.namespace, "--timeout=300s")


if __name__ == "__main__":
    main()
