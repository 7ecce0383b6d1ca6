"""A law taken apart, without what changes nothing."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from poise.dialects import Dialect
from poise.exports.commuting import KEEPS_TOP
from poise.exports.outcome import Reason
from poise.param_lists import LISTS
from poise.params import FOLLOWERS, PARAMETERS, Number, SamplingParams

_PENALTIES = ("repetition_penalty", "frequency_penalty", "presence_penalty")
HEATS = ("temperature", "dynatemp_range")
_XTC_OFF = 0.5  # two tokens cannot both have more
BARRED = float("-inf")
JUST_ONE = 1e-9  # as a top-p: less than one token of any vocabulary has at the top


@dataclass(slots=True)
class Working:
    """Settings on their way: what is on, in the order in which it acts; it changes as it is carried.

    Args:
        here: the dialect that they come from.
        numbers: by parameter, followers included.
        lists: biases, barred words, breakers.
        steps: the steps that act, in order.
        reasons: what was found about them.
    """

    here: Dialect
    numbers: dict[str, Number]
    lists: dict[str, Any]
    steps: list[str]
    reasons: list[Reason] = field(default_factory=list)

    @property
    def greedy(self) -> bool:
        """Whether the temperature is 0, by itself."""
        return self.numbers.get("temperature") == 0 and "dynatemp_range" not in self.numbers

    @property
    def bars(self) -> bool:
        """Whether no bias is finite."""
        return all(bias == BARRED for _, bias in self.lists.get("logit_bias", ()))

    def keeps_top(self, until: str = "") -> bool:
        """Whether no truncation takes the likeliest token away: each keeps it, and no penalty comes after one.

        Args:
            until: a step before which they matter; empty for all of them.
        """
        cuts = [n for n in self.steps if not penalises(n) and n not in HEATS]
        early = cuts[: cuts.index(until)] if until else cuts
        late = self.steps[self.steps.index(cuts[0]) :] if cuts else []
        return all(n in KEEPS_TOP for n in early) and not any(penalises(n) for n in late)

    @property
    def lone(self) -> tuple[str, ...]:
        """Truncations that leave the likeliest token alone, ties apart, where nothing else takes it away."""
        if not self.keeps_top():
            return ()
        top_k, top_p = self.numbers.get("top_k") == 1, self.numbers.get("top_p", 1) <= JUST_ONE
        return tuple(n for n, one in (("top_k", top_k), ("top_p", top_p)) if one and n in self.steps)

    def leave(self, names: Collection[str], why: str, kind: Any = "exact") -> None:
        """Take steps out, with what shapes them.

        Args:
            names: of steps, or of what shapes one.
            why: what is said of each that was on.
            kind: of the outcome.
        """
        gone = {*names, *(f for n in names for f in FOLLOWERS.get(n, ()) if self._alone(f, names))}
        gone |= {"dry_breakers"} if "dry_multiplier" in gone else set()
        for name in [n for n in (*self.numbers, *self.lists) if n in gone]:
            self.reasons.append(Reason(name, kind, why))
            self.numbers.pop(name, None)
            self.lists.pop(name, None)
        self.steps = [n for n in self.steps if n not in gone]

    def _alone(self, follower: str, gone: Collection[str]) -> bool:
        """Whether no other leader of it stays."""
        return not any(n in self.numbers and n not in gone for n in PARAMETERS[follower].leaders)


def penalises(name: str) -> bool:
    """Whether a step looks at what was said, or is a list: it may change which token is the likeliest."""
    return name in LISTS or PARAMETERS[name].stage == "penalty"


def taken_apart(params: SamplingParams) -> Working:
    """Settings as they act, without what changes nothing in their own dialect.

    Args:
        params: the settings.

    Returns:
        A working copy, with a reason for each parameter that was left out: the law is the same without it.

    >>> taken_apart(SamplingParams(temperature=0, top_p=0.9)).steps
    ['temperature']
    """
    lists = {name: value for name, value in params.lists().items() if name != "order"}
    moving = "dynatemp_range" in params.active()
    steps = [n for n in params.steps if n != "temperature" or not moving]
    law = Working(params.how, dict(params.active()), lists, steps)
    for leaders, window in ((_PENALTIES, "penalty_last_n"), (("dry_multiplier",), "dry_last_n")):
        if law.numbers.get(window) == 0:
            law.leave([*leaders, window], "in a window of 0 tokens it never acts")
    if law.numbers.get("xtc_threshold", 0) > _XTC_OFF:
        law.leave(["xtc_probability"], f"above a threshold of {_XTC_OFF} XTC never acts")
    _settle_temperature(law, params)
    return law


def _settle_temperature(law: Working, params: SamplingParams) -> None:
    """What the temperature is taken for, and at 0 what cannot act beside it."""
    rules, heat = params.how.rules, law.numbers.get("temperature")
    if heat is not None and 0 < heat < rules.greedy_below:
        law.numbers["temperature"] = 0.0
        law.reasons.append(Reason("temperature", "exact", f"{params.dialect} takes {heat:g} for 0"))
    elif heat is not None and 0 < heat < rules.temperature_floor:
        law.numbers["temperature"] = rules.temperature_floor
        law.reasons.append(
            Reason("temperature", "exact", f"{params.dialect} raises {heat:g} to {rules.temperature_floor:g}")
        )
    if not law.greedy:
        return
    cuts = [n for n in law.steps if not penalises(n) and n != "temperature"]
    if not rules.greedy_last:
        law.leave(cuts, "temperature 0 takes the likeliest token before it acts")
        return
    after = [n for n in law.steps[law.steps.index("temperature") + 1 :] if n not in LISTS]
    law.leave(after, "temperature 0 has left one token before it")
    if law.keeps_top():
        law.leave(cuts, "it keeps the likeliest token, which temperature 0 takes")


def only(params: SamplingParams, names: Collection[str]) -> SamplingParams:
    """Settings of which nothing else is on.

    Args:
        params: the settings.
        names: the parameters that stay, where what they need stays too; an order always does.

    Returns:
        The rest of them, in the same dialect.

    >>> only(SamplingParams(temperature=0.5, top_p=0.9), {"top_p"}).label
    'temperature=1,top_p=0.9'
    """
    said = {**params.active(), **params.lists()}
    kept = {n for n in said if n in names or n == "order"}
    for name in [n for n in kept if n in PARAMETERS and PARAMETERS[n].leaders]:
        if not kept & {*PARAMETERS[name].leaders}:
            kept.discard(name)
    if "dry_multiplier" not in kept:
        kept.discard("dry_breakers")
    return SamplingParams.model_validate({**{n: said[n] for n in said if n in kept}, "dialect": params.dialect})
