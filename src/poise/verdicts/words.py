"""A verdict in plain words, the same on terminal, page and notebook."""

from __future__ import annotations

from collections.abc import Sequence

from poise.holdouts import Gain
from poise.metrics import METRICS
from poise.numerals import (
    NOTHING,
    PERCENT_UNITS,
    amount,
    count,
    difference,
    figure,
    interval,
    quantity,
    size,
)
from poise.records import Trial
from poise.tables import Table, whole_html, whole_text
from poise.verdicts.verdict import Contender, Kept, More, Verdict, VerdictsBase

SHOWN = 12  # settings that a sentence names
NOT_QUALITY = "No automatic metric measures how good a text is: it speaks of the metric and of nothing else."
WITHHELD = "no interval: too few differ from the baseline to tell their spread"


class Verdicts(VerdictsBase):
    """Verdicts by use case; print them, or let a notebook show them."""

    def __str__(self) -> str:
        parts = []
        for v in self:
            parts += [
                "\n".join([f"{v.use_case}: {headline(v)}", *(f"  {s}" for s in sentences(v)[1:])]),
                table(v).text(),
            ]
        return "\n\n".join(filter(None, [whole_text(self.notes, []), *parts]))

    def __repr__(self) -> str:
        return f"<{count(len(self), 'verdict')}>"

    def _repr_html_(self) -> str:
        found = []
        for v in self:
            found.append(Table(f"{v.use_case}: {headline(v)}", (), [], sentences(v)[1:]).html())
            found.append(table(v).html())
        return whole_html(self.notes, []) + "".join(found)


def headline(v: Verdict) -> str:
    """What to do, in one sentence.

    Args:
        v: the verdict.

    Returns:
        The sentence.
    """
    base = called(v.baseline)
    if v.status == "not enough":
        return f"Nothing can be concluded yet: {v.delivered.note}."
    if v.status == "constraints":
        return f"No setting keeps {' and '.join(map(str, v.goal.constraints))}{_how_sure(v)}. {_closest(v)}"
    assert v.recommended is not None, "every other status recommends"
    chosen = called(v.recommended)
    if v.status == "better":
        by = ": " if _held(v) else ", by "
        return f"Use {chosen}: it was shown to {_goal(v, base)}{by}{_amount(v, v.promised)}.{_small(v)}"
    if v.status == "undecided":
        return f"Use {chosen}, the simplest setting that may be the best{_not_base(v)}."
    if v.stopped.startswith("all"):
        within = size(v.goal.matters or 0.0, v.unit)
        return f"Keep {base}: it makes no difference that matters. All settings left are within {within}."
    if len(v.best_set) == len(v.contenders):
        return f"Keep {base}: no detectable difference between {count(len(v.contenders), 'setting')}. {_least(v)}"
    if _alone(v):
        broken = any(not k.in_the_mean for c in v.contenders for k in c.kept)
        return f"Keep {base}: every other setting was shown to be worse{', or breaks a constraint' if broken else ''}."
    return f"Keep {base}: no setting was shown to {_goal(v, 'it')}. {_least(v)}"


def sentences(v: Verdict) -> list[str]:
    """The headline and what stands behind it, most important first.

    Args:
        v: the verdict.

    Returns:
        Sentences.
    """
    if v.status == "not enough":
        return [headline(v), *(f"{n[0].upper()}{n[1:]}." for n in v.notes if n != v.delivered.note)]
    said = [
        headline(v),
        *_delivered(v),
        *_set(v),
        *_naive(v),
        *_kept(v),
        *_more(v),
        *_effects(v),
        *_front(v),
        *_sides(v),
    ]
    stays, of = v.stable
    if of:
        unit = "draw" if v.scope == "prompt" and of == v.units else "prompt"  # of a single prompt, draws are
        said.append(f"With one {unit} left out, the best mean stays the best {stays} of {of} times.")
    if len(v.looks) > 1 or v.stopped:
        ended = f", then stopped: {v.stopped}" if v.stopped else ""
        said.append(
            f"Looked after {', '.join(map(str, v.looks))} prompts{ended}. The error was spent across the looks."
        )
    said += [f"{n[0].upper()}{n[1:]}." for n in v.notes]
    return [*said, f"{scope(v)} {NOT_QUALITY}"]


