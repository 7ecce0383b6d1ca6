"""The law on torch tensors, each row and setting by itself."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from poise.law import FRESH, HEATS, Facts, History, Reshaped, State, acting, heat_of, listed_after, scaled
from poise.params import SamplingParams
from poise.steps.cuts import CUTS, Left
from poise.steps.edits import Ask, edited
from poise.steps.floors import floors
from poise.steps.plans import plan_of
from poise.steps.row import Below, Ids, Row, Scores, Values


class TorchLaw:
    """The law on (B, V) torch tensors, each pair of row and setting by itself.

    A result never depends on what else is in the batch: every number comes from one row alone.
    `poise.law` is the definition; tests hold the two equal.
    """

    def __init__(self) -> None:
        self._seen: tuple[torch.Tensor, int, Values] | None = None

    def reshape(
        self,
        logits: torch.Tensor,
        rows: Sequence[int],
        settings: Sequence[SamplingParams],
        histories: Sequence[History],
        barred: Sequence[frozenset[int]],
        states: Sequence[State] = (),
        unconditional: Sequence[int | None] = (),
    ) -> Reshaped:
        """Reshape row `rows[j]` of `logits` by `settings[j]`.

        Args:
            logits: (B, V), any float type and device; every row has a finite `normaliser`.
            rows: (J,) indices into B; a row may come several times.
            settings: (J,) laws.
            histories: (J,) what was said before; penalties look at it.
            barred: (J,) token ids cut before anything else.
            states: (J,) XTC's coins and mirostat's cuts; none for the start of every text, with the coin struck.
            unconditional: (J,) indices into B, of the row of the same text without its prompt; guidance needs them.

        Returns:
            J rows (V,) that hold the penalised logits exactly, -inf where cut, and the scales (J,).
            Do not write into the rows: two settings that leave all tokens share one.

        Raises:
            ParameterError: a token id beyond the vocabulary, every token barred, guidance without the other row.
        """
        count = len(rows)
        host = self._host(logits)
        each = zip(
            rows, map(plan_of, settings), histories, barred, states or [FRESH] * count, unconditional or [None] * count,
            strict=True,
        )  # fmt: skip
        asks = [Ask(*one) for one in each]
        whole = iter(edited(host, [ask for ask in asks if ask.plan.regular]))
        with np.errstate(over="ignore"):  # what is so far down weighs nothing
            made = [_left(next(whole), ask) if ask.plan.regular else _by_definition(host, ask) for ask in asks]
        return Reshaped([values for values, _ in made], np.array([scale for _, scale in made], dtype=np.float64))

    def normaliser(self, logits: torch.Tensor) -> NDArray[np.float64]:
        """ln Σ exp of each row.

        Args:
            logits: (B, V).

        Returns:
            (B,), to 1e-6, the same bits whatever the other rows are; not finite for a bad row.
        """
        with np.errstate(invalid="ignore"):
            return np.array([_log_sum_exp(row) for row in self._host(logits)], dtype=np.float64)

    def take(self, logits: torch.Tensor, rows: Sequence[int], tokens: Sequence[int]) -> NDArray[np.float64]:
        """The logits of the given tokens in the given rows, (len(rows),)."""
        return np.asarray(logits.detach()[list(rows), list(tokens)].double().cpu().numpy())

    def _host(self, logits: torch.Tensor) -> Values:
        """The logits on the host, converted once however often one step asks for them."""
        version = 0 if logits.is_inference() else logits._version  # raised by every write into a tensor
        seen = self._seen  # another thread may replace it
        if seen is None or seen[0] is not logits or seen[1] != version:
            self._seen = seen = (logits, version, _to_numpy(logits))
        return seen[2]


def _log_sum_exp(row: Values) -> float:
    """ln Σ exp of one row: exponentials in its own precision, summed in float64."""
    top = row.max()
    weights = row - top
    np.exp(weights, out=weights)
    return float(top) + math.log(weights.sum(dtype=np.float64))


def _to_numpy(logits: torch.Tensor) -> Values:
    """The logits on the host, (B, V), float32 or wider: exact."""
    chosen = logits.detach()
    # numpy asks for huge pages: writing its fresh memory is several times faster than writing torch's.
    out: Values = np.empty(tuple(chosen.shape), np.float64 if chosen.dtype == torch.float64 else np.float32)
    torch.from_numpy(out).copy_(chosen)
    return out


def _by_definition(host: Values, ask: Ask) -> tuple[Values, float]:
    """A chain in an order that the fast path does not know."""
    row = host[ask.row].astype(np.float64)
    row[list(ask.barred)] = -np.inf
    facts = ask.facts
    if ask.other is not None:
        facts = facts._replace(unconditional=host[ask.other].astype(np.float64))
    return scaled(row, acting(ask.plan.params), facts)


def _left(row: Row, ask: Ask) -> tuple[Values, float]:
    """The row without the cut tokens, (V,), and its scale."""
    plan, params = ask.plan, ask.plan.params
    steps, scale = plan.steps, plan.scale
    if not ask.state.struck:
        steps = tuple(name for name in steps if name != "xtc_probability")
    if steps[:1] == ("dynatemp_range",):
        steps, scale = ("temperature", *steps[1:]), row.heat(params)
    if steps[:1] == ("temperature",) and scale == 0:
        return row.values, 0.0
    found: tuple[Values, float] | None
    if plan.smooths:  # the bent logits have the temperature in them
        factor, curve = ask.facts.number("smoothing_factor"), ask.facts.number("smoothing_curve")
        cuts = tuple(name for name in steps if name != "temperature")
        found = _cut(row.bent(scale, factor, curve), cuts, ask.facts, 1.0)
        found = found and (found[0] * scale, scale)
    else:
        found = _cut(row, steps, ask.facts, scale)
    return found or scaled(row.values.astype(np.float64), plan.rest, ask.facts)


def _cut(row: Row, steps: tuple[str, ...], facts: Facts, scale: float) -> tuple[Values, float] | None:
    """What the steps leave of the values, (V,), and the scale; None where rounding would decide."""
    if all(name == "temperature" for name in steps):
        return row.values, scale
    for floor, doomed in floors(row, steps, facts, scale):
        found = _kept(row, steps, facts, (scale, floor, doomed))
        if found is not None:
            ids, scale = found
            out = np.full_like(row.values, -np.inf)
            out[ids] = row.values[ids]
            return out, scale
    return None


def _kept(row: Row, steps: tuple[str, ...], facts: Facts, start: tuple[float, float, bool]) -> tuple[Ids, float] | None:
    """The tokens left of those at the floor or above, and the scale; None where rounding would decide."""
    scale, floor, doomed = start
    counts, facts = "dynatemp_range" in steps, facts._replace(listed=row.values.size)
    ids = np.flatnonzero(row.values >= floor)
    z: Scores = row.values[ids].astype(np.float64)
    below: Below | None = Below(row, ids, 1.0, doomed) if floor > row.lowest else None
    for name in steps:
        if name in HEATS:
            scale = scale if name == "temperature" else heat_of(name, z, facts.params, facts.listed)
            if scale == 0:
                break
            z = z / scale
            below = below and below._replace(scale=scale)
            continue
        mask = CUTS[name](Left(z, row.values.size, below), facts)
        if mask is None:
            return None
        kept = z[mask]
        if counts:
            facts = facts._replace(listed=listed_after(name, z.size, kept.size, facts))
        ids, z, below = ids[mask], kept, None
    return ids, scale
