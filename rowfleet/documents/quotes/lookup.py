"""Looks a quote up in the text of a document's pages.

A quote is found where its letters, numbers and signs stand in the page one after the other, as
whole words. Numbers match exactly. Only letters of a recognized page may differ a little, and never
so that the meaning could be the opposite: a word more or less, another short word or another
beginning of a word makes another quote.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate
from typing import Literal

from rapidfuzz import fuzz
from rapidfuzz.distance import Levenshtein

from rowfleet.documents.quotes.normal_form import (
    BETWEEN_WORDS,
    MARK,
    MINUS,
    lenient_form,
    normal_form,
)

#: Characters of a quote. A longer one is no line of a document but a page of it.
MAX_QUOTE_CHARS = 2_000
#: Occurrences in one page that are tried: a hostile page may repeat the beginning of a number.
MAX_OCCURRENCES = 200
#: Characters of a quote and of a page, in their normal forms, beyond which their letters may not
#: differ: the time grows with the product (4 ms for 500 × 3,000).
MAX_MISREAD_QUOTE, MAX_MISREAD_PAGE = 500, 20_000
#: Of so many letters, one may be misread. Tesseract misreads 1 to 2 of 100 in a good scan.
LETTERS_A_MISTAKE = 12
#: Words of up to so many letters have no mistakes: `not` and `now`, `paid` and `said`.
SHORT_WORD = 4
#: From so many letters on, a word may have two mistakes.
LONG_WORD = 9
#: Percent that an alignment has to reach before its mistakes are looked at.
_CLOSE = 80

#: Words that turn round the words beside them, in English, French, German, Italian and Spanish. A
#: quote that begins behind one, or ends before one, says the opposite of its page.
_NEGATIONS = frozenset(
    {
        *("not", "never", "cannot", "without", "nicht", "nie", "niemals", "ohne", "kein", "keine"),
        *("keinem", "keinen", "keiner", "keines", "pas", "jamais", "aucun", "aucune", "sans"),
        *("non", "mai", "nunca", "jamás", "sin"),
    }
)
_ENDS_OF_SENTENCES = (".", ":", ";", "!", "?")

_HYPHENS = ("-", "\u00ad", "\u2010", "\u2011", "\x02", "\ufffe")


@dataclass(frozen=True, slots=True)
class Span:
    """Where a quote stands in a page: its first and last word, and the share that is equal."""

    first: int
    last: int
    #: 1 unless characters of a recognized page differ.
    share: float


@dataclass(frozen=True, slots=True)
class _Form:
    """A normal form without spaces, and where its words begin and end."""

    text: str
    #: Where each word begins, and the end of the last one.
    starts: list[int]

    @classmethod
    def of(cls, form: str) -> _Form:
        lengths = map(len, form.split(BETWEEN_WORDS))
        return cls(form.replace(BETWEEN_WORDS, ""), list(accumulate(lengths, initial=0)))

    def words(self, begin: int, end: int) -> tuple[int, int]:
        """Return the first and last word of the characters from ``begin`` to ``end``."""
        return bisect_right(self.starts, begin) - 1, bisect_left(self.starts, end) - 1


class Quote:
    """A quote, and its normal forms."""

    def __init__(self, text: str) -> None:
        self.words = text[: MAX_QUOTE_CHARS + 1].split()
        self.is_too_long = len(text) > MAX_QUOTE_CHARS

    @cached_property
    def form(self) -> _Form:
        """The normal form."""
        return _Form.of(normal_form(self.words))

    @cached_property
    def for_recognized(self) -> _Form:
        """The lenient form for pages whose text was recognized."""
        return _Form.of(lenient_form(self.words, is_recognized=True))

    @cached_property
    def for_digital(self) -> _Form:
        """The lenient form for other pages: scanners write a text of their own into a PDF."""
        return _Form.of(lenient_form(self.words, is_recognized=False))


class PageText:
    """The words of one page, in reading order, and their normal forms."""

    def __init__(self, words: Sequence[str], *, is_recognized: bool = False) -> None:
        self.words = words
        self.is_recognized = is_recognized

    @cached_property
    def _form(self) -> _Form:
        return _Form.of(normal_form(self.words))

    @cached_property
    def _lenient(self) -> _Form:
        return _Form.of(lenient_form(self.words, is_recognized=self.is_recognized))

    def find(self, quote: Quote) -> Span | None:
        """Return where the page has ``quote`` word for word."""
        return self._find(quote.form, self._form)

    def find_misread(self, quote: Quote) -> Span | None:
        """Return where the page has ``quote`` but for mistakes of character recognition."""
        form = quote.for_recognized if self.is_recognized else quote.for_digital
        found = self._find(form, self._lenient)
        if found is None and self.is_recognized:
            found = self._find_with_mistakes(form)
        if found is None:
            return None
        there = self.words[found.first : found.last + 1]
        return replace(
            found, share=Levenshtein.normalized_similarity(_bare(quote.words), _bare(there))
        )

    def likeness(self, quote: Quote) -> float:
        """Return how much of ``quote`` the most similar place of the page has, from 0 to 1."""
        wanted, page = quote.form.text, self._form.text
        if not wanted or not page:
            return 0.0
        return fuzz.partial_ratio(wanted[:MAX_MISREAD_QUOTE], page[:MAX_MISREAD_PAGE]) / 100

    def _find(self, quote: _Form, page: _Form) -> Span | None:
        for begin in _occurrences(quote.text, page.text):
            end = begin + len(quote.text)
            if self._is_whole(page, begin, end):
                return Span(*page.words(begin, end), 1.0)
        return None

    def _is_whole(self, page: _Form, begin: int, end: int) -> bool:
        """Tell whether no word and no number is cut, nor a number's sign left out."""
        text = page.text
        first, last = page.words(begin, end)
        if MINUS in text[page.starts[first] : begin]:
            return False
        if text[end - 1] == MARK and MINUS in text[end : page.starts[last + 1]]:
            return False
        if _negates(self.words[first - 1] if first else "", "before") and text[begin].isalpha():
            return False
        if _negates(self.words[last + 1] if last + 1 < len(self.words) else "", "behind"):
            return False
        cuts_word = begin != page.starts[first] or self._is_hyphenated(first - 1)
        if cuts_word and text[begin].isalpha() and text[begin - 1 : begin].isalpha():
            return False
        if text[end - 1].isalpha() and text[end : end + 1].isalpha():
            return end == page.starts[last + 1] and not self._is_hyphenated(last)
        return True

    def _is_hyphenated(self, word: int) -> bool:
        """Tell whether a word goes on in the next line."""
        return 0 <= word < len(self.words) - 1 and (
            len(self.words[word]) > 1 and self.words[word].endswith(_HYPHENS)
        )

    def _find_with_mistakes(self, quote: _Form) -> Span | None:
        page = self._lenient
        if len(quote.text) > MAX_MISREAD_QUOTE or len(page.text) > MAX_MISREAD_PAGE:
            return None
        near = fuzz.partial_ratio_alignment(quote.text, page.text, score_cutoff=_CLOSE)
        if near is None or near.dest_end - near.dest_start < 2:
            return None
        begin = _nearest(page.starts, near.dest_start)
        end = _nearest(page.starts, near.dest_end)
        if begin >= end or not self._is_whole(page, begin, end):
            return None
        changes = Levenshtein.editops(quote.text, page.text[begin:end])
        letters = sum(map(str.isalpha, quote.text))
        if len(changes) > letters // LETTERS_A_MISTAKE:
            return None
        wanted = _mistakes_allowed(quote, 0, len(quote.text))
        there = _mistakes_allowed(page, begin, end)
        left = {**wanted.left, **{-1 - word: most for word, most in there.left.items()}}
        for change in changes:
            concerned = []
            if change.tag != "insert":
                concerned.append(wanted.word_at[change.src_pos])
            if change.tag != "delete":
                word = there.word_at[change.dest_pos]
                concerned.append(None if word is None else -1 - word)
            for word in concerned:
                if word is None or not left[word]:
                    return None
                left[word] -= 1
        return Span(*page.words(begin, end), 1.0)


