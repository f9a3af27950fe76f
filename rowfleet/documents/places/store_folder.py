"""A folder in an object store; `rowfleet.storage` has credentials, endpoints and redirects."""

from __future__ import annotations

from collections.abc import Iterator

from rowfleet.documents.places.folders import Seen, UnreachableError
from rowfleet.documents.places.root import Root
from rowfleet.documents.unread import Unread, UnreadableError
from rowfleet.errors import InputError, ServiceError
from rowfleet.storage import cloud, location
from rowfleet.storage.bounds import Broken
from rowfleet.storage.cloud_errors import NoObjectError
from rowfleet.storage.uri import Uri


class StoreFolder:
    """Objects below a prefix."""

    def __init__(self, root: Root) -> None:
        self._root = root

    def look(self, place: str) -> Seen | None:
        """Return the object at ``place``, None without one."""
        try:
            size, version = cloud.describe(self._uri(place))
        except NoObjectError:
            return None
        except (InputError, ServiceError) as error:
            raise UnreachableError(str(error)) from None
        return Seen(size, version)

    def names(self, folder: str) -> Iterator[str]:
        """Yield the places of all objects below ``folder``."""
        root = self._uri("x").key.removesuffix("x")
        try:
            for key in cloud.listed(self._uri(f"{folder}/x" if folder else "x")):
                yield key.removeprefix(root)
        except (InputError, ServiceError) as error:
            raise UnreachableError(str(error)) from None

    def chunks(self, place: str) -> Iterator[bytes]:
        """Yield the bytes of an object."""
        try:
            yield from cloud.read(self._uri(place))
        except NoObjectError:
            raise UnreadableError(Unread.MISSING) from None
        except (InputError, ServiceError, Broken) as error:
            raise UnreachableError(str(error)) from None

    def _uri(self, place: str) -> Uri:
        try:
            uri = location.parse(self._root.address(place))
        except InputError:  # a ? in it
            raise UnreadableError(Unread.MISSING, "its name can't be one") from None
        assert isinstance(uri, Uri)
        return uri
