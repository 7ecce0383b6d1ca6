"""Rows of an engine against the law: equal, a boundary, a tie, or different."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scripts.conformance.rows import Group, Settings

from poise import law
from poise.law import Facts, History, Row, State, Step, acting
from poise.law.chain import apply
from poise.law.rows import entropy
from poise.law.truncations import TOP_H
from poise.param_lists import LISTS
from poise.params import FOLLOWERS, PARAMETERS, SamplingParams

Outcome = Literal["equal", "boundary", "tie", "different"]
NEAR = 1e-6  # a boundary this close, or a step of float32 at the largest logit, may fall on either side in an engine
PROBABILITY = 1e-5  # how far probabilities may be apart
FLOAT32 = 3e-7  # relative, of a few operations
ADDED = 1e-6  # the same of a logit that lost a penalty for each of some dozen tokens
SMALLEST = 1e-37  # less is 0 in float32
LOOSE = frozenset({"dynatemp_range"})  # its temperature may be close to 0: only probabilities are compared


class Stage(NamedTuple):
    """What an engine's row was after some steps.

    Args:
        steps: the law's steps since the stage before.
        row: (V,), -inf where a token is cut.
        listed: how many tokens are on the engine's list, where it keeps one.
    """

    steps: tuple[str, ...]
    row: NDArray[np.float64]
    listed: int = 0


class Finding(NamedTuple):
    """How one stage of one row came out.

    `apart` is the largest difference of two probabilities; where logits are above 33, which float32 does not hold to
    1e-6, it is as many times smaller as the largest of them is above that.
    """

    steps: tuple[str, ...]
    outcome: Outcome
    apart: float


class Said(NamedTuple):
    """What the law looks at besides the row, as `law.steps` takes it."""

    history: History
    state: State = law.FRESH
    unconditional: Row | None = None
    listed: int = 0


def judged(logits: Row, settings: Settings, said: Said, stages: Sequence[Stage]) -> Iterator[Finding]:
    """Follow an engine through its steps, from the same row, and from its own row again where the two part.

    Args:
        logits: what it began with, (V,).
        settings: of `SamplingParams`.
        said: what else the law looks at.
        stages: its rows, in order; together their steps are all that are on.

    Yields:
        A finding for each stage.
    """
    ours, before = _follow(logits, settings, said, stages), logits
    for i, stage in enumerate(stages):
        mine = next(ours)
        outcome, apart = _compared(before, mine, stage)
        if outcome != "equal":  # once more from the engine's own row: what it rounded before does not count here
            again = _apply(before, settings, stage.steps, said)
            outcome, apart = _compared(before, again, stage)
            outcome = "boundary" if outcome == "equal" else _excused(before, again, settings, stage, said)
            ours = _follow(stage.row, settings, said._replace(listed=stage.listed), stages[i + 1 :])
        yield Finding(stage.steps, outcome, apart)
        before, said = stage.row, said._replace(listed=stage.listed)


def _follow(logits: Row, settings: Settings, said: Said, stages: Sequence[Stage]) -> Iterator[Row]:
    steps = tuple(name for stage in stages for name in stage.steps)
    done = _done(logits, _restricted(_frozen(settings), steps), said)
    at = {s.name: s.logits for s in done}
    row = logits
    for stage in stages:
        for name in stage.steps:
            row = at.get(name, row)
        yield row


def _apply(logits: Row, settings: Settings, steps: tuple[str, ...], said: Said, by: float = 0.0) -> Row:
    """Some steps alone, their numbers moved by a share of themselves; what top-h weighs, by as many nats."""
    params = _restricted(_frozen(settings), steps)
    if by:
        names = (n for s in steps for n in (s, *FOLLOWERS.get(s, ())) if n in PARAMETERS)
        numbers = {n: params.number(n) for n in names if PARAMETERS[n].kind == "float"}
        moved = {n: v * (1 + by) for n, v in numbers.items() if v is not None}
        if said.state.mu is not None:
            said = said._replace(state=said.state._replace(mu=said.state.mu * (1 + by)))
        if params.top_h:
            top = np.sort(law.probabilities(logits))[-TOP_H:]
            moved["top_h"] = params.top_h + by / max(entropy(top / top.sum()), 1e-30)
        if params.how.rules.top_p_passes and params.top_p is None:  # SGLang's PyTorch code cuts at a mass of 1 too
            moved["top_p"] = 1 + min(by, 0.0)
        params = params.model_copy(update=moved)
    done = _done(logits, params, said)
    return done[-1].logits if done else logits


def _done(logits: Row, params: SamplingParams, said: Said) -> list[Step]:
    facts = Facts(params, said.history, said.state, said.unconditional, None, said.listed)
    return apply(logits, acting(params), facts)


def _frozen(settings: Settings) -> tuple[tuple[str, Any], ...]:
    return tuple((n, tuple(v.items()) if isinstance(v, dict) else v) for n, v in settings.items())


@cache
def _restricted(settings: tuple[tuple[str, Any], ...], steps: tuple[str, ...]) -> SamplingParams:
    """The settings with these steps alone."""
    names = {*steps, *(f for s in steps for f in FOLLOWERS.get(s, ())), "dialect"}
    if "dry_multiplier" in steps:
        names.add("dry_breakers")
    if "dynatemp_range" in steps:
        names.add("temperature")
    kept = {n: v for n, v in settings if n in names or n == "order"}
    return SamplingParams.model_validate(kept)


def _compared(before: Row, ours: Row, stage: Stage) -> tuple[Outcome, float]:
    """Equal where the same tokens are left and their logits and probabilities agree."""
    left = stage.row > -np.inf
    if not np.array_equal(ours > -np.inf, left):
        return "different", 0.0
    a, b = ours[left], stage.row[left]
    if np.array_equal(a, b):
        return "equal", 0.0
    scale = float(max(np.max(np.abs(row)) for row in (a, b, before[left & (before > -np.inf)])))
    apart = float(np.max(np.abs(law.probabilities(a) - law.probabilities(b))))
    far = float(np.max(np.abs((a - a.max()) - (b - b.max()))))
    close = far <= PROBABILITY + ADDED * scale or bool(LOOSE & {*stage.steps})
    apart /= max(1.0, FLOAT32 * scale / PROBABILITY)
    return ("equal" if close and apart <= PROBABILITY else "different"), apart


def _excused(before: Row, ours: Row, settings: Settings, stage: Stage, said: Said) -> Outcome:
    """Whether the law does as the engine did for equal tokens otherwise chosen, or for numbers 1e-6 away."""
    left, mine = stage.row > -np.inf, ours > -np.inf
    if LOOSE & {*stage.steps}:  # a temperature that is as good as 0 cuts in one precision and not in another
        apart = np.max(np.abs(law.probabilities(ours) - law.probabilities(stage.row)))
        return "boundary" if apart <= PROBABILITY and not np.array_equal(left, mine) else "different"
    if np.array_equal(left, mine):  # the same tokens, other numbers
        return "different"
    if _alike(before, left, mine):
        return "tie"
    if np.max(law.probabilities(before)[left != mine]) < SMALLEST:
        return "boundary"  # in float32 these tokens have no probability at all
    near = max(NEAR, float(np.spacing(np.float32(np.max(np.abs(before[before > -np.inf]))))))
    low, high = (_apply(before, settings, stage.steps, said, by) > -np.inf for by in (-near, near))
    if _between(before, left, low, high):
        return "boundary"
    if "typical_p" in stage.steps and _as_typical(before, left, mine, near):
        return "boundary"
    more, less = (np.isin(before, before[only]) for only in (left & ~mine, mine & ~left))  # what ties moves together
    for theirs, own in itertools.product((1, 0, -1), repeat=2):
        moved = before + near * (theirs * more + own * less)
        for by in (0.0, -near, near):
            if _alike(before, _apply(moved, settings, stage.steps, said, by) > -np.inf, left):
                return "boundary"
    return "different"


def _as_typical(row: Row, left: NDArray[np.bool_], mine: NDArray[np.bool_], near: float) -> bool:
    """Whether what one side has too many is as typical as the last that the other keeps, but for rounding."""
    p = law.probabilities(row)
    shift = np.abs(-np.log(np.maximum(p, SMALLEST)) - entropy(p))
    sides = ((left & ~mine, mine), (mine & ~left, left))
    return all(np.all(np.abs(shift[odd] - shift[kept].max()) <= near) for odd, kept in sides if np.any(odd))


def _between(row: Row, left: NDArray[np.bool_], low: NDArray[np.bool_], high: NDArray[np.bool_]) -> bool:
    """Whether of each logit as many tokens are left as in one of two sets, or a number between."""
    kind = np.unique(row, return_inverse=True)[1]
    mine, one, other = (np.bincount(kind[kept], minlength=row.size) for kept in (left, low, high))
    return bool(np.all(mine >= np.minimum(one, other)) and np.all(mine <= np.maximum(one, other)))


def _alike(row: Row, one: NDArray[np.bool_], other: NDArray[np.bool_]) -> bool:
    """Whether two sets of tokens have the same logits: of tokens that tie an engine may keep any."""
    return np.array_equal(one, other) or np.array_equal(np.sort(row[one]), np.sort(row[other]))


class Score:
    """Findings, counted by step.

    Args:
        engine: whose they are.

    `undefined` counts rows that end where the engine would reckon with NaN.
    """

    def __init__(self, engine: str) -> None:
        self.engine = engine
        self.counts: dict[tuple[str, ...], Counter[str]] = {}
        self.apart: dict[tuple[str, ...], float] = {}
        self.rows = self.undefined = 0
        self.examples: dict[tuple[str, ...], list[str]] = {}

    def add(self, findings: Iterable[Finding], example: str) -> None:
        """Count one row's findings; of the first that differ keep what they were."""
        self.rows += 1
        for found in findings:
            self.counts.setdefault(found.steps, Counter())[found.outcome] += 1
            if found.outcome == "equal":
                self.apart[found.steps] = max(self.apart.get(found.steps, 0.0), found.apart)
            elif found.outcome == "different":
                self.examples.setdefault(found.steps, []).append(f"{found.apart:g} apart: {example}")

    def total(self, outcome: Outcome) -> int:
        """How many findings came out so."""
        return sum(c[outcome] for c in self.counts.values())


def said_of(group: Group, i: int, state: State = law.FRESH) -> Said:
    """What was said in row i of a group."""
    history = History(tuple(map(int, group.prompt[i])), tuple(map(int, group.output[i])), frozenset(group.breakers))
    return Said(history, state, group.unconditional[i].astype(np.float64))


assert not {*LISTS} & {*PARAMETERS}
