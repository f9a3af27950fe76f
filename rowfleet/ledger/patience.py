"""Waiting for a service that is away: its log lines, its pauses and its retries."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from typing import TypeVar

from rowfleet.ledger.ledger_errors import LedgerUnavailable

T = TypeVar("T")

#: Seconds between tries of `patiently`.
PAUSE = 1.0


class Absence:
    """Counts the failed tries since a service last answered, and logs the first of them."""

    def __init__(
        self,
        log: logging.Logger,
        sentence: str = "%s; waiting, no row is lost",
        *,
        pause: float = PAUSE,
        longest: float | None = None,
        names_each: bool = False,
    ) -> None:
        """``sentence`` is what to log, with the problem for its %s.

        ``pause`` is in seconds, and doubles with each try up to ``longest``, by default not at all.
        ``names_each``: whether another problem than the last one is logged, too.
        """
        self._log = log
        self._sentence = sentence
        self._pause = pause
        self._longest = pause if longest is None else longest
        self._names_each = names_each
        self._named = ""
        #: Tries that failed since the service last answered.
        self.tries = 0

    def goes_on(self, problem: object) -> float:
        """Note a failed try. Return the seconds to wait before the next one."""
        is_new = self._names_each and str(problem) != self._named
        if not self.tries or is_new:
            self._log.warning(self._sentence, problem)
            self._named = str(problem)
        pause = min(self._pause * 2.0 ** min(self.tries, 30), self._longest)
        self.tries += 1
        return pause

    def ends(self) -> bool:
        """Note that the service answers. Return whether it was away."""
        was_away = self.tries > 0
        self.tries = 0
        return was_away


def patiently(
    work: Callable[[], T],
    log: logging.Logger,
    sentence: str = "%s; waiting, no row is lost",
    *,
    waits_for: tuple[type[Exception], ...] = (LedgerUnavailable,),
    pause: float = PAUSE,
    until: float = math.inf,
    sleep: Callable[[float], object] | None = None,
    names_each: bool = False,
) -> T:
    """Return what ``work`` returns; call it again for as long as the ledger is away.

    ``work`` must change nothing the second time: a commit may have gone through unconfirmed.
    ``waits_for`` are the errors that another try may mend; they are raised from ``until`` on, by
    time.monotonic(). ``pause`` is in seconds, and ``sleep`` takes it.
    """
    absence = Absence(log, sentence, pause=pause, names_each=names_each)
    while True:
        try:
            return work()
        except waits_for as error:
            if time.monotonic() >= until:
                raise
            (sleep or time.sleep)(absence.goes_on(error))
