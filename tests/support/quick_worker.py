"""The real worker with its seconds made fractions, and a way to wedge its loop.

`celery -A tests.support.quick_worker worker`. SIGUSR2 holds up the consumer's loop for good, while
every other thread goes on. `TEST_SERVICE_ACCOUNT` is where a pod has its service account.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from worker import celery as program
from worker.steps import deletion_cost, health, schema

schema.POLL = 0.2
health.INTERVAL = 0.2
health.QUIET = 1.2
health.SILENCE = 2.0
deletion_cost.INTERVAL = 0.5
deletion_cost.API_TIMEOUT = (0.5, 0.5)
deletion_cost.SERVICE_ACCOUNT = Path(os.environ.get("TEST_SERVICE_ACCOUNT", "/nowhere"))

signal.signal(signal.SIGUSR2, lambda *_: time.sleep(3600))

app = program.app