@dataclass(frozen=True, slots=True)
class _Allowed:
    #: For each character, its word; None for one that has to match.
    word_at: list[int | None]
    #: Word → mistakes that are allowed in it.
    left: dict[int, int]


def _mistakes_allowed(form: _Form, begin: int, end: int) -> _Allowed:
    first, last = form.words(begin, end)
    word_at: list[int | None] = []
    left = {}
    for word in range(first, last + 1):
        text = form.text[form.starts[word] : form.starts[word + 1]]
        if not text.isalpha() or len(text) <= SHORT_WORD:
            word_at.extend([None] * len(text))
            continue
        word_at.append(None)
        word_at.extend([word] * (len(text) - 1))
        left[word] = 2 if len(text) >= LONG_WORD else 1
    return _Allowed(word_at, left)


def _negates(word: str, where: Literal["before", "behind"]) -> bool:
    """Tell whether a word right ``before`` a quote, or right ``behind`` it, negates it."""
    if where == "before" and word.endswith(_ENDS_OF_SENTENCES):
        return False  # `No.` is a number
    bare = word.strip(".,;:!?()[]\"'").casefold()
    # `no` begins what it negates, and stands for a number at the end of a label.
    return bare in _NEGATIONS or bare.endswith("n't") or (where == "before" and bare == "no")


def _bare(words: Sequence[str]) -> str:
    return "".join(filter(str.isalnum, "".join(words)))


def _nearest(starts: list[int], at: int) -> int:
    after = bisect_left(starts, at)
    choice = starts[max(0, after - 1) : after + 1]
    return min(choice, key=lambda start: abs(start - at))


def _occurrences(text: str, within: str) -> Iterator[int]:
    at = -1
    for _ in range(MAX_OCCURRENCES if text else 0):
        at = within.find(text, at + 1)
        if at < 0:
            return
        yield at
