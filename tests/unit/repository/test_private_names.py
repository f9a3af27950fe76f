"""The private names of kombu and Celery that a worker stands on are those of the decision's page.

A library that renames one fails here, with the name, before it fails in a worker.
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest
from celery.events.dispatcher import EventDispatcher
from kombu.transport import redis, virtual

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "decisions" / "0029-private-parts-of-kombu-and-celery.md"
CLASSES = {
    "Channel": redis.Channel,
    "Connection": redis.Transport,  # a channel's `connection` is its transport
    "EventDispatcher": EventDispatcher,
    "Message": virtual.Message,
    "QoS": redis.QoS,
}
#: The modules of the worker that reach into the libraries.
MODULES = ("consumer", "heartbeat", "outbox", "transport")


def private_names_of(owner: type) -> set[str]:
    """Return the private names in the source of a class and of its bases."""
    sources = (inspect.getsource(base) for base in owner.__mro__ if base is not object)
    return {name for source in sources for name in re.findall(r"\b_[a-z]\w+", source)}


def names_on_the_page() -> dict[str, str]:
    """Return each name of the page's table → the class that it belongs to."""
    found, owner = {}, ""
    for named in re.findall(r"`(\w+\.)?(_[a-z]\w+)`", PAGE.read_text("utf-8")):
        owner = named[0].removesuffix(".") or owner
        found[named[1]] = owner
    return found


@pytest.mark.parametrize(("name", "owner"), sorted(names_on_the_page().items()))
def test_the_library_has_the_name(name: str, owner: str) -> None:
    assert name in private_names_of(CLASSES[owner])


def test_the_page_has_every_private_name_that_a_worker_uses() -> None:
    theirs = set().union(*map(private_names_of, CLASSES.values()))
    files = [f for f in (ROOT / "worker").rglob("*.py") if f.stem in MODULES]
    assert {file.stem for file in files} == set(MODULES)
    used = {
        name
        for file in files
        for name in re.findall(r"(?:\.|def )(_[a-z]\w+)", file.read_text("utf-8"))
    }
    assert used & theirs == set(names_on_the_page())
