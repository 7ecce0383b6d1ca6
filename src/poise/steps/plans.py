"""Settings taken apart, once each."""

from __future__ import annotations

import functools
from typing import NamedTuple

from poise.law import HEATS, PENALTIES, acting, heat, joint
from poise.params import FOLLOWERS, SamplingParams

LOOKING = frozenset(PENALTIES) - {"guidance_scale", "logit_bias"}  # these look at what was said


class Plan(NamedTuple):
    """A setting taken apart.

    Args:
        params: the setting.
        edits: penalties, biases and bars that come before all else, in order.
        rest: the other steps as the law has them, in order.
        steps: the same as the fast path takes them: without smoothing, with a joint top-p ahead of top-k.
        smooths: whether the logits are bent right after the temperature, before anything is cut.
        regular: whether there is a fast path.
        scale: the temperature; 0 is greedy; where it is dynamic the one around which it moves.
        edited: equal for settings that edit alike.
    """

    params: SamplingParams
    edits: tuple[str, ...]
    rest: tuple[str, ...]
    steps: tuple[str, ...]
    smooths: bool
    regular: bool
    scale: float
    edited: object

    @property
    def looks(self) -> bool:
        """Whether an edit looks at what was said."""
        return not LOOKING.isdisjoint(self.edits)

    @property
    def cuts(self) -> bool:
        """Whether a step may cut tokens."""
        return any(name not in HEATS for name in self.steps)


@functools.lru_cache(maxsize=4096)
def plan_of(params: SamplingParams) -> Plan:
    """Take a setting apart.

    Args:
        params: the setting.

    Returns:
        Its plan.
    """
    names, scale = acting(params), heat(params)
    first = next((i for i, name in enumerate(names) if name not in PENALTIES), len(names))
    edits, rest = names[:first], names[first:]
    steps = _joined(rest, params)
    smooths = "smoothing_factor" in rest
    regular = PENALTIES.keys().isdisjoint(rest) and steps is not None
    if smooths:  # no engine smooths elsewhere
        heats = sum(name in HEATS for name in rest)
        regular = regular and rest.index("smoothing_factor") == heats
    steps = tuple(name for name in steps or () if name != "smoothing_factor")
    said = {name: getattr(params, name) for edit in edits for name in (edit, *FOLLOWERS.get(edit, ()))}
    edited = (edits, tuple(said.items()), params.dialect) if edits else None
    return Plan(params, edits, rest, steps, smooths, regular, scale, edited)


def _joined(names: tuple[str, ...], params: SamplingParams) -> tuple[str, ...] | None:
    """A joint top-p looks at the row before top-k: put ahead of that it keeps what both keep; None where it cannot."""
    if not joint(params) or not {"top_k", "top_p"} <= {*names}:
        return names
    at = names.index("top_k")
    if names[at + 1] != "top_p":
        return None
    return (*names[:at], "top_p", "top_k", *names[at + 2 :])
