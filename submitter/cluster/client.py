"""A Kubernetes cluster, as far as Rowfleet asks one: plain objects in and out, and errors that say
what to do.

The client's typed models are left aside: importing them takes most of a second, and a manifest is a
mapping before and after.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from rowfleet.errors import InputError, ServiceError

if TYPE_CHECKING:
    from kubernetes.client import ApiClient
    from urllib3 import BaseHTTPResponse

Object = dict[str, Any]

#: Seconds until an API server that does not answer counts as unreachable, and for its answer.
CONNECT_TIMEOUT, READ_TIMEOUT = 5.0, 20.0

#: Kind → the path of its API group, and its name there.
_KINDS = {
    "ConfigMap": ("/api/v1", "configmaps"),
    "Event": ("/api/v1", "events"),
    "Job": ("/apis/batch/v1", "jobs"),
    "Pod": ("/api/v1", "pods"),
    "PodTemplate": ("/api/v1", "podtemplates"),
}


class NotFound(Exception):
    """The object is not there (any more)."""


class Taken(Exception):
    """There is an object of that name already, or it has changed meanwhile."""


class Cluster:
    """One namespace of a cluster; `connect` makes it.

    Every method raises InputError where the cluster refuses (the sentence names verb, resource and
    namespace) and ServiceError where its API server can't be reached or fails.
    """

    def __init__(self, client: ApiClient, namespace: str, which: str) -> None:
        """``which`` says in a sentence which cluster it is."""
        self._client = client
        self.namespace = namespace
        self.which = which

    def get(self, kind: str, name: str) -> Object:
        """Return one object. Raises Gone."""
        return self._call("GET", "get", kind, name)

    def list_all(self, kind: str, *, labels: str = "", fields: str = "") -> list[Object]:
        """Return the namespace's objects of a kind, those that the selectors choose."""
        query = [("labelSelector", labels), ("fieldSelector", fields)]
        answer = self._call("GET", "list", kind, query=[(k, v) for k, v in query if v])
        items: list[Object] = answer.get("items") or []
        return items

    def create(self, manifest: Object) -> Object:
        """Create the object and return it as it is now. Raises Taken."""
        return self._call("POST", "create", manifest["kind"], body=manifest)

    def replace(self, manifest: Object) -> Object:
        """Put the manifest in the place of the object of its name. Raises Gone and Taken."""
        name = manifest["metadata"]["name"]
        return self._call("PUT", "update", manifest["kind"], name, body=manifest)

    def delete(self, kind: str, name: str, uid: str) -> None:
        """Delete an object and then what it owns, if it still is the one with that ``uid``."""
        body = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Background",
            "preconditions": {"uid": uid},
        }
        with suppress(NotFound, Taken):
            self._call("DELETE", "delete", kind, name, body=body)

    def log(
        self, pod: str, container: str, *, follow: bool, since: str | None, silence: float
    ) -> Iterator[bytes]:
        """Yield the lines of a container's log, each with its line end and its time before it.

        ``since`` is a time as the log gives it; lines of the same second come again. With
        ``follow`` it goes on until the container ends, ``silence`` seconds pass without a line, or
        the connection drops: which of them, the pod says. A last line without an end is one that is
        still being written. Raises Gone.
        """
        query = [("container", container), ("timestamps", "true")]
        query += [("follow", "true")] if follow else []
        query += [("sinceTime", since)] if since else []
        response = self._open("GET", "get", "Pod", pod, "log", query=query, read=silence)
        rest = b""
        try:
            with self._reachable():
                for chunk in response.stream(decode_content=True):
                    *lines, rest = (rest + chunk).split(b"\n")
                    yield from (line + b"\n" for line in lines)
        except ServiceError:
            if not follow:
                raise
            return
        finally:
            response.close()
        if rest:
            yield rest

    def _call(
        self,
        method: str,
        verb: str,
        kind: str,
        name: str = "",
        *,
        query: list[tuple[str, str]] | None = None,
        body: Object | None = None,
    ) -> Object:
        response = self._open(method, verb, kind, name, query=query, body=body)
        with self._reachable():
            answer = json.loads(response.data)
        assert isinstance(answer, dict)
        return answer

    def _open(
        self,
        method: str,
        verb: str,
        kind: str,
        name: str = "",
        part: str = "",
        *,
        query: list[tuple[str, str]] | None = None,
        body: Object | None = None,
        read: float = READ_TIMEOUT,
    ) -> BaseHTTPResponse:
        group, plural = _KINDS[kind]
        steps = [group, "namespaces", quote(self.namespace, safe=""), plural]
        steps += [quote(step, safe="") for step in (name, part) if step]
        request = self._client.param_serialize(
            method,
            "/".join(steps),
            query_params=query or [],
            header_params={"Accept": "application/json, */*"},
            body=body,
            auth_settings=["BearerToken"],
        )
        with self._reachable():
            answer = self._client.call_api(*request, _request_timeout=(CONNECT_TIMEOUT, read))
            response: BaseHTTPResponse = answer.response
            if response.status < 300:
                return response
            said = response.data
        raise self._refusal(response.status, said, verb, f"{plural}/{part}" if part else plural)

    def _refusal(self, status: int, said: bytes, verb: str, resource: str) -> Exception:
        try:
            answer = json.loads(said)
            message = " ".join(answer["message"].split())
        except (ValueError, KeyError, TypeError, AttributeError):
            answer, message = {}, f"HTTP status {status}"
        if status == 409:
            return Taken(message)
        missing = (answer.get("details") or {}).get("kind")
        if status == 404 and missing == resource.partition("/")[0]:
            return NotFound(message)
        where = f"in the namespace {self.namespace}"
        if status == 401:
            return InputError(f"the cluster {self.which} refuses the credentials: {message}")
        if status == 403:
            return InputError(
                f"the cluster {self.which} does not let you {verb} {resource} {where}: {message}"
            )
        if status < 500 and status != 429:
            return InputError(
                f"the cluster {self.which} can't {verb} {resource} {where}: {message}"
            )
        return ServiceError(f"the cluster {self.which} failed to {verb} {resource}: {message}")

    @contextmanager
    def _reachable(self) -> Iterator[None]:
        from kubernetes.client import ApiException
        from urllib3.exceptions import HTTPError

        try:
            yield
        except (HTTPError, ApiException, OSError, ValueError) as error:
            reason = str(error.reason if isinstance(error, ApiException) else error)
            # Behind `HTTPSConnection(host=…, port=…): ` stands the cause.
            why = " ".join((reason.partition("): ")[2] or reason).split())
            host = self._client.configuration.host
            raise ServiceError(
                f"the cluster {self.which} can't be reached at {host}: {why}"
            ) from None
