"""A redirect takes the row and the key nowhere else."""

from __future__ import annotations

from contextlib import nullcontext

import httpx2
import pytest

from rowfleet.analysis import Misconfigured
from rowfleet.openai_api.redirects import stay


@pytest.mark.parametrize(
    ("first", "then", "is_followed"),
    [
        ("http://a/v1", "http://a:80/v2", True),
        ("http://a/v1", "https://a/v1", True),
        ("https://a/v1", "https://A:443/v1", True),
        ("https://a/v1", "http://a/v1", False),
        ("https://a/v1", "https://a:444/v1", False),
        ("http://a:81/v1", "https://a/v1", False),
        ("http://a/v1", "https://b/v1", False),
        ("http://a/v1", "https://a.b/v1", False),
        ("https://a/v1", "http://169.254.169.254/latest", False),
        ("https://a/v1", "ftp://a/v1", False),
        ("https://a/v1", "file:///etc/passwd", False),
    ],
)
def test_a_redirect_is_followed_where_the_api_is(first: str, then: str, is_followed: bool) -> None:
    seen: list[str] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        seen.append(str(request.url))
        headers = {"Location": then} if len(seen) == 1 else {}
        return httpx2.Response(307 if headers else 200, headers=headers)

    client = httpx2.Client(
        transport=httpx2.MockTransport(answer),
        event_hooks={"request": [stay]},
        follow_redirects=True,
    )
    with nullcontext() if is_followed else pytest.raises(Misconfigured, match="another server"):
        client.post(first, content=b"row", headers={"api-key": "x"})
    assert len(seen) == 1 + is_followed
