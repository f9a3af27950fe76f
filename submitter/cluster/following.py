"""A launched Job, followed to its end."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from rowfleet.errors import InputError, ServiceError
from submitter.cluster.client import Cluster, NotFound, Object
from submitter.cluster.manifest import CONTAINER

log = logging.getLogger(__name__)

#: Seconds between looks at the Job while no log is followed.
INTERVAL = 1.0

#: Seconds without a line after which a followed log is opened anew: a node that vanished says
#: nothing. The submitter writes a line at least every 15 s while its batch moves.
SILENCE = 30.0

#: Failures to give a log after which its pod is followed without: its node may be gone for good.
MOST_UNREAD = 5

#: Seconds after which a Job without a pod is worth a look at its events.
NO_POD_AFTER = 5.0

#: The state of a container that has started and not ended.
_RUNNING = "running"

#: A pod that waits for one of these is on its way.
_ON_ITS_WAY = ("", "ContainerCreating", "PodInitializing")


def ended(job: Object) -> Object | None:
    """Return the condition that ended the Job, None while it runs."""
    for condition in (job.get("status") or {}).get("conditions") or ():
        if condition["type"] in ("Complete", "Failed") and condition["status"] == "True":
            assert isinstance(condition, dict)
            return condition
    return None


def follow(
    cluster: Cluster, job: Object, *, show: Callable[[str], None], note: Callable[[str], None]
) -> int:
    """Follow the Job to its end: ``show`` gets its log's lines, ``note`` the reason for a delay.

    Pods that are tried again are followed one after the other. An API server that goes away is
    waited for. Return the submitter's exit code. Raises ServiceError if the Job ended without one.
    """
    return _Follower(cluster, job["metadata"], show, note).run()


@dataclass
class _Follower:
    cluster: Cluster
    metadata: Object
    show: Callable[[str], None]
    note: Callable[[str], None]
    #: uid of each pod that was followed to its end → how its container ended.
    ends: dict[str, Object] = field(default_factory=dict)
    noted: set[str] = field(default_factory=set)
    away: bool = False
    #: How often the API server has failed to give the current log.
    unread: int = 0
    since: float = field(default_factory=time.monotonic)

    def run(self) -> int:
        tail = _Tail(self.show)
        while True:
            try:
                end = self._step(tail)
            except ServiceError as error:
                if not self.away:
                    log.warning("%s; waiting, the Job goes on", error)
                self.away = True
                end = None
            else:
                self.away = False
            if end is not None:
                return self._exit_code(end)
            time.sleep(INTERVAL)

    def _step(self, tail: _Tail) -> Object | None:
        """Look once; return the condition that ended the Job when all its pods were followed."""
        name = self.metadata["name"]
        try:
            job = self.cluster.get("Job", name)
        except NotFound:
            job = None
        if job is None or job["metadata"]["uid"] != self.metadata["uid"]:
            raise InputError(f"the Job {name} was deleted before it had ended")
        pods = self._pods()
        current = next((pod for pod in pods if pod["metadata"]["uid"] not in self.ends), None)
        if current is not None:
            self._follow_pod(current, tail)
            return None
        end = ended(job)
        if end is None and not pods and time.monotonic() - self.since > NO_POD_AFTER:
            self._note_events(name)
        return end

    def _pods(self) -> list[Object]:
        owner = f"batch.kubernetes.io/controller-uid={self.metadata['uid']}"
        pods = self.cluster.list_all("Pod", labels=owner)
        return sorted(pods, key=lambda pod: str(pod["metadata"]["creationTimestamp"]))

    def _follow_pod(self, pod: Object, tail: _Tail) -> None:
        """Show the new lines of a pod's log; remember the pod's end if it has one."""
        if self.ends:
            last = next(reversed(self.ends.values()))
            self._note(f"{_how(last)}; the Job tries again as {pod['metadata']['name']}")
        state = _state(pod)
        end = state.get("terminated")
        if end is None and pod["status"].get("phase") in ("Failed", "Succeeded"):
            end = {"reason": pod["status"].get("reason")}  # its node was lost, its state with it
        if end is not None or _RUNNING in state:
            self._read_log(pod["metadata"], tail, follow=end is None)
        else:
            self._note(_hold_up(pod))
        if end is not None:
            tail.finish()
            self.ends[pod["metadata"]["uid"]] = end

    def _read_log(self, pod: Object, tail: _Tail, *, follow: bool) -> None:
        try:
            tail.read(self.cluster, pod["name"], pod["uid"], follow=follow)
        except NotFound:
            pass
        except InputError as error:  # without the right to read logs, the end can still be awaited
            self._note(f"the log of {pod['name']} can't be followed: {error}")
        except ServiceError as error:
            self.unread += 1
            if self.unread < MOST_UNREAD:
                raise
            self.unread = 0
            self._note(f"the log of {pod['name']} can't be read to its end: {error}")

    def _note(self, text: str) -> None:
        if text and text not in self.noted:
            self.noted.add(text)
            self.note(text)

    def _note_events(self, name: str) -> None:
        try:
            events = self.cluster.list_all(
                "Event", fields=f"involvedObject.uid={self.metadata['uid']},type=Warning"
            )
        except InputError:  # without the right to list events, the reason for a delay is not shown
            return
        if events:
            self._note(f"the Job {name} gets no pod: {_one_line(events[-1].get('message'))}")

    def _exit_code(self, end: Object) -> int:
        if end["type"] == "Complete":
            return 0
        last: Object = next(reversed(self.ends.values()), {})
        message = _one_line(end.get("message"))
        said = re.search(r"failed with exit code (\d+)", message)
        code = last.get("exitCode", int(said[1]) if said else None)
        if code in (1, 2, 3):
            return int(code)
        raise ServiceError(f"the Job {self.metadata['name']} failed: {message}; {_how(last)}")


class _Tail:
    """Shows a log once, though it is read in pieces that overlap."""

    def __init__(self, show: Callable[[str], None]) -> None:
        self._show = show
        self._of = ""
        self._last = ""
        self._at_last = 0
        self._unfinished = ""

    def read(self, cluster: Cluster, pod: str, uid: str, *, follow: bool) -> None:
        """Show the new lines. Raises what `Cluster.log` raises, save that a silence is no error."""
        if uid != self._of:
            self._of, self._last, self._at_last, self._unfinished = uid, "", 0, ""
        again = self._at_last  # lines of the last one's time that come again
        lines = cluster.log(
            pod, CONTAINER, follow=follow, since=self._last or None, silence=SILENCE
        )
        for raw in lines:
            line = raw.decode("utf-8", "replace")
            stamp, _, text = line.partition(" ")
            if not _STAMP.match(stamp):  # a word of the node's own about the log
                text, stamp = line, self._last
            self._unfinished = ""
            if not line.endswith("\n"):  # cut off: it comes again, whole
                self._unfinished = text
                continue
            if _order(stamp) < _order(self._last):
                continue
            if stamp == self._last and again:
                again -= 1
                continue
            again = 0
            self._at_last = self._at_last + 1 if stamp == self._last else 1
            self._last = stamp
            self._show(text.rstrip("\r\n"))

    def finish(self) -> None:
        """Show a last line that has no end, now that none can come."""
        if self._unfinished:
            self._show(self._unfinished)
            self._unfinished = ""


#: A log line's time; its fraction may come without the zeros at its end.
_STAMP = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d+))?")


def _order(stamp: str) -> tuple[str, str]:
    parts = _STAMP.match(stamp)
    return (parts[1], (parts[2] or "").ljust(9, "0")) if parts else ("", "")


def _state(pod: Object) -> Object:
    for status in pod["status"].get("containerStatuses") or ():
        if status["name"] == CONTAINER:
            return status.get("state") or {}
    return {}


def _how(end: Object) -> str:
    """Return how a pod ended."""
    reason = f" ({end['reason']})" if end.get("reason") else ""
    code = end.get("exitCode")
    return f"the pod was lost{reason}" if code is None else f"its pod's exit code is {code}{reason}"


def _hold_up(pod: Object) -> str:
    """Return why a pod does not start, nothing if it is on its way."""
    name = pod["metadata"]["name"]
    waiting = _state(pod).get("waiting") or {}
    if waiting.get("reason", "") not in _ON_ITS_WAY:
        message = _one_line(waiting.get("message"))
        return f"{name} waits: {waiting['reason']}" + (f": {message}" if message else "")
    for condition in pod["status"].get("conditions") or ():
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return f"{name} waits for a node: {_one_line(condition.get('message'))}"
    return ""


def _one_line(text: object) -> str:
    return " ".join(str(text or "").split())
