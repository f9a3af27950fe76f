"""An autoscaler with one pod at most, as KEDA would run it on a metric."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

from tests.chaos.fleet import Worker

Kill = Callable[[Worker], None]


class Autoscaler:
    """Starts a worker when the metric is above 0, ends it when it has been 0 for the cooldown."""

    def __init__(
        self,
        metric: Callable[[], int],
        start: Callable[[], Worker],
        kill: Kill,
        *,
        poll: float,
        cooldown: float,
        grace: float,
    ) -> None:
        """``poll``, ``cooldown`` and ``grace`` in seconds. ``kill`` ends a pod with all in it."""
        self._metric = metric
        self._start = start
        self._kill = kill
        self._poll, self._cooldown, self._grace = poll, cooldown, grace
        self._pod: Worker | None = None
        self._ending: list[tuple[Worker, float]] = []
        self._looked = self._active = -cooldown
        #: Pods that were still not through when their grace was over.
        self.killed = 0

    @property
    def pods(self) -> int:
        """How many there are, those on their way out included."""
        return (self._pod is not None) + len(self._ending)

    def look(self) -> None:
        """Do what is due; to be called all the time."""
        now = time.monotonic()
        for ending in list(self._ending):
            worker, deadline = ending
            if worker.is_alive and now < deadline:
                continue
            if worker.is_alive:
                self.killed += 1
                self._kill(worker)
            self._ending.remove(ending)
        if now < self._looked + self._poll:
            return
        self._looked = now
        if self._metric():
            self._active = now
            self._pod = self._pod or self._start()
        elif self._pod and now >= self._active + self._cooldown:
            self._pod.may_end = True
            self._pod.process.send_signal(signal.SIGTERM)
            self._ending.append((self._pod, now + self._grace))
            self._pod = None