def table(v: Verdict) -> Table:
    """Every setting: its mean, its difference to the baseline, whether it may be the best."""
    bounds = [str(k.constraint) for k in v.contenders[0].kept] if v.contenders else []
    fronts = ["front"] if any(c.front is not None for c in v.contenders) else []
    moved = "change of the distance" if v.goal.aim.sense == "hold" else f"difference to {called(v.baseline)}"
    unit = "" if v.unit in PERCENT_UNITS else f" ({v.unit})"
    head = ("settings", f" {v.metric}{unit}", f" {moved}", " simultaneous interval", "may be best", *bounds,
            *(f" {f}" for f in fronts), "")  # fmt: skip
    rows = [_row(v, c, bool(fronts)) for c in v.contenders]
    units = count(v.units, "prompt") if v.scope == "use_case" else count(v.units, "draw")
    did = {"not enough": "nothing was chosen", "constraints": f"{units} looked at"}.get(v.status, f"{units} chose")
    at = f"; the reference is at {quantity(v.target, v.unit)} on average" if _on_reference(v) else ""
    return Table(f"{v.use_case}: {v.goal}{at}; {did}", head, rows)


def called(trial: Trial) -> str:
    """A setting's name, with its settings where they say more."""
    return f"{trial.label} ({', '.join(trial.names)})" if trial.names else trial.label


def scope(v: Verdict) -> str:
    """What the verdict speaks of."""
    if v.scope == "prompt":
        return "It is for these prompts only: fewer than 8 say nothing of others."
    return f"It speaks of prompts like these {v.units}."


def _alone(v: Verdict) -> bool:
    """Whether the baseline alone may be the best, and every other setting was compared."""
    return [t.params for t in v.best_set] == [v.baseline.params] and all(c.difference is not None for c in v.contenders)


def _how_sure(v: Verdict) -> str:
    """Said where means break the constraints that intervals leave open."""
    opened = sum(not any(k.status == "broken" for k in c.kept) for c in v.contenders)
    it = "it" if len(v.goal.constraints) == 1 else "them"
    return f" in the mean; {opened} of {len(v.contenders)} were not shown to break {it}" if opened else ""


def _held(v: Verdict) -> bool:
    return v.goal.aim.sense == "hold"


def _on_reference(v: Verdict) -> bool:
    """Whether it is held near the reference, and where that lies is known."""
    return isinstance(v.goal.aim.target, str) and v.target is not None


def _goal(v: Verdict, other: str) -> str:
    """What a setting was shown to do, or was not, beside another."""
    aim = v.goal.aim
    if not _held(v):
        return f"{aim.sense} {aim.metric} over {other}"
    if isinstance(aim.target, str):
        near = f"the reference ({quantity(v.target, v.unit)} on average)" if _on_reference(v) else "the reference"
    else:
        near = quantity(aim.target, v.unit)
    return f"bring {aim.metric} nearer to {near} than {other}"


def _not_base(v: Verdict) -> str:
    """Why the baseline is not among the best, though none of them was shown to beat it."""
    broken = [k for k in v.of(v.baseline).kept if not k.in_the_mean]
    base = called(v.baseline)
    if broken:
        shown = ", ".join(f"{k.constraint} at {_mean(k)}" for k in broken)
        how = "breaks" if any(k.status == "broken" for k in broken) else "breaks, in the mean,"
        return f": {base} {how} {shown}"
    return f": {base} is not among them, but none of them alone was shown to {_goal(v, 'it')}"


