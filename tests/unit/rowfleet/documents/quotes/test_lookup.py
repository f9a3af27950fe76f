"""A quote is found whatever the layout did to it, and not when it says something else."""

from __future__ import annotations

import random

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from rowfleet.documents.quotes.lookup import MAX_QUOTE_CHARS, PageText, Quote
from rowfleet.documents.quotes.normal_form import normal_form

LINES = (
    "Harbourline Freight Ltd   Invoice no. HLF00123   2025-01-14",
    "Pallet delivery Leeds–Bristol  12  85.00  1,020.00",
    "Customs clearance, per entry   3  50.00  150.00",
    "Same-day courier  1  -75.50  (75.50)",
    "VAT 20 %  $204.00   Total …………… 1,224.00",
    "The deposit is not refundable; non-returnable goods are cred-",
    "ited at 90 % of “net” price.",
)
PAGE = PageText(" ".join(LINES).split())
SCAN = PageText(" ".join(LINES).split(), is_recognized=True)


def is_found(quote: str, page: PageText = PAGE) -> bool:
    wanted = Quote(quote)
    return (page.find(wanted) or page.find_misread(wanted)) is not None


@pytest.mark.parametrize(
    "quote",
    [
        "Pallet delivery Leeds–Bristol 12 85.00 1,020.00",
        "Pallet delivery Leeds-Bristol\n12 | 85.00 | 1,020.00",
        "pallet  delivery",
        "Total: 1,224.00",
        "Invoice no. HLF00123",
        "VAT 20% $204.00",
        "-75.50",
        "(75.50)",
        "goods are credited at 90 %",
        "goods are cred-ited at 90 %",
        '90 % of "net" price',
        "1,020.00",
        "deposit is not refundable",
    ],
)
def test_layout_punctuation_and_hyphens_do_not_matter(quote: str) -> None:
    assert is_found(quote)


@pytest.mark.parametrize("page", [PAGE, SCAN], ids=["digital", "scan"])
@pytest.mark.parametrize(
    ("quote", "what"),
    [
        ("Pallet delivery Leeds–Bristol 12 85.00 1,030.00", "one digit"),
        ("Pallet delivery Leeds–Bristol 12 85.00 150.00", "the amount of the next line"),
        ("Pallet delivery Leeds–Bristol 1285.00", "two numbers as one"),
        ("12 85.00 1,020.0", "a digit less"),
        ("020.00", "the end of a number"),
        ("1,020", "the beginning of a number"),
        ("75.50", "without its minus"),
        ("deposit is refundable", "negation left out"),
        ("deposit is not not refundable", "a word twice"),
        ("returnable goods", "prefix left out"),
        ("goods are cred", "half of a hyphenated word"),
        ("refund", "half of a word"),
        ("VAT 20 % €204.00", "another currency"),
        ("VAT 20 204.00", "no percent sign"),
        ("Total 1.224.00.1", "more separators"),
    ],
)
def test_another_statement_is_not_found(quote: str, what: str, page: PageText) -> None:
    assert not is_found(quote, page), what


def test_a_minus_behind_a_number_belongs_to_it() -> None:
    page = PageText(["Credit", "42.00-", "due", "17.00", "-5.00"])
    assert is_found("42.00-", page)
    assert is_found("due 17.00", page)
    assert not is_found("Credit 42.00", page)


@pytest.mark.parametrize(
    ("text", "quote"),
    [
        ("No discount is granted.", "discount is granted"),
        ("It is not refundable.", "refundable"),
        ("Sie wird nicht erstattet", "erstattet"),
        ("Der Rabatt gilt nicht für Pakete", "Der Rabatt gilt"),
        ("n'est pas remboursable", "remboursable"),
        ("The goods don't arrive", "arrive"),
    ],
)
def test_a_quote_that_leaves_its_negation_out_is_not_found(text: str, quote: str) -> None:
    assert not is_found(quote, PageText(text.split()))


