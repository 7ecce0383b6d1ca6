"""The law at speed: many settings on rows of torch logits."""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from poise.dialects import Rules
from poise.law import FRESH, PENALTIES, RESHAPINGS, ROUNDING, Facts, History, Reshaped, State, heat, scaled
from poise.params import Number, SamplingParams

Values = NDArray[np.floating[Any]]  # (V,) or (n,): float32 as the model computed them, float64 once penalised
Scores = NDArray[np.float64]  # (n,): logits after the steps so far
Ids = NDArray[np.intp]  # (n,): token ids, ascending
Mask = NDArray[np.bool_]  # (n,)

# Every sum here carries a bound on its error. A decision that the error could turn is never taken: it goes to
# a finer sum, and at last to the definition in law.py. That is why the kept sets are exactly those of law.py.
ROUGH = 1e-5  # a sum of float32 exponentials: 2e-7 |z| from the argument, 3e-7 from exp; |z| > 40 weighs nothing
FINE = 1e-10  # the same in float64: 1e-16 per term, 2^19 terms
NEAR = 1e-9  # distances closer than this might change places
WIDTH = 16  # tokens that share one peak; also every how manieth token a sample takes
MANY = 2048  # candidates from which on a sample is worth its time
PLAIN = frozenset({
    "temperature", "top_k", "top_p", "min_p", "typical_p", "repetition_penalty", "frequency_penalty", "presence_penalty",
})  # fmt: skip


class Plan(NamedTuple):
    """A setting taken apart, once: its penalties, its other steps in order, its scale."""

    penalties: tuple[tuple[str, Number], ...]
    steps: tuple[tuple[str, Number], ...]
    scale: float
    plain: bool
    params: SamplingParams

    @property
    def cuts(self) -> bool:
        """Whether a step may cut tokens; greedy takes the top before any could."""
        return self.scale != 0 and any(name != "temperature" for name, _ in self.steps)


