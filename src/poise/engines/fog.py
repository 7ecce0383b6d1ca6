"""What truncations keep, when only the likeliest tokens are known."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from poise.law import ROUNDING, reshape
from poise.params import Number, SamplingParams

Floats = NDArray[np.float64]
Ids = NDArray[np.intp]
Mask = NDArray[np.bool_]


class _State(NamedTuple):
    """What is kept so far.

    Args:
        z: values of the known tokens over the temperature, (n,), -inf where cut.
        bar: no other token has more; a known one below it is in the fog as well.
        low, high: bounds of what is kept in the fog, as weight: exp of its values less the largest known one.
        cut: whether a step may have cut some of the fog.
    """

    z: Floats
    bar: float
    low: float
    high: float
    cut: bool = False

    @property
    def clear(self) -> Mask:
        """Known tokens that no other can outrank, (n,)."""
        return (self.z >= self.bar) & (self.z > -np.inf)

    @property
    def weights(self) -> Floats:
        """exp(z - max), (n,)."""
        return np.asarray(np.exp(self.z - self.z.max()))


class Fog:
    """A row of which the likeliest tokens are known, and of the others a bound and their sum.

    Args:
        values: penalised ln p of the known tokens, ids ascending, (n,), -inf where barred.
        bar: no other token has more.
        mass: probability of all others, before penalties.
        others: how many there are.
        lift: the most that a penalty raises one of them; None where there are no penalties.
    """

    def __init__(self, values: Floats, bar: float, mass: float, others: int, lift: float | None = None) -> None:
        self.values, self.bar, self.mass, self.others, self.lift = values, bar, mass, others, lift

    def kept(self, steps: Sequence[tuple[str, Number]]) -> tuple[Mask, bool]:
        """What steps keep of the known tokens.

        Args:
            steps: temperature above 0 and truncations, in order.

        Returns:
            Which of the known tokens, (n,), and whether all others are surely cut.

        Raises:
            ArithmeticError: it cannot be told which of the known tokens are kept, or in which order they stand.
        """
        state = self._start(1.0) if self.others else None
        z = self.values
        for name, value in steps:
            if name == "temperature":
                z = z / value
                state = state and self._heated(state, float(value))
            elif state is None:
                live = np.flatnonzero(z > -np.inf)
                left = reshape(z[live], SamplingParams.model_validate({name: value}))
                z = z.copy()
                z[live[left == -np.inf]] = -np.inf
            else:
                found = _STEPS[name](state, float(value)) if name in _STEPS else _lost(name)
                z, state = (found, None) if isinstance(found, np.ndarray) else (found.z, found)
        if state is not None and state.cut and np.any((z > -np.inf) & ~state.clear):
            raise ArithmeticError("after the penalties these may be likelier than some of the returned ones")
        return z > -np.inf, state is None

    def _heated(self, state: _State, temperature: float) -> _State:
        """After a temperature: nothing was cut yet, or nothing is weighed any more."""
        if not state.cut:
            return self._start(temperature)
        return state._replace(z=state.z / temperature, bar=state.bar / temperature)

    def _start(self, temperature: float) -> _State:
        z, bar = self.values / temperature, self.bar / temperature
        below = z[(z < bar) & (z > -np.inf)]
        known = float(np.exp(below - z.max()).sum()) if below.size else 0.0
        return _State(z, bar, known + self._bound(temperature, -1), known + self._bound(temperature, +1))

    def _bound(self, temperature: float, side: int) -> float:
        """The least (-1) or the most (+1) that the others weigh: sums of p ** b with p up to a bar and a given sum."""
        if self.mass == 0 or (side < 0 and self.lift is not None):
            return 0.0
        b, lift, log_mass, log_top = 1 / temperature, self.lift or 0.0, math.log(self.mass), float(self.values.max())
        even = b * log_mass + (1 - b) * math.log(self.others)  # all alike
        heaped = log_mass + (b - 1) * (self.bar - lift)  # as few as can be
        found = (max if side > 0 else min)(even, heaped)
        return math.exp(min(b * (lift - log_top) + found, 700.0))


def _lost(name: str) -> _State:
    raise ArithmeticError(f"{name} looks at all tokens")


def _top_k(state: _State, value: float) -> Floats | _State:
    ranked = np.sort(state.z[state.clear])[::-1]
    if value <= ranked.size:
        return np.where(state.z >= ranked[int(value) - 1], state.z, -np.inf)
    known = np.sort(state.weights[(state.z > -np.inf) & ~state.clear])[::-1]
    low = float(known[: int(value) - ranked.size].sum())  # those that are kept there weigh as much at least
    return state._replace(low=low, cut=True)


def _top_p(state: _State, value: float) -> Floats | _State:
    clear = np.flatnonzero(state.clear)
    order = clear[np.argsort(-state.z[clear], kind="stable")]
    mass = np.cumsum(state.weights[order])
    base = float(mass[-1]) if mass.size else 0.0
    least, most = (int(np.searchsorted(mass, (value - ROUNDING) * (base + fog))) for fog in (state.low, state.high))
    if least != most:
        raise ArithmeticError(f"whether top_p={value:g} is reached among the returned ones depends on them")
    if least >= order.size:
        return state._replace(low=0.0, cut=True)
    return _only(state.z, order[: least + 1])


def _min_p(state: _State, value: float) -> Floats | _State:
    if not state.clear.any():
        raise ArithmeticError("after the penalties one of these may be the likeliest")
    floor = float(state.z.max()) + math.log(value)
    if floor > state.bar:
        return np.where(state.z >= floor, state.z, -np.inf)
    return state._replace(low=0.0, cut=True)


_STEPS: Mapping[str, Callable[[_State, float], Floats | _State]] = {"top_k": _top_k, "top_p": _top_p, "min_p": _min_p}


def _only(z: Floats, kept: Ids) -> Floats:
    out = np.full_like(z, -np.inf)
    out[kept] = z[kept]
    return out


def lifted(ids: Ids, penalties: Mapping[str, float], output: Counter[int]) -> Floats:
    """What additive penalties add to tokens.

    Args:
        ids: (n,).
        penalties: frequency and presence, in order.
        output: how often each token was drawn so far.

    Returns:
        (n,), negative where they press down.
    """
    counts = np.array([output[i] for i in ids.tolist()], dtype=np.float64)
    out = np.zeros(ids.size)
    for name, value in penalties.items():
        out -= value * (counts if name == "frequency_penalty" else np.minimum(counts, 1.0))
    return out