def _small(v: Verdict) -> str:
    """Said where the gain is surely smaller than what matters, or may be."""
    matters, (low, high) = v.goal.matters, (v.promised.low, v.promised.high)
    if matters is None or low is None or high is None or min(abs(low), abs(high)) >= matters:
        return ""
    least = size(matters, v.unit)
    if max(abs(low), abs(high)) >= matters:
        return f" That it is as much as the {least} that matter was not shown."
    return f" That is less than the {least} that matter: {called(v.baseline)} does as well for your purpose."


def _amount(v: Verdict, g: Gain, whose: str = "its distance from the target") -> str:
    """A gain with its interval; near a target, in words that nobody reads backwards."""
    if not _held(v):
        return (
            "an unknown amount" if g.difference is None else _with_ends(amount(g.difference, v.unit), v, g.low, g.high)
        )
    if g.difference is None:
        return f"{whose} changed by an unknown amount"
    if g.difference > 0:
        return f"{whose} grew by {_with_ends(size(g.difference, v.unit), v, g.low, g.high)}"
    ends = (None if g.high is None else -g.high, None if g.low is None else -g.low)
    return f"{whose} fell by {_with_ends(size(g.difference, v.unit), v, *ends)}"


def _with_ends(said: str, v: Verdict, low: float | None, high: float | None) -> str:
    ends = interval(low, high, v.unit, of_difference=True)
    return f"{said} {ends}" if ends else said


def _least(v: Verdict) -> str:
    if v.smallest_detectable is None:
        return "What could have been seen cannot be told: nothing varied between the baseline and its closest rival."
    return f"The smallest difference we could have seen is {size(v.smallest_detectable, v.unit)}."


def _delivered(v: Verdict) -> list[str]:
    if v.recommended is None or v.delivered.how == "by definition":
        return []
    if _held(v):
        alone = v.promised._replace(low=None, high=None)
        return [f"Promised: {_amount(v, alone)}; delivered: {_amount(v, v.delivered, 'it')} {_where(v.delivered)}."]
    promised = "" if v.promised.difference is None else f"Promised {amount(v.promised.difference, v.unit)}; "
    return [f"{promised}delivered {_amount(v, v.delivered)} {_where(v.delivered)}."]


def _where(g: Gain) -> str:
    note = f" ({g.note})" if g.note else ""
    if g.how == "held out":
        return f"on {count(g.units, 'prompt')} that did not choose it{note}"
    return f"when each part of the {g.units} is judged by what the others choose (cross-fitted){note}"


def _set(v: Verdict) -> list[str]:
    best = v.best_set
    if len(best) < 2:
        return []
    named = [called(t) for t in best[:SHOWN]] + ([f"{len(best) - SHOWN} more"] if len(best) > SHOWN else [])
    return [f"May be the best, {len(best)} of {len(v.contenders)}: {'; '.join(named)}."]


def _naive(v: Verdict) -> list[str]:
    naive = v.naive
    if naive is None or naive.promised.difference is None or naive.trial == v.recommended:
        return []
    if naive.trial.params == v.baseline.params:
        return ["The best mean is the baseline's."]
    if abs(naive.promised.difference) < NOTHING:
        return ["No mean is better than the baseline's."]
    if _held(v):
        return [
            f"The mean nearest to the target is {called(naive.trial)}'s. Printing it would promise: "
            f"{_amount(v, naive.promised)}; delivered: {_amount(v, naive.delivered, 'it')} {_where(naive.delivered)}."
        ]
    return [
        f"The best mean is {called(naive.trial)}: printing it would promise {_amount(v, naive.promised)}; "
        f"it delivered {_amount(v, naive.delivered)} {_where(naive.delivered)}."
    ]


def _kept(v: Verdict) -> list[str]:
    if v.recommended is None:
        return []
    return [f"{k.constraint}: {_standing(k)}." for k in v.of(v.recommended).kept]


