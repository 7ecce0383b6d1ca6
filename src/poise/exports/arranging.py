"""The order of the steps there, and which then act otherwise."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from poise.dialects import Dialect
from poise.exports.commuting import KEEPS_TOP, commute, swapped
from poise.exports.llama_like import FIRST, LAST, SAMPLERS
from poise.exports.outcome import Reason
from poise.exports.working import HEATS, Working
from poise.params import SamplingParams

# llama.cpp and Ollama hold a min-p in float32: below this it loses digits, and then is 0, which is off.
_SMALLEST = float(np.finfo(np.float32).smallest_normal)
_OWNER = {step: name for name, steps in SAMPLERS.items() for step in steps}


def arrange(law: Working, params: SamplingParams, there: Dialect, orderable: bool) -> tuple[str, ...] | None:
    """Choose the order of the steps, and move min-p to the other side of the temperature where that is needed.

    Args:
        law: what is carried; its min-p, and its reasons, change.
        params: as they came, for the whole order that they come in.
        there: the dialect they go to.
        orderable: whether an order can be said there.

    Returns:
        The order to be said; None for the usual one.
    """
    chosen: tuple[str, ...] | None = None
    if orderable and _moved(law, there.order):
        emulated = _emulated(law, params, there)
        if len(_moved(law, emulated)) < len(_moved(law, there.order)):
            chosen = emulated
    for first, second in _moved(law, chosen or there.order):
        if {first, second} == {"min_p", "temperature"}:
            _power(law, down=second == "min_p")
        else:
            law.reasons += _blamed(law, there, first, second)
    return chosen


def samplers_of(order: Sequence[str]) -> list[str]:
    """Steps in order, as llama.cpp's samplers.

    >>> samplers_of(("repetition_penalty", "temperature", "top_k"))
    ['penalties', 'temperature', 'top_k']
    """
    return list(dict.fromkeys(_OWNER[step] for step in order if step in _OWNER))


def order_of(samplers: Sequence[str]) -> tuple[str, ...]:
    """llama.cpp's samplers as steps, in order, with those that have a place of their own.

    Args:
        samplers: first names, see `llama_like.sampler_of`.
    """
    return (*FIRST, *(step for name in samplers for step in SAMPLERS[name]), *LAST)


def _moved(law: Working, order: Sequence[str]) -> list[tuple[str, str]]:
    """The pairs of steps that act in another order, and must not."""
    place = {step: number for number, step in enumerate(law.steps)}
    there = [step for step in order if step in place]
    return [
        pair
        for pair in swapped(there, place)
        if not commute(*pair, greedy=law.greedy, bars=law.bars) and not _alone(law, there, pair)
    ]


def _alone(law: Working, there: Sequence[str], pair: tuple[str, str]) -> bool:
    """Whether two steps may change places because another leaves no choice, on rows with ties too."""
    if not _chooses_nothing(law, pair):
        return False
    if "top_p" in law.lone:
        return True  # one token: the likeliest, of ties the lowest id
    # What top_k 1 leaves has equal logits: dividing them then changes nothing, and top_k itself looks at ranks alone.
    [*cuts] = {*pair} - {"temperature"}
    first = all(order.index("top_k") < order.index(cut) for order in (law.steps, there) for cut in cuts)
    return "temperature" in pair and first


def _chooses_nothing(law: Working, pair: tuple[str, str]) -> bool:
    """Whether the likeliest token alone is left in either order, ties apart."""
    return bool(law.lone) and {*pair} <= KEEPS_TOP | {"temperature"}


def _emulated(law: Working, params: SamplingParams, there: Dialect) -> tuple[str, ...]:
    """The steps of there in the order in which they come from, as far as samplers can be put in any order."""
    whole = [s for s in params.order or params.how.order if s in there.order]
    first = {_OWNER[s]: n for n, s in reversed([*enumerate(whole)]) if s in _OWNER}
    acting = {_OWNER[s]: whole.index(s) for s in reversed(law.steps) if s in _OWNER}
    places = {**first, **acting}
    return order_of(sorted(places, key=lambda n: places[n]))


def _power(law: Working, down: bool) -> None:
    """min-p on the other side of the temperature."""
    heat, old = float(law.numbers["temperature"]), float(law.numbers["min_p"])
    new = old**heat if down else old ** (1 / heat)
    side = "before" if down else "after"
    if old < 1 and not _SMALLEST <= float(np.float32(new)) < 1:
        why = f"{side} the temperature it is {new:g}, which float32 does not hold"
        law.reasons.append(Reason("min_p", "approximate", why))
    else:
        why = f"{new:.6g} {side} temperature {heat:g} keeps the same tokens"
        law.reasons.append(Reason("min_p", "exact", why))
    law.numbers["min_p"] = new


def _blamed(law: Working, there: Dialect, first: str, second: str) -> list[Reason]:
    """Whose loss it is that two steps change places: never the temperature's."""
    ties = _chooses_nothing(law, (first, second))
    found = []
    for name, other, here_side, there_side in (
        (first, second, "before", "after"), (second, first, "after", "before"),
    ):  # fmt: skip
        if name not in HEATS or other in HEATS:
            why = f"it acts {here_side} {other} in {law.here.name}, {there_side} it in {there.name}"
            found.append(Reason(name, "approximate", why, ties, beside=(other,)))
    return found
