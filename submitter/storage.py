"""Spreadsheets that are not on this machine's disk: objects in S3, Google Cloud Storage or Azure
Blob Storage, and https URLs.

A sheet is read by seeking, so an object is streamed into a temporary file first (`fetched`), and a
finished sheet is written to one before it is sent (`sent`). Memory is a few chunks, disk is the
object's size, in `TMPDIR`. Nothing else is kept: a process that is killed half way can simply be
run again.

`storage_cloud` speaks to the clouds, `storage_web` to https. Either has `read`, `write` and
`check_target`, and is imported when a URI needs it.
"""

from __future__ import annotations

import ipaddress
import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from urllib.parse import unquote, urlsplit

from rowfleet.errors import InputError, ServiceError

#: Schemes of the clouds, and what each calls the place that holds objects.
CLOUDS = {"s3": "bucket", "gs": "bucket", "az": "container"}
#: Bytes that are held at once while an object is read.
CHUNK_BYTES = 1 << 20
#: Bytes of a sheet that is downloaded (2 GiB): a workbook may not unpack to more, either.
MAX_SHEET_BYTES = 2 << 30
#: Seconds between tries of a transfer that broke off: five tries, so that a server's restart is
#: survived, and 15 seconds in all, so that a dead one is told of while somebody still looks.
WAITS = (1, 2, 4, 8)

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
#: Characters of a bucket's or container's name; what else the clouds ask for, they say themselves.
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class Broken(Exception):
    """A transfer broke off, or the object changed meanwhile; another try may do. Says how."""


@dataclass(frozen=True, slots=True)
class Uri:
    """Where an object is. As text it has neither user name nor query, which may be secret."""

    scheme: str
    place: str  #: Bucket, container, or host and port.
    key: str  #: The object's key; of a URL, its path, unquoted.
    url: str = field(repr=False, compare=False)  #: As it was given, with its secrets.

    def __str__(self) -> str:
        return f"{self.scheme}://{self.place}/{self.key}"

    @property
    def stem(self) -> str:
        """The last part of the key, without suffix."""
        return Path(self.key).stem


Location = Path | Uri


def parse(text: str) -> Location:
    """Return the path or URI that ``text`` names. Raises InputError, without what may be secret."""
    match = _SCHEME.match(text)
    if not match:
        return Path(text)
    scheme, rest = match[1].lower(), text[match.end() :]
    if scheme in CLOUDS:
        return _parse_cloud(scheme, rest, text)
    if scheme in ("https", "http"):
        return _parse_web(scheme, text)
    raise InputError(f"{scheme}://: give a path, or a URI with s3://, gs://, az:// or https://")


def _parse_cloud(scheme: str, rest: str, text: str) -> Uri:
    place, _, key = rest.partition("/")
    what = CLOUDS[scheme]
    form = f"write {scheme}://{what.upper()}/KEY"
    if not place or "?" in place:
        raise InputError(f"{scheme}://: names no {what}; {form}")
    if not _BUCKET.fullmatch(place):  # it may be user:password@, so it is not shown
        raise InputError(
            f"{scheme}://: what stands before the first / can't be a {what}; {form}, "
            "credentials come from the environment"
        )
    if "?" in key:
        uri = Uri(scheme, place, key.partition("?")[0], text)
        raise InputError(f"{uri}: a ? in a key is not taken; credentials come from the environment")
    uri = Uri(scheme, place, key, text)
    if not key or key.endswith("/"):
        raise InputError(f"{uri}: names no object; {form}")
    return uri


def _parse_web(scheme: str, text: str) -> Uri:
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:  # its text has a part of the URL, which may be secret
        raise InputError(f"{scheme}://: is not a URL; write https://HOST/PATH") from None
    if not parts.hostname:
        raise InputError(f"{scheme}://: names no host; write https://HOST/PATH")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    place = host if port is None else f"{host}:{port}"
    uri = Uri(scheme, place, unquote(parts.path.lstrip("/")), text)
    if scheme == "http" and not is_loopback(parts.hostname):
        raise InputError(f"{uri}: is not encrypted; http:// is taken only for this machine itself")
    if not uri.key or uri.key.endswith("/"):
        raise InputError(f"{uri}: names no file")
    return uri


def is_loopback(host: str) -> bool:
    """Return whether ``host`` is this machine by its name or address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@contextmanager
def fetched(source: Location) -> Iterator[Path]:
    """Give the file at ``source``, on this machine until the ``with`` block ends.

    Raises InputError if there is none, it may not be read, or the disk is full; ServiceError if the
    storage can't be reached.
    """
    if isinstance(source, Path):
        yield source
        return
    with _folder(source) as folder:
        path = folder / "sheet"
        for wait in (*WAITS, None):
            try:
                _download(source, path)
                break
            except Broken as error:
                if wait is None:
                    raise ServiceError(f"{source}: {error}, {len(WAITS) + 1} times") from None
                time.sleep(wait)
        yield path


def _download(source: Uri, path: Path) -> None:
    chunks = _client(source).read(source)
    got = 0
    with _disk_of(source, path.parent), path.open("wb") as file:
        for chunk in chunks:
            got += len(chunk)
            check_size(source, got)
            file.write(chunk)


def check_size(source: Uri, size: int | None) -> None:
    """Raise InputError if ``size``, in bytes, is more than MAX_SHEET_BYTES; None is not known."""
    if size is not None and size > MAX_SHEET_BYTES:
        raise InputError(f"{source}: is larger than {MAX_SHEET_BYTES >> 20:,} MiB")


@contextmanager
def sent(target: Location) -> Iterator[Path]:
    """Give the path of a file that is to be written, and is at ``target`` when the block ends well.

    An object appears there whole or not at all. Raises InputError if it may not be written, and
    ServiceError if the storage can't be reached.
    """
    if isinstance(target, Path):
        yield target
        return
    with _folder(target) as folder:
        path = folder / "finished.xlsx"
        try:
            with _disk_of(target, folder):
                yield path
        except InputError as error:  # it names the file; the user knows the URI
            both = f"{target}, first as {path}"
            raise InputError(str(error).replace(str(path), both)) from None
        _client(target).write(target, path)


def check_target(target: Uri, source: Location | None = None) -> None:
    """Raise InputError unless a finished sheet can be written to ``target``, as far as that can be
    told without leaving anything there; ServiceError if the storage can't be reached."""
    if not target.key.lower().endswith(".xlsx"):
        raise InputError(f"{target}: a finished sheet is an .xlsx file; give a name that ends so")
    if target == source:
        raise InputError(f"--export {target}: is the sheet that is read; give another name")
    _client(target).check_target(target)


def _client(uri: Uri) -> ModuleType:
    if uri.scheme in CLOUDS:
        from submitter import storage_cloud

        return storage_cloud
    from submitter import storage_web

    return storage_web


@contextmanager
def _folder(uri: Uri) -> Iterator[Path]:
    try:
        folder = tempfile.TemporaryDirectory(prefix="rowfleet-sheet-", ignore_cleanup_errors=True)
    except OSError as error:
        raise InputError(
            f"{uri}: no directory for temporary files can be written ({error.strerror or error}); "
            "set TMPDIR to one"
        ) from None
    with folder as name:
        yield Path(name)


@contextmanager
def _disk_of(uri: Uri, folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{uri}: can't be kept in {folder.parent}: {error.strerror}; "
            "set TMPDIR to a directory with more room"
        ) from None
