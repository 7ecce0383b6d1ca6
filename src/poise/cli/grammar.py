"""One grammar for values: fix, sweep, grid, range."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from decimal import Decimal

from poise.errors import ParameterError
from poise.params import MAX_SETTINGS, Number, check_value, find_parameter

Values = tuple[Number | None, ...]

OFF = "off"
FORMS = "0.7, or 0.3,0.5,0.9, or 0..1.5:0.1, or off"
_NUMBER = re.compile(r"[+-]?(\d{1,40}(\.\d{0,40})?|\.\d{1,40})([eE][+-]?\d{1,3})?", re.ASCII)
_WHOLE = re.compile(r"[+-]?\d{1,15}", re.ASCII)


def parse(name: str, text: str) -> Values:
    """Read the values of one parameter as a user writes them.

    ``a`` fixes, ``a,b,c`` sweeps, ``a..b:step`` is a grid with both ends, ``off`` is None.

    Args:
        name: a key of `PARAMETERS`.
        text: what was written.

    Returns:
        Its values in the order written, without repeats.

    Raises:
        ParameterError: an unknown name, not a number, out of range, a range without a step, too many values.

    >>> parse("temperature", "0..1:0.5,off")
    (0.0, 0.5, 1.0, None)
    """
    find_parameter(name)
    values: list[Number | None] = []
    for piece in text.split(","):
        values += _piece(name, piece.strip(), text)
    if len(values) > MAX_SETTINGS:
        raise _too_many(name, len(values))
    return tuple(dict.fromkeys(values))


def parse_range(name: str, text: str) -> tuple[float, float] | None:
    """Read a range ``a..b``, as `poise dial` takes one; ``1..off`` for a parameter without an upper limit.

    Args:
        name: a key of `PARAMETERS`.
        text: what was written.

    Returns:
        Its ends, infinity for ``off``; None where it is no range.

    Raises:
        ParameterError: an unknown name, not numbers, out of range.

    >>> parse_range("temperature", "0..1.5"), parse_range("temperature", "0.7")
    ((0.0, 1.5), None)
    """
    low, dots, high = (part.strip() for part in text.partition(".."))
    if not dots or ":" in text or "," in text:
        return None
    ends = [check_value(name, _number(name, low, text))]
    if high == OFF and find_parameter(name).high is None:
        return float(ends[0]), math.inf
    ends.append(check_value(name, _number(name, high, text)))
    return float(ends[0]), float(ends[1])


def assignments(pairs: Iterable[str]) -> Mapping[str, Values]:
    """Read ``name=values`` pairs, as ``-p`` takes them.

    Args:
        pairs: for example ``["top_p=0.9,1"]``.

    Returns:
        Values by parameter.

    Raises:
        ParameterError: no ``=``, a parameter given twice, or what `parse` refuses.

    >>> dict(assignments(["top-k=40"]))
    {'top_k': (40,)}
    """
    return {name: parse(name, text) for name, text in pairs_of(pairs).items()}


def pairs_of(written: Iterable[str]) -> dict[str, str]:
    """Split ``name=values`` pairs, the values still as written.

    Args:
        written: for example ``["top-p=0.9,1"]``.

    Returns:
        What was written, by parameter.

    Raises:
        ParameterError: no ``=``, or a parameter given twice.
    """
    read: dict[str, str] = {}
    for pair in written:
        name, equals, text = pair.partition("=")
        name = name.strip().replace("-", "_")
        if not equals:
            raise ParameterError("-p takes name=value", repr(pair), "For example -p temperature=0.3,0.9")
        if name in read:
            raise ParameterError(f"{name} is given once", "it twice", f"Write all its values together: {name}=a,b")
        find_parameter(name)
        read[name] = text
    return read


def _piece(name: str, piece: str, whole: str) -> list[Number | None]:
    if piece == OFF:
        return [None]
    low, dots, rest = piece.partition("..")
    if not dots:
        return [check_value(name, _number(name, piece, whole))]
    high, colon, step = rest.partition(":")
    if not colon:
        raise ParameterError(
            f"{name} needs single values here; a..b is a range",
            repr(piece),
            f"Add a step to make it a grid, for example {piece}:{_example_step(low, high)}",
        )
    return [check_value(name, v) for v in _grid(name, (low, high, step), whole)]


def _grid(name: str, ends: tuple[str, str, str], whole: str) -> list[Number]:
    low, high, step = (_number(name, part.strip(), whole) for part in ends)
    if not step > 0 or low > high:
        raise ParameterError(
            f"A grid of {name} is low..high:step with low <= high and step > 0", repr(whole), "For example 0..1.5:0.1"
        )
    check_value(name, low)
    check_value(name, high)
    size = (high - low) / step
    if not size < MAX_SETTINGS:
        raise _too_many(name, size + 1)
    # Decimal arithmetic, so that 0..1:0.1 holds 0.3 and not 0.30000000000000004.
    exact_low, exact_high, exact_step = (Decimal(part.strip()) for part in ends)
    count = int((exact_high - exact_low) / exact_step)
    return [_plain(exact_low + i * exact_step) for i in range(count + 1)]


def _number(name: str, text: str, whole: str) -> Number:
    if not _NUMBER.fullmatch(text):
        got = "nothing" if not whole.strip() else repr(whole)
        raise ParameterError(f"{name} takes numbers in {find_parameter(name).range_text}", got, f"Write {FORMS}")
    return int(text) if _WHOLE.fullmatch(text) else float(text)


def _plain(value: Decimal) -> Number:
    return int(value) if value == value.to_integral_value() and abs(value) < 10**15 else float(value)


def _example_step(low: str, high: str) -> str:
    try:
        width = float(high) - float(low)
    except ValueError:
        return "0.1"
    return f"{10 ** math.floor(math.log10(width / 2)):g}" if 0 < width < math.inf else "0.1"


def _too_many(name: str, size: float) -> ParameterError:
    return ParameterError(
        f"A parameter takes at most {MAX_SETTINGS:,} values", f"{size:,.0f} of {name}", "Take a larger step"
    )
