"""Text from outside loses secrets and control characters, and keeps what a person needs."""

from __future__ import annotations

import logging
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rowfleet import masking
from rowfleet.analysis import Misconfigured, Postponed, Transient
from rowfleet.errors import InputError
from rowfleet.masking import Discreet, frames, masked, outside, printable
from rowfleet.settings import load_settings

KEY = "b7f1c0de5a3e4d90a1b2c3d4e5f60718"  # as Azure's: no shape tells it


@pytest.fixture(autouse=True)
def no_secrets_of_other_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masking, "_secrets", {})


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("Incorrect API key provided: sk-proj-abcdEFGH12345678.", "sk-proj-abcdEFGH12345678"),
        ("Incorrect API key provided: 0f3c7a51b2d94e68. You can", "0f3c7a51b2d94e68"),
        ("Authorization: Bearer abc.def-123_456=", "abc.def-123_456"),
        ('{"api-key": "0f3c7a51b2d94e68"}', "0f3c7a51b2d94e68"),
        ("X-Api-Key=0f3c7a51b2d94e68&x=1", "0f3c7a51b2d94e68"),
        ("OPENAI_API_KEY=0f3c7a51b2d94e68", "0f3c7a51b2d94e68"),
        ("GET https://gate.example/v1?api_key=0f3c&a=b", "0f3c"),
        ("https://store.example/a.xlsx?X-Amz-Signature=0f3c7a51&X-Amz-Date=1", "0f3c7a51"),
        ("https://acct.blob.example/c/a.xlsx?sv=1&sig=aB%2Bc", "aB%2Bc"),
        ("postgresql://rowfleet:hunter2@db/rowfleet", "hunter2"),
        ("redis://:hunter2@broker:6379/0", "hunter2"),
        ("http://tok3n@gate.example/v1", "tok3n"),
        ("AccountName=a;AccountKey=0f3c7a51b2d94e68==;x", "0f3c7a51b2d94e68"),
    ],
)
def test_what_looks_like_a_secret_is_masked(text: str, secret: str) -> None:
    assert secret not in masked(text)
    assert "***" in masked(text)


def test_a_megabyte_of_one_word_is_masked_in_linear_time() -> None:
    # In quadratic time this takes an hour.
    assert masked("a." * 500_000).startswith("a.a.")


