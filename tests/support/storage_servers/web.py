"""Small servers of the tests' own: signed https URLs, and the requests that Google's and Azure's
storage get for small objects, with their credentials checked as theirs do."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey


class Files(ThreadingHTTPServer):
    """Keeps files by path; a request with a query must be signed as the tests' URLs are."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []  #: Method and path of each request.
        self.moved: dict[str, str] = {}  #: Path to where it redirects.
        self.failing = 0  #: So many requests are answered with 503.
        self.cut = 0  #: So many answers end half way.
        self.content_type: str | None = None
        self.any_query = False

    @property
    def port(self) -> int:
        return self.server_address[1]

    def refusal(self, request: _Handler) -> int:
        """Return the status that refuses the request, 0 if it may be done."""
        query = urlsplit(request.path).query
        return 0 if not query or self.any_query or query == "X-Signature=s%2Bcret" else 403

    def missing(self, path: str) -> str:
        """Return the code of what is missing, if there is no file at ``path``."""
        return "NoSuchFile"


class Google(Files):
    """Takes requests signed by a service account: a JWT that its key has signed."""

    def __init__(self, key: RSAPublicKey) -> None:
        super().__init__()
        self.key = key

    def refusal(self, request: _Handler) -> int:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        signed, _, signature = token.rpartition(".")
        try:
            raw = base64.urlsafe_b64decode(signature + "==")
            self.key.verify(raw, signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        except (InvalidSignature, ValueError):
            return 401
        return 0 if scheme == "Bearer" else 401

    def missing(self, path: str) -> str:
        return "NoSuchKey" if path.startswith("/sheets/") else "NoSuchBucket"


class Azure(Files):
    """Takes requests signed with the account's key, as Azure's Shared Key says."""

    def __init__(self, account: str, key: str) -> None:
        super().__init__()
        self.account, self.key = account, key

    def refusal(self, request: _Handler) -> int:
        headers = request.headers
        ours = sorted((n.lower(), v) for n, v in headers.items() if n.lower().startswith("x-ms-"))
        length = headers.get("Content-Length", "")
        parts = [
            request.command,
            headers.get("Content-Encoding", ""),
            headers.get("Content-Language", ""),
            "" if length == "0" else length,
            headers.get("Content-MD5", ""),
            headers.get("Content-Type", ""),
            headers.get("Date", ""),
            headers.get("If-Modified-Since", ""),
            headers.get("If-Match", ""),
            headers.get("If-None-Match", ""),
            headers.get("If-Unmodified-Since", ""),
            headers.get("Range", ""),
            *(f"{name}:{value}" for name, value in ours),
            f"/{self.account}{urlsplit(request.path).path}",
        ]
        mac = hmac.new(base64.b64decode(self.key), "\n".join(parts).encode(), hashlib.sha256)
        signature = base64.b64encode(mac.digest()).decode()
        wanted = f"SharedKey {self.account}:{signature}"
        return 0 if headers.get("Authorization") == wanted else 403

    def missing(self, path: str) -> str:
        known = path.startswith(f"/{self.account}/sheets/")
        return "BlobNotFound" if known else "ContainerNotFound"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Files

    def do_GET(self) -> None:
        self._count()
        path = unquote(urlsplit(self.path).path)
        if path in self.server.moved:
            self._say(302, location=self.server.moved[path])
        elif self._may():
            content = self.server.files.get(path)
            if content is None:
                self._say(404, _xml(self.server.missing(path)))
            elif self.server.cut:
                self.server.cut -= 1
                self._say(200, content, upto=len(content) // 2)
            else:
                self._say(200, content)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.do_GET()

    def do_PUT(self) -> None:
        self._count()
        path = unquote(urlsplit(self.path).path)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if not self._may():
            return
        code = self.server.missing(path)
        if code in ("NoSuchBucket", "ContainerNotFound"):
            self._say(404, _xml(code))
        elif "If-Match" in self.headers or "x-goog-if-generation-match" in self.headers:
            self._say(412, _xml("ConditionNotMet"))
        else:
            self.server.files[path] = body
            self.server.content_type = self.headers.get("Content-Type")
            self._say(201)

    def _count(self) -> None:
        self.server.asked.append(f"{self.command} {self.path}")

    def _may(self) -> bool:
        if self.server.failing:
            self.server.failing -= 1
            self._say(503)
            return False
        refusal = self.server.refusal(self)
        if refusal:
            self._say(refusal)
        return not refusal

    def _say(
        self, status: int, body: bytes = b"", *, upto: int | None = None, location: str = ""
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", f'"{hashlib.md5(body).hexdigest()}"')
        self.send_header("Last-Modified", self.date_time_string())
        self.send_header("x-goog-generation", "7")
        if location:
            self.send_header("Location", location)
        self.end_headers()
        self.wfile.write(body[:upto])
        if upto is not None:
            self.close_connection = True

    def log_message(self, *args: object) -> None:
        """Say nothing."""


def _xml(code: str) -> bytes:
    return f"<Error><Code>{code}</Code></Error>".encode()


@contextmanager
def serving(server: Files, context: ssl.SSLContext | None = None) -> Iterator[Files]:
    """Serve until the block ends; with ``context`` over TLS."""
    if context:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    thread.join(10)
    server.server_close()


def service_account(key_pem: str) -> str:
    """Return a service account's key file."""
    return json.dumps(
        {
            "type": "service_account",
            "private_key": key_pem,
            "private_key_id": "1",
            "client_email": "submitter@project.iam.gserviceaccount.com",
        }
    )
