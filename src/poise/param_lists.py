"""Parameters that are no numbers: biases, barred words, breakers, an order."""

from __future__ import annotations

import json
import math
import re
import reprlib
from collections.abc import Mapping
from numbers import Real
from typing import Any

from poise.errors import ParameterError
from poise.parameters import Number

LISTS = ("logit_bias", "bad_words", "dry_breakers", "order")
BREAKERS = ("\n", ":", '"', "*")  # what ends a repeated sequence for DRY, where nobody says otherwise
MOST = 1e30  # of a bias; past it, logits overflow
_SHAPES = {
    "logit_bias": ("logit_bias takes token ids with numbers, each id once", "{50256: -100}"),
    "bad_words": ("bad_words takes lists of token ids, each list once", "[[262, 50], [13]]"),
    "dry_breakers": ("dry_breakers takes strings, each once", repr(list(BREAKERS))),
    "order": ("order takes the names of steps, each once", '["top_k", "top_p", "temperature"]'),
}
_MARKS = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\"}


def check_list(name: str, value: object) -> Any:
    """Check a parameter that is no number.

    Args:
        name: one of `LISTS`.
        value: as the user wrote it.

    Returns:
        It as tuples.

    Raises:
        ParameterError: it is something else.
    """
    try:
        if isinstance(value, (str, bytes)):
            raise TypeError(name)
        if name == "logit_bias":
            pairs: Any = value.items() if isinstance(value, Mapping) else value
            found: Any = tuple(sorted((_token(i), _bias(b)) for i, b in pairs))
            if len({i for i, _ in found}) < len(found):
                raise ValueError(name)
            return found
        many: Any = value
        if name == "bad_words":
            found = tuple(tuple(_token(i) for i in word) for word in many)
            good = all(found)
        else:
            found = tuple(many)
            good = all(isinstance(item, str) and item for item in found)
        if not good or len(set(found)) < len(found):
            raise ValueError(name)
        return found
    except (TypeError, ValueError):
        raise _wrong(name, value) from None


def read_list(name: str, text: str) -> Any:
    """Read a parameter that is no number as a user writes it.

    Args:
        name: one of `LISTS`.
        text: JSON where it begins with a bracket; else parts with semicolons, or commas, between them: ``50:-1;7:off``
            (also ``50=-1,7=off``), ``262:50;13``, ``top_k;temperature``. Breakers are parted by semicolons alone, and
            a line's end in one is written ``\\n``.

    Returns:
        It as tuples.

    Raises:
        ParameterError: it is something else.

    >>> read_list("logit_bias", "50=-1,7=off"), read_list("bad_words", "262:50;13")
    (((7, -inf), (50, -1.0)), ((262, 50), (13,)))
    """
    said = text.strip()
    if said[:1] in ("[", "{"):
        try:
            return check_list(name, json.loads(said, object_pairs_hook=once))
        except ValueError:
            raise _wrong(name, text) from None
    if name == "dry_breakers":
        return check_list(name, [_unescaped(part) for part in text.split(";") if part])
    parts = [part.strip() for part in re.split("[;,]", said) if part.strip()]
    try:
        if name == "logit_bias":
            pairs = [re.split("[:=]", part, maxsplit=1) for part in parts]
            return check_list(name, [(int(i), False if b in ("off", "false", "-inf") else float(b)) for i, b in pairs])
        words = [[int(i) for i in part.split(":")] for part in parts] if name == "bad_words" else parts
    except ValueError:
        raise _wrong(name, text) from None
    return check_list(name, words)


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON in which no name stands twice, for `json.loads(…, object_pairs_hook=once)`.

    Args:
        pairs: its names and values.

    Returns:
        It.

    Raises:
        ValueError: a name stands twice, where JSON would keep the last in silence.
    """
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"{name!r} stands twice")
        found[name] = value
    return found


def _unescaped(text: str) -> str:
    """Line ends and tabs as they are typed in a shell."""
    return re.sub(r"\\([ntr\\])", lambda found: _MARKS[found[1]], text)


def _escaped(text: str) -> str:
    return "".join(next((f"\\{mark}" for mark, c in _MARKS.items() if c == character), character) for character in text)


def _wrong(name: str, value: object) -> ParameterError:
    rule, example = _SHAPES[name]
    return ParameterError(rule, reprlib.repr(value), f"For example {example}")


def _token(value: object) -> int:
    number: Any = int(value) if isinstance(value, str) else value  # keys of JSON are strings
    if isinstance(number, bool) or not isinstance(number, (int, float)) or int(number) != number or number < 0:
        raise ValueError(value)
    return int(number)


def _bias(value: object) -> float:
    if value is False:  # as llama-server writes it
        return -math.inf
    if isinstance(value, bool) or not isinstance(value, Real):
        raise ValueError(value)
    bias = float(value)
    if bias != -math.inf and not abs(bias) <= MOST:
        raise ParameterError(
            f"A bias lies between -{MOST:g} and {MOST:g}, or is -∞, which bars the token", repr(bias), "Change it"
        )
    return bias


def listed(value: Any) -> str:
    """A list in a label, without the commas that part settings.

    >>> listed(((50, -1.0), (7, 2.0))), listed(("top_k", "temperature"))
    ('50:-1;7:2', 'top_k;temperature')
    """
    return ";".join(
        ":".join(_item(part) for part in item) if isinstance(item, tuple) else _escaped(item) for item in value
    )


def _item(part: Number) -> str:
    return f"{part:g}" if float(f"{part:g}") == part else repr(part)
