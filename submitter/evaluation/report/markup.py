"""HTML and SVG as elements, so that text from cells and answers is always escaped."""

from __future__ import annotations

from xml.etree.ElementTree import Element, tostring

from rowfleet.masking import printable

#: What an element holds: other elements, text, or nothing.
Content = Element | str | None


def element(tag: str, *content: Content, **attributes: str | float) -> Element:
    """Return an element; an attribute's `_` becomes `-`, and one at its end is dropped."""
    made = Element(tag)
    for name, value in attributes.items():
        text = f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
        made.set(name.rstrip("_").replace("_", "-"), printable(text))
    for each in content:
        if isinstance(each, str):
            _append_text(made, printable(each, keep="\n"))
        elif each is not None:
            made.append(each)
    return made


def _append_text(parent: Element, text: str) -> None:
    if len(parent):
        parent[-1].tail = (parent[-1].tail or "") + text
    else:
        parent.text = (parent.text or "") + text


def document(root: Element) -> bytes:
    """Return a whole page in UTF-8."""
    text = tostring(root, encoding="unicode", method="html")
    return f"<!DOCTYPE html>\n{text}\n".encode("utf-8", "replace")


def table(header: list[str], rows: list[list[Content]], *, numbers_from: int = 1) -> Element:
    """Return a table; cells from the column ``numbers_from`` on are numbers, set to the right."""

    def cells(tag: str, values: list[Content] | list[str]) -> list[Element]:
        return [
            element(tag, value, class_="n" if place >= numbers_from else "t")
            for place, value in enumerate(values)
        ]

    return element(
        "div",
        element(
            "table",
            element("thead", element("tr", *cells("th", header))),
            element("tbody", *(element("tr", *cells("td", row)) for row in rows)),
        ),
        class_="wide",
    )
