"""Reads from and writes to object storage, as the program does both."""

from __future__ import annotations

import os
import socket

import pytest

from rowfleet.storage import location, transfer


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
