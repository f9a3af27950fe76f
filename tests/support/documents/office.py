"""DOCX packages."""

from __future__ import annotations

import io
import zipfile

_WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
PAGE_BREAK = '<w:r><w:br w:type="page"/></w:r>'


def paragraph(*runs: str) -> str:
    """Return a paragraph of texts; what begins with `<` is taken as it is."""
    inner = "".join(run if run.startswith("<") else f"<w:r><w:t>{run}</w:t></w:r>" for run in runs)
    return f"<w:p>{inner}</w:p>"


def table(*rows: tuple[str, ...]) -> str:
    """Return a table; a cell that begins with `<` is taken as it is."""
    shown = "".join(f"<w:tr>{''.join(map(_cell, row))}</w:tr>" for row in rows)
    return f"<w:tbl>{shown}</w:tbl>"


def _cell(content: str) -> str:
    return f"<w:tc>{content if content.startswith('<') else paragraph(content)}</w:tc>"


def docx(body: str, *, parts: dict[str, str] | None = None, before: str = "") -> bytes:
    """Return a document; ``parts`` are further ones, such as `word/header1.xml`."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as package:
        main = f'{before}<w:document xmlns:w="{_WORD}"><w:body>{body}</w:body></w:document>'
        package.writestr("word/document.xml", main)
        for name, inner in (parts or {}).items():
            package.writestr(name, f'<w:hdr xmlns:w="{_WORD}">{inner}</w:hdr>')
    return out.getvalue()
