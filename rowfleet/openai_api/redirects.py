"""Redirects of the API, which are followed to where it is and nowhere else.

A redirected request has the row in it, and every header but Authorization: Azure's api-key, a
gateway's token. HTTP clients send all of that wherever an answer points to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rowfleet.analysis import Misconfigured

if TYPE_CHECKING:
    import httpx2

#: Name that a request, and those that come of it by redirects, keep the first one's origin under.
_ORIGIN = "rowfleet_origin"

#: The one step to another origin that adds a protection and keeps the host.
_PLAIN, _ENCRYPTED = ("http", 80), ("https", 443)


def stay(request: httpx2.Request) -> None:
    """Let a request of an HTTP client go out if it goes where the first one went.

    A hook of its requests. The origin is scheme, host and port; from http to https of one host,
    at their own ports, is allowed. Raises Misconfigured for any other redirect.
    """
    here = request.url.origin
    first = request.extensions.setdefault(_ORIGIN, here)
    is_upgrade = first.host == here.host and (
        (first.scheme, first.port) == _PLAIN and (here.scheme, here.port) == _ENCRYPTED
    )
    if here != first and not is_upgrade:
        raise Misconfigured(
            "the API redirects to another server, which gets neither the rows nor the key; "
            "if it is the right one, OPENAI_BASE_URL must name it",
            said=f"{here.scheme}://{here.host}:{here.port}",
        )


async def stay_async(request: httpx2.Request) -> None:
    """Do what `stay` does, for an asynchronous client."""
    stay(request)


def refused(error: BaseException | None) -> Misconfigured | None:
    """Return what `stay` raised, if an error of the SDK came of it."""
    while error is not None:
        if isinstance(error, Misconfigured):
            return error
        error = error.__cause__
    return None
