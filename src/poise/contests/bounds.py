"""Where nothing is monotone: halve, and count what is proved."""

from __future__ import annotations

import numpy as np

from poise import noise
from poise.contests.boxes import SAFE, Box, Floats, boxed
from poise.contests.moment import TINY, Moment, Part, lead
from poise.law import heat
from poise.motions import is_penalty
from poise.params import PARAMETERS
from poise.spans import Cut, Span

CURVED = frozenset({"repetition_penalty", "dry_base"})  # scores are no lines in these


def proved_parts(moment: Moment, span: Span, resolution: float) -> list[Part]:
    """Winners of a stretch, proved one by one.

    Args:
        moment: the step.
        span: the stretch.
        resolution: what is narrower and not proved stays unknown, in the parameter's unit.

    Returns:
        Parts that tile the stretch; the token is None where no winner was proved.
    """
    found: list[Part] = []
    for part in _halve(moment, span, resolution):
        if found and found[-1].token == part.token:
            found[-1] = Part(Span(found[-1].span.low, part.span.high), part.token, part.rivals)
        else:
            found.append(part)
    return found


def _halve(moment: Moment, span: Span, resolution: float) -> list[Part]:
    whole = PARAMETERS[moment.step.parameter].kind == "int"
    single = span.low.value == span.high.value or (whole and span.high <= Cut(span.low.value + 1))
    ends = [moment.drawn(v) for v in ((span.low.value,) if single else (span.low.value, span.high.value))]
    if single or (ends[0] == ends[1] and _proved(moment, span, ends[0])):
        return [Part(span, ends[0], _rivals(moment, span, ends[0]))]
    if span.width <= max(resolution, TINY):
        return [Part(span, None)]
    middle = Cut(float(round(span.middle)) if whole else span.middle)
    if not span.low < middle < span.high:
        return [Part(span, None)]
    return [*_halve(moment, Span(span.low, middle), resolution), *_halve(moment, Span(middle, span.high), resolution)]


def _rivals(moment: Moment, span: Span, token: int) -> tuple[tuple[float, float], ...]:
    value = float(int(span.middle)) if PARAMETERS[moment.step.parameter].kind == "int" else span.middle
    values, scale = moment.at(value)
    if not np.isfinite(values[token]):
        return ()
    ahead = lead(values, scale, moment.noise, token)
    return ((ahead, 0.0),) if np.isfinite(ahead) else ()


def _proved(moment: Moment, span: Span, token: int) -> bool:
    """Whether one token wins throughout: it is surely kept, and beats all that may be kept."""
    step = moment.step
    if step.parameter == "temperature" and span.low.value == 0:
        return _cold(moment, span, token)  # bounds of l/T need a temperature above 0
    rows, scales = _ends(moment, span)
    box = boxed(step, span, rows, scales)
    if box is None or not box.sure[token]:
        return False
    greedy = scales == [0.0, 0.0] and box.heat is None
    g = np.zeros(box.low.size) if greedy else noise.gumbel(moment.noise.words)
    if step.parameter in CURVED or box.bent:
        return _apart(box, g, token)
    if greedy:  # of equals the lowest id
        return all(int(np.argmax(np.where(box.maybe, row, -np.inf))) == token for row in rows)
    # Scores are linear in what moves the rows, and in the temperature: their differences are least at a corner.
    heats = [(row, s) for row, s in zip(rows, scales, strict=True)]
    if box.heat is not None:
        heats = [(row, s) for row in rows for s in box.heat]
    return all(
        float(row[token] + s * g[token]) >= float(np.max(np.where(box.maybe, row + s * g, -np.inf))) - 1e-12
        for row, s in heats
    )


def _cold(moment: Moment, span: Span, token: int) -> bool:
    """Whether a token wins at every temperature from just above 0 on.

    Alone at the top it is kept by every cut that keeps the likeliest tokens. Typical sampling keeps it first while
    the mean distance to the top is below half of the second token's: expected surprise less a token's own is
    (mean distance - its distance) / T. That mean only grows with T, and only shrinks where a cut came before.
    """
    step = moment.step
    if any(n in ("xtc_probability", "dynatemp_range", "smoothing_factor") for n in step.fixed.steps):
        return False
    rows, scales = _ends(moment, span)
    gaps = float(rows[1][token]) - rows[1]
    gaps[token] = np.inf
    second, hot = float(gaps.min()), scales[1]
    if not second > SAFE:
        return False
    with np.errstate(under="ignore"):
        weights = np.exp(-gaps / hot)
    mean = float((weights * np.where(weights > 0, gaps, 0.0)).sum()) / (1.0 + float(weights.sum()))
    g = noise.gumbel(moment.noise.words)
    return 2 * mean < second * (1 - SAFE) and bool(np.all(gaps > hot * (g - g[token]) + 1e-12))


def _apart(box: Box, g: Floats, token: int) -> bool:
    """Curves may cross twice: bounds over the whole stretch must not meet."""
    others = np.where(box.maybe, box.high + g, -np.inf)
    others[token] = -np.inf
    return float(box.low[token] + g[token]) > float(others.max())


def _ends(moment: Moment, span: Span) -> tuple[list[Floats], list[float]]:
    """The penalised rows at both ends, uncut, (V,), and their temperatures; scores are linear between them."""
    step = moment.step
    laws = [step.at(value) for value in (span.low.value, span.high.value)]
    bare = [law.only(n for n in law.steps if is_penalty(n)) for law in laws]
    return [row.astype(np.float64) for row in step.under(bare)], [heat(law) for law in laws]
