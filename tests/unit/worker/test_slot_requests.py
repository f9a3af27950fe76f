"""How the requests of slots go together."""

from __future__ import annotations

import queue
from types import SimpleNamespace
from typing import Any

import pytest

from rowfleet.ledger.records import Claimed, Outcome
from worker import slot_requests
from worker.assignment import Assignment, Refused
from worker.slot_requests import APART, GROUP, Request, SlotRequests

NOW = 1000.0


class Line:
    """A queue that notes for how long it is waited for."""

    def __init__(self, *requests: Request) -> None:
        self.requests = list(requests)
        self.waits: list[float] = []

    def get(self, timeout: float) -> Request:
        self.waits.append(timeout)
        return self.get_nowait()

    def get_nowait(self) -> Request:
        if not self.requests:
            raise queue.Empty
        return self.requests.pop(0)


@pytest.fixture
def sleeps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Let the clock stand at NOW; return the sleeps."""
    slept: list[float] = []
    clock = SimpleNamespace(monotonic=lambda: NOW, sleep=slept.append)
    monkeypatch.setattr(slot_requests, "time", clock)
    return slept


def requests_of(line: Line) -> SlotRequests:
    requests = SlotRequests()
    waiting: Any = line
    requests._queue = waiting
    return requests


@pytest.mark.parametrize(("until", "wait"), [(NOW + 12.5, 12.5), (NOW - 5, 0.0), (0.0, 0.0)])
def test_requests_are_waited_for_until_the_leases_are_due(
    sleeps: list[float], until: float, wait: float
) -> None:
    line = Line()
    assert requests_of(line).gather(until) == []
    assert (line.waits, sleeps) == ([wait], [])


def test_a_request_waits_for_others_only_shortly_after_the_last_group(sleeps: list[float]) -> None:
    line = Line(*(Request("claim", ("b", number)) for number in range(2 * GROUP + 1)))
    requests = requests_of(line)
    groups = [requests.gather(NOW) for _ in range(4)]
    assert [len(group) for group in groups] == [GROUP, GROUP, 1, 0]
    assert [request.what[1] for group in groups for request in group] == [*range(2 * GROUP + 1)]
    assert sleeps == [0.0, pytest.approx(APART), pytest.approx(APART)]


def test_claims_are_refused_and_results_stay() -> None:
    requests = SlotRequests()
    first = [Request("settle", 0), Request("claim", 1), Request("stop", 2)]
    later = [requests.put(kind, at) for at, kind in enumerate(("claim", "settle", "claim"), 3)]
    error = RuntimeError("the worker ends")
    kept = requests.refuse_claims(first, error)
    assert [request.what for request in kept] == [0, 2, 4]
    for request in [*first, *later]:
        is_claim = request.kind == "claim"
        assert request.future.done() is is_claim
        assert not is_claim or request.future.exception() is error
    assert requests.gather(0.0) == []


def claimed(attempts: int) -> Assignment:
    batch: Any = None
    return Assignment(Claimed(("b", 7), (), None, attempts, 0), batch, [])


@pytest.mark.parametrize("answer", [claimed(2), Refused("it is done already"), True, None])
def test_a_slot_that_waits_gets_its_answer_and_one_that_is_gone_gives_its_row_back(
    answer: Any,
) -> None:
    """Its row has had no attempt: the slot never learnt of it."""
    requests = SlotRequests()
    waits, gone = Request("claim", ("b", 7)), Request("claim", ("b", 7))
    assert gone.future.cancel()
    requests.answer(waits, answer)
    assert waits.future.result(0) == answer
    assert requests.gather(0.0) == []
    requests.answer(gone, answer)
    back = requests.gather(0.0)
    if isinstance(answer, Assignment):
        unbegun = Outcome(("b", 7), 2, "pending", counts=False, begun=False)
        assert [(request.kind, request.what) for request in back] == [("settle", unbegun)]
    else:
        assert back == []


def test_an_error_reaches_the_slot_that_waits_and_no_other() -> None:
    requests = SlotRequests()
    waits, gone, answered = (Request("settle", number) for number in range(3))
    gone.future.cancel()
    requests.answer(answered, True)
    error = RuntimeError("a mistake")
    for request in (waits, gone, answered):
        requests.fail(request, error)
    assert waits.future.exception(0) is error
    assert gone.future.cancelled()
    assert answered.future.result(0) is True
