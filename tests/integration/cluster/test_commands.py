"""`rowfleet launch` and `rowfleet workers` against an API server, by HTTP."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from rowfleet.recipes import loading
from submitter import celery_workers
from submitter.cli import main
from submitter.cluster import following
from tests.support import apiserver
from tests.support.apiserver import Run, worker_pod
from tests.unit.submitter.cluster.test_manifest import TEMPLATE

Said = tuple[int, str, str]
Call = Callable[..., Said]

RECIPE = "name: mood\nprompt: p\noutput: {type: object, properties: {mood: {type: string}}}\n"


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[apiserver.Cluster]:
    """A cluster with a release, named by KUBECONFIG."""
    monkeypatch.setattr(following, "INTERVAL", 0.02)
    with apiserver.running() as cluster:
        monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig(tmp_path / "kubeconfig")))
        cluster.put("podtemplates", TEMPLATE)
        data = {"refunds.yaml": RECIPE}
        cluster.put("configmaps", {"metadata": {"name": "rowfleet-recipes"}, "data": data})
        yield cluster


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Run `rowfleet` with the given words; return its exit code, output and errors."""

    def run(*words: object) -> Said:
        monkeypatch.setattr(sys, "argv", ["rowfleet", *map(str, words)])
        monkeypatch.setenv("COLUMNS", "300")
        with pytest.raises(SystemExit) as caught:
            main.main()
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        assert "hunter2" not in said.out + said.err
        return int(caught.value.code or 0), said.out, said.err

    return run


@pytest.fixture
def launch(call: Call) -> Call:
    return lambda *words: call("launch", "--excel", "pvc://sheets/Master_Refunds.xlsx", *words)


def refused(said: Said, code: int, *names: str) -> None:
    got, out, err = said
    assert got == code, err
    assert out == ""
    (sentence,) = err.splitlines()
    assert sentence.startswith("rowfleet: ")
    for name in names:
        assert name in sentence


# --- launch


def test_a_launch_makes_one_job_and_says_where_its_log_is(
    cluster: apiserver.Cluster, launch: Call
) -> None:
    code, _, err = launch()
    job = cluster.one("jobs")
    name = job["metadata"]["name"]
    assert code == 0
    assert name.startswith("rowfleet-master-refunds-")
    assert f"\nits log: kubectl logs -n default -f job/{name}\n" in err
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["args"] == ["submit", "--excel=/sheets/sheets/Master_Refunds.xlsx", "--wait"]


@pytest.mark.parametrize("code", [0, 1, 2, 3])
def test_wait_shows_the_log_and_exits_as_the_submitter_did(
    cluster: apiserver.Cluster, launch: Call, code: int
) -> None:
    cluster.runs = [Run(["one", "", "two [not markup]"], code)]
    got, out, _ = launch("--wait")
    assert got == code
    assert out.splitlines() == ["one", "", "two [not markup]"]


@pytest.mark.parametrize("same_time", [False, True])
def test_a_log_is_shown_once_though_its_connection_drops(
    cluster: apiserver.Cluster, launch: Call, same_time: bool
) -> None:
    lines = [f"line {number}" for number in range(30)]
    cluster.runs = [Run(lines, drops=[0, 3, 3, 1, 2], same_time=same_time)]
    code, out, _ = launch("--wait")
    assert code == 0
    assert out.splitlines() == lines
    assert cluster.verbs("pods/log") == ["get"] * 7  # five drops, one to the end, one to be sure


def test_a_pod_that_is_tried_again_is_followed_again(
    cluster: apiserver.Cluster, launch: Call
) -> None:
    cluster.runs = [Run(["first"], 3), Run(["second"], 137), Run(["third"], 1)]
    code, out, err = launch("--wait")
    assert code == 1
    assert out.splitlines() == ["first", "second", "third"]
    assert "its pod's exit code is 3; the Job tries again as" in err


def test_a_job_that_ended_otherwise_says_how(cluster: apiserver.Cluster, launch: Call) -> None:
    cluster.runs = [Run(code=137)]
    code, _, err = launch("--wait")
    assert code == 3
    assert "has reached the specified backoff limit; its pod's exit code is 137" in err


