"""The report's plots, as SVG that stands within its page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from submitter.evaluation.classes import Confusion
from submitter.evaluation.confidence import Calibration
from submitter.evaluation.intervals import Estimate
from submitter.evaluation.report.markup import element

#: Pixels of a plot with two axes, and of the space for its axes' labels.
SIZE, LEFT, BELOW, ABOVE, RIGHT = 340, 52, 44, 12, 14
#: Characters of a class's name in a plot.
LONGEST_NAME = 22


@dataclass(frozen=True, slots=True)
class _Plane:
    """A square plot of shares: both axes go up to 1."""

    least_x: float = 0.0
    least_y: float = 0.0

    def x(self, share: float) -> float:
        return LEFT + (share - self.least_x) / (1 - self.least_x) * (SIZE - LEFT - RIGHT)

    def y(self, share: float) -> float:
        span = (share - self.least_y) / (1 - self.least_y)
        return SIZE - BELOW - max(0.0, span) * (SIZE - BELOW - ABOVE)

    def frame(self, title: str, across: str, up: str, *content: Element) -> Element:
        """Return the plot with its grid, its labels and what it shows."""
        lines = []
        for step in range(5):
            x, y = (least + (1 - least) * step / 4 for least in (self.least_x, self.least_y))
            left, right, top, bottom = self.x(self.least_x), self.x(1), self.y(1), SIZE - BELOW
            lines += [
                element("path", class_="grid", d=f"M{self.x(x):.1f} {top:.1f}V{bottom:.1f}"),
                element("path", class_="grid", d=f"M{left:.1f} {self.y(y):.1f}H{right:.1f}"),
                _text(self.x(x), bottom + 15.0, f"{x:.0%}", "middle"),
                _text(left - 6, self.y(y) + 4, f"{y:.0%}", "end"),
            ]
        middle = (SIZE - BELOW + ABOVE) / 2
        turned = _text(12.0, middle, up, "middle")
        turned.set("transform", f"rotate(-90 12 {middle:.1f})")
        labels = [_text((SIZE + LEFT - RIGHT) / 2, SIZE - 8.0, across, "middle"), turned]
        return _svg(title, SIZE, SIZE, *lines, *content, *labels)


def calibration(figures: Calibration) -> Element:
    """Return the reliability diagram: accuracy by confidence, with intervals."""
    plane = _Plane()
    most = max(each.rows for each in figures.bins)
    shown = [element("path", class_="ideal", d=f"M{_at(plane, 0, 0)}L{_at(plane, 1, 1)}")]
    for each in figures.bins:
        height = each.rows / most * 0.22
        left, right = plane.x(each.low) + 1, plane.x(each.high) - 1
        shown.append(
            element(
                "rect",
                element("title", f"{each.rows:,} rows"),
                class_="rows",
                x=left,
                y=plane.y(height),
                width=right - left,
                height=plane.y(0) - plane.y(height),
            )
        )
    for each in figures.bins:
        shown += _whisker(plane, each.confidence, each.accuracy)
    path = "L".join(_at(plane, each.confidence, each.accuracy.value) for each in figures.bins)
    shown.append(element("path", class_="line", d=f"M{path}"))
    title = f"Accuracy by {figures.name}, with the rows of each bin below"
    return plane.frame(title, figures.name, "accuracy", *shown)


def coverage(figures: Calibration) -> Element:
    """Return the accuracy of the most confident rows, by the share of rows that they are."""
    points = figures.coverage
    lowest = min((each.accuracy.low or 0.0) for each in points)
    plane = _Plane(least_y=min(0.9, int(lowest * 10) / 10))
    upper = [_at(plane, each.coverage, each.accuracy.high or 0.0) for each in points]
    lower = [_at(plane, each.coverage, each.accuracy.low or 0.0) for each in reversed(points)]
    path = "L".join(_at(plane, each.coverage, each.accuracy.value) for each in points)
    marks = [
        element(
            "circle",
            element(
                "title",
                f"{figures.name} from {percent(each.confidence)}: {percent(each.coverage)} of the "
                f"rows, {shown(each.accuracy)} right",
            ),
            class_="dot",
            cx=plane.x(each.coverage),
            cy=plane.y(each.accuracy.value),
            r=2.5,
        )
        for each in points
    ]
    band = element("path", class_="band", d=f"M{'L'.join([*upper, *lower])}Z")
    line = element("path", class_="line", d=f"M{path}")
    title = f"Accuracy of the rows with the highest {figures.name}"
    return plane.frame(title, "share of rows kept", "accuracy", band, line, *marks)


def confusion(figures: Confusion) -> Element:
    """Return the table of labels (down) and answers (across), shaded by the share of the label."""
    names, side = figures.names, _width_of(figures.names) + 8
    cell = max(18.0, min(44.0, 520 / len(names)))
    content: list[Element] = []
    for place, name in enumerate(names):
        middle = side + place * cell + cell / 2 + 4
        content.append(_text(side - 6, middle, _short(name), "end"))
        across = _text(middle, side - 8, _short(name), "start")
        across.set("transform", f"rotate(-60 {middle:.1f} {side - 8:.0f})")
        content.append(across)
    for down, counts in enumerate(figures.counts):
        for right, count in enumerate(counts):
            share = count / sum(counts) if count else 0.0
            x, y = side + right * cell, side + down * cell
            said = f"label {names[down]}, answer {names[right]}: {count:,} rows"
            content.append(
                element(
                    "rect",
                    element("title", said),
                    class_="right" if down == right else "wrong",
                    x=x,
                    y=y,
                    width=cell - 1,
                    height=cell - 1,
                    fill_opacity=0.06 + 0.94 * share if count else 0.03,
                )
            )
            if count and cell > 24:
                number = _text(x + cell / 2, y + cell / 2 + 4, f"{count:,}", "middle")
                number.set("class", "on" if share > 0.55 else "off")
                content.append(number)
    height = side + len(names) * cell + 6
    return _svg("Confusion matrix: labels down, answers across", height + 60, height, *content)


def dots(rows: Sequence[tuple[str, Estimate | None]], title: str) -> Element:
    """Return figures from 0 to 1 below each other, each with its interval."""
    side, step = _width_of([name for name, _ in rows]) + 12, 22
    width = side + 340
    span = width - side - 70

    def x(share: float) -> float:
        return side + max(0.0, min(1.0, share)) * span

    bottom = len(rows) * step + 4
    content = [
        element("path", class_="grid", d=f"M{x(n / 4):.1f} 2V{bottom}") for n in range(5)
    ] + [_text(x(n / 4), bottom + 14.0, f"{n / 4:.0%}", "middle") for n in range(5)]
    for place, (name, each) in enumerate(rows):
        y = place * step + 14.0
        content.append(_text(side - 8.0, y + 4, _short(name), "end"))
        if each is None:
            content.append(_text(x(0) + 4, y + 4, "no rows", "start"))
            continue
        if each.low is not None and each.high is not None:
            content.append(
                element("path", class_="whisker", d=f"M{x(each.low):.1f} {y}H{x(each.high):.1f}")
            )
        content.append(element("circle", class_="dot", cx=x(each.value), cy=y, r=4.0))
        content.append(_text(width - 62.0, y + 4, percent(each.value), "start"))
    return _svg(title, width, bottom + 20, *content)


def percent(share: float) -> str:
    """Return a share in percent."""
    return f"{share * 100:.1f} %"


def shown(each: Estimate | None, form: str = "percent") -> str:
    """Return a figure with its interval in words; ``form`` is `percent` or a number's format."""
    if each is None:
        return "–"

    def one(value: float) -> str:
        return percent(value) if form == "percent" else format(value, form)

    if each.low is None and each.high is None:
        return one(each.value)
    low, high = ("?" if end is None else one(end) for end in (each.low, each.high))
    return f"{one(each.value)} ({low.removesuffix(' %')} to {high})"


