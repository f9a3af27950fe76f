"""The pages about documents say what the code says."""

from __future__ import annotations

import re
from pathlib import Path

from rowfleet.documents import limits
from rowfleet.documents.limits import Limits
from rowfleet.documents.unread import SENTENCES

DOCS = Path(__file__).parents[4] / "docs"
PAGE = (DOCS / "reference" / "unread-documents.md").read_text("utf-8")


def test_the_page_lists_each_reason_with_its_sentence() -> None:
    rows = re.findall(r"^\| `(\w+)` \| ([^|]+) \|", PAGE, re.MULTILINE)
    assert rows == [(reason.value, sentence) for reason, sentence in SENTENCES.items()]


def test_the_page_has_the_bounds() -> None:
    bounds = dict(
        re.findall(r"^\| ([^|]+) \| ([^|]+) \|", PAGE.split("## Bounds")[1], re.MULTILINE)
    )
    most = Limits()
    assert bounds["file"] == f"{limits.MAX_FILE_BYTES >> 20} MiB"
    said = " ".join(f"{name} {value}" for name, value in bounds.items())
    for figure in (
        f"so {limits.MAX_PAGES}",
        f"page {limits.MAX_PAGE_CHARS:,}",
        f"there {limits.MAX_CHARS:,}",
        f"there {limits.OCR_SECONDS:g} s",
        f"{limits.MAX_PIXELS:,}",
        f"unpacked {limits.MAX_PART_BYTES >> 20} MiB",
        f"{limits.MAX_PARTS}; {limits.MAX_NESTED_MAILS}",
        f"compressed {limits.MAX_ENCODED_BYTES >> 20} MiB",
        f"{most.memory_bytes >> 20} MiB beyond",
        f"{limits.QUICK_SECONDS} s, with OCR {most.cpu_seconds} s",
        f"clock {most.wall_seconds:g} s",
    ):
        assert figure in said
