"""What the curves of dials say, in sentences."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from poise.curves import Curve, curve, human_nll
from poise.errors import PromptError
from poise.metrics.repetition import MIN_LOOP
from poise.numerals import figure, interval
from poise.pieces import Dial
from poise.records import Prompt
from poise.sessions import Engine
from poise.spans import Span

FEW = 0.05  # share of texts that may loop where looping is said to have stopped


class Human(NamedTuple):
    """The NLL of the prompts' human texts, nats/token, and a note where there is none though there could be."""

    nll: Mapping[Prompt, float]
    note: str = ""


def sentences(dials: Sequence[Dial], human: Human) -> list[str]:
    """Where looping stops, which share of the range loops, where the likelihood leaves the human text's.

    Args:
        dials: of one parameter over one range, at least two.
        human: from `human_values`.

    Returns:
        Sentences; where there is no band they say what was seen, and the last one says what a band would take.
    """
    loops = curve(dials, "loop_rate")
    if loops.known_share == 0:
        return []
    longest = max(len(p.completion.content_ids) for d in dials for p in d.pieces if p.completion is not None)
    short = f"No text is long enough to loop: that takes {MIN_LOOP} tokens."
    said = [short] if longest < MIN_LOOP else [_share(loops), *_stop(loops)]
    if human.nll:
        said.append(_likelihood(curve(dials, "nll", reference=human.nll)))
    said += [human.note] * bool(human.note)
    return [*said, f"{loops.note}."] if loops.note else said


def human_values(engine: Engine, dials: Sequence[Dial]) -> Human:
    """How surprising the model finds the human texts of the dials' prompts, and what kept it from saying so.

    Args:
        engine: that drew the dials.
        dials: their prompts are looked at.

    Returns:
        The values, empty where no prompt has a reference or one cannot be scored; then the note says why.
    """
    try:
        return Human(human_nll(engine, dials))
    except PromptError as error:
        return Human({}, f"The texts are not compared with the human one. {error}")


def less_likely(likelihood: Curve) -> list[Span]:
    """Where texts are surely less likely than the human text: the band lies above it.

    Args:
        likelihood: of differences to the human text's NLL.

    Returns:
        The stretches, from low to high.
    """
    return [span for span, said in likelihood.outside(-math.inf, 0.0) if said == "outside"]


def _share(loops: Curve) -> str:
    mean, low, high, _ = loops.overall
    if all(step.mean in (0, None) for step in loops.steps):
        return "No text ends in a loop anywhere in the range."
    band = f", 95 % interval {interval(low, high, loops.unit)}" if low is not None else ""
    return f"Texts end in a loop over {figure(mean, loops.unit)} of the range{band}."


def _stop(loops: Curve) -> list[str]:
    """From where on at most one text in 20 loops; nothing where none ever did, or the others never stop."""
    seen, earliest, latest = loops.stays_below(FEW)
    if seen is None or seen <= loops.low:
        return []
    if loops.note:
        return [f"From {loops.parameter} {seen:.3g} on, at most {figure(FEW, 'share')} of them do."]
    known = "" if earliest is None else f", {earliest:.3g} at the earliest"
    sure = "the band does not show it anywhere" if latest is None else f"the band shows it from {latest:.3g} on"
    return [f"From {loops.parameter} {seen:.3g} on{known}, at most {figure(FEW, 'share')} of them do; {sure}."]


def _likelihood(likelihood: Curve) -> str:
    if likelihood.note:
        return "Whether texts are as likely as the human text takes a band."
    marks = likelihood.outside(-math.inf, 0.0)
    more = _places([span for span, said in marks if said == "inside"])
    less = _places([span for span, said in marks if said == "outside"])
    if not (more or less):
        return "Nowhere does the band tell texts from the human text by their likelihood."
    said = [f"more likely than the human text over {more}"] * bool(more)
    said += [f"less likely over {less}" if more else f"less likely than the human text over {less}"] * bool(less)
    return f"Texts are {' and '.join(said)}; elsewhere the band cannot tell."


def _places(spans: Sequence[Span]) -> str:
    """The widest stretches, and how many others there are."""
    widest = sorted(sorted(spans, key=lambda s: -s.width)[:2], key=lambda s: s.low)
    said = " and ".join(f"{s.low.value:.3g} to {s.high.value:.3g}" for s in widest)
    return f"{said} and {len(spans) - 2} narrower stretches" if len(spans) > 2 else said
