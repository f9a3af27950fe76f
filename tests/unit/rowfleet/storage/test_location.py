"""The addresses that a sheet may have, and what is shown of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from rowfleet.errors import InputError
from rowfleet.storage import location


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("ftp://host/a.xlsx", "ftp://: give a path, or a URI with s3://"),
        ("s3:///key.xlsx", "names no bucket; write s3://BUCKET/KEY"),
        ("az:///key.xlsx", "names no container; write az://CONTAINER/KEY"),
        ("s3://bucket", "names no object"),
        ("s3://bucket/", "names no object"),
        ("gs://bucket/folder/", "names no object"),
        ("s3://KEY:secret@bucket/key", "credentials come from the environment"),
        ("az://box/key.xlsx?sv=1&sig=secret", "a ? in a key is not taken"),
        ("https://", "names no host"),
        ("https://host", "names no file"),
        ("https://host:secret/a.xlsx", "is not a URL"),
        ("https://bob:secret@host?X=secret", "https://host/: names no file"),
        ("http://host/a.xlsx?sig=secret", "is not encrypted"),
    ],
)
def test_uri_that_names_nothing_is_refused(text: str, sentence: str) -> None:
    with pytest.raises(InputError) as caught:
        location.parse(text)
    assert sentence in str(caught.value)
    assert "secret" not in str(caught.value)


def test_path_stays_a_path() -> None:
    for text in ("a.xlsx", "/a/b.xlsx", "a:b/c.xlsx", "s3:/a.xlsx"):
        assert location.parse(text) == Path(text)


def test_uri_says_the_object_not_its_secrets() -> None:
    uri = location.parse("https://bob:secret@host:8443/My%20Sheet.xlsx?sig=secret#secret")
    assert str(uri) == "https://host:8443/My Sheet.xlsx"
    assert "secret" not in repr(uri)
    assert uri == location.parse("https://host:8443/My%20Sheet.xlsx?sig=other")
    assert uri != location.parse("https://host/My%20Sheet.xlsx")
