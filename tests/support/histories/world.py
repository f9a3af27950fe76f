"""A fleet's state, and transactions that may stay open while others commit theirs."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import redis
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule
from sqlalchemy import Connection, Engine, Transaction, update
from sqlalchemy.exc import DBAPIError

from rowfleet.feeding.feeder import Feeder
from rowfleet.ledger.clock import in_seconds
from rowfleet.ledger.ledger_errors import LedgerUnavailable, is_unavailable
from rowfleet.ledger.models import Row
from rowfleet.ledger.records import Key
from rowfleet.queue.client import Queue
from rowfleet.settings import Settings

#: Milliseconds for which a statement waits for a transaction that is open beside it. That one goes
#: on only after the statement, so it waits in vain, as if the database were away.
LOCK_TIMEOUT = 40

WINDOW = 5

_examples = itertools.count()
#: Says which of several, by its remainder.
WHICH = st.integers(0, 7)


@dataclass
class Process:
    """A worker: what it runs, and the messages that it has not acknowledged."""

    name: str
    #: Row → the number of this attempt.
    runs: dict[Key, int] = field(default_factory=dict)
    hands: list[Key] = field(default_factory=list)
    #: Rows that others may have by now, since the lease ran out while it stood still.
    late: set[Key] = field(default_factory=set)
    is_alive: bool = True


@dataclass
class Open:
    """A transaction that is not committed yet, and what its end means."""

    connection: Connection
    transaction: Transaction
    result: Any
    then: Callable[[Any], None]


class World(RuleBasedStateMachine):
    """The state of a fleet, its open transactions, and what has been allowed so far."""

    engine: Engine
    settings: Settings

    def __init__(self) -> None:
        super().__init__()
        self.id = f"e{next(_examples)}"
        self.settings = self.settings.model_copy(update={"queue": self.id})
        self.queue = Queue(self.settings)
        assert self.settings.redis_url
        self.redis = redis.Redis.from_url(self.settings.redis_url.get_secret_value())
        self.feeder = Feeder(self.engine, self.queue, window=WINDOW, redelivery=75)
        self.batches: list[str] = []
        #: Batches whose cancel is committed, and that no person has brought back.
        self.cancelled: set[str] = set()
        self.processes: list[Process] = []
        self.calls: Counter[Key] = Counter()
        #: Calls beyond the first that a row may have had: for retries, and for kills.
        self.allowed: Counter[Key] = Counter()
        #: What rows ended as.
        self.ends: dict[Key, str] = {}
        self.retried: Counter[str] = Counter()
        self.open: list[Open] = []
        self.names = itertools.count()
        self.holds = self.engine.dialect.name == "postgresql"

    def do(
        self,
        work: Callable[[Connection], Any],
        then: Callable[[Any], None] = lambda _: None,
        *,
        stays_open: bool = False,
    ) -> bool:
        """Do ``work`` in a transaction; ``then`` learns of its result after the commit.

        Return False if another transaction was in the way.
        """
        connection = self.engine.connect()
        transaction = connection.begin()
        try:
            result = work(connection)
        except DBAPIError as error:
            self.check(error)
            transaction.rollback()
            connection.close()
            return False
        self.open.append(Open(connection, transaction, result, then))
        if not (stays_open and self.holds and len(self.open) <= 2):
            self.end(len(self.open) - 1)
        return True

    def end(self, index: int, *, commits: bool = True) -> None:
        one = self.open.pop(index)
        try:
            if commits:
                one.transaction.commit()
            else:
                one.transaction.rollback()
        except DBAPIError as error:  # PostgreSQL ends a transaction that says no more
            self.check(error)
            commits = False
        finally:
            one.connection.close()
        if commits:
            one.then(one.result)

    def unless_in_the_way(self, work: Callable[[], Any]) -> None:
        """Do ``work``, which has transactions of its own and may be cut off between any two."""
        with suppress(LedgerUnavailable):
            work()

    def check(self, error: DBAPIError) -> None:
        """Raise it unless it is of the kind that clients wait out."""
        if not is_unavailable(error):
            raise error

    @precondition(lambda self: self.open)
    @rule(index=WHICH, commits=st.sampled_from([True, True, True, False]))
    def end_transaction(self, index: int, commits: bool) -> None:
        self.end(index % len(self.open), commits=commits)

    def living(self) -> list[Process]:
        return [process for process in self.processes if process.is_alive]

    def outlive(self, process: Process) -> bool:
        """Let the leases of a process run out."""
        return self.do(
            lambda connection: connection.execute(
                update(Row)
                .where(Row.claim == process.name, Row.status == "running")
                .values(lease_until=in_seconds(-3600))
            )
        )
