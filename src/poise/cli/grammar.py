"""One grammar for values: fix, sweep, grid, range."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from decimal import Decimal

from poise.errors import ParameterError
from poise.param_lists import LISTS
from poise.params import MAX_SETTINGS, Number, check_value, find_parameter

Values = tuple[Number | None, ...]

OFF = "off"
FORMS = "0.7, or 0.3,0.5,0.9, or 0..1.5:0.1, or off"
# A range to dial each parameter over, where the user has to be shown one.
RANGES: Mapping[str, str] = {
    "temperature": "0..1.5", "top_k": "1..off", "top_p": "0..1", "min_p": "0..1", "typical_p": "0.01..1",
    "repetition_penalty": "0.5..2", "frequency_penalty": "-2..2", "presence_penalty": "-2..2",
    "top_n_sigma": "0.1..5", "epsilon_cutoff": "0..0.1", "eta_cutoff": "0..0.1", "top_h": "0.05..1", "tfs": "0..1",
    "top_a": "0..1", "dynatemp_range": "0..1", "dynatemp_exponent": "0.2..3", "smoothing_factor": "0..3",
    "smoothing_curve": "1..3", "xtc_probability": "0..1", "xtc_threshold": "0..0.5", "mirostat": "0..2",
    "mirostat_tau": "1..10", "mirostat_eta": "0.01..1", "penalty_last_n": "0..64", "dry_multiplier": "0..2",
    "dry_base": "1..3", "dry_allowed_length": "0..8", "dry_last_n": "0..64", "no_repeat_ngram_size": "0..8",
    "guidance_scale": "1..3",
}  # fmt: skip
_NUMBER = re.compile(r"[+-]?(\d{1,40}(\.\d{0,40})?|\.\d{1,40})([eE][+-]?\d{1,3})?", re.ASCII)
_WHOLE = re.compile(r"[+-]?\d{1,15}", re.ASCII)


def parse(name: str, text: str, *, ranged: bool = False) -> Values:
    """Read the values of one parameter as a user writes them.

    ``a`` fixes, ``a,b,c`` sweeps, ``a..b:step`` is a grid with both ends, ``off`` is None.

    Args:
        name: a key of `PARAMETERS`.
        text: what was written.
        ranged: whether the command takes ``a..b`` too, as `parse_range` reads it; errors then say so.

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
        values += _piece(name, piece.strip(), text, ranged)
    if len(values) > MAX_SETTINGS:
        raise _too_many(name, len(values))
    return tuple(dict.fromkeys(values))


def parse_range(name: str, text: str) -> tuple[float, float] | None:
    """Read a range ``a..b``, as `poise dial` takes one; ``1..off`` for a number of tokens.

    Args:
        name: a key of `PARAMETERS`.
        text: what was written.

    Returns:
        Its ends, infinity for ``off``; None where it is no range.

    Raises:
        ParameterError: an unknown name, not numbers, out of range, more dots than two.

    >>> parse_range("temperature", "0..1.5"), parse_range("temperature", "0.7")
    ((0.0, 1.5), None)
    """
    low, dots, high = (part.strip() for part in text.partition(".."))
    if not dots or ":" in text or "," in text:
        return None
    _check_dots(name, text)
    ends = [check_value(name, _number(name, low, text, ranged=True))]
    if high == OFF and counts_all(name):
        return float(ends[0]), math.inf
    if high == OFF:
        raise ParameterError(f"A range of {name} ends at a number", repr(text), f"For example {RANGES[name]}")
    ends.append(check_value(name, _number(name, high, text, ranged=True)))
    return float(ends[0]), float(ends[1])


def counts_all(name: str) -> bool:
    """Whether a parameter is a number of tokens that is off at the whole vocabulary."""
    parameter = find_parameter(name)
    return parameter.kind == "int" and parameter.neutral is None and not parameter.leaders


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
    """Split ``name=values`` pairs of parameters and of those that are lists, the values still as written.

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
        if name not in LISTS:
            find_parameter(name)
        read[name] = text
    return read


def _piece(name: str, piece: str, whole: str, ranged: bool) -> list[Number | None]:
    if piece == OFF:
        return [None]
    low, dots, rest = piece.partition("..")
    if not dots:
        return [check_value(name, _number(name, piece, whole, ranged))]
    _check_dots(name, piece)
    high, colon, step = rest.partition(":")
    if not colon:
        numbers = _NUMBER.fullmatch(low.strip()) and _NUMBER.fullmatch(high.strip())
        if ranged:
            alone = piece if numbers else RANGES[name]
            raise ParameterError(f"A range of {name} stands alone", repr(whole), f"Write {alone}, nothing beside it")
        raise ParameterError(
            f"{name} needs single values here; a..b is a range",
            repr(piece),
            f"Add a step to make it a grid, for example {piece}:{_example_step(low, high)}" if numbers
            else "A grid has a step, for example 0..1.5:0.1",
        )  # fmt: skip
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


def _check_dots(name: str, text: str) -> None:
    """``0...1`` would be 0 to .1: nobody means that."""
    if "..." in text:
        low, _, high = text.partition("...")
        raise ParameterError(
            f"A range of {name} has two dots", repr(text), f"Write {low.strip()}..{high.strip().lstrip('.')}, "
            "and a value below 1 with its 0, for example 0..0.1",
        )  # fmt: skip


def _number(name: str, text: str, whole: str, ranged: bool = False) -> Number:
    if not _NUMBER.fullmatch(text):
        got = "nothing" if not whole.strip() else repr(whole)
        forms = f"a..b to move it, for example {RANGES[name]}, or one value, or off" if ranged else FORMS
        raise ParameterError(f"{name} takes numbers in {find_parameter(name).range_text}", got, f"Write {forms}")
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
