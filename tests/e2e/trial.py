"""A batch on the cluster that is harmed while it runs, and what must hold afterwards.

What `tests.chaos` does with processes, with pods: the harms are those of a cluster, and ledger and
queue are asked inside their pods. All times are the ledger's.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from tests.chaos.fleet import Record
from tests.e2e import jobs
from tests.e2e.cluster import Cluster, CommandError, Watch, is_ready, until
from tests.e2e.conftest import WORKERS
from tests.e2e.standin import Standin

REDIS, POSTGRESQL = "rowfleet-redis-0", "rowfleet-postgresql-0"

#: redis-cli as the administrator, whose password is in the pod alone.
AS_ADMIN = (
    *("sh", "-c"),
    'REDISCLI_AUTH=$(cat /run/redis/admin) exec redis-cli --user admin "$@"',
    "redis-cli",
)

#: The release's queue, with kombu's hash and index of what is delivered and not acknowledged.
LEFT = "llen rowfleet", "hlen rowfleet.unacked", "zcard rowfleet.unacked_index"

#: Seconds the answers take: long enough that every pod has rows in flight at any moment.
LATENCY = (5, 15)

#: Seconds within which a row goes on whose worker was killed, at the chart's defaults.
GOES_ON = 120


class Trial:
    """One batch, the harms done to it, and what those may cost."""

    def __init__(
        self, cluster: Cluster, standin: Standin, rng: random.Random, image: str, name: str
    ) -> None:
        self.cluster = cluster
        self.standin = standin
        self.rng = rng
        self.record = Record()
        #: Pods that were killed: how they ended is no business of the product's.
        self.killed: set[str] = set()
        #: Row → times it was in flight on a pod that was killed.
        self.excused: Counter[int] = Counter()
        #: When the kills were, by the ledger's clock, with the rows that were in flight.
        self._kills: list[tuple[float, set[int]]] = []
        self._image = image
        self._name = name
        self._rows = 0
        self._harmed_at = 0.0

    def submit(self, home: Path, rows: int) -> None:
        """Apply the Job of a sheet of ``rows`` rows."""
        self._rows = rows
        jobs.put_sheet(self.cluster, home, self._name, rows)
        self.standin.clear()
        self.standin.configure(latency=LATENCY)
        self.cluster.apply(jobs.job(self._name, self._image, "--batch-id", self._name))

    # --- harms

    def at_some_moment(self, first: float = 0.1, last: float = 0.5) -> None:
        """Wait for a random moment, when between ``first`` and ``last`` of the rows have ended."""
        wanted = int(self._rows * self.rng.uniform(first, last))
        until(lambda: self.ended_rows() >= wanted, 300)

    @contextmanager
    def harm(self, faults: int = 1) -> Iterator[None]:
        """Count faults, all injected while the batch runs, and take the time of their end."""
        assert self.ended_rows() < self._rows, "the batch ended before it could be harmed"
        yield
        assert self.ended_rows() < self._rows, "the batch ended while it was harmed"
        self.record.faults += faults
        self._harmed_at = self.now()

    def kill(self, pods: Sequence[str], *how: str) -> None:
        """Delete worker pods with these options, and excuse what they had in flight.

        Read before and after: a process may outlive its pod for a moment, and end rows in it.
        """
        at, before = self.now(), self._held_by(pods)
        self.cluster.kubectl("delete", "pod", *pods, *how)
        held = before | self._held_by(pods)
        assert held, "nothing was in flight"
        self.killed.update(pods)
        self.excused.update(held)
        self._kills.append((at, held))

    def evict(self, pods: Sequence[str]) -> None:
        """Ask for the eviction of every pod until all are let go, as `kubectl drain` does.

        A drain is a cordon and these requests. The cordon is left out: on a cluster of one node,
        nothing would run the new pods, and on a larger one, others work there.
        """
        old = {self.cluster.get("pod", pod)["metadata"]["uid"] for pod in pods}
        for pod in pods:
            until(partial(self._evicted, pod), 600, every=2)
        until(lambda: not old & {pod["metadata"]["uid"] for pod in self.cluster.get("pods")}, 300)

    def _evicted(self, pod: str) -> bool:
        space = self.cluster.namespace
        eviction = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": pod, "namespace": space},
        }
        where = f"/api/v1/namespaces/{space}/pods/{pod}/eviction"
        try:
            self.cluster.kubectl(
                "create", "--raw", where, "-f", "-", data=json.dumps(eviction).encode()
            )
        except CommandError as error:
            if "disruption budget" in str(error):
                return False
            raise
        return True

    # --- ledger, queue and pods

    def workers(self) -> list[str]:
        """Return the worker pods that are ready and not about to end."""
        return [
            pod["metadata"]["name"]
            for pod in self.cluster.get("pods", selector=WORKERS)
            if not pod["metadata"].get("deletionTimestamp") and is_ready(pod)
        ]

    def busy_workers(self) -> list[str]:
        """Return the ready worker pods that have rows in flight."""
        return [pod for pod in self.workers() if self._held_by([pod])]

    def now(self) -> float:
        """Return the ledger's Unix time."""
        return float(self._ask("SELECT extract(epoch FROM clock_timestamp())")[0][0])

    def ended_rows(self) -> int:
        """Return how many rows have ended."""
        return int(
            self._ask(
                f"SELECT count(*) FROM rows WHERE batch_id = '{self._name}' "
                "AND status IN ('done', 'failed', 'cancelled')"
            )[0][0]
        )

    def left(self) -> list[int]:
        """Return how many messages wait, are delivered, and are in the index of the delivered."""
        return [int(self.broker(command)) for command in LEFT]

    def broker(self, command: str) -> str:
        """Return what the broker answers to a command. Raises CommandError while it is away."""
        words = (*AS_ADMIN, "-e", *command.split())
        return self.cluster.kubectl("exec", REDIS, "--", *words).strip()

    def _held_by(self, pods: Sequence[str]) -> set[int]:
        names = ", ".join(f"'celery@{pod}'" for pod in pods)
        found = self._ask(
            f"SELECT number FROM rows WHERE batch_id = '{self._name}' "
            f"AND status = 'running' AND worker IN ({names})"
        )
        return {int(number) for (number,) in found}

    def _ask(self, sql: str) -> list[list[str]]:
        said = self.cluster.kubectl(
            *("exec", "-i", POSTGRESQL, "--", "psql", "-qAtX", "-v", "ON_ERROR_STOP=1"),
            *("-U", "rowfleet", "-d", "rowfleet", "-f", "-"),
            data=sql.encode(),
        )
        return [line.split("|") for line in said.splitlines()]

    # --- the end

    def conclude(self, home: Path, watch: Watch) -> None:
        """Wait for the end and assert all that the design promises."""
        outcome = jobs.ended(self.cluster, self._name, 600)
        assert outcome[0] == "Complete", (outcome, jobs.log(self.cluster, self._name))
        self._check_rows()
        written = jobs.get_results(self.cluster, home, self._name)
        assert [row["Invoice Number"] for row in written] == [
            f"{self._name}-{number}" for number in range(self._rows)
        ]
        assert {row["AI_Status"] for row in written} == {"done"}
        until(lambda: self.left() == [0, 0, 0], 120)
        ended_badly = {p: how for p, how in watch.ended_badly().items() if p not in self.killed}
        assert not ended_badly, f"workers that the test did not kill have ended: {ended_badly}"

    def _check_rows(self) -> None:
        """Each row done once, for one call, one a retry, one for each kill it was in flight at."""
        rows = {
            int(number): (status, int(retries), _time(started), _time(ended))
            for number, status, retries, started, ended in self._ask(
                "SELECT number, status, retries, extract(epoch FROM started_at), "
                f"extract(epoch FROM finished_at) FROM rows WHERE batch_id = '{self._name}'"
            )
        }
        self.record.rows = len(rows)
        self.record.lost = sum(status != "done" for status, *_ in rows.values())
        assert sorted(rows) == list(range(self._rows))
        assert self.record.lost == 0, Counter(status for status, *_ in rows.values())
        counted = self._ask(
            f"SELECT sum(done), sum(failed), sum(cancelled) FROM tallies "
            f"WHERE batch_id = '{self._name}'"
        )
        assert counted == [[str(self._rows), "0", "0"]], "an end was counted twice"

        calls = Counter(call.row for call in self.standin.calls())
        over = {number: calls[number] - 1 - rows[number][1] for number in rows}
        self.record.calls_over = sum(max(0, more) for more in over.values())
        self.record.allowed = self.excused.total()
        assert set(calls) <= set(rows), "calls for rows that are in no batch"
        assert not {n: more for n, more in over.items() if more > self.excused[n]}, "paid twice"
        assert min(calls[number] for number in rows) > 0, "done without a call"

        ends = [end for *_, end in rows.values() if end > self._harmed_at]
        self.record.moves_again = min(ends) - self._harmed_at
        self.record.ended = max(ends) - self._harmed_at
        for at, held in self._kills:
            # A row that was given up is started anew; one that was finished all the same has ended.
            waited = {n: (rows[n][2] if rows[n][2] > at else rows[n][3]) - at for n in held}
            print(f"{len(held)} rows in flight at a kill went on after {_spread(waited)} s")
            assert max(waited.values()) <= GOES_ON, waited


def _time(said: str) -> float:
    return float(said) if said else 0.0


def _spread(waited: dict[int, float]) -> str:
    return f"{min(waited.values()):.1f} to {max(waited.values()):.1f}"
