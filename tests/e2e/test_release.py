"""What `helm install` brings up, and what `helm upgrade` and `helm test` do to it."""

from __future__ import annotations

import base64
import re
from typing import Any

from tests.e2e.cluster import Cluster
from tests.e2e.conftest import CHART, RELEASE

FLOWER = "http://127.0.0.1:5555"


def test_helm_test_passes(release: Cluster) -> None:
    said = release.helm("test", RELEASE, "--timeout", "180s")
    assert re.findall(r"Phase:\s+(\w+)", said) == ["Succeeded"] * 3


def test_flower_asks_for_its_password_and_has_its_assets_under_the_prefix(
    release: Cluster,
) -> None:
    account = _secret(release, "rowfleet-flower", "FLOWER_BASIC_AUTH")
    assert _status(release, "/flower/") == 401
    assert _status(release, "/flower/", "rowfleet:wrong") == 401
    for closed in ("/flower/tasks", "/flower/broker", "/flower/api/workers", "/flower/metrics"):
        assert _status(release, closed) == 401, closed
    page = _page(release, "/flower/", account)
    assets = set(re.findall(r'(?:src|href)="([^"]+\.(?:js|css|ico))[^"]*"', page))
    assert assets
    assert all(ref.startswith("/flower/") for ref in assets)
    assert {_status(release, ref, account) for ref in assets} == {200}
    assert _status(release, "/flower", account) == 200  # by a redirect to /flower/


def test_an_upgrade_keeps_the_passwords(release: Cluster, values: dict[str, Any]) -> None:
    names = ("rowfleet-redis", "rowfleet-postgresql", "rowfleet-flower")
    before = {name: release.get("secret", name)["data"] for name in names}
    release.helm("upgrade", RELEASE, CHART, "--timeout", "300s", values=values)
    assert {name: release.get("secret", name)["data"] for name in names} == before


def _secret(cluster: Cluster, name: str, key: str) -> str:
    return base64.b64decode(cluster.get("secret", name)["data"][key]).decode()


def _status(cluster: Cluster, path: str, account: str = "") -> int:
    return int(_ask(cluster, path, account, "print(answer.status)"))


def _page(cluster: Cluster, path: str, account: str) -> str:
    return _ask(cluster, path, account, "print(answer.read().decode())")


def _ask(cluster: Cluster, path: str, account: str, show: str) -> str:
    script = (
        "import base64, sys, urllib.error as e, urllib.request as u\n"
        "account = sys.stdin.read()\n"
        "known = {'Authorization': 'Basic ' + base64.b64encode(account.encode()).decode()}\n"
        f"request = u.Request('{FLOWER}{path}', headers=known if account else {{}})\n"
        "try: answer = u.urlopen(request)\n"
        "except e.HTTPError as error: answer = error\n"
        f"{show}"
    )
    return cluster.kubectl(
        *("exec", "-i", "deployment/rowfleet-flower", "--", "python", "-c", script),
        data=account.encode(),
    )
