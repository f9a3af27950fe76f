"""Rules of people who decide on answered rows."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule
from sqlalchemy import Connection, select, text

from rowfleet.ledger.models import Row
from rowfleet.ledger.queries import reviews
from rowfleet.ledger.queries.rows import recorded_rows
from rowfleet.ledger.records import Key
from rowfleet.ledger.review_records import Decided, NewDecision
from rowfleet.ledger.statuses import Verdict
from rowfleet.ledger.transitions import reviewing
from tests.support.histories.working import Working
from tests.support.histories.world import WHICH


class Reviewing(Working):
    """People decide on rows, and nothing that happens to a batch takes it back."""

    def __init__(self) -> None:
        super().__init__()
        #: Row → each decision on it that was committed, as verdict and values.
        self.decided: dict[Key, list[tuple[str, Any]]] = {}

    @rule(
        which=WHICH,
        row=WHICH,
        verdict=st.sampled_from(Verdict),
        score=st.integers(0, 1),
        is_stale=st.booleans(),
        supersede=st.booleans(),
        stays_open=st.booleans(),
    )
    def decide_row(
        self,
        which: int,
        row: int,
        verdict: Verdict,
        score: int,
        is_stale: bool,
        supersede: bool,
        stays_open: bool,
    ) -> None:
        if not self.answered() and self.living():  # few histories come so far by chance
            self.deliver(which, 3, stays_open=False)
            if self.running():
                self.settle(row, "to review", stays_open=False)
        if not (answered := self.answered()):
            return
        batch_id, number = answered[row % len(answered)]
        after = None if verdict is Verdict.REJECT else {"answer": f"{verdict} {score}"}

        def work(connection: Connection) -> Decided:
            seen = len(reviews.decisions_on(connection, batch_id, [number]).get(number, ()))
            new = NewDecision(number, 0 if is_stale else seen, verdict, "Ann", after)
            return reviewing.decide(
                connection, batch_id, [new], file_hash="f", by="cli", supersede=supersede
            )

        def then(decided: Decided) -> None:
            assert not decided.undone
            assert not decided.later or (is_stale and not supersede)
            for number in decided.made:
                self.decided.setdefault((batch_id, number), []).append((verdict, after))
            for number in decided.unchanged:
                assert self.decided[batch_id, number][-1] == (verdict, after)

        self.do(work, then, stays_open=stays_open)

    def answered(self) -> list[Key]:
        with self.engine.connect() as connection:
            done = select(Row.batch_id, Row.number).where(
                Row.batch_id.in_(self.batches), Row.status == "done"
            )
            found = connection.execute(done.order_by(Row.batch_id, Row.number))
            return [(row.batch_id, row.number) for row in found]

    @invariant()
    def what_people_decided_stays_and_counts(self) -> None:
        for batch_id in self.batches:
            with self.engine.connect() as connection:
                if self.holds:  # what the following sees is of one moment
                    connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
                history = list(reviews.history(connection, batch_id))
                rows = {row.number: row for row in recorded_rows(connection, batch_id)}
            kept: dict[Key, list[tuple[str, Any]]] = {}
            for each in history:
                decisions = kept.setdefault((batch_id, each.number), [])
                decisions.append((each.verdict, each.after))
                assert each.version == len(decisions)
            assert kept == {key: each for key, each in self.decided.items() if key[0] == batch_id}
            for key, decisions in kept.items():
                row = rows[key[1]]
                assert (row.status, row.review) == ("done", "reviewed")
                assert row.values == decisions[-1][1]
