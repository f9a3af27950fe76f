"""What the API's headers say of its limits."""

from __future__ import annotations

import time

import pytest

from rowfleet.openai_api.headers import (
    LONGEST_PAUSE,
    PAUSE,
    allowance,
    duration,
    pause_after_refusal,
    retry_after,
)


def headers(what: str, limit: str, remaining: str, reset: str) -> dict[str, str]:
    values = {"limit": limit, "remaining": remaining, "reset": reset}
    return {f"x-ratelimit-{name}-{what}": value for name, value in values.items()}


def test_retry_after_is_read_in_all_its_forms() -> None:
    assert retry_after({"retry-after-ms": "1500", "retry-after": "9"}) == 1.5
    assert retry_after({"retry-after": "20"}) == 20
    assert retry_after({"retry-after": "soon"}) is None
    assert retry_after({}) is None
    later = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 100))
    assert 90 < (retry_after({"retry-after": later}) or 0) <= 100


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("120ms", 0.12), ("1.5s", 1.5), ("6m0s", 360), ("23h18m29.144s", 83909.144), ("7", 7)],
)
def test_durations_are_read_as_the_api_writes_them(text: str, seconds: float) -> None:
    assert duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "soon", "1.5s later", "nan", "inf"])
def test_what_is_no_duration_is_none(text: str) -> None:
    assert not duration(text)


def test_a_limit_of_a_minute_is_told_from_one_of_a_day() -> None:
    minute = allowance(headers("requests", "500", "499", "120ms"), "requests")
    assert minute is not None
    assert minute.per_minute == 500
    # 200 a day: one comes back in 7m12s
    day = allowance(headers("requests", "200", "199", "7m12s"), "requests")
    assert day is not None
    assert day.per_minute is None
    assert allowance({"x-ratelimit-limit-requests": "60"}, "requests").per_minute == 60
    assert allowance({}, "tokens") is None
    assert allowance({"x-ratelimit-limit-tokens": "lots"}, "tokens") is None


def test_hardly_anything_left_is_seen() -> None:
    assert allowance(headers("tokens", "150000", "1000", "59s"), "tokens").is_low
    assert not allowance(headers("tokens", "150000", "90000", "24s"), "tokens").is_low
    assert not allowance(headers("requests", "200", "1", "23h"), "requests").is_low


def test_a_refusal_pauses_for_what_it_says() -> None:
    used_up = headers("tokens", "1000", "0", "4s") | headers("requests", "60", "10", "50s")
    assert pause_after_refusal({"retry-after": "7", **used_up}) == 7
    assert pause_after_refusal(used_up) == 4
    assert pause_after_refusal({}) == PAUSE


@pytest.mark.parametrize(
    "value",
    ["1e300", "99999999999", "Fri, 31 Dec 9999 23:59:59 GMT", "86400"],
)
@pytest.mark.parametrize("header", ["retry-after", "retry-after-ms"])
def test_no_pause_is_longer_than_an_hour(header: str, value: str) -> None:
    said = {header: value}
    assert retry_after(said) in ({None} if header.endswith("ms") and "Dec" in value else PAUSES)
    assert pause_after_refusal(said) in PAUSES


#: Pauses: the longest, a header's milliseconds, and that of a header without sense.
PAUSES = {LONGEST_PAUSE, 86.4, PAUSE}


@pytest.mark.parametrize(
    "value",
    [
        "nan", "-inf", "inf", "1" * 5000, "\udcff", "Mon, 99 Foo 2020", ", 1",
        "Fri, 31 Dec 2029 23:59:59 +99999999999999999999",
    ],
)  # fmt: skip
def test_a_retry_after_without_sense_is_none(value: str) -> None:
    assert retry_after({"retry-after": value}) is None


def test_a_negative_retry_after_is_at_once() -> None:
    assert retry_after({"retry-after": "-5"}) == 0
    assert retry_after({"retry-after": "Thu, 01 Jan 1970 00:00:00 GMT"}) == 0


@pytest.mark.parametrize("limit", ["1e300", "nan", "inf", "-5", "0", "0.001", "9" * 400])
def test_a_limit_that_can_t_be_is_none(limit: str) -> None:
    assert allowance(headers("tokens", limit, "1", "1s"), "tokens") is None


@pytest.mark.parametrize("odd", ["9" * 400 + "s", "nan", "-1s", "1e999"])
def test_what_is_left_of_a_limit_is_finite(odd: str) -> None:
    found = allowance(headers("tokens", "100", odd, odd), "tokens")
    assert found is not None
    assert found.remaining is None
    assert found.reset is None
    assert found.per_minute == 100
