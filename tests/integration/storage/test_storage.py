"""Object storage: sheets come from there and go there, and what goes wrong gets one sentence.

S3 is moto's server, which checks signatures and rights; https has the tests' own certificates.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from rowfleet.errors import InputError, ServiceError
from rowfleet.ledger.engine import open_ledger
from rowfleet.ledger.queries import batch_records
from submitter.storage import bounds, cloud, location, transfer
from submitter.storage import web as storage_web
from tests.support.sheets import invoices, results
from tests.support.storage_servers import s3, web
from tests.support.storage_servers.line import breaking
from tests.support.storage_servers.s3 import BUCKET, S3Server

Run = Callable[..., subprocess.CompletedProcess[str]]

#: More than two parts of an upload, and no multiple of one.
BIG = 2 * cloud.PART_BYTES + 12_345


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with s3.serving(tmp_path_factory.mktemp("s3") / "moto.log") as server:
        yield server


@pytest.fixture(autouse=True)
def no_cloud_of_mine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No credentials but the test's, no metadata service, and no long waits between tries."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "GOOGLE_", "AZURE_", "SSL_CERT_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.setenv("AZURE_IDENTITY_ENDPOINT", f"http://127.0.0.1:{closed_port()}/")
    monkeypatch.setenv("HOME", str(tmp_path))
    for module in (transfer, storage_web):
        monkeypatch.setattr(module, "WAITS", (0, 0, 0, 0))
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    monkeypatch.setattr(tempfile, "tempdir", None)


@pytest.fixture
def aws(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """The S3 server, named in the environment with its owner's key."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server.url)
    set_all(monkeypatch, s3_server.owner.environment)
    return s3_server


