"""What counts as one unit of evidence: a prompt, or a draw."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from poise.stats import MIN_UNITS, Vector

Scope = Literal["prompt", "use_case"]


class Units(NamedTuple):
    """Values sorted into units.

    From eight prompts on, the prompt is the unit, and a number speaks of the use case. With fewer, the
    prompts are fixed, the draw is the unit, and a number speaks of these prompts only.

    Args:
        scope: what the numbers speak of.
        members: per prompt, the positions of its values.
        lacking: why there can be no interval, and what to add; empty where there can.
    """

    scope: Scope
    members: tuple[NDArray[np.int64], ...]
    lacking: str

    def strata(self, values: Vector) -> list[Vector]:
        """Values as `stats` takes them: one mean per prompt, or every draw of every prompt."""
        if self.scope == "use_case":
            return [np.array([values[m].mean() for m in self.members])]
        return [values[m] for m in self.members]

    @property
    def prompts(self) -> int:
        """How many prompts have a value."""
        return len(self.members)


def units_of_draws(prompt: NDArray[np.int64], *, alike: bool = False) -> Units:
    """Units of a metric that has a value per text.

    Args:
        prompt: the prompt of each value, at least one.
        alike: the draws of a prompt are all the same text, as under greedy decoding.

    Returns:
        The units.
    """
    order = np.argsort(prompt, kind="stable")
    members = tuple(np.split(order, np.flatnonzero(np.diff(prompt[order])) + 1))
    if len(members) >= MIN_UNITS:
        return Units("use_case", members, "")
    more = _add(MIN_UNITS - len(members), "prompt")
    if alike:
        return Units(
            "prompt", members, f"its draws are the same text every time, without noise: {more} for an interval"
        )
    fewest = min(len(m) for m in members)
    if fewest >= MIN_UNITS:
        return Units("prompt", members, "")
    which = "this prompt" if len(members) == 1 else "each of these prompts"
    draws = _add(MIN_UNITS - fewest, "draw").removeprefix("add ")
    return Units("prompt", members, f"an interval needs {MIN_UNITS} draws of {which}: add {draws}; or {more}")


def units_of_groups(prompt: NDArray[np.int64]) -> Units:
    """Units of a metric that has one value per prompt and setting.

    Args:
        prompt: the prompt of each value, at least one.

    Returns:
        The units; below eight prompts there is nothing that repeats.
    """
    members = tuple(np.array([i]) for i in range(len(prompt)))
    if len(members) >= MIN_UNITS:
        return Units("use_case", members, "")
    more = _add(MIN_UNITS - len(members), "prompt")
    return Units("prompt", members, f"it has one value per prompt, and an interval needs {MIN_UNITS}: {more}")


def _add(number: int, noun: str) -> str:
    return f"add {number} {noun}{'' if number == 1 else 's'}"
