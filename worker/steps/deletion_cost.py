"""Tells Kubernetes how busy this pod is, so that scaling in ends idle pods first.

The pod patches its own `controller.kubernetes.io/pod-deletion-cost`: the more rows it runs, the
higher. In coarse steps, rarely and only on a change, so that the API server does not feel it.
"""

from __future__ import annotations

import json
import logging
import math
import os
import threading
from typing import Any

from celery import bootsteps
from celery.worker import state

from rowfleet.errors import ServiceError
from rowfleet.services.service_account import SERVICE_ACCOUNT

log = logging.getLogger(__name__)

ANNOTATION = "controller.kubernetes.io/pod-deletion-cost"

#: Seconds between patches at least.
INTERVAL = 15.0
#: Steps between idle and full.
STEPS = 4
#: Cost of one step; an idle pod costs 0, which is what a pod without the annotation has.
STEP_COST = 100
#: Seconds to wait for the API server to accept a connection, and to answer.
API_TIMEOUT = (5.0, 10.0)


def cost(running: int, slots: int) -> int:
    """Return the deletion cost of a pod that runs ``running`` rows in ``slots`` slots."""
    return STEP_COST * math.ceil(STEPS * min(running, slots) / slots)


class DeletionCost(bootsteps.StartStopStep):
    """Patches this pod's deletion cost, where `ROWFLEET_POD_NAME` says which pod this is."""

    requires: Any = ("celery.worker.components:Pool",)

    def __init__(self, worker: Any, **_: Any) -> None:
        self._pod = os.environ.get("ROWFLEET_POD_NAME", "")
        self._namespace = os.environ.get("ROWFLEET_POD_NAMESPACE", "")
        self._stop = threading.Event()
        self._client: Any = None

    def start(self, worker: Any) -> None:
        """Begin to look at how many rows run."""
        if self._pod and self._namespace:
            slots = worker.pool.num_processes
            threading.Thread(
                target=self._run, args=(slots,), name="deletion cost", daemon=True
            ).start()

    def stop(self, _worker: Any) -> None:
        """Stop; a pod that ends has no use for its cost."""
        self._stop.set()

    terminate = stop

    def _run(self, slots: int) -> None:
        # Unknown at first: this container may follow another one in a pod that was busy.
        said: int | None = None
        failed = False
        while not self._stop.wait(INTERVAL):
            now = cost(len(state.active_requests), slots)
            if now == said:
                continue
            try:
                self._patch(now)
            except Exception as error:  # whatever it is, rows matter more
                if not failed:
                    log.warning("pod deletion cost not set, idle pods may not go first: %s", error)
                said, failed = None, True  # the API server may have taken it all the same
            else:
                said, failed = now, False

    def _patch(self, now: int) -> None:
        # A fifth of a second and 35 MB to import, and only pods need it. The client's typed models
        # would be 20 MB more, and refuse a pod of a newer Kubernetes for what they don't know.
        from kubernetes.client import ApiClient, Configuration
        from kubernetes.config.incluster_config import InClusterConfigLoader

        if self._client is None:
            configuration = Configuration()
            configuration.retries = False  # the next look is the next try
            InClusterConfigLoader(
                token_filename=str(SERVICE_ACCOUNT / "token"),
                cert_filename=str(SERVICE_ACCOUNT / "ca.crt"),
            ).load_and_set(configuration)
            self._client = ApiClient(configuration)
        request = self._client.param_serialize(
            "PATCH",
            f"/api/v1/namespaces/{self._namespace}/pods/{self._pod}",
            header_params={
                "Accept": "application/json",
                "Content-Type": "application/merge-patch+json",
            },
            body={"metadata": {"annotations": {ANNOTATION: str(now)}}},
            auth_settings=["BearerToken"],
        )
        answer = self._client.call_api(*request, _request_timeout=API_TIMEOUT).response
        if answer.status >= 300:
            raise ServiceError(_refusal(answer.status, answer.data))


def _refusal(status: int, said: bytes) -> str:
    """Return an API server's reason in a line."""
    try:
        message = str(json.loads(said)["message"])
    except (ValueError, TypeError, KeyError):
        message = "no reason given"
    return f"{status}: {' '.join(message.split())}"
