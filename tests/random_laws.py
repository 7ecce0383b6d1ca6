"""Random laws: a moving parameter beside others, under any dialect and order."""

from __future__ import annotations

from typing import Any

import numpy as np

from poise import draws
from poise.contests import Moment, Said, Step
from poise.engines.fake import FakeLaw
from poise.errors import ParameterError
from poise.law import History
from poise.motions import moving_step
from poise.params import DIALECTS, FOLLOWERS, PARAMETERS, WAITING, SamplingParams

RANGES: dict[str, tuple[float, float]] = {
    "temperature": (0.0, 1.5), "top_k": (1, 60), "top_p": (0.0, 1.0), "min_p": (0.0, 1.0), "typical_p": (0.01, 1.0),
    "repetition_penalty": (0.5, 2.0), "frequency_penalty": (-2.0, 2.0), "presence_penalty": (-2.0, 2.0),
    "top_n_sigma": (0.05, 4.0), "epsilon_cutoff": (0.0, 0.3), "eta_cutoff": (0.0, 0.3), "top_h": (0.01, 1.0),
    "tfs": (0.0, 1.0), "top_a": (0.0, 2.0), "dynatemp_range": (0.0, 1.5), "dynatemp_exponent": (0.2, 3.0),
    "smoothing_factor": (0.0, 2.0), "smoothing_curve": (0.5, 3.5), "xtc_probability": (0.0, 1.0),
    "xtc_threshold": (0.0, 0.7), "penalty_last_n": (0, 20), "dry_multiplier": (0.0, 2.0), "dry_base": (1.0, 3.0),
    "dry_allowed_length": (0, 6), "dry_last_n": (0, 20), "no_repeat_ngram_size": (0, 6),
}  # fmt: skip
CHOICES: dict[str, list[float]] = {
    "epsilon_cutoff": [0.001, 0.01, 0.05, 0.2], "eta_cutoff": [0.001, 0.01, 0.05, 0.2], "min_p": [0.01, 0.05, 0.2],
    "temperature": [0.0, 0.5, 0.7, 1.3, 5e-6, 0.005], "no_repeat_ngram_size": [2, 3, 4],
}  # fmt: skip
UNMOVED = ("mirostat", "guidance_scale", "logit_bias", "bad_words")
LAW = FakeLaw()


def movable(dialect: str) -> list[str]:
    """The parameters that can move somewhere in a dialect."""
    return [n for n in RANGES if any(map(DIALECTS[dialect].has, PARAMETERS[n].leaders or (n,)))]


def beside(rng: np.random.Generator, parameter: str, dialect: str) -> SamplingParams | None:
    """Up to five other steps, lists and an order; None where the dialect refuses them together."""
    how = DIALECTS[dialect]
    steps = [s for s in how.order if s not in (*UNMOVED, parameter)]
    names = rng.permutation(steps)[: int(rng.integers(0, 5))].tolist()
    if leaders := [n for n in PARAMETERS[parameter].leaders if how.has(n)]:
        names.append(str(rng.choice(leaders)))
    said: dict[str, Any] = {n: _value(rng, n) for n in names}
    for step in [*said, parameter]:
        shaping = [n for n in FOLLOWERS.get(step, ()) if n != parameter and rng.integers(3) == 0]
        said |= {n: _value(rng, n) for n in shaping}
    if how.has("logit_bias") and rng.integers(6) == 0:
        said["logit_bias"] = {5: 2.0, 8: -1.5, 9: False}
    if how.has("bad_words") and rng.integers(8) == 0:
        said["bad_words"] = [[7], [3, 4]]
    if how.orderable and rng.integers(3) == 0:
        said["order"] = rng.permutation(how.order).tolist()
    try:
        found = SamplingParams.model_validate({**said, "dialect": dialect}, context=WAITING).normalised()
        return found if moving_step(parameter, found) in (found.order or how.order) else None
    except ParameterError:
        return None


def stretch_of(parameter: str, dialect: str) -> tuple[float, float]:
    """The range of a parameter that a dialect allows."""
    low, high = RANGES[parameter]
    least, most = DIALECTS[dialect].limits.get(parameter, (low, high))
    if parameter == "top_p" and DIALECTS[dialect].rules.top_p_zero == "refused":
        low = 0.01
    return max(low, least), min(high, most)


def moment(rng: np.random.Generator, parameter: str, fixed: SamplingParams, size: int) -> Moment:
    """A random step after a text that repeats itself; every third row has ties, as half precision makes them."""
    logits = rng.normal(0, 2.5, size)
    if rng.integers(3) == 0:
        logits = np.round(logits * 2) / 2
    output = rng.integers(0, size // 8, 9).tolist()
    if rng.integers(2):
        output += output[:5]
    breakers = frozenset({(11,), (3, 4)})
    history = History(tuple(rng.integers(0, size // 4, 9).tolist()), tuple(output), breakers)
    barred = frozenset({3}) if rng.integers(2) else frozenset[int]()
    row = draws.noise_row(int(rng.integers(2**60)), 3, size)
    odds = fixed.xtc_probability
    said = Said(history, barred, not odds or row.coin < odds)
    return Moment(Step(LAW, logits[None], 0, said, (parameter, fixed)), row)


def _value(rng: np.random.Generator, name: str) -> float:
    if name in CHOICES:
        return float(rng.choice(CHOICES[name]))
    low, high = RANGES[name]
    if PARAMETERS[name].kind == "int":
        return int(rng.integers(max(low, 1), high + 1))
    return float(rng.uniform(low, high)) or 0.1
