"""Program 2: the Celery worker. `celery -A worker worker` finds the app in `worker.celery`."""

import signal
import sys
import threading
from types import FrameType
from typing import NoReturn

from rowfleet.exit_codes import ExitCode


def _end(_number: int, _frame: FrameType | None) -> NoReturn:
    sys.exit(ExitCode.TERMINATED)


# Until Celery has its own handler. A container's first process gets no signal without one: told to
# end while it starts, it would go on, and be killed with rows in flight.
if (
    threading.current_thread() is threading.main_thread()
    and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
):
    signal.signal(signal.SIGTERM, _end)