def _whisker(plane: _Plane, x: float, each: Estimate) -> list[Element]:
    low, high = each.low or 0.0, 1.0 if each.high is None else each.high
    return [
        element(
            "path", class_="whisker", d=f"M{plane.x(x):.1f} {plane.y(low):.1f}V{plane.y(high):.1f}"
        ),
        element(
            "circle",
            element("title", f"{shown(each)} right at {percent(x)}"),
            class_="dot",
            cx=plane.x(x),
            cy=plane.y(each.value),
            r=4.0,
        ),
    ]


def _at(plane: _Plane, x: float, y: float) -> str:
    return f"{plane.x(x):.1f} {plane.y(y):.1f}"


def _text(x: float, y: float, text: str, anchor: str) -> Element:
    return element("text", text, x=x, y=y, text_anchor=anchor)


def _width_of(names: Sequence[str]) -> float:
    """Return about how many pixels the longest name takes."""
    return 6.4 * max(len(_short(name)) for name in names)


def _short(name: str, most: int = LONGEST_NAME) -> str:
    return name if len(name) <= most else name[: most - 1] + "…"


def _svg(title: str, width: float, height: float, *content: Element) -> Element:
    size = f"0 0 {width:.0f} {height:.0f}"
    return element(
        "svg",
        element("title", title),
        *content,
        role="img",
        viewBox=size,
        width=f"{width:.0f}",
        height=f"{height:.0f}",
    )
