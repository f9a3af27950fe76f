"""The API's endpoint, as one event loop asks it.

The SDK says where it is and what every request to it has: base URL, key, organization, project,
headers of one's own. The requests themselves go over aiohttp, which takes a ninth of the CPU of
the SDK's methods and its HTTP client. What aiohttp does not do like them goes over them: proxies,
redirects, and base URLs with a user.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import AsyncIterable, Mapping
from dataclasses import dataclass
from urllib.request import getproxies

import aiohttp
import httpx2
import openai
from aiohttp.http_exceptions import HttpProcessingError

from rowfleet.analysis import Misconfigured
from rowfleet.masking import keep_secret
from rowfleet.openai_api.redirects import refused, stay_async
from rowfleet.received import MAX_REPLY

#: Seconds to wait for a connection; after that the endpoint counts as unreachable.
CONNECT_TIMEOUT = 10.0

#: Seconds for which an unused connection is kept, as by the SDK: servers of the usual kind
#: close theirs from five seconds on, and a request on its way then is lost.
KEEP_ALIVE = 5.0

#: Bytes of a header's line, at most. aiohttp's own 8 kB are less than gateways send.
HEADER_LINE = 64 << 10

#: What `getproxies` calls the proxies that a request to the API could take.
PROXIES = ("http", "https", "all")

#: Headers whose values are secrets: Authorization, Azure's api-key, those of gateways.
_SECRET_HEADER = re.compile("auth|key|token|secret|cookie", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, whatever its status. ``headers`` are found in any case."""

    status: int
    headers: Mapping[str, str]
    content: bytes


class Unreachable(Exception):
    """No answer came, or not all of one: its sentence is the first cause's."""

    def __init__(self, sentence: str, *, was_sent: bool = True) -> None:
        """``was_sent`` tells whether the API may have got the request, and answer it at a price."""
        super().__init__(sentence)
        self.was_sent = was_sent


#: Errors of the clients before or while they connect: nothing of the request has been sent.
_NOT_SENT = (
    aiohttp.ClientConnectorError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.InvalidURL,
    httpx2.ConnectError,
    httpx2.ConnectTimeout,
    httpx2.PoolTimeout,
    httpx2.ProxyError,
    httpx2.UnsupportedProtocol,
)


