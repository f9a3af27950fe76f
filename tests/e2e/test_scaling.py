"""Batches on a fleet that KEDA scales: every row once, from zero and back, none interrupted."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from tests.e2e import jobs
from tests.e2e.cluster import ENVIRONMENT, Cluster, Watch, is_ready, until
from tests.e2e.conftest import WORKERS
from tests.e2e.standin import Standin


def test_a_job_runs_its_rows_from_zero_pods_and_back(
    volume: Cluster, no_workers: Cluster, standin: Standin, images: dict[str, str], tmp_path: Path
) -> None:
    jobs.put_sheet(volume, tmp_path, "three-hundred", 300)
    standin.clear()
    with volume.watching(WORKERS) as watch:
        applied = time.time()
        volume.apply(jobs.job("three-hundred", images["submitter"]))
        outcome = jobs.ended(volume, "three-hundred", 300)
        until(lambda: not volume.get("pods", selector=WORKERS), 180)
        gone = time.time()
    assert outcome[0] == "Complete", (outcome, jobs.log(volume, "three-hundred"))
    rows = jobs.get_results(volume, tmp_path, "three-hundred")
    assert [row["AI_Status"] for row in rows] == ["done"] * 300
    calls = standin.calls()
    assert Counter(call.row for call in calls) == dict.fromkeys(range(300), 1)
    assert max(ready for _, ready in watch.ready) == 4
    _no_worker_ended_badly(watch)
    assert watch.costs & {"100", "200", "300", "400"}  # busy pods said so
    _report(
        first_call=calls[0].time - applied,
        four_ready=(watch.at_least(4) or 0) - applied,
        zero_pods=gone - max(call.ended or 0 for call in calls),
    )


def test_launch_makes_the_job_and_follows_it_to_its_end(
    volume: Cluster, standin: Standin, tmp_path: Path
) -> None:
    jobs.put_sheet(volume, tmp_path, "launched", 25)
    standin.clear()
    done = _rowfleet(
        *("launch", "--excel", "pvc://rowfleet-sheets/launched.xlsx"),
        *("--export", "pvc://rowfleet-sheets/launched.results.xlsx", "--wait"),
        *("--context", volume.context, "--namespace", volume.namespace),
    )
    assert done.returncode == 0, done.stderr
    assert "25 rows written to /sheets/rowfleet-sheets/launched.results.xlsx" in done.stdout
    rows = jobs.get_results(volume, tmp_path, "launched")
    assert [row["AI_Status"] for row in rows] == ["done"] * 25
    assert standin.summary()["calls"] == 25
    listed = _rowfleet(
        *("workers", "--json", "--context", volume.context, "--namespace", volume.namespace)
    )
    pods = {pod["metadata"]["name"] for pod in volume.get("pods", selector=WORKERS)}
    assert {worker["pod"]["name"] for worker in json.loads(listed.stdout)} >= pods


def test_applied_again_it_is_the_same_batch(
    volume: Cluster, standin: Standin, images: dict[str, str], tmp_path: Path
) -> None:
    jobs.put_sheet(volume, tmp_path, "again", 30)
    standin.clear()
    for _ in range(2):
        volume.apply(jobs.job("again", images["submitter"]))
        assert jobs.ended(volume, "again", 180)[0] == "Complete"
        volume.kubectl("delete", "job", "again", "--wait")
    assert standin.summary()["calls"] == 30


def test_bad_input_fails_the_job_at_once(volume: Cluster, images: dict[str, str]) -> None:
    volume.apply(jobs.job("missing", images["submitter"]))
    kind, message = jobs.ended(volume, "missing", 60)
    assert kind == "Failed"
    assert "exit code 2" in message
    assert len(volume.get("pods", selector="job-name=missing")) == 1
    assert jobs.log(volume, "missing").strip() == "rowfleet: /sheets/missing.xlsx: no such file"


def test_a_long_row_is_not_scaled_away_when_the_list_is_empty(
    volume: Cluster, no_workers: Cluster, standin: Standin, images: dict[str, str], tmp_path: Path
) -> None:
    jobs.put_sheet(volume, tmp_path, "long", 1)
    standin.clear()
    standin.configure(latency=100)
    try:
        with volume.watching(WORKERS) as watch:
            volume.apply(jobs.job("long", images["submitter"]))
            until(lambda: standin.summary()["in_flight"] == 1)
            while standin.summary()["in_flight"]:
                assert not watch.ending, "the pod was told to end while its row ran"
                time.sleep(1)
            assert jobs.ended(volume, "long", 60)[0] == "Complete"
            until(lambda: not volume.get("pods", selector=WORKERS), 180)
    finally:
        standin.configure(latency=3)
    assert standin.summary()["calls"] == 1
    _no_worker_ended_badly(watch)


def test_a_pod_that_is_told_to_end_finishes_its_rows(
    volume: Cluster, no_workers: Cluster, standin: Standin, images: dict[str, str], tmp_path: Path
) -> None:
    jobs.put_sheet(volume, tmp_path, "drained", 40)
    standin.clear()
    standin.configure(latency=20)
    try:
        with volume.watching(WORKERS) as watch:
            volume.apply(jobs.job("drained", images["submitter"]))
            until(lambda: standin.summary()["calls"] >= 20)
            (victim, *_) = volume.get("pods", selector=WORKERS)
            volume.kubectl("delete", "pod", victim["metadata"]["name"], "--wait=false")
            assert jobs.ended(volume, "drained", 240)[0] == "Complete"
            until(lambda: not volume.get("pods", selector=WORKERS), 180)
    finally:
        standin.configure(latency=3)
    assert standin.summary()["calls"] == 40  # none was interrupted, so none was paid for again
    _no_worker_ended_badly(watch)


def test_a_retry_that_falls_due_when_no_pod_is_left_brings_a_pod_back(
    volume: Cluster, no_workers: Cluster, standin: Standin, images: dict[str, str], tmp_path: Path
) -> None:
    jobs.put_sheet(volume, tmp_path, "later", 10)
    standin.clear()
    standin.configure(faults=[{"kind": "server_error", "attempts": 1, "retry_after": 90}])
    manifest = jobs.job("later", images["submitter"])
    manifest["spec"]["template"]["spec"]["containers"][0]["args"] = [
        *("submit", "--excel", "/sheets/later.xlsx")  # which ends as soon as its rows are fed
    ]
    try:
        volume.apply(manifest)
        assert jobs.ended(volume, "later", 60)[0] == "Complete"
        until(lambda: standin.summary()["calls"] == 10, 60)
        until(lambda: not volume.get("pods", selector=WORKERS), 80)
        emptied = time.time()
        assert standin.summary()["calls"] == 10
        until(lambda: standin.summary()["calls"] == 20, 120)
        until(lambda: not volume.get("pods", selector=WORKERS), 180)
    finally:
        standin.configure(faults=[])
    calls = standin.calls()
    due = calls[0].ended or 0
    assert Counter(call.row for call in calls) == dict.fromkeys(range(10), 2)
    _report(no_pod_after=emptied - due, first_retry_after=calls[10].time - due)


def test_a_pod_that_is_told_to_end_while_it_starts_does_not_go_on(
    volume: Cluster, no_workers: Cluster, standin: Standin, images: dict[str, str], tmp_path: Path
) -> None:
    jobs.put_sheet(volume, tmp_path, "started", 20)
    standin.clear()
    with volume.watching(WORKERS) as watch:
        volume.apply(jobs.job("started", images["submitter"]))
        name = until(lambda: _starting(volume), every=0.1)
        volume.kubectl("delete", "pod", name, "--wait=false")
        # Its grace is ten minutes: one that misses the signal would last as long.
        volume.wait("pod", name, "delete", 120)
        assert jobs.ended(volume, "started", 240)[0] == "Complete"
        until(lambda: not volume.get("pods", selector=WORKERS), 180)
    assert standin.summary()["calls"] == 20
    _no_worker_ended_badly(watch)


def _starting(cluster: Cluster) -> str | None:
    """Return a worker pod whose process runs and is not ready yet."""
    for pod in cluster.get("pods", selector=WORKERS):
        states = [status["state"] for status in pod["status"].get("containerStatuses", ())]
        if any("running" in state for state in states) and not is_ready(pod):
            return str(pod["metadata"]["name"])
    return None


#: Patches a pod as the worker it runs in, and prints what the API server says to that.
PATCH = """
import json, sys
from kubernetes import client, config
config.load_incluster_config()
name, body = json.load(sys.stdin)
space = open("/var/run/secrets/kubernetes.io/serviceaccount/namespace").read()
try:
    client.CoreV1Api().patch_namespaced_pod(name, space, body)
    print("patched")
