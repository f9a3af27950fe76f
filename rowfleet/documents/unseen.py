"""Characters of a document's text that no reader sees, and that could hide a word or a tag."""

from __future__ import annotations

import re
from typing import Final

#: Controls but for tab and line feed; those that Unicode calls default ignorable, such as soft
#: hyphens, fillers, joiners and tags; those that turn the order of others; halves of pairs.
#: https://www.unicode.org/reports/tr44/#Default_Ignorable_Code_Point
UNSEEN: Final = re.compile(
    "[\0-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f"
    "\u2028-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff\ud800-\udfff"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
