"""The files that a sheet's rows name: references become documents, each looked at once."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from rowfleet.cells import Cell, plain, value
from rowfleet.documents.places.folders import Seen, UnreachableError, matching, open_folder
from rowfleet.documents.places.reference import MOST_IN_A_CELL, WILDCARDS, place_below, split
from rowfleet.documents.places.root import Root
from rowfleet.documents.unread import Unread, UnreadableError
from rowfleet.errors import InputError
from rowfleet.ledger.document_records import Named, NewDocument
from rowfleet.recipes.names import fold
from rowfleet.recipes.parts.documents import Documents

log = logging.getLogger(__name__)

#: Files of an object store that are looked at together.
LOOKS_AT_ONCE = 16
#: Characters that are kept of a reference that leads nowhere.
SHOWN = 200


class NamedFiles:
    """Turns the cells of rows into the documents that they name."""

    def __init__(self, how: Documents, columns: Mapping[str, int], root: Root) -> None:
        """``columns``: the index of each column that is sent, by its name for the model.

        Raises InputError where the sheet has no column of that name.
        """
        self._how = how
        self._columns = _places(how.columns, columns)
        self._root = str(root)
        self._folder = open_folder(root)
        self._is_local = root.is_local
        self._places: dict[str, list[str | NewDocument]] = {}
        self._seen: dict[str, Seen | None] = {}
        self._looks = True

    def of(
        self, rows: Iterable[tuple[int, Sequence[Cell]]]
    ) -> dict[int, list[tuple[NewDocument, str]]]:
        """Return the documents that each row names, in order, with the column that names each."""
        found = {
            number: [
                (place, name)
                for name, index in self._columns
                for place in self._places_in(str(plain(value(cells[index])) or ""))
            ]
            for number, cells in rows
        }
        self._look(place for each in found.values() for place, _ in each if isinstance(place, str))
        return {
            number: list(dict.fromkeys((self._document(place), name) for place, name in places))
            for number, places in found.items()
        }

    def named(
        self,
        rows: Iterable[tuple[int, Sequence[Cell]]],
        queue: str,
        sample: Collection[int] | None,
    ) -> Named:
        """Return the documents of rows as the ledger records them."""
        found = self.of(rows)
        return Named(
            {n: [(document.id, name) for document, name in each] for n, each in found.items()},
            {document.id: document for each in found.values() for document, _ in each},
            queue,
            sample,
        )

    def size_of(self, document: NewDocument) -> int | None:
        """Return the bytes of a file that was looked at; None: it was not found."""
        seen = self._seen.get(document.path)
        return None if seen is None else seen.size

    @property
    def was_reached(self) -> bool:
        """Whether the folder could be looked into."""
        return self._looks

    def _places_in(self, cell: str) -> list[str | NewDocument]:
        if cell not in self._places:
            references = split(cell, self._how.separator)
            places: list[str | NewDocument] = []
            for reference in references[:MOST_IN_A_CELL]:
                places += self._places_of(reference)
            if len(references) > MOST_IN_A_CELL:
                error = UnreadableError(Unread.TOO_LARGE, f"over {MOST_IN_A_CELL} in one cell")
                places.append(self._never_read("the rest of the cell", error))
            self._places[cell] = places
        return self._places[cell]

    def _places_of(self, reference: str) -> list[str | NewDocument]:
        try:
            place = place_below(self._root, reference)
            if not (self._how.glob and WILDCARDS & set(place)):
                return [place]
            return list(matching(self._folder, place)) or [
                self._never_read(place, UnreadableError(Unread.MISSING, "none matches"))
            ]
        except UnreadableError as error:
            return [self._never_read(reference, error)]
        except UnreachableError as error:
            raise InputError(
                f"{self._root}: can't be listed for the pattern in a cell: {error}"
            ) from None

    def _never_read(self, reference: str, error: UnreadableError) -> NewDocument:
        shown = "".join(each if each.isprintable() else "?" for each in reference[:SHOWN])
        return NewDocument(
            self._root, shown, None, self._how.reading, error.reason.value, str(error)
        )

    def _document(self, place: str | NewDocument) -> NewDocument:
        if isinstance(place, NewDocument):
            return place
        seen = self._seen.get(place)
        return NewDocument(
            self._root, place, None if seen is None else seen.version, self._how.reading
        )

    def _look(self, places: Iterable[str]) -> None:
        """Look at the files, so that one that changes is another document.

        A folder that can't be reached from here is left to the extractors.
        """
        new = [place for place in dict.fromkeys(places) if place not in self._seen]
        if not new or not self._looks:
            return
        try:
            if self._is_local:
                self._seen |= {place: self._look_at(place) for place in new}
                return
            with ThreadPoolExecutor(LOOKS_AT_ONCE) as threads:
                self._seen |= dict(zip(new, threads.map(self._look_at, new), strict=True))
        except UnreachableError as error:
            self._looks = False
            log.warning("the documents are not looked at from here: %s", error)

    def _look_at(self, place: str) -> Seen | None:
        try:
            return self._folder.look(place)
        except UnreadableError:  # the extractor says why
            return None


def _places(names: Sequence[str], columns: Mapping[str, int]) -> list[tuple[str, int]]:
    by_name = {fold(name): index for name, index in reversed(list(columns.items()))}
    by_name |= {fold(name): columns[name] for name in names if name in columns}
    found = [(name, by_name[fold(name)]) for name in names if fold(name) in by_name]
    if not found:
        raise InputError(
            f"the recipe's documents are named in {' or '.join(names)}, and the header has only "
            f"{', '.join(columns)}"
        )
    return found
