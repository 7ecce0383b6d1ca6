"""Logits below which nothing is kept: most tokens are never looked at."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from poise.law import Facts, cut_of, power_law_k
from poise.law.mirostat import FITTED
from poise.law.truncations import TOP_H, XTC_OFF
from poise.steps.cuts import bar_of, ranked
from poise.steps.row import ROUGH, WIDTH, Row

MANY = 2048  # candidates from which on a sample is worth its time
SLIP = 1e-6  # relative: what comparing in float32 may add
LIKELY = frozenset({"epsilon_cutoff", "eta_cutoff", "top_a", "mirostat"})  # keep what reaches a bar
FOLLOWED = LIKELY | {"top_p", "top_n_sigma", "xtc_probability"}  # weigh all tokens without looking at each
BENT = 1024  # tokens that tfs tries first


def floors(row: Row, steps: Sequence[str], facts: Facts, scale: float) -> Iterator[tuple[float, bool]]:
    """Logits below which nothing is kept, and whether that needs no further proof; the likeliest to do first.

    Every step but typical-p and XTC keeps a prefix of the tokens in descending order, and top-k and min-p no longer
    one where another has cut before them, so what bounds them on the whole row bounds them here. Bounds end at a step
    that needs the mass of what was left before it. The first step may be such a one: it weighs the whole row.

    Args:
        row: all tokens.
        steps: names, in order.
        facts: what they look at.
        scale: the temperature, where one of the steps is that.

    Yields:
        A floor, and whether the steps themselves cut all below it.
    """
    first, after, at = _first(steps, scale)
    if first is None:
        yield row.lowest, True
        return
    sure = _sure(row, (first, *after) if first in ("top_k", "min_p") else after, facts, (first, at, scale))
    if first in LIKELY and not _first_version(first, facts):
        yield max(_bar(row, first, facts, at), sure), True
    elif first == "top_n_sigma":
        reach = facts.number("top_n_sigma") * row.sigma(at) * at
        yield max(_lowered(row, row.top - reach), sure), True
    elif first == "top_p":
        yield from _nucleus(row, facts.number("top_p"), at, sure)
    elif first == "tfs" and row.kth(BENT) > row.lowest:
        yield row.kth(BENT), False
        yield row.lowest, True
    elif first == "top_h":
        yield row.kth(TOP_H), True
    elif first == "mirostat":
        yield _power_law(row, facts, at), True
    elif first in ("top_k", "min_p", "xtc_probability"):
        yield sure, True
    else:
        yield row.lowest, True


def _first(steps: Sequence[str], scale: float) -> tuple[str | None, tuple[str, ...], float]:
    """The first truncation, what follows it, and the temperature at which it cuts."""
    for i, name in enumerate(steps):
        if name == "temperature":
            continue
        return name, tuple(steps[i + 1 :]), scale if "temperature" in steps[:i] else 1.0
    return None, (), scale


def _sure(row: Row, steps: Sequence[str], facts: Facts, first: tuple[str, float, float]) -> float:
    """What top-k and min-p leave nothing below, in the chain that follows the first step."""
    name, at, scale = first
    lost, found = 0.0, row.lowest
    if name == "xtc_probability":
        threshold = facts.number("xtc_threshold")
        lost = 0.0 if threshold > XTC_OFF else 1 + 1 / threshold if threshold > 0 else math.inf
    for step in steps if name in {*FOLLOWED, "top_k", "min_p"} and not _first_version(name, facts) else ():
        if step == "temperature":
            at = scale
        elif step == "top_k":
            found = max(found, row.kth(int(min(facts.number("top_k") + lost, row.values.size))))
        elif step == "min_p":
            if not lost:  # else the likeliest may be gone
                found = max(found, row.top + at * math.log(facts.number("min_p")))
        else:
            break
    return _lowered(row, found)


def _lowered(row: Row, floor: float) -> float:
    return max(floor - SLIP * (abs(floor) + abs(row.top)), row.lowest)


def _first_version(name: str, facts: Facts) -> bool:
    return name == "mirostat" and facts.params.mirostat == 1


def _bar(row: Row, name: str, facts: Facts, scale: float) -> float:
    """Below the bar of a step that keeps what is likely enough, and not above the top."""
    sums = row.rough(scale, name == "eta_cutoff")
    bar = bar_of(name, sums, facts)
    under = min(bar.log + math.log(sums.mass), 0.0) - 2 * bar.error
    return _lowered(row, row.top + scale * under)


def _power_law(row: Row, facts: Facts, scale: float) -> float:
    """Of mirostat 1: the k likeliest, and those to which it fits k."""
    near = row.values[row.values >= row.kth(FITTED)].astype(np.float64) / scale
    k = power_law_k(ranked(near[near > -np.inf], FITTED)[0], row.values.size, cut_of(facts.params, facts.state))
    return row.kth(max(k, FITTED))


def _nucleus(row: Row, p: float, scale: float, sure: float) -> Iterator[tuple[float, bool]]:
    if p > 1 - 10 * ROUGH:
        yield sure, True
        return
    # V tokens below this one hold half of 1 - p at most, so p is reached above it.
    share = (1 - p) / 2 * row.rough(scale).mass / row.values.size
    proved = row.top + scale * math.log(share) - SLIP * abs(row.top)
    if proved > sure and np.count_nonzero(row.values >= proved) > MANY:
        yield max(_guess(row, scale, p), sure), False
    yield max(proved, sure), sure >= proved


def _guess(row: Row, scale: float, p: float) -> float:
    """A logit above which, going by a sample, lies more than the nucleus."""
    sample = np.sort(row.values[::WIDTH])[::-1]
    mass = np.cumsum(row.weights(sample, scale), dtype=np.float64)
    return float(sample[min(np.searchsorted(mass, (1 + 3 * p) / 4 * mass[-1]), sample.size - 1)])
