"""Opening documents: the computing time of a digital page, and of a scanned one.

Both are measured from the file to the text that the ledger keeps, with all processes: the caller,
the server that forks, and the fork.
"""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Iterator
from typing import BinaryIO

import psutil
import pypdfium2
import tesserocr

from benchmarks.harness.figures import Figure, alone, compared, interleaved
from rowfleet.documents.opener import Opener
from rowfleet.documents.opening.ocr import DPI, installed_data
from tests.support.documents.pdfs import Line, pdf, scanned, show

#: Pages of an invoice, and how often it is opened for one value.
PAGES, TIMES = 3, 40


def measure(rounds: int) -> Iterator[Figure]:
    """Yield the figures."""
    content = show(_lines())
    image = pypdfium2.PdfDocument(pdf(content))[0].render(scale=DPI / 72).to_pil()
    with (
        Opener() as opener,
        _stored(pdf(*[content] * PAGES)) as digital,
        _stored(pdf(content)) as single,
        _stored(scanned(image)) as scan,
    ):
        opener.extract(scan, "scan.pdf")

        def pages() -> float:
            return _cpu(opener, digital, TIMES) / TIMES / PAGES * 1000

        def one_page() -> float:
            return _cpu(opener, single, TIMES) / TIMES * 1000

        def bare() -> float:
            return _bare_text(digital, TIMES) / TIMES / PAGES * 1000

        ours, alone_in_file, theirs = interleaved(rounds, pages, one_page, bare)
        ocr, bare_ocr = interleaved(rounds, lambda: _cpu(opener, scan, 1), lambda: _bare_ocr(scan))
    yield alone(
        "digital_page", f"CPU a digital page, invoice of {PAGES} pages", ours, unit="ms", at_most=5
    )
    yield alone(
        "digital_document",
        "CPU a digital page, invoice of one page",
        alone_in_file,
        unit="ms",
        at_most=15,
        note="most of it is the fork, whatever the document",
    )
    yield compared(
        "digital_pages",
        "digital pages a second and core",
        [1000 / each for each in ours],
        [1000 / each for each in theirs],
        unit="pages/s",
        beside="bare pypdfium2: text without places or layout",
        at_least=0.1,
    )
    yield compared(
        "ocr_page",
        "CPU a scanned page",
        ocr,
        bare_ocr,
        unit="s",
        beside="bare tesserocr",
        at_most=1.2,
    )


def _lines() -> Iterator[Line]:
    yield 50, 800, "ACME Logistics GmbH, Hafenstrasse 12, 20457 Hamburg"
    yield 400, 780, "Invoice INV-4711"
    for at in range(40):
        y = 740 - 16 * at
        yield 50, y, f"{71_000 + 37 * at}"
        yield 110, y, f"Freight of {at + 3} pallets of damaged goods to Bremen"
        yield 400, y, f"{at + 1}"
        yield 450, y, f"{1_234 * (at + 3) / 100:,.2f}"
        yield 510, y, f"{1_234 * (at + 3) * (at + 1) / 100:,.2f}"


def _stored(content: bytes) -> BinaryIO:
    file = tempfile.TemporaryFile()  # noqa: SIM115 - its caller closes it
    file.write(content)
    file.flush()
    return file


def _cpu(opener: Opener, file: BinaryIO, times: int) -> float:
    [server] = psutil.Process().children()
    before = time.process_time() + _used(server)
    for _ in range(times):
        opener.extract(file, "a.pdf")
    return time.process_time() + _used(server) - before


def _used(server: psutil.Process) -> float:
    times = server.cpu_times()
    return times.user + times.system + times.children_user + times.children_system


def _bare_text(file: BinaryIO, times: int) -> float:
    before = time.process_time()
    for _ in range(times):
        file.seek(0)
        with pypdfium2.PdfDocument(file.read()) as document:
            for page in document:
                re.findall(r"\S+", page.get_textpage().get_text_range())
    return time.process_time() - before


def _bare_ocr(file: BinaryIO) -> float:
    file.seek(0)
    before = time.process_time()
    image = pypdfium2.PdfDocument(file.read())[0].render(scale=DPI / 72, grayscale=True).to_pil()
    path, mode = str(installed_data()), tesserocr.PSM.SINGLE_COLUMN
    with tesserocr.PyTessBaseAPI(path=path, lang="eng", psm=mode) as api:
        api.SetImage(image)
        api.GetUTF8Text()
    return time.process_time() - before
