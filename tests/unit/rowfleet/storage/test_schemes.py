"""A scheme of addresses is one line in `SCHEMES`, and every part of the program knows it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rowfleet.errors import InputError
from rowfleet.storage import location, schemes, transfer
from rowfleet.storage.schemes import SCHEMES, Scheme
from rowfleet.storage.uri import Uri, in_store
from submitter.cluster import sheet_location


class Shelf:
    """A client as the module of a scheme is one; keeps its objects in memory."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}

    def read(self, uri: Uri) -> Iterator[bytes]:
        if uri.key not in self.objects:
            raise InputError(f"{uri}: there is no such object")
        yield self.objects[uri.key]

    def write(self, uri: Uri, path: Path) -> None:
        self.objects[uri.key] = path.read_bytes()

    def check_target(self, uri: Uri) -> None:
        if uri.place == "full":
            raise InputError(f"{uri}: can't be written: the shelf is full")

    def is_there(self, uri: Uri) -> bool:
        return uri.key in self.objects


@pytest.fixture
def shelf(monkeypatch: pytest.MonkeyPatch) -> Shelf:
    client = Shelf()
    monkeypatch.setitem(SCHEMES, "shelf", Scheme("shelf", "board", in_store, lambda: client))
    return client


def test_a_new_scheme_is_read_written_and_checked(shelf: Shelf) -> None:
    address = location.parse("shelf://top/in/a.xlsx")
    assert isinstance(address, Uri)
    assert not transfer.is_there(address)
    with transfer.uploaded(address) as path:
        path.write_bytes(b"rows")
    assert shelf.objects == {"in/a.xlsx": b"rows"}
    with transfer.downloaded(address) as path:
        assert path.read_bytes() == b"rows"
    assert transfer.is_there(address)
    transfer.check_target(address)
    full = location.parse("shelf://full/a.xlsx")
    assert isinstance(full, Uri)
    with pytest.raises(InputError, match="the shelf is full"):
        transfer.check_target(full)


@pytest.mark.usefixtures("shelf")
def test_a_new_scheme_is_known_to_jobs_and_to_the_sentences_that_list_schemes() -> None:
    assert sheet_location.locate("--excel", "shelf://top/a.xlsx").argument == "shelf://top/a.xlsx"
    with pytest.raises(InputError, match=r"^shelf://: names no board; write shelf://BOARD/KEY$"):
        location.parse("shelf://")
    with pytest.raises(InputError, match=r"with s3://, gs://, .* or shelf://$"):
        location.parse("ftp://host/a.xlsx")
    with pytest.raises(InputError, match=r"pvc://, s3://, gs://, .*, shelf://$"):
        sheet_location.locate("--excel", "ftp://host/a.xlsx")
    with pytest.raises(InputError, match=r"object storage \(s3://, gs://, .*, shelf://\)"):
        sheet_location.locate("--excel", "a.xlsx")


def test_a_scheme_of_this_machine_alone_is_neither_listed_nor_given_to_a_job() -> None:
    assert isinstance(location.parse("http://127.0.0.1/a.xlsx"), Uri)
    assert "http" not in schemes.remote()
    with pytest.raises(InputError, match="is none of"):
        sheet_location.locate("--excel", "http://127.0.0.1/a.xlsx")


@pytest.mark.parametrize("name", SCHEMES)
def test_a_scheme_s_client_can_do_all_that_a_transfer_asks_of_it(name: str) -> None:
    client = SCHEMES[name].client()
    assert SCHEMES[name].name == name
    assert all(
        callable(getattr(client, each)) for each in ("read", "write", "check_target", "is_there")
    )
