"""E-mails as files: EML by the standard library, and MSG in Microsoft's compound format."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from email.message import EmailMessage
from itertools import count
from typing import Any

#: A file's name and its content, or an e-mail in the form of `outlook_mail`.
Tree = dict[str, "bytes | Tree"]

_SECTOR, _MINI, _CUTOFF = 512, 64, 4096
_FREE, _END, _FAT = 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFD
_STORAGE, _STREAM, _ROOT = 1, 2, 5


def mail(subject: str, text: str, *attachments: tuple[str, bytes], html: str = "") -> bytes:
    """Return an EML."""
    message = EmailMessage()
    message["From"] = "Billing <billing@acme.example>"
    message["To"] = "audit@example.com"
    message["Date"] = "Thu, 26 Nov 2026 10:00:00 +0000"
    message["Subject"] = subject
    message.set_content(text)
    if html:
        message.add_alternative(html, subtype="html")
    for name, content in attachments:
        message.add_attachment(
            content, maintype="application", subtype="octet-stream", filename=name
        )
    return message.as_bytes()


def mail_in_mails(depth: int) -> bytes:
    """Return an e-mail in as many others."""
    message = EmailMessage()
    message["From"] = message["To"] = "a@example.com"
    message["Subject"] = "innermost"
    message.set_content("the innermost")
    for level in range(depth):
        outer = EmailMessage()
        outer["From"] = outer["To"] = "a@example.com"
        outer["Subject"] = f"level {level}"
        outer.set_content(f"level {level}")
        outer.add_attachment(message)
        message = outer
    return message.as_bytes()


def outlook_mail(strings: dict[int, str], *attached: Tree, streams: Tree | None = None) -> Tree:
    """Return an e-mail's storage: texts by the number of their property, and attachments."""
    tree: Tree = {f"__substg1.0_{number:04X}001F": text.encode("utf-16-le")
                  for number, text in strings.items()}  # fmt: skip
    tree["__properties_version1.0"] = bytes(32)
    tree.update(streams or {})
    tree.update({f"__attach_version1.0_#{at:08X}": each for at, each in enumerate(attached)})
    return tree


def attached_file(name: str, content: bytes) -> Tree:
    """Return the storage of an attached file."""
    return {"__substg1.0_3707001F": name.encode("utf-16-le"), "__substg1.0_37010102": content}


def attached_mail(tree: Tree) -> Tree:
    """Return the storage of an attached e-mail."""
    tree = {**tree, "__properties_version1.0": bytes(24)}
    return {"__substg1.0_3701000D": tree}


def compound_file(tree: Tree) -> bytes:
    """Return a compound file of storages and streams: [MS-CFB]."""
    entries: list[list[Any]] = []
    mini = bytearray()
    mini_fat: list[int] = []
    sectors: list[bytes] = []
    fat: list[int] = []

    def place(content: bytes) -> int:
        if not content:
            return _END
        pieces = [content[at : at + _SECTOR] for at in range(0, len(content), _SECTOR)]
        start = len(sectors)
        sectors.extend(piece.ljust(_SECTOR, b"\0") for piece in pieces)
        fat.extend([*range(start + 1, start + len(pieces)), _END])
        return start

    def place_small(content: bytes) -> int:
        start = len(mini_fat)
        number = -(-len(content) // _MINI)
        mini.extend(content.ljust(number * _MINI, b"\0"))
        mini_fat.extend([*range(start + 1, start + number), _END])
        return start

    def add(name: str, node: bytes | Tree, kind: int) -> int:
        at = len(entries)
        entries.append([name, kind, _FREE, _FREE, _END, 0])
        if isinstance(node, bytes):
            small = 0 < len(node) < _CUTOFF
            entries[at][4:] = [place_small(node) if small else place(node), len(node)]
            return at
        before = None
        for inner, content in node.items():
            number = add(inner, content, _STREAM if isinstance(content, bytes) else _STORAGE)
            if before is None:
                entries[at][3] = number
            else:
                entries[before][2] = number
            before = number
        return at

    add("Root Entry", tree, _ROOT)
    entries[0][4:] = [place(bytes(mini)), len(mini)]
    mini_fat_start = place(struct.pack(f"<{len(mini_fat)}I", *mini_fat)) if mini_fat else _END
    directory = place(b"".join(_entry(*entry) for entry in entries))
    fat_count = next(number for number in count(1) if number * (_SECTOR // 4) >= len(fat) + number)
    fat_start = len(sectors)
    fat += [_FAT] * fat_count
    fat += [_FREE] * (fat_count * (_SECTOR // 4) - len(fat))
    head = struct.pack(
        "<8s16xHHHHH6xIIIIIIIII",
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
        0x3E, 3, 0xFFFE, 9, 6, 0, fat_count, directory, 0, _CUTOFF,
        mini_fat_start, -(-len(mini_fat) * 4 // _SECTOR), _END, 0,
    )  # fmt: skip
    listed: Sequence[int] = [*range(fat_start, fat_start + fat_count)]
    head += struct.pack("<109I", *listed, *[_FREE] * (109 - len(listed)))
    return head + b"".join(sectors) + struct.pack(f"<{len(fat)}I", *fat)


def _entry(name: str, kind: int, right: int, child: int, start: int, size: int) -> bytes:
    wide = name.encode("utf-16-le") + b"\0\0"
    return struct.pack(
        "<64sHBBIII36xIQ", wide, len(wide), kind, 1, _FREE, right, child, start, size
    )