class Endpoint:
    """Sends requests. For one event loop; connects on first use."""

    def __init__(self, api_key: str, base_url: str | None) -> None:
        """``base_url`` of None is OpenAI's own, or what the SDK's variables say.

        Raises Misconfigured for what no request could be sent with.
        """
        try:
            self._tls = httpx2.create_ssl_context()
            self._sdk = openai.AsyncOpenAI(
                api_key=api_key,
                base_url=base_url,
                max_retries=0,  # retries are the row's, in the ledger
                http_client=openai.DefaultAsyncHttpxClient(
                    verify=self._tls,
                    limits=httpx2.Limits(max_connections=None, max_keepalive_connections=None),
                    event_hooks={"request": [stay_async], "response": [_read]},
                ),
            )
        except (FileNotFoundError, IsADirectoryError, PermissionError, ssl.SSLError) as error:
            raise Misconfigured(
                "the certificates that SSL_CERT_FILE or SSL_CERT_DIR names can't be read",
                said=error,
            ) from None
        except (ImportError, ValueError, httpx2.InvalidURL, openai.OpenAIError) as error:
            raise Misconfigured(
                "the API can't be asked as the environment says", said=error
            ) from None
        self._headers = _headers(self._sdk)
        for name, value in self._headers.items():
            if _SECRET_HEADER.search(name):
                keep_secret(value, value.partition(" ")[2])  # of `Bearer KEY`
        # The SDK ends a path with a slash, and leaves a URL without a path as it is.
        self._base = str(self._sdk.base_url).removesuffix("/") + "/"
        is_plain = not self._sdk.base_url.userinfo
        self._is_direct = is_plain and not any(map(getproxies().get, PROXIES))
        self._session: aiohttp.ClientSession | None = None

    async def post(self, path: str, body: bytes, seconds: float) -> Reply:
        """Send JSON to ``path`` below the base URL and return the answer.

        ``seconds`` is how long the caller waits at most. Raises TimeoutError and Unreachable, and
        Misconfigured for a base URL that no request can be sent to, or that redirects elsewhere.
        """
        if not self._is_direct:
            return await self._by_sdk(path, body, seconds)
        try:
            async with self._started().post(
                f"{self._base}{path}", data=body, allow_redirects=False
            ) as response:
                reply = Reply(
                    response.status, response.headers, await _bounded(response.content.iter_any())
                )
        except aiohttp.InvalidURL as error:
            raise Misconfigured(
                "OPENAI_BASE_URL is no URL that can be asked", said=_first_cause(error)
            ) from None
        except aiohttp.ConnectionTimeoutError as error:
            raise Unreachable(_first_cause(error), was_sent=False) from None
        except TimeoutError:
            raise
        except (aiohttp.ClientError, ValueError, OSError) as error:
            raise Unreachable(_first_cause(error), was_sent=_may_be_sent(error)) from None
        if 300 <= reply.status < 400 and "location" in reply.headers:
            return await self._by_sdk(path, body, seconds)
        return reply

    async def close(self) -> None:
        """Close all connections."""
        await self._sdk.close()
        if self._session is not None:
            await self._session.close()

    def _started(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=0, keepalive_timeout=KEEP_ALIVE, ssl=self._tls
                ),
                headers=self._headers,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT),
                cookie_jar=aiohttp.DummyCookieJar(),
                max_line_size=HEADER_LINE,
                max_field_size=HEADER_LINE,
            )
        return self._session

    async def _by_sdk(self, path: str, body: bytes, seconds: float) -> Reply:
        timeout = httpx2.Timeout(seconds, connect=CONNECT_TIMEOUT)
        try:
            response = await self._sdk.post(
                path, cast_to=httpx2.Response, content=body, options={"timeout": timeout}
            )
        except openai.APIStatusError as error:
            response = error.response
        except openai.APITimeoutError as error:
            if not _may_be_sent(error):
                raise Unreachable(_first_cause(error), was_sent=False) from None
            raise TimeoutError from None
        except (openai.APIConnectionError, httpx2.HTTPError, ValueError) as error:
            if redirect := refused(error):
                raise redirect from None
            raise Unreachable(_first_cause(error), was_sent=_may_be_sent(error)) from None
        return Reply(response.status_code, response.headers, response.content)


async def _bounded(pieces: AsyncIterable[bytes]) -> bytes:
    """Return a reply's bytes. Raises Unreachable for more than MAX_REPLY, decompressed."""
    parts = []
    size = 0
    async for piece in pieces:
        size += len(piece)
        if size > MAX_REPLY:
            raise Unreachable(f"the reply is larger than {MAX_REPLY >> 20} MiB")
        parts.append(piece)
    return b"".join(parts)


async def _read(response: httpx2.Response) -> None:
    """Read a reply of the SDK's client, a redirect's too, within the bound.

    The client has no bound of its own, and takes content that is there as read.
    """
    response._content = await _bounded(response.aiter_bytes())


def _headers(sdk: openai.AsyncOpenAI) -> dict[str, str]:
    """Return what the SDK sends with each request. Raises Misconfigured if that can't be sent."""
    every: dict[str, tuple[str, object]] = {}
    for name, value in (*sdk.auth_headers.items(), *sdk.default_headers.items()):
        every[name.lower()] = name, value  # one of one's own may be written another way
    headers = {name: value for name, value in every.values() if isinstance(value, str)}
    for name, value in headers.items():
        if not (value.isascii() and value.isprintable() and value == value.strip()):
            whose = "OPENAI_API_KEY" if name == "Authorization" else f"what is sent as {name}"
            raise Misconfigured(
                f"{whose} has a character that can't be sent: a line break, a space at an end, or "
                "one beyond ASCII"
            )
    return headers


def _may_be_sent(error: BaseException | None) -> bool:
    """Tell whether a request may have gone out before ``error``."""
    while error is not None:
        if isinstance(error, _NOT_SENT):
            return False
        error = error.__cause__
    return True


def _first_cause(error: BaseException) -> str:
    """Return the first cause; HTTP clients and the SDK give that names of their own."""
    while error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, (aiohttp.ClientResponseError, HttpProcessingError)):
        return error.message  # their text begins with a status that no server sent
    return str(error) or type(error).__name__