except client.ApiException as error:
    print(json.loads(error.body)["message"])
"""


def test_a_worker_may_patch_nothing_but_its_own_pods_deletion_cost(
    volume: Cluster, standin: Standin, images: dict[str, str], tmp_path: Path
) -> None:
    jobs.put_sheet(volume, tmp_path, "patching", 1)
    standin.clear()
    standin.configure(latency=30)
    try:
        volume.apply(jobs.job("patching", images["submitter"]))
        until(lambda: standin.summary()["in_flight"])
        pods = volume.get("pods", selector=WORKERS)
        own = next(p["metadata"]["name"] for p in pods if p["status"]["phase"] == "Running")

        def patch(pod: str, **metadata: object) -> str:
            what = json.dumps([pod, {"metadata": metadata}]).encode()
            words = ("exec", "-i", own, "--", "python", "-c", PATCH)
            return volume.kubectl(*words, data=what).strip()

        cost = {"controller.kubernetes.io/pod-deletion-cost": "7"}
        assert patch(own, annotations=cost) == "patched"
        assert "its own pod only" in patch("rowfleet-redis-0", annotations=cost)
        assert "nothing but its pod's deletion cost" in patch(own, annotations={"other": "7"})
        assert "labels, owners or finalizers" in patch(own, labels={"other": "7"})
        assert jobs.ended(volume, "patching", 120)[0] == "Complete"
    finally:
        standin.configure(latency=3)


def _rowfleet(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "submitter", *words],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def _no_worker_ended_badly(watch: Watch) -> None:
    assert watch.exits
    assert None not in watch.exits.values()
    assert not watch.ended_badly()


def _report(**seconds: float) -> None:
    print("\n" + ", ".join(f"{what} {value:.1f} s" for what, value in seconds.items()))
