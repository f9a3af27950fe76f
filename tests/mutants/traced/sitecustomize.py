"""Runs first in every process of a traced test: saves what it covers now and then.

Tests kill their workers, and a killed process saves nothing at its end.
"""

import threading
import time


def _save() -> None:
    import coverage

    while True:
        time.sleep(1)
        current = coverage.Coverage.current()
        if current is not None:
            current.save()


threading.Thread(target=_save, daemon=True).start()
