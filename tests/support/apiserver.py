"""The few parts of a Kubernetes API server that Rowfleet talks to, on a free port of loopback.

It keeps what it is given, runs Jobs by a script (each pod's log and exit code, by the same failure
policy a real one follows), and misbehaves when told: refuses verbs, drops connections, goes away.
"""

from __future__ import annotations

import asyncio
import itertools
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from aiohttp import web

Object = dict[str, Any]

KINDS = {
    "configmaps": "ConfigMap",
    "events": "Event",
    "jobs": "Job",
    "pods": "Pod",
    "podtemplates": "PodTemplate",
}
VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
#: What a server takes as a patch that is an object; a JSON patch is a list.
MERGE_PATCHES = ("application/merge-patch+json", "application/strategic-merge-patch+json")


def worker_pod(name: str, **changes: Any) -> Object:
    """Return a pod as the chart's workers have."""
    labels = {"app.kubernetes.io/name": "rowfleet", "app.kubernetes.io/instance": "rowfleet"}
    return {
        "metadata": {
            "name": name,
            "labels": {**labels, "app.kubernetes.io/component": "worker"},
            "annotations": {"controller.kubernetes.io/pod-deletion-cost": "20"},
        },
        "spec": {"nodeName": "node-1"},
        "status": {
            "phase": "Running",
            "startTime": "2026-11-24T10:00:00Z",
            "containerStatuses": [{"name": "worker", "ready": True, "restartCount": 2}],
        },
        **changes,
    }


@dataclass
class Run:
    """What one pod of a Job does: its log, then its exit code."""

    lines: list[str] = field(default_factory=lambda: ["a line"])
    code: int = 0
    #: For each connection to the log in turn: lines after which it drops. Then it stays.
    drops: list[int] = field(default_factory=list)
    #: All lines have one time; else each has the next quarter of a second.
    same_time: bool = False


