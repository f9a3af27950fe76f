"""Servers for the tests of object storage; no test meets a cloud of the machine's owner."""

from __future__ import annotations

import os
import ssl
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from rowfleet.storage import transfer
from rowfleet.storage import web as storage_web
from tests.support.storage_servers import s3, web
from tests.support.storage_servers.s3 import S3Server
from tests.support.transfers import closed_port, set_all


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
