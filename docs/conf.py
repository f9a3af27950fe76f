"""How `make docs` builds the site: Sphinx reads the pages where they stand, from the root down.

A broken link, an anchor that is not there, or a page that docs/index.md does not list fails the
build.
"""

from __future__ import annotations

import posixpath
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "Rowfleet"
author = "the Rowfleet authors"
copyright = author  # Sphinx' name
root_doc = "docs/index"
extensions = ["myst_parser"]
include_patterns = [
    "docs/**.md",
    "*.md",
    "charts/rowfleet/*.md",
    "k8s/*.md",
]
exclude_patterns = [".venv", "build", "**/node_modules"]
html_theme = "furo"
html_title = "Rowfleet"
html_extra_path = ["site"]  # the site's front page leads to the index
html_copy_source = False
html_show_sourcelink = False
myst_heading_anchors = 4
myst_enable_extensions = ["strikethrough"]
suppress_warnings = ["myst.strikethrough"]

_SECTION = re.compile(r"^## (.+)$", re.MULTILINE)
_PAGE = re.compile(r"\]\(([^)#:\s]+)\.md\)")


def add_navigation(app: Sphinx, docname: str, source: list[str]) -> None:
    """Make an index's links the site's navigation; the root's has a part for each heading."""
    folder, _, name = docname.rpartition("/")
    if name != "index":
        return
    head, *parts = _SECTION.split(source[0])
    if docname != root_doc:
        parts = ["", head]
    for title, text in zip(parts[::2], parts[1::2], strict=True):
        pages = [posixpath.normpath(f"/{folder}/{page}") for page in _PAGE.findall(text)]
        options = [":hidden:", f":caption: {title}"] if title else [":hidden:"]
        tree = "\n".join(["```{toctree}", *options, "", *pages, "```"])
        source[0] += f"\n{tree}\n"


def setup(app: Sphinx) -> dict[str, bool]:
    """Tell Sphinx of this file's own part."""
    app.connect("source-read", add_navigation)
    return {"parallel_read_safe": True}
