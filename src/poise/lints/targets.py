"""What a target engine makes of settings."""

from __future__ import annotations

from collections.abc import Iterator

from poise.dialects import DIALECTS
from poise.exports.carrying import carry
from poise.exports.commuting import KEEPS_TOP, commute, swapped
from poise.exports.outcome import Outcome
from poise.exports.target import Target
from poise.lints.record import Level, Remark, value_said
from poise.params import PARAMETERS, SamplingParams


def of_target(params: SamplingParams, target: Target) -> Iterator[Remark]:
    """What changes where the same numbers are given to a target.

    Args:
        params: the settings, in their own dialect.
        target: where they go.

    Yields:
        What is lost, what has to be written otherwise, and what acts there although nobody said it.
    """
    found = carry(params, target, next(iter(target.sheets.values())))
    told: list[tuple[str, ...]] = []
    for outcome in found.outcomes:
        for remark in _carried(outcome, params, target) if outcome.parameter != "order" else ():
            if remark.parameters[::-1] not in told:  # of two steps that change places, it is said once
                told.append(remark.parameters)
                yield remark
    yield from _order(params, found.params, target)
    yield from _defaults(params, found.params, target)


def _carried(outcome: Outcome, params: SamplingParams, target: Target) -> Iterator[Remark]:
    """What becomes of one parameter."""
    name, said, there = outcome.parameter, value_said(outcome.parameter, outcome.value), target.name
    about, export = (name, *outcome.beside), f"`poise export` to {target.name}"
    why = outcome.why
    if params.dialect == target.dialect:  # what differs from the engine in its own dialect is poise's own
        why = why.replace(f"{params.dialect} looks at", "poise looks at", 1)
    if outcome.kind == "impossible":
        step = "Leave it out, or compare texts without it"
        yield Remark("target-lacks", "error", "lost", about, f"{said} is lost in {there}: {why}", step)
    elif outcome.kind == "approximate":
        level: Level = "note" if outcome.ties else "warning"
        said = f"{said} acts otherwise in {there}: {why}"
        known = DIALECTS[target.dialect].known
        step = f"{export} says by how much" if known else "How much cannot be measured: compare texts"
        yield Remark("target-changes", level, "changed", about, said, step)
    elif outcome.there is not None and outcome.there != outcome.value and name in PARAMETERS:
        said = f"{said} means something else in {there}: {why}"
        yield Remark("target-writes", "warning", "changed", about, said, f"Write {name}={outcome.there:.6g} there")
    elif outcome.there is not None and why:
        said = f"{said} acts otherwise in {there} where nothing else is said: {why}"
        yield Remark("target-needs", "warning", "changed", about, said, f"{export} writes it")


def _order(params: SamplingParams, there: SamplingParams, target: Target) -> Iterator[Remark]:
    """Steps that would change places in the target's own order, where it can be told another."""
    if there.order is None:
        return
    here = {step: place for place, step in enumerate(params.steps)}
    moved = swapped([step for step in there.how.order if step in here], here)
    pairs = [pair for pair in moved if not commute(*pair, greedy=params.greedy)]
    for first in dict.fromkeys(a for a, _ in pairs):
        others = [b for a, b in pairs if a == first]
        said = f"{first} acts before {' and '.join(others)} in {params.dialect}, after in {target.name}'s own order"
        step = f"Tell it the order; `poise export` to {target.name} does"
        yield Remark("target-order", "warning", "changed", (first, *others), said, step)


def _defaults(params: SamplingParams, there: SamplingParams, target: Target) -> Iterator[Remark]:
    """Defaults that act where nothing is said."""
    dialect = DIALECTS[target.dialect]
    beside = [kept for step, kept in dialect.alone.items() if step in there.steps]
    defaults = dialect.defaults if target.defaults is None else target.defaults
    for name, value in defaults.items():
        if getattr(params, name) is not None or value == PARAMETERS[name].neutral:
            continue
        if params.greedy and name in KEEPS_TOP:
            continue  # the likeliest token is taken anyway
        if any(name not in kept for kept in beside):
            continue  # it is dropped beside what is on
        off = PARAMETERS[name].neutral
        written = "its off value" if off is None else f"{name}={off:g}"
        what = "greedy" if name == "temperature" and value == 0 else f"{name}={value:g}"
        yield Remark(
            "target-default", "warning", "changed", (name,),
            f"{name} is left out, and {target.name} then takes {what}", f"Write {written} there; `poise export` does",
        )  # fmt: skip
