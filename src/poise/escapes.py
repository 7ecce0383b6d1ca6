"""Control characters made visible, so that hostile text stays text."""

from __future__ import annotations

import re
import unicodedata

# Marks that reorder or hide what follows: a reader has to see them, a page must not obey them.
_NAMED = {
    0x061C: "ALM", 0x200E: "LRM", 0x200F: "RLM",
    0x202A: "LRE", 0x202B: "RLE", 0x202C: "PDF", 0x202D: "LRO", 0x202E: "RLO",
    0x2066: "LRI", 0x2067: "RLI", 0x2068: "FSI", 0x2069: "PDI",
    0x2028: "LS", 0x2029: "PS",
    0x00AD: "SHY", 0x200B: "ZWSP", 0x2060: "WJ", 0xFEFF: "BOM",
}  # fmt: skip
_KEPT = "\n\t"
# Everything that `_shown` may change: a fast test first, since nearly all texts hold none of it.
_SUSPECT = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f"
    "\u3164\u115f\u1160\uffa0\ufeff\ufff9-\ufffc\ud800-\udfff\U000e0000-\U000e0fff]"
)
_STACKED = re.compile("([\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]{4})"
                      "[\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]+")  # fmt: skip


def visible(text: str) -> str:
    """Replace every character that a page or a terminal would obey by one that it shows.

    Line ends and tabs stay, and so do the joiners that scripts and emoji need. Letters with
    more than four marks stacked on them keep four: the rest would climb over the neighbours.

    Args:
        text: any string, lone surrogates included.

    Returns:
        A string that encodes as UTF-8, changes no direction and sends no escape.

    >>> visible("a\\x1b[31mb\\u202ec")
    'a␛[31mb⟦RLO⟧c'
    """
    return _STACKED.sub(r"\1", _SUSPECT.sub(_shown, text))


def changed(text: str) -> bool:
    """Whether `visible` would show the text other than it is."""
    return visible(text) != text


def _shown(match: re.Match[str]) -> str:
    character = match.group()
    code = ord(character)
    if character in _KEPT:
        return character
    if code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "␡"
    if code in _NAMED:
        return f"⟦{_NAMED[code]}⟧"
    if unicodedata.category(character) == "Cs":
        return "�"
    return f"⟦U+{code:04X}⟧"