def test_an_api_server_that_goes_away_is_waited_for(
    cluster: apiserver.Cluster, launch: Call, caplog: pytest.LogCaptureFixture
) -> None:
    cluster.runs = [Run(["one", "two", "three"], 1, drops=[1, 2])]

    def leave(_verb: str, resource: str) -> None:
        if resource == "pods/log":
            cluster.away = 3

    cluster.on_request = leave
    code, out, _ = launch("--wait")
    assert code == 1
    assert out.splitlines() == ["one", "two", "three"]
    assert "waiting, the Job goes on" in caplog.text


def test_who_may_not_read_logs_still_gets_the_end(cluster: apiserver.Cluster, launch: Call) -> None:
    cluster.forbidden = {("get", "pods/log")}
    cluster.runs = [Run(code=1)]
    cluster.on_request = lambda _verb, resource: (
        cluster.end_pod(cluster.one("pods")) if resource == "pods/log" else None
    )
    code, _, err = launch("--wait")
    assert code == 1
    assert "can't be followed: the cluster of the context here does not let you get pods/log" in err


def test_a_job_that_runs_is_followed_and_one_that_ended_is_replaced(
    cluster: apiserver.Cluster, launch: Call
) -> None:
    launch()
    first = cluster.one("jobs")["metadata"]["uid"]
    code, out, err = launch("--wait")
    assert (code, out) == (0, "a line\n")
    assert "runs already" in err
    assert cluster.one("jobs")["metadata"]["uid"] == first
    code, out, err = launch("--wait")
    assert (code, out) == (0, "a line\n")
    assert "created anew" in err
    assert cluster.one("jobs")["metadata"]["uid"] != first
    assert cluster.named("pods") == [f"{cluster.one('jobs')['metadata']['name']}-0"]


def test_a_name_taken_by_something_else_is_refused(
    cluster: apiserver.Cluster, launch: Call
) -> None:
    launch("--name", "mine")
    refused(launch("--name", "mine", "--num-rows", "3"), 2, "--name mine: there is a Job of that")
    cluster.end_job(cluster.one("jobs"), "Complete", "")
    refused(launch("--name", "mine", "--num-rows", "3"), 2, "--name mine: there is a Job of that")
    assert launch("--name", "mine")[0] == 0


def test_a_job_deleted_meanwhile_is_said(cluster: apiserver.Cluster, launch: Call) -> None:
    cluster.runs = [Run(drops=[0])]

    def delete(_verb: str, resource: str) -> None:
        if resource == "pods/log":
            del cluster.objects["jobs", "default", cluster.named("jobs")[0]]

    cluster.on_request = delete
    code, _, err = launch("--wait")
    assert code == 2
    assert "was deleted before it had ended" in err


def test_a_pod_that_can_not_start_says_why_once(cluster: apiserver.Cluster, launch: Call) -> None:
    cluster.runs = [Run(["first"], 3), Run(["second"])]
    waiting = {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}
    looks = 0

    def change(_verb: str, resource: str) -> None:
        nonlocal looks
        pods = cluster.named("pods")
        if resource == "pods" and len(pods) == 2:
            looks += 1
            (status,) = cluster.objects["pods", "default", pods[1]]["status"]["containerStatuses"]
            status["state"] = waiting if looks < 4 else {"running": {}}

    cluster.on_request = change
    code, out, err = launch("--wait")
    assert (code, out) == (0, "first\nsecond\n")
    assert err.count("waits: ImagePullBackOff: no such image") == 1
    assert err.count("the Job tries again") == 1


def test_a_recipe_here_goes_with_the_job(
    cluster: apiserver.Cluster, launch: Call, tmp_path: Path
) -> None:
    (tmp_path / "mood.yaml").write_text(RECIPE)
    for _ in range(2):  # the second finds the first one's ConfigMap, which goes later
        assert launch("--recipe", tmp_path / "mood.yaml", "--wait")[0] == 0
        job = cluster.one("jobs")
        made = cluster.objects["configmaps", "default", job["metadata"]["name"]]
        assert made["data"] == {"recipe.yaml": RECIPE}
        assert made["metadata"]["ownerReferences"][0]["uid"] == job["metadata"]["uid"]


def test_a_job_whose_recipe_can_not_come_along_is_taken_back(
    cluster: apiserver.Cluster, launch: Call, tmp_path: Path
) -> None:
    (tmp_path / "mood.yaml").write_text(RECIPE)
    cluster.forbidden = {("create", "configmaps")}
    refused(launch("--recipe", tmp_path / "mood.yaml"), 2, "create configmaps")
    assert cluster.named("jobs") == []


