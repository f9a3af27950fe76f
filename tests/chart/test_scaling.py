"""KEDA looks where the queue really is, and no pod is ended over a row that runs.

Names are not repeated here: the queue module says where it keeps what.
"""

from __future__ import annotations

import math
import re

import pytest
from redis import ConnectionPool

from rowfleet.queue.app import celery_app
from rowfleet.queue.keys import CAP
from rowfleet.settings import Settings, load_settings
from tests.support.chart.cases import CASES, Case, rendered
from tests.support.chart.helm import Manifest
from tests.support.chart.manifests import component, environment, of_kind, pods

SCALED = [n for n, c in CASES.items() if c.values.get("autoscaling", {}).get("enabled", True)]


@pytest.fixture(params=SCALED)
def name(request: pytest.FixtureRequest) -> str:
    """Name of a case with autoscaling."""
    return str(request.param)


@pytest.fixture
def scaler(manifests: list[Manifest]) -> Manifest:
    """The workers' ScaledObject."""
    return scaled(manifests, "worker")


def scaled(manifests: list[Manifest], component: str) -> Manifest:
    (found,) = (
        each
        for each in of_kind(manifests, "ScaledObject")
        if each["metadata"]["labels"]["app.kubernetes.io/component"] == component
    )
    return found


@pytest.fixture
def worker_settings(manifests: list[Manifest], case: Case) -> Settings:
    """The settings that a worker of the case would have."""
    pod = component(manifests, "worker")
    return load_settings(environment(pod, "worker", case.known(manifests)))


def test_triggers_look_where_the_queue_keeps_things(scaler: Manifest, worker_settings: Settings):
    conf = celery_app(worker_settings).conf
    prefix = conf.broker_transport_options["global_keyprefix"]
    first, then = conf.task_queues
    keys = {t["name"]: t["metadata"]["listName"] for t in scaler["spec"]["triggers"]}
    assert keys == {
        "queued": prefix + then.name,
        "urgent": prefix + first.name,
        "inflight": prefix + conf.broker_transport_options["unacked_key"],
        "waiting": f"{prefix}{then.name}.waiting",
        "asleep": f"{prefix}{then.name}.asleep",
        "cap": prefix + then.name + CAP,
    }


@pytest.mark.parametrize(
    ("sizes", "counted"),
    [
        ({"inflight": 30}, 30),  # the lists are empty while the last rows run
        ({"queued": 10_000, "urgent": 5, "inflight": 1_000}, 11_005),
        (
            {"queued": 10_000, "inflight": 1_000, "cap": 88},
            88,
        ),  # who could only wait is not started
        ({"queued": 3, "urgent": 1, "inflight": 3, "cap": 88}, 7),
        ({"cap": 88}, 0),  # and to zero, whatever the limit
        ({"waiting": 1, "asleep": 1, "cap": 88}, 0),
        ({"waiting": 1, "cap": 88}, 1),
    ],
)
def test_formula_counts_what_pods_are_for(scaler: Manifest, sizes: dict[str, int], counted: int):
    formula = scaler["spec"]["advanced"]["scalingModifiers"]["formula"]
    names = [trigger["name"] for trigger in scaler["spec"]["triggers"]]
    known = {**dict.fromkeys(names, 0), **sizes, "min": min, "max": max}
    assert eval(_as_python(formula), {"__builtins__": {}}, known) == counted


def _as_python(formula: str) -> str:
    """Return a formula of KEDA's, whose `a ? b : c` and `&&` Python writes otherwise."""
    choice = r"([^,()?]+)\?([^,():]+):([^,()]+)"
    return re.sub(choice, r"((\2) if (\1) else (\3))", formula.replace("&&", " and "))


def test_keda_asks_the_broker_that_the_workers_use(
    scaler: Manifest, manifests: list[Manifest], case: Case, worker_settings: Settings
):
    broker = ConnectionPool.from_url(worker_settings.broker_url()).connection_kwargs
    encrypted = worker_settings.broker_url().startswith("rediss://")
    for trigger in scaler["spec"]["triggers"]:
        said = trigger["metadata"]
        assert trigger["type"] == "redis"
        # KEDA asks from another namespace: a bare name would be one of its own.
        host, _, port = said["address"].rpartition(":")
        assert host.split(".")[0] == broker["host"].split(".")[0]
        assert "." in host
        assert int(port) == broker.get("port", 6379)
        assert int(said["databaseIndex"]) == broker.get("db", 0)
        assert said["enableTLS"] == str(encrypted).lower()
        own = [pod for pod in pods(manifests) if pod.component == "redis"]
        assert said.get("username") == ("keda" if own else broker.get("username"))
        assert not [key for key in said if "password" in key.lower()]
        password = broker.get("password")
        if own:
            password = environment(own[0], "redis", case.known(manifests))["REDISCLI_AUTH"]
        assert _password(trigger, manifests, case) == password


