"""Tests of one process share the process of a stand-in, and nothing else of it."""

from concurrent.futures import ThreadPoolExecutor
from urllib.request import urlopen

import openai
import pytest

from tests.standin import Fault, Standin
from tests.support.standin_calls import chat


def test_one_that_is_lent_again_is_a_new_server_of_the_same_process():
    with Standin.lent(faults=[Fault("hang")], batch_seconds=60) as first:
        process, url = first._process, first.base_url
        with ThreadPoolExecutor(1) as pool:
            call = pool.submit(chat, first)
            first.wait_until(lambda summary: summary["in_flight"] == 1)
            with pytest.raises(ValueError, match="'latenzy' is not a setting"):
                first._begin_anew({"latenzy": 1})
            first._begin_anew({})
            assert isinstance(call.exception(timeout=10), openai.APIConnectionError)
    with Standin.lent(keep_bodies=True) as second:
        assert second._process is process
        assert second.base_url != url
        assert second.summary()["calls"] == second.summary()["in_flight"] == 0
        chat(second)
        [call] = second.calls()
        assert (call.number, call.outcome) == (1, "ok")
        assert call.body
    with pytest.raises(OSError, match="refused"):
        urlopen(f"{url}/models")


def test_two_at_once_are_two_processes():
    with Standin.lent() as one, Standin.lent() as other:
        assert one._process is not other._process


def test_one_that_a_test_stopped_is_not_lent_again():
    with Standin.lent() as standin:
        standin.stop()
    with Standin.lent() as another:
        assert another.calls() == []