def test_a_broken_recipe_never_reaches_the_cluster(
    cluster: apiserver.Cluster, launch: Call, tmp_path: Path
) -> None:
    (tmp_path / "broken.yaml").write_text("name: [")
    refused(launch("--recipe", tmp_path / "broken.yaml"), 2, "broken.yaml: not valid YAML")
    refused(launch("--recipe", "./none.yaml"), 2, "none.yaml: no such recipe file")
    (tmp_path / "mood.yaml").write_text(RECIPE)
    refused(launch("--recipe", tmp_path / "mood.yaml", "--analyzer", "rules"), 2, "mood")
    assert cluster.requests == []


def test_a_recipe_of_the_charts_is_named(cluster: apiserver.Cluster, launch: Call) -> None:
    refused(launch("--recipe", "nope"), 2, "--recipe nope", "which has refunds")
    assert launch("--recipe", "refunds")[0] == 0
    (container,) = cluster.one("jobs")["spec"]["template"]["spec"]["containers"]
    assert container["args"][-1] == "--recipe=/etc/rowfleet/recipes/refunds.yaml"


def test_a_bundled_recipe_goes_with_the_job(cluster: apiserver.Cluster, launch: Call) -> None:
    assert launch("--recipe", "invoice-refunds")[0] == 0
    made = cluster.objects["configmaps", "default", cluster.one("jobs")["metadata"]["name"]]
    assert made["data"] == {"recipe.yaml": loading.bundled_text()}


def test_print_creates_nothing(cluster: apiserver.Cluster, launch: Call, tmp_path: Path) -> None:
    (tmp_path / "mood.yaml").write_text(RECIPE)
    code, out, err = launch("--print", "--recipe", tmp_path / "mood.yaml")
    assert (code, err) == (0, "")
    config_map, job = yaml.safe_load_all(out)
    assert (config_map["kind"], job["kind"]) == ("ConfigMap", "Job")
    assert config_map["data"] == {"recipe.yaml": RECIPE}
    assert cluster.verbs("podtemplates") == ["list"]
    assert len(cluster.requests) == 1
    refused(launch("--print", "--wait"), 2, "--print creates nothing")


def test_the_namespace_is_the_contexts_unless_it_is_given(
    cluster: apiserver.Cluster, launch: Call
) -> None:
    there = "the namespace other of the cluster of the context there"
    refused(launch("--context", "there"), 2, f"--release rowfleet: no such release in {there}")
    assert launch("--context", "there", "-n", "default")[0] == 0


def test_a_release_that_is_not_there_is_told_from_those_that_are(
    cluster: apiserver.Cluster, launch: Call
) -> None:
    refused(launch("--release", "acme"), 2, "no PodTemplate acme-submitter", "it has rowfleet")
    cluster.objects.clear()
    refused(launch(), 2, "it has none")


@pytest.mark.parametrize(("verb", "resource"), [("list", "podtemplates"), ("create", "jobs")])
def test_what_is_forbidden_is_named(
    cluster: apiserver.Cluster, launch: Call, verb: str, resource: str
) -> None:
    cluster.forbidden = {(verb, resource)}
    refused(launch(), 2, f"does not let you {verb} {resource} in the namespace default")


@pytest.mark.parametrize(
    ("status", "code", "names"),
    [(401, 2, "refuses the credentials"), (422, 2, "can't list"), (503, 3, "failed to list")],
)
def test_a_server_that_does_not_serve_is_one_sentence(
    cluster: apiserver.Cluster, launch: Call, status: int, code: int, names: str
) -> None:
    cluster.status = status
    refused(launch(), code, "the cluster of the context here", names)


def test_a_server_that_can_not_be_reached_is_one_sentence(
    cluster: apiserver.Cluster, launch: Call, tmp_path: Path
) -> None:
    cluster.away = 1
    refused(launch(), 3, "can't be reached", cluster.url)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        cluster.url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        cluster.kubeconfig(tmp_path / "kubeconfig")
        refused(launch(), 3, "can't be reached", cluster.url, "Connection refused")