@pytest.fixture
def https(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[web.Files]:
    """A server whose certificate `SSL_CERT_FILE` makes good."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "localhost").configure_cert(context)
    with web.serving(web.Files(), context) as server:
        yield server


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def set_all(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


def fetch(uri: str) -> bytes:
    with transfer.downloaded(location.parse(uri)) as path:
        return path.read_bytes()


def send(uri: str, content: bytes) -> None:
    with transfer.uploaded(location.parse(uri)) as path:
        path.write_bytes(content)


def check(uri: str) -> None:
    target = location.parse(uri)
    assert isinstance(target, location.Uri)
    transfer.check_target(target)


def left_behind() -> list[str]:
    return [name for name in os.listdir(os.environ["TMPDIR"]) if name.startswith("rowfleet-sheet")]


# --- the whole job


def test_sheet_and_finished_sheet_are_in_a_bucket(
    rowfleet: Run, aws: S3Server, tmp_path: Path
) -> None:
    aws.put("in/Some Refunds (May).xlsx", invoices(tmp_path / "x.xlsx", 7).read_bytes())
    words = ("local", f"s3://{BUCKET}/in/Some Refunds (May).xlsx", "--analyzer", "rules")
    ran = rowfleet(*words, "--export", f"s3://{BUCKET}/out/done.xlsx")
    assert ran.returncode == 0, ran.stderr
    assert f"7 rows written to s3://{BUCKET}/out/done.xlsx" in ran.stdout
    finished = tmp_path / "done.xlsx"
    finished.write_bytes(aws.get("out/done.xlsx"))
    assert [row["AI_Status"] for row in results(finished)] == ["done"] * 7
    assert left_behind() == []

    # The object's name makes the batch's id, its URI is the source.
    ledger = open_ledger(f"sqlite:///{tmp_path / 'state' / 'rowfleet' / 'ledger.db'}")
    with ledger.connect() as connection:
        (record,) = batch_records.batches(connection)
    ledger.dispose()
    assert record.id.startswith("some-refunds-may-")
    assert record.source == f"s3://{BUCKET}/in/Some Refunds (May).xlsx"

    # Again, without --export: the same batch, and the finished sheet in this directory.
    again = rowfleet(*words)
    assert again.returncode == 0, again.stderr
    assert "continues a batch" in again.stderr
    assert len(results(tmp_path / "Some Refunds (May).results.xlsx")) == 7

    # And from the ledger alone.
    exported = rowfleet("export", record.id, f"s3://{BUCKET}/out/later.xlsx")
    assert exported.returncode == 0, exported.stderr
    assert aws.get("out/later.xlsx")[:2] == b"PK"


def test_signature_of_a_url_is_never_shown_or_kept(
    rowfleet: Run, https: web.Files, tmp_path: Path
) -> None:
    https.files["/in/a sheet.xlsx"] = invoices(tmp_path / "x.xlsx", 3).read_bytes()
    base = f"https://bob:pa55@127.0.0.1:{https.port}"
    ran = rowfleet(
        "local",
        f"{base}/in/a%20sheet.xlsx?X-Signature=s%2Bcret",
        "--analyzer=rules",
        f"--export={base}/out/done.xlsx?X-Signature=s%2Bcret",
    )
    assert ran.returncode == 0, ran.stderr
    assert "PUT /out/done.xlsx?X-Signature=s%2Bcret" in https.asked
    finished = tmp_path / "done.xlsx"
    finished.write_bytes(https.files["/out/done.xlsx"])
    assert len(results(finished)) == 3
    state = tmp_path / "state"
    kept = b"".join(path.read_bytes() for path in state.rglob("*") if path.is_file())
    said = ran.stdout.encode() + ran.stderr.encode() + kept
    assert f"https://127.0.0.1:{https.port}/in/a sheet.xlsx".encode() in kept
    assert b"cret" not in said
    assert b"pa55" not in said

    refused = rowfleet("submit", "--dry-run", "--excel", f"{base}/in/x.xlsx?X-Signature=wr0ng")
    assert refused.returncode == 2
    assert "permission denied (403)" in refused.stderr
    assert "wr0ng" not in refused.stderr + refused.stdout


@pytest.mark.parametrize(
    ("uri", "variables", "code", "sentence"),
    [
        ("s3://sheets/none.xlsx", {}, 2, "there is no such object"),
        ("s3://sheets/none.xlsx", {"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}, 3, "not answer"),
    ],
)
def test_command_ends_with_its_exit_code_and_one_sentence(
    rowfleet: Run, aws: S3Server, uri: str, variables: dict[str, str], code: int, sentence: str
) -> None:
    ran = rowfleet("submit", "--dry-run", "--excel", uri, env=variables)
    assert ran.returncode == code, ran.stderr
    assert ran.stderr.startswith(f"rowfleet: {uri}: ")
    assert sentence in ran.stderr
    assert len(ran.stderr.splitlines()) == 1
    assert aws.owner.secret not in ran.stderr


def test_export_is_checked_before_anything_is_read(rowfleet: Run, aws: S3Server) -> None:
    uri = f"s3://{BUCKET}/none.xlsx"
    refused = rowfleet("submit", "--wait", "--excel", uri, "--export", "s3://nobody/out.xlsx")
    assert refused.returncode == 2
    assert "s3://nobody/out.xlsx: there is no bucket 'nobody'" in refused.stderr
    same = rowfleet("submit", "--wait", "--excel", uri, "--export", uri)
    assert same.returncode == 2
    assert "is the sheet that is read" in same.stderr


# --- what a URI may look like


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


# --- S3


def test_object_in_parts_arrives_whole(aws: S3Server) -> None:
    content = os.urandom(BIG)
    send(f"s3://{BUCKET}/big/a b+c=%20é.xlsx", content)
    assert aws.get("big/a b+c=%20é.xlsx") == content
    assert fetch(f"s3://{BUCKET}/big/a b+c=%20é.xlsx") == content
    assert left_behind() == []


@pytest.mark.parametrize(
    ("uri", "who", "sentence"),
    [
        ("s3://nobody/a.xlsx", "owner", "there is no bucket 'nobody'"),
        ("s3://sheets/none.xlsx", "owner", "there is no such object"),
        ("s3://other/a.xlsx", "reader", "can't be read: permission denied"),
        ("s3://sheets/a//b.xlsx", "owner", "the key can't be used"),
        ("s3://sheets/a/../b.xlsx", "owner", "the key can't be used"),
        ("s3://sheets/a.xlsx", "wrong secret", "credentials are refused (SignatureDoesNotMatch)"),
        ("s3://sheets/a.xlsx", "nobody", "the credentials are refused (InvalidAccessKeyId)"),
        ("s3://sheets/a.xlsx", "half", "SecretAccessKey"),
        ("s3://sheets/a.xlsx", "none", "no credentials, none are set; set AWS_ACCESS_KEY_ID"),
        ("s3://sheets/a.xlsx", "empty", "no credentials, none are set; set AWS_ACCESS_KEY_ID"),
        ("s3://sheets/a.xlsx", "role", "no credentials, asking for them failed"),
    ],
)
def test_object_that_cannot_be_read(
    aws: S3Server, monkeypatch: pytest.MonkeyPatch, uri: str, who: str, sentence: str
) -> None:
    keys: dict[str, dict[str, str]] = {
        "owner": aws.owner.environment,
        "reader": aws.reader.environment,
        "wrong secret": {"AWS_ACCESS_KEY_ID": aws.owner.id, "AWS_SECRET_ACCESS_KEY": "TeLLnone"},
        "nobody": {"AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": "TeLLnone"},
        "half": {"AWS_ACCESS_KEY_ID": aws.owner.id},
        "none": {},
        "empty": {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""},
        "role": {"AWS_WEB_IDENTITY_TOKEN_FILE": "/none", "AWS_ROLE_ARN": "arn:aws:iam::1:role/x"},
    }
    for name in aws.owner.environment:
        monkeypatch.delenv(name)
    set_all(monkeypatch, keys[who])
    with pytest.raises(InputError) as caught:
        fetch(uri)
    assert str(caught.value).startswith(f"{uri}: ")
    assert sentence in str(caught.value)
    assert "TeLLnone" not in str(caught.value)
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
        check(f"s3://{BUCKET}/new.csv")
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


def test_machine_without_a_role_is_told_at_once(
    aws: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in aws.owner.environment:
        monkeypatch.delenv(name)
    monkeypatch.delenv("AWS_EC2_METADATA_DISABLED")
    # Nothing listens; then something that is no metadata service.
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", f"http://127.0.0.1:{closed_port()}")
    with pytest.raises(InputError, match="no credentials, none are set"):
        fetch("s3://sheets/a.xlsx")
    with web.serving(web.Files()) as other:
        monkeypatch.setenv("AWS_METADATA_ENDPOINT", f"http://127.0.0.1:{other.port}")
        with pytest.raises(InputError, match="no credentials, asking for them failed"):
            fetch("s3://sheets/a.xlsx")


def test_credentials_of_a_pod_are_used(
    aws: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As EKS Pod Identity gives them: an address, and a file with the token to show there."""
    aws.put("pod.xlsx", b"content")
    for name in aws.owner.environment:
        monkeypatch.delenv(name)
    (tmp_path / "token").write_text("pod-token")
    with web.serving(web.Files()) as agent:
        given = aws.of_role | {"Token": aws.of_role["SessionToken"]}
        agent.files["/v1/credentials"] = json.dumps(given, default=datetime.isoformat).encode()
        address = f"http://127.0.0.1:{agent.port}/v1/credentials"
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", address)
        monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", str(tmp_path / "token"))
        assert fetch(f"s3://{BUCKET}/pod.xlsx") == b"content"
        del agent.files["/v1/credentials"]
        with pytest.raises(InputError, match="no credentials, asking for them failed"):
            fetch(f"s3://{BUCKET}/pod.xlsx")


def test_role_of_a_service_account_is_taken_on(
    aws: S3Server, https: web.Files, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As EKS gives it: a file with a token, for which STS gives the role's credentials."""
    aws.put("pod.xlsx", b"content")
    for name in aws.owner.environment:
        monkeypatch.delenv(name)
    (tmp_path / "token").write_text("service-account-token")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
    monkeypatch.setenv("AWS_ROLE_ARN", aws.role)
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", f"https://127.0.0.1:{https.port}")
    given = "".join(
        f"<{name}>{aws.of_role[name]}</{name}>"
        for name in ("AccessKeyId", "SecretAccessKey", "SessionToken")
    )
    answer = f"<Credentials>{given}<Expiration>2999-01-01T00:00:00Z</Expiration></Credentials>"
    for element in ("AssumeRoleWithWebIdentityResult", "AssumeRoleWithWebIdentityResponse"):
        answer = f"<{element}>{answer}</{element}>"
    https.files["/"] = answer.encode()
    https.any_query = True
    assert fetch(f"s3://{BUCKET}/pod.xlsx") == b"content"
    with pytest.raises(InputError, match="can't be written: permission denied"):
        check(f"s3://{BUCKET}/new.xlsx")
    del https.files["/"]
    with pytest.raises(InputError, match="no credentials, asking for them failed"):
        fetch(f"s3://{BUCKET}/pod.xlsx")
    https.failing = 1_000
    with pytest.raises(ServiceError, match="the service that gives credentials does not answer"):
        fetch(f"s3://{BUCKET}/pod.xlsx")


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


#: Copies an object and prints its peak memory in KiB. On Linux, `ru_maxrss` has the parent's in it.
COPY = """
import resource, shutil, sys
from pathlib import Path
from submitter.storage import location, transfer

source, target = map(location.parse, sys.argv[1:])
with transfer.downloaded(source) as got, transfer.uploaded(target) as out:
    shutil.copy(got, out)
status = Path("/proc/self/status")
if status.exists():
    print(status.read_text().partition("VmHWM:")[2].split()[0])
else:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def test_memory_does_not_grow_with_the_object(aws: S3Server) -> None:
    peaks = []
    for size in (24 << 20, 120 << 20):
        source, target = aws.put("memory.xlsx", bytes(size)), f"s3://{BUCKET}/memory-out.xlsx"
        words = [sys.executable, "-c", COPY, source, target]
        ran = subprocess.run(words, stdout=subprocess.PIPE, check=True)
        peaks.append(int(ran.stdout))
        assert len(aws.get("memory-out.xlsx")) == size
    assert peaks[1] - peaks[0] < 24 << 10


def test_full_disk_is_told_with_the_variable_that_helps(aws: S3Server) -> None:
    """A limit on files stands for a full disk: a write fails half way either way."""
    uri = aws.put("large.xlsx", bytes(3 << 20))
    ran = subprocess.run(
        [sys.executable, "-m", "submitter", "submit", "--dry-run", "--excel", uri],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 2
    assert f"{uri}: can't be kept in {os.environ['TMPDIR']}: File too large" in ran.stderr
    assert "set TMPDIR" in ran.stderr
    assert left_behind() == []


def test_directory_for_temporary_files_that_is_none(
    aws: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = aws.put("small.xlsx", b"x")
    monkeypatch.setattr(tempfile, "tempdir", "/none")
    with pytest.raises(InputError, match=f"{uri}: no directory .* can be written .*set TMPDIR"):
        fetch(uri)


def test_finished_sheet_that_has_no_room_is_told_by_its_uri(aws: S3Server) -> None:
    with (
        pytest.raises(InputError, match=r"^s3://sheets/x.xlsx, first as /.*: can't be written"),
        transfer.uploaded(location.parse("s3://sheets/x.xlsx")) as path,
    ):
        raise InputError(f"{path}: can't be written: No space left on device")
    assert "x.xlsx" not in aws.names()


# --- https


def test_https_file_is_read_and_written(https: web.Files) -> None:
    content = os.urandom(3 << 20)
    uri = f"https://localhost:{https.port}/some%20folder/a+b.xlsx?X-Signature=s%2Bcret"
    send(uri, content)
    assert https.files == {"/some folder/a+b.xlsx": content}
    assert https.content_type == bounds.XLSX
    assert fetch(uri) == content
    assert left_behind() == []


def test_https_download_that_breaks_off_is_done_again(https: web.Files) -> None:
    content = os.urandom(3 << 20)
    https.files["/a.xlsx"] = content
    https.cut, https.failing = 2, 1
    assert fetch(f"https://127.0.0.1:{https.port}/a.xlsx") == content
    https.cut = 5
    with pytest.raises(ServiceError, match=r"the download .* 5 times"):
        fetch(f"https://127.0.0.1:{https.port}/a.xlsx")


def test_https_upload_is_tried_again(https: web.Files) -> None:
    https.failing = 3
    send(f"https://127.0.0.1:{https.port}/a.xlsx", b"content")
    assert https.files["/a.xlsx"] == b"content"
    https.failing = 5
    with pytest.raises(ServiceError, match=r"the server fails \(503\), 5 times"):
        send(f"https://127.0.0.1:{https.port}/a.xlsx", b"content")


def test_https_redirects_are_followed_but_not_into_the_open(https: web.Files) -> None:
    https.files["/real.xlsx"] = b"content"
    https.moved = {
        "/a.xlsx": "/real.xlsx",
        "/b.xlsx": "http://example.com/x",
        "/c.xlsx": "/c.xlsx",
        "/d.xlsx": f"http://127.0.0.1:{https.port}/real.xlsx",
    }
    base = f"https://127.0.0.1:{https.port}"
    assert fetch(f"{base}/a.xlsx") == b"content"
    with pytest.raises(InputError, match="redirects to an address that is not encrypted"):
        fetch(f"{base}/b.xlsx")
    with pytest.raises(InputError, match="redirects to an address that is not encrypted"):
        fetch(f"{base}/d.xlsx")
    with pytest.raises(InputError, match=r"refuses it \(302\)"):
        fetch(f"{base}/c.xlsx")


@pytest.mark.parametrize(
    "target", ["https://[::1", "https://a b/x", "https://h:port/", "https://x\x7f/"]
)
def test_a_redirect_to_what_is_no_url_is_refused(https: web.Files, target: str) -> None:
    https.moved = {"/a.xlsx": target}
    with pytest.raises(InputError) as caught:
        fetch(f"https://127.0.0.1:{https.port}/a.xlsx?signature=secret")
    assert str(caught.value).endswith("/a.xlsx: redirects to an address that is no URL")


@pytest.mark.parametrize(
    "target",
    [
        "https://127.0.0.1/x",
        "https://localhost:8443/x",
        "https://[::1]/x",
        "https://[::ffff:127.0.0.1]/x",
        "https://2130706433/x",
        "https://0.0.0.0/x",
        "https://169.254.169.254/latest/meta-data/",
        "http://169.254.169.254/latest/meta-data/",
        "http://127.0.0.1/x",
        "http://10.0.0.1/x",
        "ftp://10.0.0.1/x",
    ],
)
def test_a_server_elsewhere_does_not_lead_into_this_machine(target: str) -> None:
    uri = location.parse("https://files.example.com/a.xlsx")
    assert isinstance(uri, location.Uri)
    asked = storage_web._request(uri)
    with pytest.raises(InputError, match="redirects to an address"):
        storage_web._Redirects(uri).redirect_request(asked, None, 302, "Found", {}, target)


def test_a_download_that_is_too_large_is_refused(
    https: web.Files, aws: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = b"x" * (1 << 20)
    https.files["/a.xlsx"] = content
    send("s3://sheets/large.xlsx", content)
    monkeypatch.setattr(bounds, "MAX_SHEET_BYTES", (1 << 20) - 1)
    for uri in (f"https://127.0.0.1:{https.port}/a.xlsx", "s3://sheets/large.xlsx"):
        with pytest.raises(InputError, match=r"xlsx: is larger than 0 MiB"):
            fetch(uri)
    assert left_behind() == []


def test_a_download_without_end_or_length_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Endless(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "many")
            self.end_headers()
            with suppress(OSError):
                while True:
                    self.wfile.write(b"x" * (1 << 16))

        def log_message(self, *_: object) -> None:
            pass

    monkeypatch.setattr(bounds, "MAX_SHEET_BYTES", 4 << 20)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Endless)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with pytest.raises(InputError, match=r"a.xlsx: is larger than 4 MiB"):
            fetch(f"http://127.0.0.1:{server.server_address[1]}/a.xlsx")
    finally:
        server.shutdown()
        server.server_close()
    assert left_behind() == []


def test_https_refusals(https: web.Files, monkeypatch: pytest.MonkeyPatch) -> None:
    base = f"https://127.0.0.1:{https.port}"
    with pytest.raises(InputError, match=r"there is no such file \(404\)"):
        fetch(f"{base}/none.xlsx")
    with pytest.raises(InputError, match=r"can't be read: permission denied \(403\)"):
        fetch(f"{base}/none.xlsx?X-Signature=other")
    with pytest.raises(InputError, match=r"can't be written: permission denied \(403\)"):
        send(f"{base}/none.xlsx?X-Signature=other", b"x")
    with pytest.raises(ServiceError, match="does not answer"):
        fetch(f"https://127.0.0.1:{closed_port()}/a.xlsx")
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(ServiceError, match="certificate is not trusted"):
        fetch(f"{base}/none.xlsx")


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


# --- Google and Azure


def test_google_takes_what_a_service_account_signs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    key = rsa.generate_private_key(65537, 2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    (tmp_path / "key.json").write_text(web.service_account(pem.decode()))
    with web.serving(web.Google(key.public_key())) as google:
        monkeypatch.setenv("GOOGLE_BASE_URL", f"http://127.0.0.1:{google.port}")
        with pytest.raises(InputError, match="no credentials, none are set; set GOOGLE_APP"):
            fetch("gs://sheets/a.xlsx")
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
        with pytest.raises(InputError, match=r"none\.json"):
            fetch("gs://sheets/a.xlsx")
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "key.json"))
        check("gs://sheets/in/a b.xlsx")
        assert google.files == {}
        send("gs://sheets/in/a b.xlsx", b"content")
        assert google.files == {"/sheets/in/a b.xlsx": b"content"}
        assert fetch("gs://sheets/in/a b.xlsx") == b"content"
        with pytest.raises(InputError, match="there is no such object"):
            fetch("gs://sheets/none.xlsx")
        with pytest.raises(InputError, match="there is no bucket 'nobody'"):
            check("gs://nobody/a.xlsx")
        google.key = rsa.generate_private_key(65537, 2048).public_key()
        with pytest.raises(InputError, match=r"the credentials are refused \(401\)"):
            fetch("gs://sheets/in/a b.xlsx")


@pytest.mark.parametrize("how", ["key", "connection string"])
def test_azure_takes_what_the_account_key_signs(monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    key = "c2VjcmV0IGtleQ=="
    with pytest.raises(InputError, match="no storage account; set AZURE_STORAGE_ACCOUNT_NAME"):
        fetch("az://sheets/a.xlsx")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "acme")
    with pytest.raises(InputError, match="no credentials, none are set; set AZURE"):
        fetch("az://sheets/a.xlsx")
    with web.serving(web.Azure("acme", key)) as azure:
        endpoint = f"http://127.0.0.1:{azure.port}/acme"
        if how == "key":
            monkeypatch.setenv("AZURE_STORAGE_ENDPOINT", endpoint)
            monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", key)
        else:
            monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_NAME")
            text = f"DefaultEndpointsProtocol=http;AccountName=acme;AccountKey={key};"
            text += f"BlobEndpoint={endpoint};"
            monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", text)
        check("az://sheets/in/a b.xlsx")
        assert azure.files == {}
        send("az://sheets/in/a b.xlsx", b"content")
        assert azure.files == {"/acme/sheets/in/a b.xlsx": b"content"}
        assert fetch("az://sheets/in/a b.xlsx") == b"content"
        with pytest.raises(InputError, match="there is no such object"):
            fetch("az://sheets/none.xlsx")
        with pytest.raises(InputError, match="there is no container 'nobody'"):
            check("az://nobody/a.xlsx")
        assert isinstance(azure, web.Azure)
        azure.key = "b3RoZXI="
        with pytest.raises(InputError, match=r"permission denied|are refused"):
            fetch("az://sheets/in/a b.xlsx")


def test_same_content_has_one_hash_wherever_it_is(aws: S3Server, https: web.Files) -> None:
    content = os.urandom(100_000)
    https.files["/a.xlsx"] = content
    here = fetch(aws.put("a.xlsx", content))
    there = fetch(f"https://127.0.0.1:{https.port}/a.xlsx")
    assert hashlib.sha256(here).digest() == hashlib.sha256(there).digest()
