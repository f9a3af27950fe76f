"""No file outside of the root is opened, whatever links are in it and whenever they change."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rowfleet.documents.places.folders import UnreachableError, fetched, matching, open_folder
from rowfleet.documents.places.local_folder import LocalFolder
from rowfleet.documents.places.root import Root
from rowfleet.documents.unread import Unread, UnreadableError


@pytest.fixture
def invoices(tmp_path: Path) -> Path:
    folder = tmp_path / "invoices"
    (folder / "acme").mkdir(parents=True)
    (folder / "acme" / "1.pdf").write_bytes(b"one")
    (tmp_path / "secret.pdf").write_bytes(b"secret")
    return folder


@pytest.fixture
def folder(invoices: Path) -> LocalFolder:
    return LocalFolder(Root(str(invoices)))


def content(folder: LocalFolder, place: str) -> bytes:
    return b"".join(folder.chunks(place))


def reason(folder: LocalFolder, place: str) -> Unread:
    with pytest.raises(UnreadableError) as caught:
        content(folder, place)
    return caught.value.reason


def test_a_file_is_looked_at_and_fetched(folder: LocalFolder, invoices: Path) -> None:
    seen = folder.look("acme/1.pdf")
    assert seen is not None
    assert seen.size == 3
    with fetched(folder, "acme/1.pdf") as file:
        assert file.read() == b"one"
        assert file.fileno() > 2
    (invoices / "acme" / "1.pdf").write_bytes(b"other")
    again = folder.look("acme/1.pdf")
    assert again is not None
    assert again.version != seen.version
    assert folder.look("acme/2.pdf") is None
    assert folder.look("acme/1.pdf/x") is None
    assert reason(folder, "acme/2.pdf") == Unread.MISSING


def test_links_may_lead_to_places_below_the_root(folder: LocalFolder, invoices: Path) -> None:
    (invoices / "latest.pdf").symlink_to("acme/1.pdf")
    (invoices / "ours").symlink_to(invoices / "acme")
    assert content(folder, "latest.pdf") == b"one"
    assert content(folder, "ours/1.pdf") == b"one"


def test_links_out_of_the_root_are_refused(
    folder: LocalFolder, invoices: Path, tmp_path: Path
) -> None:
    (invoices / "a.pdf").symlink_to(tmp_path / "secret.pdf")
    (invoices / "up").symlink_to("..")
    (invoices / "loop.pdf").symlink_to("loop.pdf")
    for place in ("a.pdf", "up/secret.pdf", "../secret.pdf"):
        assert reason(folder, place) == Unread.OUTSIDE_ROOT
        with pytest.raises(UnreadableError):
            folder.look(place)
    assert reason(folder, "loop.pdf") in (Unread.OUTSIDE_ROOT, Unread.MISSING)


@pytest.mark.parametrize("what", ["file", "folder"])
def test_a_link_that_appears_after_the_look_is_not_followed(
    folder: LocalFolder,
    invoices: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    what: str,
) -> None:
    resolve = os.path.realpath

    def resolve_then_swap(path: str, *args: object, **kwargs: object) -> str:
        resolved = resolve(path)
        if what == "file":
            (invoices / "acme" / "1.pdf").unlink()
            (invoices / "acme" / "1.pdf").symlink_to(tmp_path / "secret.pdf")
        else:
            (invoices / "acme").rename(tmp_path / "moved")
            (tmp_path / "1.pdf").write_bytes(b"secret")
            (invoices / "acme").symlink_to(tmp_path)
        return resolved

    monkeypatch.setattr(os.path, "realpath", resolve_then_swap)
    with pytest.raises(UnreadableError):
        content(folder, "acme/1.pdf")


def test_a_folder_a_pipe_and_a_device_are_no_files(folder: LocalFolder, invoices: Path) -> None:
    os.mkfifo(invoices / "pipe.pdf")
    assert reason(folder, "acme") == Unread.UNKNOWN_KIND
    assert reason(folder, "pipe.pdf") == Unread.UNKNOWN_KIND


def test_a_root_that_is_not_there_may_come_back(tmp_path: Path) -> None:
    """A volume that is not mounted yet, say."""
    with pytest.raises(UnreachableError):
        content(LocalFolder(Root(str(tmp_path / "none"))), "a.pdf")


def test_a_file_that_is_too_large_is_not_kept(folder: LocalFolder, invoices: Path) -> None:
    with (invoices / "large.pdf").open("wb") as file:
        file.truncate(10 << 20)
    with pytest.raises(UnreadableError) as caught, fetched(folder, "large.pdf", most=5 << 20):
        pass
    assert caught.value.reason == Unread.TOO_LARGE


def test_a_pattern_names_files_part_by_part(invoices: Path) -> None:
    (invoices / "acme" / "10.pdf").write_bytes(b"ten")
    (invoices / "acme" / "old").mkdir()
    (invoices / "acme" / "old" / "1.pdf").write_bytes(b"old")
    (invoices / "bolt").mkdir()
    (invoices / "bolt" / "1.pdf").write_bytes(b"bolt")
    folder = open_folder(Root(str(invoices)))
    assert matching(folder, "acme/1*.pdf") == ["acme/1.pdf", "acme/10.pdf"]
    assert matching(folder, "*/1.pdf") == ["acme/1.pdf", "bolt/1.pdf"]
    assert matching(folder, "acme/2*.pdf") == []
    for number in range(60):
        (invoices / "bolt" / f"{number}.txt").touch()
    with pytest.raises(UnreadableError):
        matching(folder, "bolt/*.txt")
