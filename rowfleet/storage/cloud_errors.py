"""Object stores' errors, as sentences."""

from __future__ import annotations

import os
import re

from obstore import exceptions

from rowfleet.errors import InputError, RowfleetError, ServiceError
from rowfleet.storage.cloud_credentials import endpoint_of, no_credentials
from rowfleet.storage.schemes import SCHEMES
from rowfleet.storage.uri import Uri

NO_PLACE = ("NoSuchBucket", "ContainerNotFound")

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


class NoObjectError(InputError):
    """There is no such object, as far as the store may tell."""


def explained(error: Exception, uri: Uri, done: str) -> RowfleetError:
    """Return the sentence for ``error``, raised when ``uri`` was to be ``done``."""
    text, code, status = headline(error), code_of(error), _status(error)
    what = SCHEMES[uri.scheme].holder
    if isinstance(error, ValueError):  # obstore's word for a key that no store takes
        return InputError(f"{uri}: the key can't be used; leave out empty parts, . and ..")
    if code in NO_PLACE:
        return InputError(f"{uri}: there is no {what} {uri.place!r}")
    if _is_for_credentials(text):
        if "token file" not in text and (status is None or status >= 500):
            return ServiceError(f"{uri}: the service that gives credentials does not answer")
        return no_credentials(uri, f"asking for them failed ({code or status or 'no token file'})")
    if code in _REFUSED or isinstance(error, exceptions.UnauthenticatedError):
        return InputError(f"{uri}: the credentials are refused ({code or status})")
    if code in _NO_OBJECT:
        return NoObjectError(f"{uri}: there is no such object")
    if isinstance(error, FileNotFoundError):  # a store that does not say of what
        return NoObjectError(f"{uri}: there is no such object, or no such {what}")
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
    endpoint = endpoint_of(uri)
    return f" at {endpoint}" if endpoint else ""


def headline(error: Exception) -> str:
    """Return the error without its innards; it may still hold a request's URL."""
    return str(error).partition("\n\nDebug source")[0]


def _status(error: Exception) -> int | None:
    match = re.search(r"status code: (\d{3})", headline(error))
    return int(match[1]) if match else None


def code_of(error: Exception) -> str | None:
    """Return the code in the answer's XML; all three clouds write it alike."""
    match = re.search(r"status code: .*?<Code>(\w+)</Code>", headline(error), re.DOTALL)
    return match[1] if match else None