@pytest.mark.parametrize(
    ("text", "quote"),
    [
        ("Invoice No. HLF00123", "HLF00123"),
        ("Invoice no HLF00123 of", "of"),
        ("Invoice No. Harbourline", "Harbourline"),
        ("It is not. Paid in full.", "Paid in full."),
        ("Order without 12.00", "12.00"),
    ],
)
def test_a_number_or_another_sentence_is_no_negation(text: str, quote: str) -> None:
    assert is_found(quote, PageText(text.split()))


def test_separators_of_numbers_count_where_they_are_certain() -> None:
    assert not is_found("Total 1.224.00")
    assert is_found("Total 1.224.00", SCAN)


@pytest.mark.parametrize(
    ("text", "quote"),
    [
        ("the ﬁnal oﬀer", "the final offer"),
        ("a hy\u00adphen", "a hyphen"),
        ("a hy\x02\nphen", "a hyphen"),
        ("a hy\ufffe\nphen", "a hyphen"),
        ("1\u202f234,50\u00a0€", "1 234,50 €"),
        ("Wartung Förderband", "Wartung Fo\u0308rderband"),
        ("12 × 85.00", "12 x 85.00"),
        ("Paid 42.00¹ in full", "Paid 42.00 in full"),
        ("Straße", "Strasse"),
        ("\u2018net\u2019 \u2013 due", "'net' - due"),
    ],
)
def test_typography_does_not_matter(text: str, quote: str) -> None:
    assert PageText(text.split()).find(Quote(quote)) is not None


@pytest.mark.parametrize(
    ("recognized", "quote"),
    [
        ("lnvoice HLFOOl23", "Invoice HLF00123"),
        ("Total l,O2O.OO", "Total 1,020.00"),
        ("Same-day couner 75.00 each month", "Same-day courier 75.00 each month"),
        ("de1ivery of pa11ets", "delivery of pallets"),
        ("Forderband, Stunde 88,00", "Förderband, Stunde 88,00"),
        ("Ergonomlc chalr 24O.00", "Ergonomic chair 240.00"),
        ("Photographle produlL demi-joumee", "Photographie produit, demi-journée"),
        ("Customsclearance per entry", "Customs clearance, per entry"),
    ],
)
def test_the_usual_mistakes_of_recognition_are_forgiven(recognized: str, quote: str) -> None:
    span = PageText(recognized.split(), is_recognized=True).find_misread(Quote(quote))
    assert span is not None
    assert 0.5 < span.share <= 1


@pytest.mark.parametrize(
    ("recognized", "quote"),
    [
        ("Total 1,026.00", "Total 1,020.00"),
        ("Total 7,020.00", "Total 1,020.00"),
        ("the goods were not returned in time", "the goods were now returned in time"),
        ("the goods were returned in time", "the goods were not returned in time"),
        ("the goods were unreturned in time", "the goods were returned in time"),
        ("all of it is paid by the customer", "all of it is said by the customer"),
        ("an incorrect amount was invoiced", "an correct amount was invoiced"),
    ],
)
def test_recognition_forgives_no_other_meaning(recognized: str, quote: str) -> None:
    page = PageText(recognized.split(), is_recognized=True)
    assert page.find(Quote(quote)) is None
    assert page.find_misread(Quote(quote)) is None


def test_a_quote_has_its_words() -> None:
    span = PAGE.find(Quote("12 85.00 1,020.00"))
    assert span is not None
    assert PAGE.words[span.first : span.last + 1] == ["12", "85.00", "1,020.00"]


def test_a_quote_that_is_not_there_has_a_likeness() -> None:
    assert 0.9 < PAGE.likeness(Quote("Pallet delivery Leeds–Bristol 12 85.00 1,030.00")) < 1
    assert PAGE.likeness(Quote("zzzz")) < 0.5
    assert PAGE.likeness(Quote("")) == 0


def test_nothing_is_no_quote() -> None:
    for quote in ("", "  ", "…", "-", "()"):
        assert not is_found(quote), quote


