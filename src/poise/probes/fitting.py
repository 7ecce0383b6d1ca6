"""The settings that explain drawn tokens best."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from poise.params import PARAMETERS
from poise.probes.fits import FOR, Book
from poise.probes.plan import laws_of
from poise.probes.shapes import Shape

# Values that servers set by themselves, and some between them.
KNOWN: Mapping[str, tuple[float, ...]] = {
    "temperature": (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0, 1.2, 1.4, 1.7, 2.0),
    "top_k": (1, 2, 3, 5, 10, 20, 30, 40, 50, 64),
    "top_p": (0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 1.0),
    "min_p": (0.0, 0.02, 0.05, 0.1, 0.2, 0.4, 1.0),
    "typical_p": (0.2, 0.5, 0.8, 0.95, 1.0),
    "repetition_penalty": (1.0, 1.1, 1.2, 1.5, 2.0),
    "frequency_penalty": (-1.0, -0.5, 0.0, 0.5, 1.0, 2.0),
    "presence_penalty": (-1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0),
}
_GAIN = 6.0  # nats that another setting has to add to the explanation
_STEPS = 5
# How finely a default is told.
NEAR: Mapping[str, float] = {
    "temperature": 0.2,
    "top_p": 0.1,
    "min_p": 0.03,
    "typical_p": 0.1,
    "repetition_penalty": 0.15,
    "frequency_penalty": 0.5,
    "presence_penalty": 0.5,
}

Params = dict[str, float]
Orders = Sequence[Sequence[str]]


def neutral(name: str) -> float:
    """The value at which a parameter changes nothing; infinite for top-k."""
    value = PARAMETERS[name].neutral
    return np.inf if value is None else float(value)


def variants(params: Mapping[str, float], names: Sequence[str] = tuple(KNOWN)) -> Iterator[tuple[str, Params]]:
    """The same settings with one value changed: the parameter, and the settings."""
    for name in names:
        now = params.get(name, neutral(name))
        for value in (*KNOWN[name], neutral(name)):
            if value == now or (name == "top_k" and np.isinf(value) and np.isinf(now)):
                continue
            changed = {**params, name: value}
            if np.isinf(value):
                del changed[name]
            yield name, changed


def laws(params: Mapping[str, float], orders: Orders) -> tuple[Shape, ...]:
    """The laws of settings, an infinite top-k left out."""
    return laws_of({n: v for n, v in params.items() if np.isfinite(v)}, *orders)


def fit(book: Book, start: Mapping[str, float], orders: Orders) -> Params:
    """Change one value after another, as long as that explains the draws much better.

    Args:
        book: the draws.
        start: settings to begin with.
        orders: of the steps, any of which may hold.

    Returns:
        The settings.
    """
    best: Params = dict(start)
    for _ in range(_STEPS):
        now = laws(best, orders)
        gains = [(book.matched(laws(params, orders), now), params) for _, params in variants(best)]
        gain, params = max(gains, key=lambda g: g[0])
        if gain < _GAIN:
            break
        best = params
    return _sharpened(book, best, orders)


def _sharpened(book: Book, params: Params, orders: Orders) -> Params:
    """Continuous values, finer than the table has them."""
    for name, step in (("temperature", 0.05), ("top_p", 0.05), ("min_p", 0.01)):
        if name not in params or params[name] in (0.0, neutral(name)):
            continue
        for factor in (-1, 1, -0.5, 0.5):
            value = round(params[name] + factor * step, 4)
            p = PARAMETERS[name]
            if value <= p.low or (p.high is not None and value > p.high):
                continue
            changed = {**params, name: value}
            if book.nats(laws(changed, orders), laws(params, orders)) > 1.0:
                params = changed
    return params


def established(book: Book, params: Mapping[str, float], orders: Orders, said: Mapping[str, float]) -> dict[str, float]:
    """Values without which the draws could not be explained.

    A value that was expected is established once it cannot be that the parameter is off; any other, once no value
    further from it than `NEAR` is left.

    Args:
        book: the draws.
        params: settings in force.
        orders: of the steps, any of which may hold.
        said: values that were expected, because the server or its documentation says them.

    Returns:
        By parameter; neutral values as well, but for top-k, which has none.
    """
    mine = laws(params, orders)
    behind: dict[str, float] = {}
    for name, changed in variants(params):
        now, other = params.get(name, neutral(name)), changed.get(name, neutral(name))
        expected = name in said and said[name] == now
        if other != neutral(name) if expected else _near(name, now, other):
            continue
        behind[name] = min(behind.get(name, np.inf), book.matched(mine, laws(changed, orders)))
    values = {n: params.get(n, neutral(n)) for n, nats in behind.items() if nats >= FOR}
    return {n: v for n, v in values.items() if np.isfinite(v)}


def _near(name: str, one: float, other: float) -> bool:
    if name == "top_k":
        return max(one, other) <= 1.6 * min(one, other)
    return abs(one - other) <= NEAR[name] + 1e-9
