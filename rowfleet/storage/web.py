"""Files behind https URLs, presigned ones above all: read with GET, written with PUT.

The standard library does it; obstore's store for HTTP drops the query, which is the signature.
A proxy is taken from HTTPS_PROXY, other certificates from SSL_CERT_FILE. No text of an error that
may hold the URL is passed on.
"""

from __future__ import annotations

import base64
import http.client
import ipaddress
import socket
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NoReturn
from urllib.parse import quote, unquote, urlsplit

from rowfleet.errors import InputError, ServiceError
from rowfleet.storage.bounds import CHUNK_BYTES, WAITS, Broken, check_size, content_type
from rowfleet.storage.uri import Uri, is_loopback

#: Seconds of silence after which a connection is given up.
TIMEOUT = 30


def read(uri: Uri) -> Iterator[bytes]:
    """Yield the file's bytes; Broken if they stopped coming, another error if there are none."""
    with _open(uri, _request(uri), "read") as answer:
        length = _length(answer.headers["Content-Length"])
        check_size(uri, length)
        got = 0
        while True:
            try:
                chunk = answer.read(CHUNK_BYTES)
            except (OSError, http.client.HTTPException):
                raise Broken("the download broke off") from None
            if not chunk:
                break
            got += len(chunk)
            yield chunk
    if length is not None and got != length:
        raise Broken(f"the download ended after {got:,} of {length:,} bytes")


def _length(header: str | None) -> int | None:
    """Return the length that a header says, None if it says none that can be."""
    said = (header or "").strip()
    return int(said) if said.isascii() and said.isdigit() and len(said) < 20 else None


def write(uri: Uri, path: Path) -> None:
    """Upload the file in one PUT of known length; a server keeps all of it or nothing."""
    headers = {"Content-Type": content_type(path), "Content-Length": str(path.stat().st_size)}
    if "sig=" in urlsplit(uri.url).query:  # Azure's signature, and what Azure asks for with it
        headers["x-ms-blob-type"] = "BlockBlob"
    for wait in (*WAITS, None):
        try:
            with path.open("rb") as file, _open(uri, _request(uri, headers, file), "written"):
                return
        except Broken as error:
            if wait is None:
                raise ServiceError(f"{uri}: {error}, {len(WAITS) + 1} times") from None
            time.sleep(wait)


def check_target(uri: Uri) -> None:
    """Do nothing: whether a PUT is allowed, only a PUT can tell."""


def is_there(uri: Uri) -> bool:
    """Return False: a URL that is signed for a PUT allows no look."""
    return False


def _request(
    uri: Uri, headers: dict[str, str] | None = None, body: IO[bytes] | None = None
) -> urllib.request.Request:
    parts = urlsplit(uri.url)
    url = parts._replace(
        netloc=parts.netloc.rpartition("@")[2],
        path=quote(parts.path, safe="/%:=&~+!$,;'@()*"),
        query=quote(parts.query, safe="/%:=&~+!$,;'@()*?"),
        fragment="",
    ).geturl()
    method = "GET" if body is None else "PUT"
    request = urllib.request.Request(  # noqa: S310 (http and https alone pass `parse`)
        url, body, headers or {}, method=method
    )
    if parts.username is not None:
        user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        coded = base64.b64encode(user.encode()).decode()
        request.add_unredirected_header("Authorization", f"Basic {coded}")
    return request


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows a GET's redirects to encrypted addresses.

    The owner of the first server chooses where the second request goes, and this machine may reach
    what that server can't: a cloud's metadata service, or a program on the machine itself. So https
    leads to https only, and not to an address that means this machine or its own link.
    """

    def __init__(self, uri: Uri) -> None:
        self._uri = uri

    def http_error_302(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
    ) -> Any:
        try:
            return super().http_error_302(req, fp, code, msg, headers)
        except (ValueError, http.client.InvalidURL):  # it quotes the address, which may be secret
            raise InputError(f"{self._uri}: redirects to an address that is no URL") from None

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302

    def redirect_request(self, req: urllib.request.Request, *args: Any) -> Any:
        target = urlsplit(args[-1])
        here = is_loopback(urlsplit(self._uri.url).hostname or "")
        to_here = is_loopback(target.hostname or "")
        if target.scheme != "https" and not (self._uri.scheme == "http" and here and to_here):
            raise InputError(f"{self._uri}: redirects to an address that is not encrypted")
        if not here and _is_local(target.hostname or ""):
            raise InputError(f"{self._uri}: redirects to an address of this machine or its link")
        return super().redirect_request(req, *args)


def _is_local(host: str) -> bool:
    """Tell whether ``host`` is, or has, a loopback, link-local or unspecified address."""
    try:
        found = {str(entry[4][0]) for entry in socket.getaddrinfo(host, None)}
    except (OSError, UnicodeError):  # the request will say so
        return False
    for text in found:
        address = ipaddress.ip_address(text.partition("%")[0])
        mapped = getattr(address, "ipv4_mapped", None) or address
        if mapped.is_loopback or mapped.is_link_local or mapped.is_unspecified:
            return True
    return False


def _open(uri: Uri, request: urllib.request.Request, done: str) -> Any:
    opener = urllib.request.build_opener(_Redirects(uri))
    try:
        return opener.open(request, timeout=TIMEOUT)
    except (http.client.InvalidURL, UnicodeError):
        raise InputError(f"{uri}: is not a URL; write https://HOST/PATH") from None
    except urllib.error.HTTPError as error:
        error.close()
        _refuse(uri, error.code, done)
    except urllib.error.URLError as error:
        if isinstance(error.reason, ssl.SSLCertVerificationError):
            raise ServiceError(
                f"{uri}: the server's certificate is not trusted "
                f"({error.reason.verify_message}); set SSL_CERT_FILE to that of who signed it"
            ) from None
        reason = getattr(error.reason, "strerror", None) or "no answer"
        raise Broken(f"can't be {done}: the server does not answer ({reason})") from None
    except TimeoutError:
        raise Broken(f"can't be {done}: the server does not answer") from None
    except (OSError, http.client.HTTPException):
        raise Broken(f"can't be {done}: the connection broke off") from None


def _refuse(uri: Uri, status: int, done: str) -> NoReturn:
    if status in (401, 403):
        raise InputError(
            f"{uri}: can't be {done}: permission denied ({status}); a signed URL may have expired"
        )
    if status in (404, 410):
        raise InputError(f"{uri}: there is no such file ({status})")
    if status in (408, 429) or status >= 500:
        raise Broken(f"can't be {done}: the server fails ({status})")
    raise InputError(f"{uri}: can't be {done}: the server refuses it ({status})")
