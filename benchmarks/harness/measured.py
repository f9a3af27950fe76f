"""Run a program and print what it took, as JSON.

A process inherits the peak memory of the one that started it, in Linux' books; so the benchmarks,
which may be large, let this small one start what they measure.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time


def main() -> int:
    """Run the command line given; return its exit code."""
    started = time.perf_counter()
    code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=False).returncode
    seconds = time.perf_counter() - started
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = used.ru_utime + used.ru_stime
    peak_mb = used.ru_maxrss * 1024 / 1e6  # Linux gives KiB
    print(json.dumps({"seconds": seconds, "cpu_seconds": cpu, "peak_mb": peak_mb}))
    return code


if __name__ == "__main__":
    sys.exit(main())
