"""Which values are tried, and what a server might make of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from poise.parameters import COMMON
from poise.params import DIALECTS, PARAMETERS
from poise.probes.draws import Scope
from poise.probes.fits import Rival
from poise.probes.shapes import Move, Shape

FIRST = tuple(n for n in DIALECTS["transformers"].order if n in COMMON)  # the temperature before what truncates
LAST = tuple(n for n in DIALECTS["temperature-last"].order if n in COMMON)
EITHER = (FIRST, LAST)
PENALTIES = ("repetition_penalty", "frequency_penalty", "presence_penalty")
OFFSETS = (-40.0, 4.0, 8.0, 12.0, 18.0, 26.0)  # logits that a token of probability 1 may have
HOT = 1.8
# Values tried of each parameter: one that does much, one that does little.
VALUES: Mapping[str, tuple[float, ...]] = {
    "temperature": (0.3, HOT),
    "top_k": (1, 3, 12),
    "top_p": (0.3, 0.85),
    "min_p": (0.3, 0.04),
    "typical_p": (0.4, 0.85),
    "frequency_penalty": (1.6, -1.5),
    "presence_penalty": (1.8, -1.5),
    "repetition_penalty": (2.0,),
}
# Values that servers use where they were asked for others, or for none.
GRIDS: Mapping[str, tuple[float, ...]] = {
    "temperature": (0.0, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.2, 1.3, 1.5, 1.8, 2.0, 2.5),
    "top_k": (1, 2, 3, 4, 5, 8, 10, 12, 15, 20, 30, 40, 50, 64, 100),
    "top_p": (0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 0.85, 0.9, 0.95, 1.0),
    "min_p": (0.0, 0.01, 0.02, 0.04, 0.05, 0.1, 0.2, 0.3, 0.5),
    "typical_p": (0.2, 0.4, 0.6, 0.85, 0.95, 1.0),
    "frequency_penalty": (-2.0, -1.5, -1.0, -0.5, 0.0, 0.3, 0.5, 0.8, 1.0, 1.6, 2.0),
    "presence_penalty": (-2.0, -1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 1.8, 2.0),
    "repetition_penalty": (1.0, 1.1, 1.2, 1.3, 1.5, 2.0),
}


def shape_of(
    params: Mapping[str, float], order: Sequence[str] = FIRST, scopes: Mapping[str, Scope] | None = None,
    window: int = 0, offset: float = 0.0,
) -> Shape:  # fmt: skip
    """The law of some settings.

    Args:
        params: by poise's names; neutral ones add no step.
        order: of the steps.
        scopes: of penalties; without, the repetition penalty counts prompt and output, the others the output.
        window: of penalties.
        offset: of the repetition penalty.

    Returns:
        The shape.

    >>> [m.name for m in shape_of({"top_p": 0.9, "temperature": 0.5, "min_p": 0.0})]
    ['temperature', 'top_p']
    """
    counted: dict[str, Scope] = {"repetition_penalty": "prompt and output", **(scopes or {})}
    return tuple(
        Move(n, params[n], counted.get(n, "output"), window, offset) if n in PENALTIES else Move(n, params[n])
        for n in order
        if n in params and params[n] != PARAMETERS[n].neutral and not (n == "top_k" and params[n] <= 0)
    )


def laws_of(params: Mapping[str, float], *orders: Sequence[str], **more: Any) -> tuple[Shape, ...]:
    """Every law that some settings may mean: the repetition penalty depends on what no server tells.

    Args:
        params: by poise's names.
        *orders: of the steps, any of which may hold; without, the first one known.
        **more: see `shape_of`.

    Returns:
        The laws, each once.
    """
    offsets = OFFSETS if params.get("repetition_penalty", 1.0) != 1.0 else (0.0,)
    found = (shape_of(params, order, offset=o, **more) for order in orders or (FIRST,) for o in offsets)
    return tuple(dict.fromkeys(found))


def rivals_of(name: str, value: float, base: Mapping[str, float], *orders: Sequence[str]) -> tuple[Rival, ...]:
    """What a server might make of a value instead; first, nothing.

    Args:
        name: of the parameter that was sent.
        value: that was sent.
        base: what is in force without it.
        *orders: of the steps, any of which may hold.

    Returns:
        The rivals, the more plausible ones first.
    """
    found = [Rival("nothing", laws_of(base, *orders), ignored=True, value=base.get(name, PARAMETERS[name].neutral))]
    for other in _others(name, value):
        params = {**base, name: other}
        found.append(Rival(f"{name} {other:g}", laws_of(params, *orders), value=other))
    for params in _misread(name, value):
        [(wrong, other)] = params.items()
        without = {n: v for n, v in base.items() if n != name}
        close = value < 0 and {name, wrong} == {"frequency_penalty", "presence_penalty"}
        found.append(Rival(f"{wrong} {other:g}", laws_of({**without, **params}, *orders), close=close))
    seen: dict[tuple[Shape, ...], Rival] = {}
    honest = laws_of({**base, name: value}, *orders)
    for rival in found:
        if rival.laws != honest:
            seen.setdefault(rival.laws, rival)
    return tuple(seen.values())


def _others(name: str, value: float) -> Iterator[float]:
    """Other values of the same parameter."""
    p = PARAMETERS[name]
    multiples = [value * m for m in (0.5, 0.7, 1.4, 2.0)] + ([1 / value] if name == "temperature" and value else [])
    steps = [value - 1, value + 1] if p.kind == "int" else [1 - value] if p.high == 1 else [-value]
    for other in sorted({*GRIDS[name], *multiples, *steps}):
        fits = (other > p.low if p.low_open else other >= p.low) and (p.high is None or other <= p.high)
        if fits and (p.kind == "float" or other == int(other)) and abs(other - value) > 0.1 * abs(value):
            yield other


def _misread(name: str, value: float) -> Iterator[dict[str, float]]:
    """The value as one of another parameter."""
    for other, p in ((n, PARAMETERS[n]) for n in VALUES) if value else ():
        fits = value >= p.low and not (p.low_open and value <= p.low) and (p.high is None or value <= p.high)
        whole = p.kind == "float" or value == int(value)
        if other != name and fits and whole and value != p.neutral and not (other == "top_k" and value < 1):
            yield {other: value}
    if name in ("frequency_penalty", "presence_penalty"):  # as servers do that have only the other kind
        for moved in (value + 1, value + 2):
            if moved > 0.05:
                yield {"repetition_penalty": round(moved, 6)}
