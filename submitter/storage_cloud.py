"""Objects in S3 and what speaks its protocol, Google Cloud Storage and Azure Blob Storage.

obstore does the work: requests, signatures, retries, tokens that are renewed. A download that
breaks off is resumed by it within the same version of the object (by ETag), never across two.

What it leaves to do here: it asks the cloud's machine metadata for credentials when it finds none,
which hangs where there is no such thing, so that is looked for first; and its errors show whole
requests, in which an Azure signature may stand, so only codes are taken from them.
"""

from __future__ import annotations

import os
import re
import secrets
import socket
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import obstore
from obstore import exceptions
from obstore.store import AzureStore, GCSStore, S3Store

from rowfleet.errors import InputError, RowfleetError, ServiceError
from submitter.storage import CHUNK_BYTES, CLOUDS, Broken, Uri, check_size

if TYPE_CHECKING:
    from obstore import UpdateVersion
    from obstore.store import AzureConfig, ClientConfig, ObjectStore, RetryConfig, S3Config

XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
#: Bytes of a part of an upload: the least that S3 takes. A smaller file goes in one request.
PART_BYTES = 5 << 20
#: Parts sent at once; with PART_BYTES, what an upload holds in memory.
PARTS_AT_ONCE = 4
#: Seconds a machine's metadata service has to take a connection; it is on the same host.
METADATA_SECONDS = 1

#: Read stalls end a request, not its length: a large object over a slow line may take hours.
_CLIENT: ClientConfig = {"connect_timeout": "10s", "read_timeout": "60s", "timeout": "1day"}
_RETRY: RetryConfig = {"max_retries": 4, "retry_timeout": timedelta(minutes=1)}
#: A condition that no object meets: a write under it checks the right to write, and writes nothing.
_NEVER: UpdateVersion = {"e_tag": '"rowfleet"', "version": "1"}

#: Variables that hold credentials or say where they come from; one of them is enough to start.
_CREDENTIALS = {
    "s3": (
        "AWS_ACCESS_KEY_ID",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "AWS_SKIP_SIGNATURE",
    ),
    "gs": (
        "GOOGLE_APPLICATION_CREDENTIALS",
        "GOOGLE_SERVICE_ACCOUNT",
        "GOOGLE_SERVICE_ACCOUNT_PATH",
        "GOOGLE_SERVICE_ACCOUNT_KEY",
        "GOOGLE_BEARER_TOKEN",
        "GOOGLE_SKIP_SIGNATURE",
    ),
    "az": (
        "AZURE_STORAGE_CONNECTION_STRING",
        "AZURE_STORAGE_ACCOUNT_KEY",
        "AZURE_STORAGE_ACCESS_KEY",
        "AZURE_STORAGE_SAS_TOKEN",
        "AZURE_STORAGE_SAS_KEY",
        "AZURE_STORAGE_TOKEN",
        "AZURE_STORAGE_CLIENT_SECRET",
        "AZURE_CLIENT_SECRET",
        "AZURE_FEDERATED_TOKEN_FILE",
        "AZURE_USE_AZURE_CLI",
        "AZURE_SKIP_SIGNATURE",
        "AZURE_STORAGE_USE_EMULATOR",
    ),
}
#: Where a machine's own role is asked for, unless one of these variables names another address.
_METADATA = {
    "s3": ("AWS_METADATA_ENDPOINT",),
    "gs": (),
    "az": ("AZURE_MSI_ENDPOINT", "AZURE_IDENTITY_ENDPOINT"),
}
#: Variables of the vendors that say there is no such service.
_NO_METADATA = {"s3": "AWS_EC2_METADATA_DISABLED", "gs": "NO_GCE_CHECK"}
_HOW = {
    "s3": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give the pod a role "
    "(~/.aws and AWS_PROFILE are not read)",
    "gs": "set GOOGLE_APPLICATION_CREDENTIALS to a key file, or give the pod a service account",
    "az": "set AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY, or give the pod a "
    "workload identity",
}
#: Variables that name another endpoint than the cloud's own, the first that is set wins.
_ENDPOINTS = {
    "s3": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"),
    "gs": ("GOOGLE_BASE_URL",),
    "az": ("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"),
}


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


