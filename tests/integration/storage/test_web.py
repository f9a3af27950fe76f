"""Sheets at https addresses, from a server with a certificate of the tests' own."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from rowfleet.errors import InputError, ServiceError
from rowfleet.storage import bounds, location
from rowfleet.storage import web as storage_web
from tests.support.storage_servers import web
from tests.support.storage_servers.s3 import S3Server
from tests.support.transfers import closed_port, fetch, left_behind, send


def test_https_file_is_read_and_written(https: web.Files) -> None:
    content = os.urandom(3 << 20)
    uri = f"https://localhost:{https.port}/some%20folder/a+b.xlsx?X-Signature=s%2Bcret"
    send(uri, content)
    assert https.files == {"/some folder/a+b.xlsx": content}
    assert https.content_type == bounds.XLSX
    assert fetch(uri) == content
    assert left_behind() == []


@pytest.mark.parametrize(
    ("name", "media_type"), [("a.xlsm", bounds.XLSM), ("a.csv", "text/csv; charset=utf-8")]
)
def test_https_upload_says_what_kind_of_file_it_is(
    https: web.Files, name: str, media_type: str
) -> None:
    send(f"https://localhost:{https.port}/{name}", b"content")
    assert https.content_type == media_type


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
