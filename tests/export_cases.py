"""Settings, rows and texts of every kind, for tests of exports."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from hypothesis import strategies as st

from poise import law
from poise.dialects import DIALECTS
from poise.errors import ParameterError
from poise.exports.catalogue import TARGETS
from poise.exports.target import Form, Target
from poise.law import History, Row, State
from poise.params import FOLLOWERS, PARAMETERS, SamplingParams

VOCABULARY = 12
WAYS = [(target, form) for target in TARGETS.values() for form in target.sheets]
NAMED = [f"{target.name}-{form}" for target, form in WAYS]
# Values on both sides of what engines treat apart; none meets a bound exactly on rows of halves.
VALUES: dict[str, tuple[float, ...]] = {
    "temperature": (0, 0.3, 0.7, 1.3, 2.7, 0.005, 5e-7, 5e-6),
    "dynatemp_range": (0.3, 0.8),
    "dynatemp_exponent": (0.5, 2),
    "top_k": (1, 2, 3, 5, 100, 2**40),
    "top_p": (0, 0.3, 0.6, 0.9),
    "min_p": (0.03, 0.2, 0.6, 1),
    "typical_p": (0.3, 0.7, 0.95),
    "repetition_penalty": (0.7, 1.3, 2.5),
    "frequency_penalty": (-1, 0.5, 2),
    "presence_penalty": (-0.5, 1.5),
    "top_n_sigma": (0.5, 1, 2),
    "epsilon_cutoff": (0.05, 0.2, 1),
    "eta_cutoff": (0.05, 0.2, 1),
    "top_h": (0.4, 0.8),
    "tfs": (0.5, 0.9),
    "top_a": (0.2, 1),
    "smoothing_factor": (0.3,),
    "smoothing_curve": (2,),
    "xtc_probability": (0.5, 1),
    "xtc_threshold": (0.11, 0.21, 0.5, 0.6),
    "mirostat": (1, 2),
    "mirostat_tau": (1, 3),
    "mirostat_eta": (0.2,),
    "penalty_last_n": (0, 2, 4, 20, 64, 2_000_000),
    "dry_multiplier": (0.8,),
    "dry_base": (1.2,),
    "dry_allowed_length": (1, 3),
    "dry_last_n": (0, 3, 64),
    "no_repeat_ngram_size": (1, 2, 3),
}


@st.composite
def settings(draw: st.DrawFn) -> SamplingParams:
    """Settings of any dialect: one to six steps, some of what shapes them, lists, an order."""
    dialect = DIALECTS[draw(st.sampled_from(sorted(DIALECTS)))]
    names = [name for name in VALUES if name in dialect.order]
    chosen = draw(st.lists(st.sampled_from(names), unique=True, min_size=1, max_size=6))
    if draw(st.booleans()):
        chosen = [*dict.fromkeys([*chosen, "temperature"])]
    for name in [f for n in chosen for f in FOLLOWERS.get(n, ())]:
        chosen += [name] if name not in chosen and draw(st.booleans()) else []
    said: dict[str, Any] = {name: draw(st.sampled_from(VALUES[name])) for name in chosen}
    if draw(st.integers(0, 3)) == 0:
        said["logit_bias"] = draw(
            st.dictionaries(st.integers(0, 11), st.sampled_from((-1.0, 2.0, -math.inf)), max_size=3)
        )
    if "bad_words" in dialect.order and draw(st.integers(0, 3)) == 0:
        said["bad_words"] = draw(st.sampled_from(([[3]], [[3], [1, 2]], [[1, 4]])))
    if "dry_multiplier" in said and draw(st.booleans()):
        said["dry_breakers"] = draw(st.sampled_from(([], ["\n", "none"], ['"', "\\", "a b'c"])))
    if dialect.orderable and draw(st.integers(0, 2)) == 0:
        said["order"] = draw(st.permutations(dialect.order))
    try:
        return SamplingParams.model_validate({**said, "dialect": dialect.name})
    except ParameterError:  # past its limits, or two that exclude each other
        return SamplingParams(temperature=0.7, dialect=dialect.name)


ways = st.sampled_from(WAYS)
tokens = st.lists(st.integers(0, VOCABULARY - 1), max_size=8)
histories = st.builds(History, tokens, tokens, st.sampled_from((frozenset(), frozenset({(2,), (3, 4)}))))
states = st.builds(State, st.booleans(), st.sampled_from((None, 2.0, 4.0)))
# On halves rows tie often; with a little added that no two tokens share, never.
halves = st.lists(st.integers(-6, 6), min_size=VOCABULARY, max_size=VOCABULARY).map(lambda r: np.array(r) / 2)
SPREAD = np.array([0.0123, 0.0411, 0.0737, 0.1091, 0.1234, 0.1551, 0.1823, 0.2117, 0.2391, 0.2671, 0.2903, 0.3331])
untied = halves.map(lambda row: row + SPREAD)


def probabilities(row: Row, params: SamplingParams, history: History, state: State) -> Row | None:
    """What a law draws from; None where it bars every token."""
    try:
        return law.probabilities(law.reshape(row, params, history, state))
    except ParameterError:
        return None


def find(name: str, form: str | None = None) -> tuple[Target, Form]:
    """A target and one of its forms, the usual one unless another is named."""
    target = TARGETS[name]
    return target, next(f for f in target.sheets if form in (None, f))


def numbers() -> list[str]:
    """Every parameter that the strategies know; a test compares."""
    return [name for name in PARAMETERS if name != "guidance_scale"]
