"""A stand-in for the OpenAI API: answers from the row it was sent, and keeps an exact call log.

    with Standin.start(latency=1.0, faults=[Fault("rate_limit", 0.1)]) as standin:
        client = OpenAI(base_url=standin.base_url, api_key="any")
        ...
        assert standin.summary()["calls"] == 1000

Outside Python: ``python -m tests.standin --help``. It needs aiohttp and nothing else, so that an
image with it is small.
"""

from tests.standin.calls import Call
from tests.standin.config import Config, Fault
from tests.standin.process import Standin

__all__ = ["Call", "Config", "Fault", "Standin"]