def _standing(k: Kept) -> str:
    if k.mean is None:
        return "no data"
    ends = interval(k.low, k.high, METRICS[k.constraint.metric].unit)
    more = "; more prompts would show whether it is kept" if k.status == "kept in the mean" else ""
    return f"{k.status}, {_mean(k)}{f' {ends}' if ends else ''}{more}"


def _mean(k: Kept) -> str:
    return quantity(k.mean, METRICS[k.constraint.metric].unit)


def _more(v: Verdict) -> list[str]:
    if v.more is None or v.stopped or v.status == "better" or _alone(v):
        return []
    wanted = size(v.more.difference, v.unit)
    if v.more.prompts == 0:
        return [f"These prompts are enough to see a difference of {wanted} 4 times in 5."]
    return [f"To see a difference of {wanted} 4 times in 5, add about {_prompts(v.more)}."]


def _prompts(m: More) -> str:
    now = f"{count(m.prompts, 'prompt')} at {count(m.draws, 'draw')} each"
    if m.prompts_at_double is None or m.prompts_at_double >= m.prompts:
        return now
    if m.prompts_at_double == 0:
        return f"{now}, or draw {m.draws * 2} of the prompts there are"
    return f"{now}, or {count(m.prompts_at_double, 'prompt')} at {m.draws * 2}"


def _effects(v: Verdict) -> list[str]:
    if not v.effects:
        return []
    shown = [
        f"{e.parameter} {figure(e.share, 'share')}" + (f" {ends}" if (ends := interval(e.low, e.high, "share")) else "")
        for e in v.effects
    ]
    return [f"Of the variation between settings: {', '.join(shown)}."]


def _front(v: Verdict) -> list[str]:
    found = sorted((c for c in v.contenders if c.front is not None), key=lambda c: -(c.front or 0.0))
    if not found or v.goal.also is None:
        return []
    named = ", ".join(f"{called(c.trial)} {c.front:.0%}" for c in found[:6])
    return [f"Not beaten in both {v.metric} and {v.goal.also.metric} (probability): {named}."]


def _sides(v: Verdict) -> list[str]:
    if not v.sides:
        return []
    changes = [
        f"{s.metric} {amount(s.difference, s.unit)} {interval(s.low, s.high, s.unit, of_difference=True)}"
        for s in v.sides
    ]
    return [f"Against {called(v.baseline)} it was also shown to change {'; '.join(changes)}."]


def _closest(v: Verdict) -> str:
    found: list[tuple[float, Contender, Kept]] = []
    for c in v.contenders:
        broken = [k for k in c.kept if not k.in_the_mean and k.mean is not None]
        sizes = [(-k.constraint.margin(k.mean or 0.0) / (abs(k.constraint.bound) or 1.0), k) for k in broken]
        if sizes:
            worst, kept = max(sizes, key=lambda pair: pair[0])
            found.append((worst, c, kept))
    if not found:
        return "None of them has data on it."
    _, c, kept = min(found, key=lambda entry: entry[0])
    return f"Closest is {called(c.trial)}, with {kept.constraint.metric} at {_mean(kept)}."


def _row(v: Verdict, c: Contender, fronts: bool) -> Sequence[str]:
    base = c.trial.params == v.baseline.params
    moved = "baseline" if base else "–" if c.difference is None else difference(c.difference, v.unit)
    ends = "" if base else interval(c.low, c.high, v.unit, of_difference=True) or "–"
    kept = [f"{figure(k.mean, METRICS[k.constraint.metric].unit)} {k.status}" for k in c.kept]
    chance = [f"{c.front:.0%}" if c.front is not None else "–"] if fronts else []
    withheld = WITHHELD if ends == "–" and c.difference is not None else ""
    why = "; ".join(filter(None, [c.out, withheld]))
    return [called(c.trial), figure(c.mean, v.unit), moved, ends, "yes" if c.in_set else "no", *kept, *chance, why]
