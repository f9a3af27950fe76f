"""A real worker that says on its pod, by HTTPS, how busy it is."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import trustme
from sqlalchemy import Engine

from rowfleet.settings import Settings
from tests.standin import Standin
from tests.support import apiserver
from tests.support.apiserver import Cluster, worker_pod
from tests.support.brokers import server_context
from tests.support.ledger import make_batch, statuses
from tests.support.workers import Start
from worker.steps.deletion_cost import ANNOTATION

#: Seconds between patches at least, in the quick worker.
INTERVAL = 0.5

FAILED = "pod deletion cost not set"


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A cluster with this worker's pod and another; workers started from now on are in the pod."""
    authority = trustme.CA()
    account = tmp_path / "serviceaccount"
    account.mkdir()
    authority.cert_pem.write_to_path(str(account / "ca.crt"))
    (account / "token").write_text("hunter2")
    with apiserver.running(server_context(authority)) as cluster:
        for name in ("mine", "another"):
            cluster.put("pods", worker_pod(name), namespace="fleet")
        address = urlsplit(cluster.url)
        for name, value in {
            "KUBERNETES_SERVICE_HOST": str(address.hostname),
            "KUBERNETES_SERVICE_PORT": str(address.port),
            "ROWFLEET_POD_NAME": "mine",
            "ROWFLEET_POD_NAMESPACE": "fleet",
            "TEST_SERVICE_ACCOUNT": str(account),
        }.items():
            monkeypatch.setenv(name, value)
        yield cluster


def said(cluster: Cluster, pod: str = "mine") -> str:
    return str(cluster.objects["pods", "fleet", pod]["metadata"]["annotations"][ANNOTATION])


def test_a_pod_says_how_busy_it_is_when_that_changes(
    fleet: Settings,
    ledger: Engine,
    standin: Standin,
    start: Start,
    cluster: Cluster,
    tmp_path: Path,
    eventually: Callable[..., None],
) -> None:
    asked: list[tuple[float, str]] = []  # when, and what the pod had said before
    cluster.on_request = lambda _verb, _resource: asked.append((time.monotonic(), said(cluster)))
    standin.configure(latency=2)
    start(fleet, app="tests.support.quick_worker")
    eventually(lambda: said(cluster) == "0")  # not what a container before this one has left
    make_batch(ledger, 2, batch_id="two", queue=fleet.queue)
    eventually(lambda: said(cluster) == "100")
    eventually(lambda: said(cluster) == "0")
    make_batch(ledger, 8, batch_id="full", queue=fleet.queue)
    eventually(lambda: said(cluster) == "400")
    eventually(lambda: said(cluster) == "0")
    assert said(cluster, "another") == "20"
    assert {request[:3] for request in cluster.requests} == {("patch", "pods", "mine")}
    # A row starts and ends at its own time, so that there may be steps between; never a repetition.
    values = [*(before for _, before in asked), said(cluster)]
    assert all(before != after for before, after in pairwise(values))
    assert all(after - before >= INTERVAL for (before, _), (after, _) in pairwise(asked))
    log = (tmp_path / "worker.log").read_text()
    assert FAILED not in log
    assert "hunter2" not in log


def test_what_the_api_server_refuses_is_said_once_and_costs_no_row(
    fleet: Settings,
    ledger: Engine,
    standin: Standin,
    start: Start,
    cluster: Cluster,
    tmp_path: Path,
    eventually: Callable[..., None],
) -> None:
    cluster.forbidden.add(("patch", "pods"))
    standin.configure(latency=1)
    start(fleet, app="tests.support.quick_worker")
    eventually(lambda: len(cluster.requests) >= 2)
    make_batch(ledger, 4, queue=fleet.queue)
    eventually(lambda: len(cluster.requests) >= 4)
    cluster.forbidden.clear()
    tries = len(cluster.requests) + 2
    cluster.on_request = lambda _verb, _resource: time.sleep(1)  # over the worker's patience
    eventually(lambda: len(cluster.requests) >= tries)
    eventually(lambda: set(statuses(ledger)) == {"done"})
    cluster.on_request = lambda _verb, _resource: None
    eventually(lambda: said(cluster) == "0")
    (line,) = (
        line for line in (tmp_path / "worker.log").read_text().splitlines() if FAILED in line
    )
    assert line.endswith('idle pods may not go first: 403: User "u" cannot patch resource "pods"')


@pytest.mark.parametrize("pool", ["prefork", "gevent"])
def test_rows_that_run_are_counted_on_other_pools(
    fleet: Settings,
    ledger: Engine,
    standin: Standin,
    start: Start,
    cluster: Cluster,
    pool: str,
    eventually: Callable[..., None],
) -> None:
    standin.configure(latency=1.5)
    make_batch(ledger, 1, queue=fleet.queue)
    settings = fleet.model_copy(update={"pool": pool, "slots": 2})
    start(settings, "--pool", pool, app="tests.support.quick_worker")
    eventually(lambda: said(cluster) == "200")
    eventually(lambda: said(cluster) == "0")
    assert statuses(ledger) == ["done"]
