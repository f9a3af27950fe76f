"""Objects in S3 and what speaks its protocol, Google Cloud Storage and Azure Blob Storage.

obstore does the work: requests, signatures, retries, tokens that are renewed. A download that
breaks off is resumed by it within the same version of the object (by ETag), never across two.

What it leaves to do here: it asks the cloud's machine metadata for credentials when it finds none,
which hangs where there is no such thing, so that is looked for first; and its errors show whole
requests, in which an Azure signature may stand, so only codes are taken from them.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import obstore
from obstore import exceptions
from obstore.store import AzureStore, GCSStore, S3Store

from rowfleet.errors import InputError
from rowfleet.storage.bounds import CHUNK_BYTES, Broken, check_size, content_type
from rowfleet.storage.cloud_credentials import (
    CREDENTIALS,
    HOW,
    PREFIXES,
    check_machine,
    endpoint_of,
)
from rowfleet.storage.cloud_credentials import azure as _azure
from rowfleet.storage.cloud_errors import NO_PLACE, code_of, headline
from rowfleet.storage.cloud_errors import explained as _explained
from rowfleet.storage.uri import Uri

if TYPE_CHECKING:
    from obstore import UpdateVersion
    from obstore.store import AzureConfig, ClientConfig, ObjectStore, RetryConfig, S3Config

#: Bytes of a part of an upload: the least that S3 takes. A smaller file goes in one request.
PART_BYTES = 5 << 20
#: Parts sent at once; with PART_BYTES, what an upload holds in memory.
PARTS_AT_ONCE = 4
#: Read stalls end a request, not its length: a large object over a slow line may take hours.
_CLIENT: ClientConfig = {"connect_timeout": "10s", "read_timeout": "60s", "timeout": "1day"}
_RETRY: RetryConfig = {"max_retries": 4, "retry_timeout": timedelta(minutes=1)}
#: A condition that no object meets: a write under it checks the right to write, and writes nothing.
_NEVER: UpdateVersion = {"e_tag": '"rowfleet"', "version": "1"}


def read(uri: Uri) -> Iterator[bytes]:
    """Yield the object's bytes; Broken if they stopped coming, another error if there are none."""
    store = _store(uri)
    try:
        result = obstore.get(store, uri.key)
    except Exception as error:
        raise _explained(error, uri, "read") from None
    got, size = 0, result.meta["size"]
    check_size(uri, size)
    try:
        for chunk in result.stream(min_chunk_size=CHUNK_BYTES):
            got += len(chunk)
            yield bytes(chunk)
    except Exception as error:
        explained = _explained(error, uri, "read")
        if isinstance(explained, InputError):
            raise explained from None
        raise Broken("the download broke off, or the object was replaced meanwhile") from None
    if got != size:
        raise Broken(f"the download ended after {got:,} of {size:,} bytes")


def describe(uri: Uri) -> tuple[int, str]:
    """Return the object's size in bytes, and what tells its versions apart: its ETag.

    Raises NoObjectError if there is none, else InputError or ServiceError.
    """
    store = _store(uri)
    try:
        found = obstore.head(store, uri.key)
    except Exception as error:
        raise _explained(error, uri, "read") from None
    return found["size"], found.get("e_tag") or found["last_modified"].isoformat()


def listed(uri: Uri) -> Iterator[str]:
    """Yield the keys of all objects in the folder of ``uri``'s key. Raises as `describe` does."""
    store = _store(uri)
    try:
        for page in obstore.list(store, uri.key.rpartition("/")[0] or None):
            yield from (found["path"] for found in page)
    except Exception as error:
        raise _explained(error, uri, "read") from None


def write(uri: Uri, path: Path) -> None:
    """Upload the file; above `PART_BYTES` in parts, which become an object only at the end."""
    store = _store(uri)
    try:
        obstore.put(
            store,
            uri.key,
            path,
            attributes={"Content-Type": content_type(path)},
            chunk_size=PART_BYTES,
            max_concurrency=PARTS_AT_ONCE,
        )
    except Exception as error:
        raise _explained(error, uri, "written") from None


def check_target(uri: Uri) -> None:
    """Raise InputError or ServiceError if an object can't be written beside ``uri``.

    It is asked by a write that can't come true. A server that ignores the condition has then got an
    empty object of a name of its own, which is deleted.
    """
    store = _store(uri)
    folder = uri.key.rpartition("/")[0]
    probe = f"{folder}/" * bool(folder) + f".rowfleet-{secrets.token_hex(6)}.part"
    try:
        obstore.put(store, probe, b"", mode=_NEVER)
    except (exceptions.PreconditionError, FileNotFoundError) as error:
        if code_of(error) in NO_PLACE:
            raise _explained(error, uri, "written") from None
    except Exception as error:
        if code_of(error) != "NotImplemented":
            raise _explained(error, uri, "written") from None
    else:
        with suppress(exceptions.BaseError, OSError):
            obstore.delete(store, probe)


def is_there(uri: Uri) -> bool:
    """Tell whether there is such an object; False if that may not be known."""
    try:
        obstore.head(_store(uri), uri.key)
    except (FileNotFoundError, exceptions.PermissionDeniedError):
        return False
    except Exception as error:
        raise _explained(error, uri, "read") from None
    return True


def _store(uri: Uri) -> ObjectStore:
    for name in [n for n, v in os.environ.items() if not v and n.startswith(PREFIXES)]:
        del os.environ[name]  # an empty variable, as templates leave behind, is an unset one
    azure: AzureConfig = {}
    if uri.scheme == "az":
        azure = _azure(uri)
    endpoint = azure.get("endpoint") or endpoint_of(uri)
    client: ClientConfig = {**_CLIENT, "allow_http": endpoint.startswith("http://")}
    if not any(name in os.environ for name in CREDENTIALS[uri.scheme]):
        check_machine(uri)
    try:
        if uri.scheme == "s3":
            s3: S3Config = {"endpoint": endpoint} if endpoint else {}
            return S3Store(uri.place, config=s3, client_options=client, retry_config=_RETRY)
        if uri.scheme == "gs":
            return GCSStore(uri.place, client_options=client, retry_config=_RETRY)
        return AzureStore(uri.place, config=azure, client_options=client, retry_config=_RETRY)
    except exceptions.BaseError as error:  # a setting that it can't use; no request was made yet
        why = headline(error).partition(" error: ")[2]
        raise InputError(f"{uri}: {why}; {HOW[uri.scheme]}") from None
