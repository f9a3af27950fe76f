"""What a batch's documents are, before it runs: counted, looked for, and a few of them opened."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import PurePosixPath

from rowfleet.cells import Cell
from rowfleet.documents.asked import AskedDocument
from rowfleet.documents.encoding import decode
from rowfleet.documents.extracted import Extracted
from rowfleet.documents.opener import Opener, OpenerLostError
from rowfleet.documents.places.folders import UnreachableError, fetched, open_folder
from rowfleet.documents.places.root import Root
from rowfleet.documents.unread import UnreadableError
from rowfleet.errors import InputError
from rowfleet.ledger.document_records import NewDocument
from rowfleet.openai_api import document_frame
from rowfleet.recipes.parts.documents import Documents
from submitter.costs import tokens
from submitter.submission.named_files import NamedFiles
from submitter.submission.submission import Submission

#: Documents that are opened, in the process apart, to know their pages and tokens.
OPENED = 10

#: Tokens of a page that is sent as a picture: a guess, as models count them in ways of their own.
PICTURE_TOKENS = 1_100

#: Rows whose files are looked for together.
_ROWS = 1_000


@dataclass(frozen=True, slots=True)
class DocumentCount:
    """The documents that a batch's rows name."""

    #: Different files, and those of them that are not there, or that no row may name.
    documents: int
    missing: int
    #: Rows that name none, or one of those.
    rows_without: int
    #: Pages of all files, by those that were opened; None: none could be opened here.
    pages: int | None
    #: Tokens of the documents of all rows, estimated in the same way.
    tokens: int | None
    #: Files that were opened.
    opened: int


def count(submission: Submission) -> DocumentCount | None:
    """Return what the rows name, None where the recipe has no documents read.

    Raises InputError where a pattern can't be looked up.
    """
    how, root = submission.recipe.documents, submission.documents
    if how is None or root is None:
        return None
    files = NamedFiles(how, submission.sheet.columns, root)
    there: dict[str, NewDocument] = {}
    missing: set[str] = set()
    named = rows_without = 0
    for chunk in _chunks(submission):
        for documents in files.of(chunk).values():
            lacks = not documents
            for document, _ in documents:
                if files.was_reached and files.size_of(document) is None:
                    missing.add(document.id)
                    lacks = True
                else:
                    there[document.id] = document
                    named += 1
            rows_without += lacks
    opened = _opened(how, [there[each] for each in sorted(there)[:OPENED]])
    pages = tokens_of_all = None
    if opened:
        pages = round(len(there) * statistics.fmean(each.page_count for each in opened))
        model = submission.recipe.model or ""
        each_has = [_tokens(extracted, how, submission.recipe.api, model) for extracted in opened]
        tokens_of_all = round(named * statistics.fmean(each_has))
    return DocumentCount(
        len(there) + len(missing), len(missing), rows_without, pages, tokens_of_all, len(opened)
    )


def _chunks(submission: Submission) -> Iterator[Sequence[tuple[int, Sequence[Cell]]]]:
    rows = iter(submission.sheet.rows(submission.rows.start_row, submission.rows.num_rows))
    while chunk := list(islice(rows, _ROWS)):
        yield chunk


def _opened(how: Documents, documents: Sequence[NewDocument]) -> list[Extracted]:
    """Return what is read of those that can be opened here."""
    found: list[Extracted] = []
    with Opener("+".join(how.languages)) as opener:
        for document in documents:
            folder = open_folder(Root(document.root))
            suffix = PurePosixPath(document.path).suffix
            try:
                with fetched(folder, document.path) as file:
                    found.append(decode(opener.extract(file, f"document{suffix}")))
            except (UnreadableError, OpenerLostError):
                continue
            except (UnreachableError, InputError):  # nothing that opens them is installed, say
                return found
    return found


def _tokens(extracted: Extracted, how: Documents, api: str, model: str) -> int:
    if how.send == "images" and extracted.pages and extracted.pages[0].width:
        return PICTURE_TOKENS * min(how.max_pages, len(extracted.pages))
    asked = AskedDocument("document", how.columns[0], extracted)
    text = document_frame.content("", [asked], how, api)
    assert isinstance(text, str)
    return tokens.count(text, model)


def sentences(counted: DocumentCount) -> Iterator[str]:
    """Yield what the dry run says of documents."""
    pages = "" if counted.pages is None else f", about {counted.pages:,} pages"
    sent = "" if counted.tokens is None else f", about {counted.tokens:,} tokens in all rows"
    yield f"documents: {counted.documents:,} files{pages}{sent}"
    if counted.opened:
        yield f"{counted.opened:,} of them were opened for that"
    else:
        yield "none was opened here, so their tokens are not in the estimate"
    if counted.missing:
        yield f"{counted.missing:,} of the files are missing, or may not be named"
    if counted.rows_without:
        yield f"{counted.rows_without:,} rows lack a document"