class Cluster:
    """A server's state, open to the test."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.objects: dict[tuple[str, str, str], Object] = {}
        #: (verb, resource) pairs that are answered with 403.
        self.forbidden: set[tuple[str, str]] = set()
        #: Verb, resource and name of each request.
        self.requests: list[tuple[str, str, str]] = []
        #: What the pods of new Jobs do, one after the other.
        self.runs: list[Run] = [Run()]
        #: Requests, from now on, that get no answer.
        self.away = 0
        #: Called with verb and resource of each request that reaches the server, before it acts.
        self.on_request: Callable[[str, str], None] = lambda _verb, _resource: None
        #: The status of each answer; another one than 200 takes the place of what was asked for.
        self.status = 200
        self._numbers = itertools.count(1)
        self._of: dict[str, Run] = {}

    def put(self, plural: str, manifest: Object, namespace: str = "default") -> Object:
        """Keep an object, as a server does: with a uid and a creation time."""
        number = next(self._numbers)
        manifest = {"kind": KINDS[plural], **manifest}
        manifest["metadata"] = {
            **manifest["metadata"],
            "namespace": namespace,
            "uid": f"uid-{number}",
            "creationTimestamp": f"2026-11-24T10:00:{number:02}Z",
        }
        self.objects[plural, namespace, manifest["metadata"]["name"]] = manifest
        return manifest

    def named(self, plural: str) -> list[str]:
        return sorted(name for kind, _, name in self.objects if kind == plural)

    def one(self, plural: str) -> Object:
        (name,) = self.named(plural)
        return self.objects[plural, "default", name]

    def verbs(self, resource: str) -> list[str]:
        return [verb for verb, what, _ in self.requests if what == resource]

    def kubeconfig(self, path: Path, **changes: Any) -> Path:
        """Write a kubeconfig for it, with the contexts `here` and `there`."""
        cluster = {"name": "c", "cluster": {"server": self.url}}
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [cluster],
            "users": [{"name": "u", "user": {"token": "hunter2"}}],
            "contexts": [
                {"name": "here", "context": {"cluster": "c", "user": "u"}},
                {"name": "there", "context": {"cluster": "c", "user": "u", "namespace": "other"}},
            ],
            "current-context": "here",
            **changes,
        }
        path.write_text(yaml.safe_dump(content))
        return path

    # --- Jobs

    def start_pod(self, job: Object) -> None:
        number = len([pod for pod in self.objects.values() if pod["kind"] == "Pod"])
        run = self.runs[min(number, len(self.runs) - 1)]
        name = f"{job['metadata']['name']}-{number}"
        labels = {"batch.kubernetes.io/controller-uid": job["metadata"]["uid"]}
        running = {"name": "submitter", "state": {"running": {}}}
        status = {"phase": "Running", "containerStatuses": [running]}
        namespace = job["metadata"]["namespace"]
        pod = {"metadata": {"name": name, "labels": labels}, "status": status, "spec": {}}
        self._of[name] = run
        self.put("pods", pod, namespace)

    def end_pod(self, pod: Object) -> None:
        """End a pod as its run says, and do with the Job what its failure policy says."""
        code = self._of[pod["metadata"]["name"]].code
        pod["status"] = {
            "phase": "Failed" if code else "Succeeded",
            "containerStatuses": [
                {"name": "submitter", "state": {"terminated": {"exitCode": code}}}
            ],
        }
        uid = pod["metadata"]["labels"]["batch.kubernetes.io/controller-uid"]
        (job,) = (o for o in self.objects.values() if o["metadata"].get("uid") == uid)
        (rule, _) = job["spec"]["podFailurePolicy"]["rules"]
        if code == 0:
            self.end_job(job, "Complete", "")
        elif code in rule["onExitCodes"]["values"]:
            self.end_job(job, "Failed", f"Container submitter failed with exit code {code}")
        elif len(self.named("pods")) < len(self.runs):
            self.start_pod(job)
        else:
            self.end_job(job, "Failed", "Job has reached the specified backoff limit")

    @staticmethod
    def end_job(job: Object, kind: str, message: str) -> None:
        job["status"] = {"conditions": [{"type": kind, "status": "True", "message": message}]}

    def log(self, pod: str) -> list[str]:
        """Return a pod's log with times, each line with its end."""
        run = self._of[pod]
        at = [0 if run.same_time else number for number in range(len(run.lines))]
        quarter = ["00", "25", "5", "75"]
        return [
            f"2026-11-24T10:00:{at // 4:02}.{quarter[at % 4]}Z {line}\n"
            for at, line in zip(at, run.lines, strict=True)
        ]

    def next_drop(self, pod: str) -> int | None:
        drops = self._of[pod].drops
        return drops.pop(0) if drops else None