def _password(trigger: Manifest, manifests: list[Manifest], case: Case) -> str | None:
    if "authenticationRef" not in trigger:
        return None
    (authentication,) = of_kind(manifests, "TriggerAuthentication")
    assert authentication["metadata"]["name"] == trigger["authenticationRef"]["name"]
    refs = {ref["parameter"]: ref for ref in authentication["spec"]["secretTargetRef"]}
    if "password" not in refs:
        return None
    ref = refs["password"]
    return case.known(manifests)["Secret", ref["name"]][ref["key"]]


def test_there_is_a_pod_for_as_many_rows_as_it_runs_at_once(
    scaler: Manifest, case: Case, worker_settings: Settings
):
    modifiers = scaler["spec"]["advanced"]["scalingModifiers"]
    wanted = case.values.get("autoscaling", {}).get("target") or worker_settings.concurrency()
    assert float(modifiers["target"]) == wanted
    assert modifiers["metricType"] == "AverageValue"


def test_scaling_goes_to_zero_quickly_looks_often_and_never_down_on_a_broker_s_silence(
    scaler: Manifest, case: Case
):
    spec, values = scaler["spec"], case.values.get("autoscaling", {})
    assert spec["minReplicaCount"] == values.get("minReplicas", 0)
    assert spec["maxReplicaCount"] == values.get("maxReplicas", 10)
    assert spec["pollingInterval"] <= 5
    assert spec["cooldownPeriod"] <= 60
    assert spec["fallback"]["behavior"] == "currentReplicas"
    behavior = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    assert behavior["scaleUp"]["stabilizationWindowSeconds"] == 0
    assert behavior["scaleDown"]["stabilizationWindowSeconds"] >= 30


def test_scaler_s_target_is_the_worker_deployment_which_sets_no_number_itself(
    scaler: Manifest, manifests: list[Manifest]
):
    target = scaler["spec"]["scaleTargetRef"]["name"]
    (worker,) = [m for m in of_kind(manifests, "Deployment") if m["metadata"]["name"] == target]
    assert (
        worker["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/component"] == "worker"
    )
    assert "replicas" not in worker["spec"]  # each upgrade would scale to it


def test_grace_period_is_longer_than_any_row(
    manifests: list[Manifest], case: Case, worker_settings: Settings
):
    grace = component(manifests, "worker").spec["terminationGracePeriodSeconds"]
    assert grace > worker_settings.time_limit
    margin = case.values.get("worker", {}).get("shutdownMargin", 30)
    assert grace == math.ceil(worker_settings.time_limit) + margin


def test_probes_cost_the_broker_nothing(manifests: list[Manifest]):
    worker = component(manifests, "worker").container("worker")
    assert {"startupProbe", "livenessProbe"} <= worker.keys()
    assert "readinessProbe" not in worker  # no client sends requests to a worker
    for probe in ("startupProbe", "livenessProbe"):
        words = " ".join(worker[probe]["exec"]["command"])
        assert "celery" not in words
        assert "python" not in words


def test_without_keda_there_are_as_many_pods_as_was_said():
    manifests = rendered("no KEDA")
    (worker,) = [m for m in of_kind(manifests, "Deployment") if "worker" in m["metadata"]["name"]]
    assert worker["spec"]["replicas"] == 5
    assert of_kind(manifests, "ScaledObject", "TriggerAuthentication") == []


def test_pool_is_the_one_asked_for():
    for name, pool in (("minimal", "threads"), ("prefork", "prefork")):
        worker = component(rendered(name), "worker").container("worker")
        variables = environment(
            component(rendered(name), "worker"), "worker", CASES[name].known(rendered(name))
        )
        assert variables["ROWFLEET_POOL"] == pool
        assert f"--pool={pool}" in worker["args"]


def test_worker_is_not_the_first_process_which_ignores_sigterm_while_it_starts(
    manifests: list[Manifest],
):
    assert component(manifests, "worker").spec["shareProcessNamespace"] is True
