"""Sheets in a bucket, and lines that break on the way; moto's server stands for S3."""

from __future__ import annotations

import os

import pytest

from rowfleet.errors import InputError, ServiceError
from rowfleet.storage import cloud, location
from submitter.results import export
from tests.support.storage_servers import web
from tests.support.storage_servers.line import breaking
from tests.support.storage_servers.s3 import BUCKET, S3Server
from tests.support.transfers import check, closed_port, fetch, left_behind, send, set_all

#: More than two parts of an upload, and no multiple of one.
BIG = 2 * cloud.PART_BYTES + 12_345


def test_object_in_parts_arrives_whole(aws: S3Server) -> None:
    content = os.urandom(BIG)
    send(f"s3://{BUCKET}/big/a b+c=%20é.xlsx", content)
    assert aws.get("big/a b+c=%20é.xlsx") == content
    assert fetch(f"s3://{BUCKET}/big/a b+c=%20é.xlsx") == content
    assert left_behind() == []


def test_target_is_checked_and_nothing_stays_there(
    aws: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = aws.put("checked/there.xlsx", b"as it was") and aws.names()
    check(f"s3://{BUCKET}/checked/there.xlsx")
    check(f"s3://{BUCKET}/checked/new.xlsx")
    check(f"s3://{BUCKET}/new.xlsx")
    assert aws.names() == before
    assert aws.get("checked/there.xlsx") == b"as it was"

    with pytest.raises(InputError, match="ends so"):
        export.check(export.Target(location.parse(f"s3://{BUCKET}/new.pdf")))
    with pytest.raises(InputError, match="there is no bucket 'nobody'"):
        check("s3://nobody/new.xlsx")
    set_all(monkeypatch, aws.reader.environment)
    with pytest.raises(InputError, match="can't be written: permission denied"):
        check(f"s3://{BUCKET}/new.xlsx")
    with pytest.raises(InputError, match="can't be written: permission denied"):
        send(f"s3://{BUCKET}/new.xlsx", b"x")
    assert aws.names() == before


def test_endpoint_that_does_not_answer_is_a_service_error(
    aws: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = f"http://127.0.0.1:{closed_port()}"
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)  # wins over AWS_ENDPOINT_URL
    for act in (lambda: fetch("s3://b/a.xlsx"), lambda: check("s3://b/a.xlsx")):
        with pytest.raises(ServiceError, match=f"the storage does not answer at {endpoint}"):
            act()


@pytest.mark.parametrize(
    "endpoint", ["minio:9000", "http://", "http://user:pa55@host", "http://h:x"]
)
def test_endpoint_that_is_none_is_told_by_its_variable(
    aws: S3Server, monkeypatch: pytest.MonkeyPatch, endpoint: str
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    with pytest.raises(InputError, match=r"^AWS_ENDPOINT_URL: must be a URL") as caught:
        fetch("s3://b/a.xlsx")
    assert "pa55" not in str(caught.value)


def test_download_goes_on_where_the_line_broke(
    aws: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = os.urandom(3 << 20)
    uri = aws.put("broken.xlsx", content)
    with breaking(aws.port, after=700_000, breaks=3) as line:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{line.port}")
        assert fetch(uri) == content
        assert line.broken == 3


def test_object_replaced_while_it_is_read_is_read_anew(
    aws: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = os.urandom(3 << 20), os.urandom(3 << 20)
    uri = aws.put("replaced.xlsx", old)

    def replace() -> None:
        aws.put("replaced.xlsx", new)

    with breaking(aws.port, after=700_000, breaks=1, on_break=replace) as line:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{line.port}")
        assert fetch(uri) == new
        assert line.broken == 1


def test_line_that_breaks_each_time_is_a_service_error(
    aws: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = aws.put("never.xlsx", os.urandom(3 << 20))
    with breaking(aws.port, after=20_000, breaks=1_000_000) as line:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{line.port}")
        monkeypatch.setattr(cloud, "_RETRY", {"max_retries": 1})
        with pytest.raises(ServiceError, match=r"broke off, or the object .*5 times"):
            fetch(uri)
    assert left_behind() == []


def test_upload_that_breaks_off_leaves_the_object_as_it_was(
    aws: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = aws.put("kept.xlsx", b"as it was")
    with breaking(aws.port, after=1, breaks=1_000_000) as line:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{line.port}")
        monkeypatch.setattr(cloud, "_RETRY", {"max_retries": 1})
        with pytest.raises(ServiceError, match="the storage does not answer"):
            send(uri, os.urandom(BIG))
    assert aws.get("kept.xlsx") == b"as it was"
    assert left_behind() == []


def test_endpoint_with_a_certificate_of_its_own(
    https: web.Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`SSL_CERT_FILE` holds for S3's endpoint too."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"https://127.0.0.1:{https.port}")
    set_all(monkeypatch, {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "secret"})
    https.files["/bucket/a.xlsx"] = b"content"
    assert fetch("s3://bucket/a.xlsx") == b"content"
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(ServiceError, match="certificate is not trusted"):
        fetch("s3://bucket/a.xlsx")