def write(uri: Uri, path: Path) -> None:
    """Upload the file; above `PART_BYTES` in parts, which become an object only at the end."""
    store = _store(uri)
    try:
        obstore.put(
            store,
            uri.key,
            path,
            attributes={"Content-Type": XLSX},
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
        if _code(error) in _NO_PLACE:
            raise _explained(error, uri, "written") from None
    except Exception as error:
        if _code(error) != "NotImplemented":
            raise _explained(error, uri, "written") from None
    else:
        with suppress(exceptions.BaseError, OSError):
            obstore.delete(store, probe)


def _store(uri: Uri) -> ObjectStore:
    for name in [n for n, v in os.environ.items() if not v and n.startswith(_PREFIXES)]:
        del os.environ[name]  # an empty variable, as templates leave behind, is an unset one
    azure: AzureConfig = {}
    if uri.scheme == "az":
        azure = _azure(uri)
    endpoint = azure.get("endpoint") or _endpoint(uri)
    client: ClientConfig = {**_CLIENT, "allow_http": endpoint.startswith("http://")}
    if not any(name in os.environ for name in _CREDENTIALS[uri.scheme]):
        _check_machine(uri)
    try:
        if uri.scheme == "s3":
            s3: S3Config = {"endpoint": endpoint} if endpoint else {}
            return S3Store(uri.place, config=s3, client_options=client, retry_config=_RETRY)
        if uri.scheme == "gs":
            return GCSStore(uri.place, client_options=client, retry_config=_RETRY)
        return AzureStore(uri.place, config=azure, client_options=client, retry_config=_RETRY)
    except exceptions.BaseError as error:  # a setting that it can't use; no request was made yet
        why = _headline(error).partition(" error: ")[2]
        raise InputError(f"{uri}: {why}; {_HOW[uri.scheme]}") from None


_PREFIXES = ("AWS_", "GOOGLE_", "AZURE_")


def _endpoint(uri: Uri) -> str:
    """Return the endpoint that is set, checked: obstore panics at some that are none."""
    for name in _ENDPOINTS[uri.scheme]:
        endpoint = os.environ.get(name)
        if endpoint:
            _check_endpoint(name, endpoint)
            return endpoint
    return ""


def _check_endpoint(name: str, endpoint: str) -> None:
    try:
        parts = urlsplit(endpoint)
        fine = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        fine = False
    if not fine or "@" in parts.netloc or parts.query or not endpoint.isascii() or " " in endpoint:
        raise InputError(f"{name}: must be a URL like https://minio.example.com:9000")


def _azure(uri: Uri) -> AzureConfig:
    """Return what AZURE_STORAGE_CONNECTION_STRING says, which obstore does not read."""
    text = os.environ.get("AZURE_STORAGE_CONNECTION_STRING", "")
    parts = dict(part.split("=", 1) for part in text.split(";") if "=" in part)
    config: AzureConfig = {}
    if account := parts.get("AccountName"):
        config["account_name"] = account
    if key := parts.get("AccountKey"):
        config["account_key"] = key
    if signature := parts.get("SharedAccessSignature"):
        config["sas_key"] = signature
    if endpoint := parts.get("BlobEndpoint"):
        _check_endpoint("BlobEndpoint in AZURE_STORAGE_CONNECTION_STRING", endpoint)
        config["endpoint"] = endpoint
    emulator = "AZURE_STORAGE_USE_EMULATOR" in os.environ
    if not (account or emulator or "AZURE_STORAGE_ACCOUNT_NAME" in os.environ):
        raise InputError(f"{uri}: no storage account; set AZURE_STORAGE_ACCOUNT_NAME")
    return config


def _check_machine(uri: Uri) -> None:
    """Raise InputError unless the machine has a metadata service, which may have a role for us."""
    disabled = os.environ.get(_NO_METADATA.get(uri.scheme, ""), "").lower() in ("true", "1")
    adc = Path("~/.config/gcloud/application_default_credentials.json").expanduser()
    if uri.scheme == "gs" and adc.exists():
        return
    named = next((os.environ[n] for n in _METADATA[uri.scheme] if n in os.environ), None)
    address = urlsplit(named or "http://169.254.169.254")
    try:
        if not disabled:
            where = (address.hostname or "", address.port or 80)
            socket.create_connection(where, timeout=METADATA_SECONDS).close()
            return
    except (OSError, ValueError):
        pass
    raise _no_credentials(uri, "none are set")


def _no_credentials(uri: Uri, why: str) -> InputError:
    return InputError(f"{uri}: no credentials, {why}; {_HOW[uri.scheme]}")


# --- what went wrong

_NO_PLACE = ("NoSuchBucket", "ContainerNotFound")
_NO_OBJECT = ("NoSuchKey", "BlobNotFound")
#: Codes that say that the credentials themselves are no good, not what they may do.
_REFUSED = (
    "AuthenticationFailed",
    "AuthorizationFailure",
    "AuthorizationHeaderMalformed",
    "ExpiredToken",
    "InvalidAccessKeyId",
    "InvalidAuthenticationInfo",
    "InvalidToken",
    "NoAuthenticationInformation",
    "RequestTimeTooSkewed",
    "SignatureDoesNotMatch",
    "TokenRefreshRequired",
)
#: Requests for credentials, not for the object. obstore hides the address of some.
_FOR_CREDENTIALS = re.compile(
    r"token (request|file)|performing \w+ (REDACTED|\S*(//169\.254\.|/latest/(api|meta-data)/))"
)


def _is_for_credentials(text: str) -> bool:
    address = os.environ.get("AWS_CONTAINER_CREDENTIALS_FULL_URI", "")
    return bool(_FOR_CREDENTIALS.search(text)) or (address != "" and address in text)


def _explained(error: Exception, uri: Uri, done: str) -> RowfleetError:
    """Return the sentence for ``error``, raised when ``uri`` was to be ``done``."""
    text, code, status = _headline(error), _code(error), _status(error)
    what = CLOUDS[uri.scheme]
    if isinstance(error, ValueError):  # obstore's word for a key that no store takes
        return InputError(f"{uri}: the key can't be used; leave out empty parts, . and ..")
    if code in _NO_PLACE:
        return InputError(f"{uri}: there is no {what} {uri.place!r}")
    if _is_for_credentials(text):
        if "token file" not in text and (status is None or status >= 500):
            return ServiceError(f"{uri}: the service that gives credentials does not answer")
        return _no_credentials(uri, f"asking for them failed ({code or status or 'no token file'})")
    if code in _REFUSED or isinstance(error, exceptions.UnauthenticatedError):
        return InputError(f"{uri}: the credentials are refused ({code or status})")
    if code in _NO_OBJECT:
        return InputError(f"{uri}: there is no such object")
    if isinstance(error, FileNotFoundError):  # a store that does not say of what
        return InputError(f"{uri}: there is no such object, or no such {what}")
    if isinstance(error, exceptions.PermissionDeniedError) or status == 403:
        missing = (
            "" if done == "written" else "; a store that may not tell says so of no object too"
        )
        return InputError(f"{uri}: can't be {done}: permission denied{missing}")
    if "redirect" in text or code in ("PermanentRedirect", "IllegalLocationConstraintException"):
        return InputError(f"{uri}: the {what} is in another region; set AWS_REGION to it")
    if status is not None and status < 500:
        return InputError(f"{uri}: can't be {done}: the storage refuses it ({code or status})")
    if status is not None:
        return ServiceError(f"{uri}: can't be {done}: the storage fails ({code or status})")
    if "InvalidCertificate" in str(error):
        return ServiceError(
            f"{uri}: the storage's certificate is not trusted; "
            "set SSL_CERT_FILE to the certificate of who signed it"
        )
    return ServiceError(f"{uri}: can't be {done}: the storage does not answer{_where(uri)}")


def _where(uri: Uri) -> str:
    endpoint = _endpoint(uri)
    return f" at {endpoint}" if endpoint else ""


def _headline(error: Exception) -> str:
    """Return the error without its innards; it may still hold a request's URL."""
    return str(error).partition("\n\nDebug source")[0]


def _status(error: Exception) -> int | None:
    match = re.search(r"status code: (\d{3})", _headline(error))
    return int(match[1]) if match else None


def _code(error: Exception) -> str | None:
    """Return the code in the answer's XML; all three clouds write it alike."""
    match = re.search(r"status code: .*?<Code>(\w+)</Code>", _headline(error), re.DOTALL)
    return match[1] if match else None
