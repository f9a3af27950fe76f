"""Credentials and endpoints of object stores, from their usual places."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from rowfleet.errors import InputError
from rowfleet.storage.uri import Uri

if TYPE_CHECKING:
    from obstore.store import AzureConfig


#: Seconds a machine's metadata service has to take a connection; it is on the same host.
METADATA_SECONDS = 1

#: Variables that hold credentials or say where they come from; one of them is enough to start.
CREDENTIALS = {
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

HOW = {
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

PREFIXES = ("AWS_", "GOOGLE_", "AZURE_")


def endpoint_of(uri: Uri) -> str:
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


def azure(uri: Uri) -> AzureConfig:
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


def check_machine(uri: Uri) -> None:
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
    raise no_credentials(uri, "none are set")


def no_credentials(uri: Uri, why: str) -> InputError:
    """Return the error that says how to give credentials."""
    return InputError(f"{uri}: no credentials, {why}; {HOW[uri.scheme]}")