@pytest.mark.parametrize(
    ("content", "names"),
    [
        ("[", "is not YAML"),
        ("- a", "is not a kubeconfig"),
        ("{}", "has no current context; use --context, one of none"),
        ("current-context: x", "the current context x: is not in"),
        (
            "{current-context: x, contexts: [{name: x, context: {cluster: c}}]}",
            "the context x names no cluster with a server",
        ),
        (
            "{current-context: x, contexts: [{name: x, context: {cluster: c, user: u}}],"
            " clusters: [{name: c, cluster: {server: 'http://127.0.0.1:1'}}],"
            " users: [{name: u, user: {exec: {apiVersion: v1, command: no-such-plugin}}}]}",
            "no credentials for the context x: [Errno 2] No such file or directory: 'no-such",
        ),
        (
            "{current-context: x, contexts: [{name: x, context: {cluster: c, user: u}}],"
            " clusters: [{name: c, cluster: {server: 'https://127.0.0.1:1',"
            " certificate-authority: ca.crt}}],"
            " users: [{name: u, user: {token: hunter2}}]}",
            "the context x can't be used: File does not exist",
        ),
    ],
)
def test_a_kubeconfig_that_can_not_be_used_is_named(
    launch: Call, tmp_path: Path, content: str, names: str
) -> None:
    path = Path(os.environ["KUBECONFIG"])
    path.write_text(content)
    refused(launch(), 2, path.name, names)


def test_no_kubeconfig_and_an_unknown_context_are_named(
    cluster: apiserver.Cluster, launch: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    refused(launch("--context", "nope"), 2, "--context nope", "which has here, there")
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    refused(launch(), 2, f"there is no kubeconfig at {tmp_path / 'none'}", "set KUBECONFIG")
    refused(launch("--context", "here"), 2, "--context here: there is no kubeconfig")


def test_of_two_kubeconfigs_the_firsts_word_counts(
    cluster: apiserver.Cluster, launch: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first = tmp_path / "first"
    first.write_text("{current-context: there, clusters: [], contexts: [], users: []}")
    monkeypatch.setenv("KUBECONFIG", f"{first}{os.pathsep}{tmp_path / 'kubeconfig'}")
    refused(launch(), 2, "the namespace other of the cluster of the context there")


# --- workers


def test_pods_are_listed_where_no_broker_is_known(cluster: apiserver.Cluster, call: Call) -> None:
    cluster.put("pods", worker_pod("rowfleet-worker-a"))
    cluster.put("pods", worker_pod("rowfleet-worker-b", status={"phase": "Pending"}))
    cluster.put("pods", {**worker_pod("other"), "metadata": {"name": "other"}})
    code, out, err = call("workers", "--json")
    assert code == 0
    first, second = json.loads(out)
    assert (first["name"], first["slots"]) == (None, None)
    assert first["pod"] == {
        "name": "rowfleet-worker-a",
        "phase": "Running",
        "ready": True,
        "restarts": 2,
        "started_at": "2026-11-24 10:00:00+00:00",
        "node": "node-1",
        "deletion_cost": 20,
    }
    assert (second["pod"]["phase"], second["pod"]["ready"]) == ("Pending", False)
    assert "REDIS_URL is not set" in err
    assert "rowfleet-worker-b" in call("workers")[1]


def test_a_cluster_that_the_user_did_not_name_may_fail(
    cluster: apiserver.Cluster, call: Call, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", redis_url)
    monkeypatch.setattr(celery_workers, "ANSWER_TIMEOUT", 0.1)
    cluster.forbidden = {("list", "pods")}
    code, out, err = call("workers")
    assert (code, err) == (0, "")
    assert "no worker answers on this broker" in out
    refused(call("workers", "-n", "default"), 2, "does not let you list pods")
    cluster.forbidden.clear()
    cluster.away = 1
    code, _, err = call("workers")
    assert code == 0
    assert err.startswith("the pods are not listed: the cluster of the context here can't be")


def test_without_broker_and_cluster_the_variable_is_named(call: Call) -> None:
    refused(call("workers"), 2, "REDIS_URL is not set")
    refused(call("workers", "--context", "x"), 2, "--context x: there is no kubeconfig")


def test_without_a_cluster_its_client_is_not_even_imported(tmp_path: Path) -> None:
    program = (
        "import sys; from submitter.cli import main; sys.argv[1:] = ['workers']\n"
        "try: main.main()\n"
        "except SystemExit: print(sorted(m for m in sys.modules if m.startswith('kubernetes')))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.stdout.strip() == "[]"
    assert "REDIS_URL is not set" in ran.stderr