class TorchLaw:
    """The law on (B, V) torch tensors, each pair of row and setting by itself.

    A result never depends on what else is in the batch: every number comes from one row alone.
    `law.py` is the definition; tests hold the two equal.
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
        plans = [_plan(params) for params in settings]
        host = self._host(logits)
        slow = [j for j, plan in enumerate(plans) if not plan.plain]
        quick = [j for j, plan in enumerate(plans) if plan.plain]
        values: list[Values] = [host[0]] * len(plans)
        scale = np.array([p.scale for p in plans], dtype=np.float64)
        whole = _edited(
            host, [rows[j] for j in quick], [plans[j] for j in quick], [histories[j] for j in quick],
            [barred[j] for j in quick],
        )  # fmt: skip
        with np.errstate(over="ignore"):  # what is so far down weighs nothing
            for j, row in zip(quick, whole, strict=True):
                values[j] = _left(row, plans[j]) if plans[j].cuts else row.values
        for j in slow:
            row = host[rows[j]].astype(np.float64)
            row[list(barred[j])] = -np.inf
            other = unconditional[j] if unconditional else None
            state = states[j] if states else FRESH
            beside = None if other is None else host[other].astype(np.float64)
            values[j], scale[j] = scaled(row, plans[j].params, histories[j], state, unconditional=beside)
        return Reshaped(values, scale)

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


class _Row:
    """One penalised row, and what several settings ask of it, worked out once."""

    def __init__(self, values: Values) -> None:
        self.values = values
        self.lowest = float(np.finfo(values.dtype).min)  # anything below is cut already
        self._mass: dict[float, float] = {}

    @functools.cached_property
    def top(self) -> float:
        """The largest logit."""
        return float(self.values.max())

    @functools.cached_property
    def peaks(self) -> Values:
        """The largest logit of each group of `WIDTH` tokens, ascending, (V // WIDTH,)."""
        count = self.values.size // WIDTH
        return np.sort(self.values[: count * WIDTH].reshape(WIDTH, count).max(axis=0))

    def kth(self, k: int) -> float:
        """The k-th largest peak, which the k-th largest logit is not below."""
        return float(self.peaks[-k]) if k <= self.peaks.size else self.lowest

    def weights(self, values: Values, scale: float) -> NDArray[np.float32]:
        """exp((l - top) / scale), (n,)."""
        out = (values - self.top).astype(np.float32, copy=False)
        out /= scale
        return np.asarray(np.exp(out, out=out))

    def mass(self, scale: float) -> float:
        """The sum of all weights, to `ROUGH`."""
        if scale not in self._mass:
            self._mass[scale] = float(self.weights(self.values, scale).sum(dtype=np.float64))
        return self._mass[scale]


class _Below(NamedTuple):
    """The tokens under a floor, which were not looked at but still have mass.

    Args:
        row: all tokens.
        ids: the tokens at the floor or above.
        scale: the temperature so far.
        doomed: whether another step cuts them in any case.
    """

    row: _Row
    ids: Ids
    scale: float
    doomed: bool

    def masses(self) -> Iterator[tuple[float, float]]:
        """Their mass in units of the top's weight, and its error; a finer pair follows a rough one."""
        above = self.row.weights(self.row.values[self.ids], self.scale).sum(dtype=np.float64)
        rest = max(self.row.mass(self.scale) - float(above), 0.0)
        yield rest, ROUGH * rest
        z = self.row.values.astype(np.float64) / self.scale
        w = np.exp(z - z.max())
        w[self.ids] = 0
        yield float(w.sum()), 0.0


def _log_sum_exp(row: Values) -> float:
    """ln Σ exp of one row: exponentials in its own precision, summed in float64."""
    top = row.max()
    weights = row - top
    np.exp(weights, out=weights)
    return float(top) + math.log(weights.sum(dtype=np.float64))


@functools.lru_cache(maxsize=4096)
def _plan(params: SamplingParams) -> Plan:
    active = params.active()
    penalties = tuple((n, v) for n, v in active.items() if n in PENALTIES)
    steps = tuple((n, v) for n, v in active.items() if n in RESHAPINGS)
    plain = not params.lists() and active.keys() <= PLAIN and params.how.rules == Rules()
    return Plan(penalties, steps, heat(params), plain, params)


def _to_numpy(logits: torch.Tensor) -> Values:
    """The logits on the host, (B, V), float32 or wider: exact."""
    chosen = logits.detach()
    # numpy asks for huge pages: writing its fresh memory is several times faster than writing torch's.
    out: Values = np.empty(tuple(chosen.shape), np.float64 if chosen.dtype == torch.float64 else np.float32)
    torch.from_numpy(out).copy_(chosen)
    return out


def _edited(
    logits: Values,
    rows: Sequence[int],
    plans: Sequence[Plan],
    histories: Sequence[History],
    barred: Sequence[frozenset[int]],
) -> list[_Row]:
    """Each pair's row with barred tokens cut and penalties applied, (J,); equal pairs share one."""
    keys = [
        (number, plan.penalties, bar, (tuple(history.prompt), tuple(history.output)) if plan.penalties else ())
        for number, plan, history, bar in zip(rows, plans, histories, barred, strict=True)
    ]
    made: dict[object, _Row] = {}
    for key, number, plan, history, bar in zip(keys, rows, plans, histories, barred, strict=True):
        if key not in made:
            made[key] = _Row(_edit(logits[number], plan, history, bar))
    return [made[key] for key in keys]


def _edit(values: Values, plan: Plan, history: History, barred: frozenset[int]) -> Values:
    """The row with barred tokens cut, then penalised in float64, as law.py defines it."""
    if not plan.penalties and not barred:
        return values
    values = values.astype(np.float64 if plan.penalties else values.dtype)
    values[list(barred)] = -np.inf
    for name, value in plan.penalties:
        if name == "repetition_penalty":
            seen = np.fromiter({*history.prompt, *history.output}, dtype=np.intp)
            said = values[seen]
            values[seen] = np.where(said < 0, said * value, said / value)
        else:
            counts = Counter(history.output)
            ids = np.fromiter(counts.keys(), dtype=np.intp)
            times = np.fromiter(counts.values(), dtype=np.float64) if name == "frequency_penalty" else 1.0
            values[ids] -= value * times
    return values


def _left(row: _Row, plan: Plan) -> Values:
    """The row without the cut tokens, (V,)."""
    out = np.full_like(row.values, -np.inf)
    ids = _kept(row, plan)
    out[ids] = row.values[ids]
    return out


def _kept(row: _Row, plan: Plan) -> Ids:
    """The tokens that the steps leave of a row."""
    for floor, doomed in _floors(row, plan):
        ids = _cut(row, plan, floor, doomed)
        if ids is not None:
            return ids
    z = row.values.astype(np.float64)
    for name, value in plan.steps:
        z = RESHAPINGS[name](z, Facts(plan.params))
    return np.flatnonzero(z > -np.inf)


def _floors(row: _Row, plan: Plan) -> Iterator[tuple[float, bool]]:
    """Logits below which nothing is kept, and whether that needs no further proof; the likeliest to do first.

    top-k, top-p and min-p keep a prefix of the tokens in descending order, and no longer one where another
    has cut before them, so what bounds them on the whole row bounds them here. Bounds end at a step that
    needs the mass of all that was left before it, and at one that keeps no prefix.
    """
    sure, scale, nucleus, first = row.lowest, 1.0, 1.0, True
    for name, value in plan.steps:
        if name == "temperature":
            scale = float(value)
            continue
        if name == "top_k":
            sure = max(sure, row.kth(int(value)))
        elif name == "min_p":
            sure = max(sure, row.top + scale * math.log(value))
        elif name == "top_p" and first:
            nucleus = float(value)
        else:
            break
        first = False
    sure = max(sure - 1e-6 * (abs(sure) + abs(row.top)), row.lowest)
    if nucleus > 1 - 10 * ROUGH:
        yield sure, True
        return
    # V tokens below this one hold half of 1 - p at most, so p is reached above it.
    share = (1 - nucleus) / 2 * row.mass(scale) / row.values.size
    proved = row.top + scale * math.log(share) - 1e-6 * abs(row.top)
    if proved > sure and np.count_nonzero(row.values >= proved) > MANY:
        yield max(_guess(row, scale, nucleus), sure), False
    yield max(proved, sure), sure >= proved


def _guess(row: _Row, scale: float, nucleus: float) -> float:
    """A logit above which, going by a sample, lies more than the nucleus."""
    sample = np.sort(row.values[::WIDTH])[::-1]
    mass = np.cumsum(row.weights(sample, scale), dtype=np.float64)
    return float(sample[min(np.searchsorted(mass, (1 + 3 * nucleus) / 4 * mass[-1]), sample.size - 1)])


def _cut(row: _Row, plan: Plan, floor: float, doomed: bool) -> Ids | None:
    """The tokens left of those at `floor` or above; None where rounding would decide, or the floor is too high."""
    ids = np.flatnonzero(row.values >= floor)
    z: Scores = row.values[ids].astype(np.float64)
    below: _Below | None = _Below(row, ids, 1.0, doomed)
    for name, value in plan.steps:
        if name == "temperature":
            z = z / value
            below = below and below._replace(scale=float(value))
            continue
        mask = CUTS[name](z, value, below)
        if mask is None:
            return None
        ids, z, below = ids[mask], z[mask], None
    return ids


def _top_k(z: Scores, value: Number, _: _Below | None) -> Mask:
    k = min(int(value), z.size)
    return np.asarray(z >= np.partition(z, z.size - k)[z.size - k])


def _min_p(z: Scores, value: Number, _: _Below | None) -> Mask:
    return np.asarray(z >= z.max() + np.log(value))


def _top_p(z: Scores, value: Number, below: _Below | None) -> Mask | None:
    ordered = np.sort(z)[::-1]
    mass = np.cumsum(np.exp(ordered - ordered[0]))
    for rest, error in below.masses() if below else [(0.0, 0.0)]:
        target = (value - ROUNDING) * (mass[-1] + rest)
        low, high = np.searchsorted(mass, [target - error - FINE * target, target + error + FINE * target])
        if high == mass.size and below and not below.doomed:
            return None  # the nucleus may go on below the floor
        if low == high or low >= mass.size - 1:
            return _prefix(z, ordered, min(int(low), mass.size - 1) + 1)
    return None


def _prefix(z: Scores, ordered: Scores, count: int) -> Mask:
    """The `count` largest, lower ids first among ties."""
    cut = ordered[count - 1]
    mask = np.asarray(z >= cut)
    surplus = int(np.count_nonzero(mask)) - count
    if surplus:
        mask[np.flatnonzero(z == cut)[-surplus:]] = False
    return mask


def _typical_p(z: Scores, value: Number, _: _Below | None) -> Mask | None:
    depth = z - z.max()
    weights = np.exp(depth)
    total = float(weights.sum())
    surprise = math.log(total) - depth
    entropy = float((weights * surprise).sum()) / total
    shift = np.abs(surprise - entropy)
    # Tokens of surprise up to `reach` hold more than p: what is farther off than they are is cut.
    reach = math.log(2 * z.size / (1 - value))
    near = np.flatnonzero(shift <= max(reach - entropy, entropy - float(surprise.min())) + NEAR)
    order = near[np.argsort(shift[near])]
    mass, target = np.cumsum(weights[order]), (value - ROUNDING) * total
    low, high = np.searchsorted(mass, [target * (1 - FINE), target * (1 + FINE)])
    if low != high or low == order.size:
        return None
    last = order[low]
    doubtful = (np.abs(shift[near] - shift[last]) < NEAR) & (z[near] != z[last])
    return None if doubtful.any() else np.asarray(shift <= shift[last])


CUTS: dict[str, Callable[[Scores, Number, _Below | None], Mask | None]] = {
    "top_k": _top_k,
    "top_p": _top_p,
    "min_p": _min_p,
    "typical_p": _typical_p,
}
