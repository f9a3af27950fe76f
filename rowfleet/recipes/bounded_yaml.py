"""YAML from an untrusted file, read within bounds.

A few hundred bytes of YAML can stand for gigabytes: an alias repeats what its anchor holds, and
aliases of aliases multiply. So the text is walked as events first, in which an alias is one event,
and what it stands for is counted before anything is built.
"""

from __future__ import annotations

import math
import re
from typing import Any

import yaml

#: Nodes of a document, with aliases written out. A long recipe has a few hundred.
MAX_NODES = 50_000
#: Characters of all its texts, with aliases written out.
MAX_CHARACTERS = 2 << 20
#: Levels of lists and mappings within each other.
MAX_DEPTH = 100
#: Characters of a number or date. A longer one would be built digit by digit.
MAX_NUMBER_CHARS = 64

_LIBRARY: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # in C, where the wheel has it

#: How the library names what it reads before a place in it; who reads a file names that.
_WHERE = re.compile(r'in "<(?:unicode|byte) string>", ')


class _Loader(_LIBRARY):  # type: ignore[misc]  # whichever the wheel has
    """The safe loader, for what JSON can hold: a date is text, as it stands."""


def _short(loader: Any, node: yaml.ScalarNode) -> Any:
    if len(node.value) > MAX_NUMBER_CHARS:
        raise ValueError(f"line {node.start_mark.line + 1}: a number of {len(node.value):,} digits")
    kind = node.tag.rpartition(":")[2]
    value = getattr(loader, f"construct_yaml_{kind}")(node)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"line {node.start_mark.line + 1}: {node.value} is not a number of JSON")
    return value


_Loader.add_constructor("tag:yaml.org,2002:int", _short)
_Loader.add_constructor("tag:yaml.org,2002:float", _short)
_Loader.add_constructor(
    "tag:yaml.org,2002:timestamp", lambda loader, node: loader.construct_yaml_str(node)
)
for _tag in ("binary", "set", "omap", "pairs"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_tag}", _Loader.construct_undefined)


def load(text: str) -> Any:
    """Return what the YAML ``text`` holds: what JSON can hold, whose keys are text.

    Raises ValueError with one sentence for anything else, and for more than the bounds.
    """
    try:
        _count(text)
        data = yaml.load(text, Loader=_Loader)  # noqa: S506 (made of the safe one)
    except (
        yaml.YAMLError,
        ValueError,
        TypeError,
        LookupError,
        AttributeError,
        OverflowError,
        RecursionError,
    ) as error:
        # The library raises what its conversions meet, such as a number without digits.
        said = _WHERE.sub("at ", " ".join(str(error).split()))
        raise ValueError(f"not valid YAML: {said[:300]}") from None
    _check_text(data)
    return data


def _count(text: str) -> None:
    """Raise ValueError for a document out of bounds, and for an alias within its own anchor."""
    nodes = characters = 0
    open_: list[tuple[str | None, int, int]] = []  # anchor, and what came before it
    sizes: dict[str, tuple[int, int] | None] = {}  # of each anchor, None while it is open
    for event in yaml.parse(text, Loader=_LIBRARY):
        line = f"line {event.start_mark.line + 1 if event.start_mark else '?'}"
        if isinstance(event, yaml.AliasEvent):
            # An anchor that is not there is the loader's to refuse.
            size = sizes.get(str(event.anchor), (1, 0))
            if size is None:
                raise ValueError(f"{line}: *{str(event.anchor)[:60]} stands within itself")
            nodes += size[0]
            characters += size[1]
        elif isinstance(event, yaml.CollectionStartEvent):
            open_.append((event.anchor, nodes, characters))
            if event.anchor:
                sizes[event.anchor] = None
            nodes += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, nodes_before, characters_before = open_.pop()
            if anchor:
                sizes[anchor] = nodes - nodes_before, characters - characters_before
        elif isinstance(event, yaml.ScalarEvent):
            nodes += 1
            characters += len(event.value)
            if event.anchor:
                sizes[event.anchor] = 1, len(event.value)
        for count, most, what in (
            (nodes, MAX_NODES, "values"),
            (characters, MAX_CHARACTERS, "characters"),
        ):
            if count > most:
                raise ValueError(
                    f"{line}: holds more than {most:,} {what} once its aliases (*) are written out"
                )
        if len(open_) > MAX_DEPTH:
            raise ValueError(f"{line}: nested more than {MAX_DEPTH} levels deep")


def nodes(text: str) -> yaml.Node | None:
    """Return the nodes of a ``text`` that `load` has taken, which know their lines."""
    found: yaml.Node | None = yaml.compose(text, Loader=_LIBRARY)
    return found


def place_in(text: str, node: yaml.Node, at: int) -> tuple[int, int]:
    """Return line and column, from 1, of the character ``at`` of a text that a node of ``text`` is.

    A text may be quoted, or stand on several lines.
    """
    start, end = node.start_mark, node.end_mark
    if not isinstance(node, yaml.ScalarNode):
        return start.line + 1, start.column + 1
    raw = text[start.index : end.index]
    found = place = raw.find("\n") + 1 if node.style in ("|", ">") else int(bool(node.style))
    for character in node.value[: at + 1]:
        # Quotes are written twice or behind a backslash, and an end of a line may be a space.
        while place < len(raw) and raw[place] != character and raw[place] in " \t\r\n\\'\"":
            place += 1
        found = place
        place += 1
    before = text[: start.index + found]
    return before.count("\n") + 1, len(before) - before.rfind("\n")


def _check_text(data: Any) -> None:
    """Raise ValueError for a key that is no text, and text that no database can hold."""
    waiting = [data]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            for key in value:
                if not isinstance(key, str):
                    raise ValueError(  # noqa: TRY004 (of the file, not of an argument)
                        f"the key {repr(key)[:60]} is not text; write it in quotes"
                    )
            waiting += [*value, *value.values()]
        elif isinstance(value, list):
            waiting += value
        elif isinstance(value, str) and ("\0" in value or not _is_encodable(value)):
            raise ValueError(f"the text {value[:60]!a} holds a character that is none")


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