@pytest.mark.parametrize(
    "text",
    [
        "OPENAI_API_KEY was rejected by the API (401)",
        'FATAL:  password authentication failed for user "rowfleet"',
        "invalid_api_key: You can find your API key at https://platform.openai.com/account/keys.",
        "the ledger's database postgresql+psycopg://rowfleet:***@db/rowfleet can't be reached",
        "Incorrect API key provided: ***",
        "no answer within 540 s",
        "the model desk-abcdefghij at http://127.0.0.1:8080/v1/a@b is not known",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert masked(text) == text


def test_the_secrets_of_the_settings_are_masked_wherever_they_stand() -> None:
    load_settings(
        {
            "OPENAI_API_KEY": KEY,
            "REDIS_URL": "redis://:p%40ss-w1@broker:6379/0",
            "DATABASE_URL": "postgresql://rowfleet:tea4two@db/rowfleet",
            "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG",
        }
    )
    text = f"'{KEY}' x{KEY}x p@ss-w1 p%40ss-w1 tea4two wJalrXUtnFEMI/K7MDENG {quote(KEY, safe='')}"
    assert masked(text) == "'***' x***x *** *** *** *** ***"
    assert masked("tea4twoish") == "tea4twoish"  # a short one is masked as a whole word only
    assert (
        str(Misconfigured("rejected (401)", said=f"no key {KEY}")) == "rejected (401): no key ***"
    )


@pytest.mark.parametrize(
    "hidden", ["\0", "\x1b", "\x7f", "\x9b", "\u200b", "\u202e", "\xad", "\ufeff", "\r\n"]
)
@pytest.mark.parametrize("key", [KEY, "sk-proj-abcdEFGH12345678"])
def test_a_secret_with_a_hidden_character_in_it_is_masked(key: str, hidden: str) -> None:
    masking.keep_secret(key)
    for spread in (key[:10] + hidden + key[10:], hidden.join(key)):
        said = f"no such key:\x1b[2J {spread} of {key}"
        for shown in (outside(said), masked(said), masking.one_line(said)):
            bare = "".join(c for c in shown if c.isalnum() or c == "-")
            assert key.replace("_", "") not in bare
            assert key[10:] not in shown
            assert "***" in shown


def test_a_key_that_no_setting_names_is_masked_with_a_hidden_character_in_it() -> None:
    assert "EFGH" not in outside("wrong: sk-proj-abcd\0EFGH12345678")
    assert "0f3c" not in outside("GET https://gate.example/v1?api\u200b_key=0f3c&a=b")


def test_text_without_a_secret_stays_as_it_is() -> None:
    assert masked("a\x1bb\u200bc\nd") == "a\x1bb\u200bc\nd"
    load_settings({"DATABASE_URL": "postgresql://rowfleet:hunter2@db/rowfleet"})
    assert "hunter2" not in masked("x\0hunter2 \0")


def test_a_password_that_is_a_word_does_not_blank_every_sentence() -> None:
    load_settings({"DATABASE_URL": "postgresql://rowfleet:rowfleet@db/rowfleet"})
    assert masked("rowfleet: the ledger") == "rowfleet: the ledger"
    assert "rowfleet:rowfleet@" not in masked("postgresql://rowfleet:rowfleet@db/rowfleet")


@given(st.integers(0, 9_000), st.sampled_from([" ", "x", "\n"]))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_no_cut_leaves_a_part_of_a_secret(before: int, filler: str) -> None:
    masking.keep_secret(KEY)
    text = outside(filler * before + KEY + filler * 9_000)
    assert KEY[:6] not in text
    assert len(text) <= masking.EXCERPT


@given(st.text(max_size=80))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_what_is_shown_has_no_control_characters(text: str) -> None:
    shown = outside(text)
    assert not set(shown) & {*map(chr, range(32)), *map(chr, range(127, 160)), "\u202e", "\u2066"}
    shown.encode()
    assert outside(shown) == shown


def test_ordinary_text_is_shown_as_it_is() -> None:
    for text in ("Müller & Söhne, 12,50 €", "株式会社", "a\u00a0b", "🧾"):
        assert printable(text) == text
    assert printable("a\x1b[2Jb\x9bc\u202ed") == "a\ufffd[2Jb\ufffdc\ufffdd"


def test_the_words_of_an_api_are_apart_from_ours() -> None:
    error = Transient("the API answered 500", said="IBAN DE02 1203 0000 0000 2020 51\x1b[2J")
    assert error.reason == "the API answered 500"
    assert str(error) == "the API answered 500: IBAN DE02 1203 0000 0000 2020 51\ufffd[2J"
    assert str(Postponed("no turn", delay=3)) == "no turn"
    assert len(str(Transient("x", said="y" * 10**6))) < 400


def _record(message: str, *args: object) -> logging.LogRecord:
    return logging.LogRecord("x", logging.INFO, __file__, 1, message, args, None)


def test_a_line_of_a_log_is_one_line_and_has_no_secret() -> None:
    masking.keep_secret(KEY)
    record = _record("said %s", f"{KEY}\n2026-01-01 all is well\x1b]0;x\x07")
    assert Discreet().filter(record)
    assert record.getMessage() == "said *** 2026-01-01 all is well\ufffd]0;x\ufffd"
    odd = _record("%d rows", "no number")
    assert Discreet().filter(odd)
    assert odd.getMessage() == "%d rows"


def test_a_logged_traceback_does_not_say_what_the_exceptions_say() -> None:
    def fail() -> None:
        try:
            raise KeyError("IBAN DE02 1203")
        except KeyError as error:
            raise ValueError(f"{error} in the row") from error

    with pytest.raises(ValueError, match="in the row") as caught:
        fail()
    error = caught.value
    raised = (type(error), error, error.__traceback__)
    record = logging.LogRecord("x", logging.ERROR, __file__, 1, "x", None, raised)
    assert Discreet().filter(record)
    text = logging.Formatter().format(record)
    assert text.endswith(frames(error))
    assert "builtins.KeyError" in text
    assert "builtins.ValueError" in text
    assert ", in fail" in text
    assert "IBAN DE02" not in text.replace('raise KeyError("IBAN DE02 1203")', "")


def test_our_own_errors_keep_their_sentence_in_a_traceback() -> None:
    assert frames(InputError("sheet.csv has no row")).endswith("InputError: sheet.csv has no row")
