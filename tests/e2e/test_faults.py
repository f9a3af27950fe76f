"""Faults of a cluster while rows run: pods deleted by force, a drain, KEDA restarted.

With CHAOS_REPORT=FILE what they have shown is added to the file; see `tests.chaos.report`. The
moments are drawn from a seed, as in the chaos suite: CHAOS_SEED repeats a run.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

from tests.chaos import report
from tests.chaos.conftest import SEED
from tests.e2e.cluster import Cluster, CommandError, Watch, is_ready, until
from tests.e2e.conftest import WORKERS
from tests.e2e.standin import Standin
from tests.e2e.trial import REDIS, Trial

#: All at once: four pods of 20 slots.
FLEET = 4

#: How a pod is killed. By force, it is forgotten at once, and its processes end some time later:
#: that is up to the node. With a second's grace, they are killed before it is forgotten.
KILLS = {"force": ("--force", "--grace-period=0"), "now": ("--now",)}


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> random.Random:
    """The case's random numbers."""
    print(f"CHAOS_SEED={SEED}")
    return random.Random(f"{SEED} {request.node.name}")


@pytest.fixture
def trial(
    request: pytest.FixtureRequest,
    volume: Cluster,
    standin: Standin,
    images: dict[str, str],
    rng: random.Random,
) -> Iterator[Trial]:
    """A batch that is still to be submitted; what became of it goes to the report."""
    name = request.node.name.removeprefix("test_").translate(str.maketrans("_[", "--", "]"))
    trial = Trial(volume, standin, rng, images["submitter"], name)
    yield trial
    standin.configure(latency=3)
    shown = {"seed": SEED, "place": report.CLUSTER, **asdict(trial.record)}
    request.node.user_properties.append((report.PROPERTY, shown))
    print(shown)


@pytest.fixture
def watch(volume: Cluster) -> Iterator[Watch]:
    """What becomes of the worker pods during the test."""
    with volume.watching(WORKERS) as watch:
        yield watch


@pytest.mark.parametrize("how", KILLS)
def test_a_worker_pod_is_killed(trial: Trial, watch: Watch, tmp_path: Path, how: str) -> None:
    trial.submit(tmp_path, 200)
    until(lambda: len(trial.workers()) == FLEET)
    trial.at_some_moment()
    with trial.harm():
        trial.kill([trial.rng.choice(trial.busy_workers())], *KILLS[how])
    trial.conclude(tmp_path, watch)


@pytest.mark.parametrize("how", KILLS)
def test_every_worker_pod_is_killed(trial: Trial, watch: Watch, tmp_path: Path, how: str) -> None:
    trial.submit(tmp_path, 200)
    until(lambda: len(trial.workers()) == FLEET)
    trial.at_some_moment()
    pods = trial.workers()
    with trial.harm(len(pods)):
        trial.kill(pods, *KILLS[how])
    trial.conclude(tmp_path, watch)


def test_the_broker_pod_is_killed(trial: Trial, watch: Watch, tmp_path: Path) -> None:
    trial.submit(tmp_path, 240)
    until(lambda: len(trial.workers()) == FLEET)
    trial.at_some_moment()
    trial.broker(f"set mark {SEED}")
    assert trial.broker("waitaof 1 0 10000").split()[0] == "1"  # it is on the volume
    with trial.harm():
        trial.cluster.kubectl("delete", "pod", REDIS, *KILLS["force"])
    until(lambda: _answers(trial))
    assert trial.broker("getdel mark") == SEED
    trial.conclude(tmp_path, watch)


def test_a_drain(trial: Trial, watch: Watch, tmp_path: Path) -> None:
    trial.submit(tmp_path, 400)
    until(lambda: len(trial.workers()) == FLEET)
    trial.at_some_moment(0.05, 0.2)
    pods = [*trial.workers(), REDIS]
    trial.rng.shuffle(pods)
    with trial.harm(len(pods)):
        trial.evict(pods)
    trial.conclude(tmp_path, watch)
    assert {watch.exits[pod] for pod in pods if pod != REDIS} == {0}
    assert set(watch.exits) > set(pods) - {REDIS}  # new pods went on


def test_the_scaler_is_restarted(
    no_workers: Cluster, trial: Trial, watch: Watch, tmp_path: Path
) -> None:
    trial.submit(tmp_path, 600)
    until(lambda: trial.left()[0])
    with trial.harm():
        _restart_scaler(trial.cluster.context)  # rows wait, and pods are yet to come
    trial.at_some_moment()
    with trial.harm():
        _restart_scaler(trial.cluster.context)
    trial.conclude(tmp_path, watch)
    assert max(ready for _, ready in watch.ready) == FLEET
    until(lambda: not no_workers.get("pods", selector=WORKERS), 300)
    assert not watch.ended_badly()


def _answers(trial: Trial) -> bool:
    try:
        return trial.broker("ping") == "PONG"
    except CommandError:
        return False


def _restart_scaler(context: str) -> None:
    """Delete the pods of KEDA's operator, and wait until others are ready."""
    keda = Cluster(context, os.environ.get("E2E_KEDA_NAMESPACE", "keda"))
    selector = "app=keda-operator"
    old = {pod["metadata"]["name"] for pod in keda.get("pods", selector=selector)}
    assert old, f"no pod {selector} in namespace {keda.namespace}; E2E_KEDA_NAMESPACE names another"
    keda.kubectl("delete", "pod", *old)

    def others() -> bool:
        pods = keda.get("pods", selector=selector)
        return bool(pods) and all(is_ready(p) and p["metadata"]["name"] not in old for p in pods)

    until(others)