@contextmanager
def running(tls: ssl.SSLContext | None = None) -> Iterator[Cluster]:
    """Run a server for the block, by HTTPS if ``tls`` is given."""
    loop = asyncio.new_event_loop()
    ready = threading.Event()
    stop = asyncio.Event()
    made: list[Cluster] = []

    async def serve() -> None:
        runner = web.AppRunner(_application(made), shutdown_timeout=0)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
        await site.start()
        scheme = "https" if tls else "http"
        made.append(Cluster(f"{scheme}://127.0.0.1:{runner.addresses[0][1]}"))
        ready.set()
        await stop.wait()
        await runner.cleanup()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        assert ready.wait(30)
        yield made[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


def _application(made: list[Cluster]) -> web.Application:
    application = web.Application()

    async def answer(request: web.Request) -> web.StreamResponse:
        return await _answer(made[0], request)

    for prefix in ("/api/v1", "/apis/batch/v1"):
        objects = f"{prefix}/namespaces/{{namespace}}/{{plural}}"
        for path in (objects, f"{objects}/{{name}}", f"{objects}/{{name}}/{{part}}"):
            application.router.add_route("*", path, answer)
    return application


async def _answer(cluster: Cluster, request: web.Request) -> web.StreamResponse:
    namespace, plural = request.match_info["namespace"], request.match_info["plural"]
    name, part = request.match_info.get("name", ""), request.match_info.get("part", "")
    verb = VERBS.get(request.method) or ("get" if name else "list")
    resource = f"{plural}/{part}" if part else plural
    cluster.requests.append((verb, resource, name))
    if cluster.away:
        cluster.away -= 1
        assert request.transport is not None
        request.transport.abort()
        return web.Response()
    cluster.on_request(verb, resource)
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if (scheme.lower(), token) != ("bearer", "hunter2") or cluster.status == 401:
        return _status(401, "Unauthorized", plural)
    if cluster.status != 200:
        return _status(cluster.status, "the server is currently unable", plural)
    if (verb, resource) in cluster.forbidden:
        return _status(403, f'User "u" cannot {verb} resource "{resource}"', plural)
    key = (plural, namespace, name)
    if verb == "list":
        return web.json_response({"items": _selected(cluster, request, namespace, plural)})
    if verb == "create":
        return _create(cluster, await request.json(), namespace, plural)
    if key not in cluster.objects:
        return _status(404, f'{plural} "{name}" not found', plural)
    if part == "log":
        return await _log(cluster, request, cluster.objects[key])
    if verb == "update":
        return web.json_response(cluster.put(plural, await request.json(), namespace))
    if verb == "patch":
        return _patch(request.content_type, await request.json(), cluster.objects[key])
    if verb == "delete":
        options = await request.json()
        if options["preconditions"]["uid"] != cluster.objects[key]["metadata"]["uid"]:
            return _status(409, "the UID in the precondition does not match", plural)
        _delete(cluster, cluster.objects.pop(key))
    return web.json_response(cluster.objects.get(key, {}))


def _patch(kind: str, patch: Object, found: Object) -> web.Response:
    if kind not in MERGE_PATCHES:
        return _status(415, f"{kind} is no patch of an object", found["kind"])
    annotations = found["metadata"].setdefault("annotations", {})
    annotations.update(patch["metadata"]["annotations"])
    return web.json_response(found)


def _status(code: int, message: str, kind: str) -> web.Response:
    body = {"kind": "Status", "message": message, "code": code, "details": {"kind": kind}}
    return web.json_response(body, status=code)


def _selected(cluster: Cluster, request: web.Request, namespace: str, plural: str) -> list[Object]:
    selector = request.query.get("labelSelector", "")
    wanted = dict(pair.split("=") for pair in selector.split(",") if pair)
    return [
        found
        for (kind, where, _), found in cluster.objects.items()
        if (kind, where) == (plural, namespace)
        and wanted.items() <= found["metadata"].get("labels", {}).items()
    ]


def _create(cluster: Cluster, manifest: Object, namespace: str, plural: str) -> web.Response:
    name = manifest["metadata"]["name"]
    if (plural, namespace, name) in cluster.objects:
        return _status(409, f'{plural} "{name}" already exists', plural)
    made = cluster.put(plural, manifest, namespace)
    if plural == "jobs" and cluster.runs:
        cluster.start_pod(made)
    return web.json_response(made, status=201)


def _delete(cluster: Cluster, job: Object) -> None:
    """Delete the pods of a Job; its ConfigMap is left for later, as a collector may do."""
    uid = job["metadata"]["uid"]
    label = "batch.kubernetes.io/controller-uid"
    for key, found in list(cluster.objects.items()):
        if found["metadata"].get("labels", {}).get(label) == uid:
            del cluster.objects[key]


async def _log(cluster: Cluster, request: web.Request, pod: Object) -> web.StreamResponse:
    assert request.query["timestamps"] == "true"
    since = request.query.get("sinceTime", "")[:19]
    lines = [line for line in cluster.log(pod["metadata"]["name"]) if line[:19] >= since]
    follow = request.query.get("follow") == "true"
    drop = cluster.next_drop(pod["metadata"]["name"]) if follow else None
    response = web.StreamResponse()
    await response.prepare(request)
    if drop is not None:
        half = lines[drop][:40] if drop < len(lines) else ""
        await response.write("".join([*lines[:drop], half]).encode())
        await asyncio.sleep(0.05)  # so that it arrives, and is not lost with the connection
        assert request.transport is not None
        request.transport.abort()
        return response
    await response.write("".join(lines).encode())
    if follow:
        cluster.end_pod(pod)
    await response.write_eof()
    return response
