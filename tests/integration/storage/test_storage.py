"""Object storage: whole jobs read sheets there and write them there, in bounded memory."""

from __future__ import annotations

import hashlib
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from rowfleet.errors import InputError
from rowfleet.ledger.engine import open_ledger
from rowfleet.ledger.queries import batch_records
from rowfleet.storage import location, transfer
from tests.support.sheets import invoices, results
from tests.support.storage_servers import web
from tests.support.storage_servers.s3 import BUCKET, S3Server
from tests.support.transfers import fetch, left_behind

Run = Callable[..., subprocess.CompletedProcess[str]]


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

    # What it wrote is written over, and what another program put there is not.
    assert rowfleet("export", record.id, f"s3://{BUCKET}/out/later.xlsx").returncode == 0
    aws.put("out/later.xlsx", b"theirs")
    refused = rowfleet("export", record.id, f"s3://{BUCKET}/out/later.xlsx")
    assert refused.returncode == 2
    assert "there is a file that batch" in refused.stderr
    assert aws.get("out/later.xlsx") == b"theirs"


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


#: Copies an object and prints its peak memory in KiB. On Linux, `ru_maxrss` has the parent's in it.
COPY = """
import resource, shutil, sys
from pathlib import Path
from rowfleet.storage import location, transfer

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


def test_same_content_has_one_hash_wherever_it_is(aws: S3Server, https: web.Files) -> None:
    content = os.urandom(100_000)
    https.files["/a.xlsx"] = content
    here = fetch(aws.put("a.xlsx", content))
    there = fetch(f"https://127.0.0.1:{https.port}/a.xlsx")
    assert hashlib.sha256(here).digest() == hashlib.sha256(there).digest()