WORD = st.sampled_from([word for word in " ".join(LINES).split() if any(map(str.isalnum, word))])
PAGES = st.lists(WORD, min_size=1, max_size=60)


@given(PAGES, st.data())
def test_every_run_of_words_is_found_at_its_place(words: list[str], data: st.DataObject) -> None:
    first = data.draw(st.integers(0, len(words) - 1))
    last = data.draw(st.integers(first, len(words) - 1))
    between = data.draw(st.sampled_from([" ", "\n", "  \t", " | "]))
    assume(first == 0 or not words[first - 1].endswith("-"))
    assume(last == len(words) - 1 or not words[last].endswith("-"))
    assume("not" not in (*words[max(0, first - 1) : first], *words[last + 1 : last + 2]))
    span = PageText(words).find(Quote(between.join(words[first : last + 1])))
    assert span is not None
    assert span.last - span.first == last - first
    found, quoted = words[span.first : span.last + 1], words[first : last + 1]
    assert normal_form(found) == normal_form(quoted)


@given(PAGES, st.booleans(), st.data())
def test_a_changed_digit_is_never_found(
    words: list[str], is_recognized: bool, data: st.DataObject
) -> None:
    quote = " ".join(words)
    digits = [at for at, character in enumerate(quote) if character.isdigit()]
    assume(digits)
    at = data.draw(st.sampled_from(digits))
    digit = data.draw(st.sampled_from([each for each in "0123456789" if each != quote[at]]))
    page = PageText(words, is_recognized=is_recognized)
    assert not is_found(quote[:at] + digit + quote[at + 1 :], page)


@given(PAGES, st.booleans(), st.data())
def test_a_word_less_is_never_found(
    words: list[str], is_recognized: bool, data: st.DataObject
) -> None:
    assume(len(words) > 2)
    at = data.draw(st.integers(1, len(words) - 2))
    shorter = [*words[:at], *words[at + 1 :]]
    # `a a b` without one of its `a` is still there.
    all_there, left = (normal_form(each).split("\n") for each in (words, shorter))
    assume(left not in (all_there[1:], all_there[:-1]))
    assume(not any(word.endswith("-") for word in words))
    assert not is_found(" ".join(shorter), PageText(words, is_recognized=is_recognized))


@given(st.text(max_size=300), st.text(max_size=60), st.booleans())
@settings(max_examples=300)
def test_any_text_is_taken(text: str, quote: str, is_recognized: bool) -> None:
    page = PageText(text.split(), is_recognized=is_recognized)
    for found in (page.find(Quote(quote)), page.find_misread(Quote(quote))):
        if found is not None:
            assert 0 <= found.first <= found.last < len(page.words)
            assert 0 <= found.share <= 1
    assert 0 <= page.likeness(Quote(quote)) <= 1


@pytest.mark.parametrize("is_recognized", [False, True])
def test_a_hostile_page_costs_bounded_work(is_recognized: bool) -> None:
    """It would take hours if the work grew with the product of page and quote."""
    repeated = ["1"] * 200_000
    page = PageText(repeated, is_recognized=is_recognized)
    for quote in ("1 " * (MAX_QUOTE_CHARS // 2), "x" * MAX_QUOTE_CHARS, "11", "1 1 2"):
        page.find(Quote(quote))
        page.find_misread(Quote(quote))
        page.likeness(Quote(quote))
    one_word = PageText(["a" * 1_000_000], is_recognized=is_recognized)
    assert not is_found("a" * 1000, one_word)
    noise = random.Random(1)
    letters = "".join(noise.choice("ab -(.,'1") for _ in range(500_000))
    assert not is_found("b" * 50, PageText(letters.split(), is_recognized=is_recognized))


def test_too_long_a_quote_is_known() -> None:
    assert Quote("x" * (MAX_QUOTE_CHARS + 1)).is_too_long
    assert not Quote("x" * MAX_QUOTE_CHARS).is_too_long
