"""Dials of the less common parameters, and under every dialect: the texts of plain drawing."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import poise
from poise.engines.fake import FakeEngine
from poise.errors import ParameterError, UsageError
from poise.params import FOLLOWERS, PARAMETERS, SamplingParams
from poise.pieces import Dial, with_value
from poise.records import Completion
from test_dials import same

# What moves from where to where, beside what.
EXACT: list[tuple[str, tuple[float, float], dict[str, Any]]] = [
    ("top_n_sigma", (0.1, 3), {"temperature": 0.9}),
    ("epsilon_cutoff", (0, 0.3), {}),
    ("eta_cutoff", (0, 0.3), {"temperature": 0.8}),
    ("top_h", (0.05, 1), {}),
    ("tfs", (0, 1), {}),
    ("top_a", (0, 2), {"temperature": 1.2}),
    ("xtc_probability", (0, 1), {"xtc_threshold": 0.05, "temperature": 0.8}),
    ("xtc_threshold", (0, 0.5), {"xtc_probability": 0.6}),
    ("dry_multiplier", (0, 3), {"dry_allowed_length": 1, "dry_breakers": ["."]}),
    ("dry_allowed_length", (0, 5), {"dry_multiplier": 0.8, "top_p": 0.9}),
    ("dry_last_n", (0, 20), {"dry_multiplier": 0.8, "dry_allowed_length": 1}),
    ("penalty_last_n", (0, 20), {"repetition_penalty": 1.5, "presence_penalty": 0.4, "top_k": 6}),
    ("no_repeat_ngram_size", (2, 6), {}),
    ("top_k", (1, 12), {"logit_bias": {3: 1.0, 4: False}, "bad_words": [[5], [1, 2]]}),
    ("temperature", (0, 1.5), {"dialect": "vllm", "min_p": 0.05}),
    ("temperature", (0, 1.5), {"dialect": "llama.cpp", "xtc_probability": 0.5, "typical_p": 0.8, "top_k": 8}),
    ("temperature", (0, 1.5), {"dialect": "llama.cpp", "order": ["temperature", "top_k", "top_p"], "top_p": 0.9}),
    ("temperature", (0, 1.5), {"dialect": "sglang", "top_k": 6, "top_p": 0.8}),
    ("top_p", (0, 1), {"dialect": "mlx", "top_k": 7}),
    ("typical_p", (0.05, 1), {"dialect": "llama.cpp", "temperature": 0}),
    ("frequency_penalty", (-1, 2), {"dialect": "llama.cpp", "penalty_last_n": 6, "temperature": 0.7}),
    ("repetition_penalty", (0.7, 2), {"dialect": "sglang", "frequency_penalty": 0.4}),
]  # fmt: skip
IN_PART: list[tuple[str, tuple[float, float], dict[str, Any]]] = [
    ("dynatemp_range", (0, 1), {"temperature": 0.8}),
    ("dynatemp_exponent", (0.3, 3), {"dynatemp_range": 0.6, "dialect": "llama.cpp", "top_k": 8}),
    ("smoothing_factor", (0, 1), {}),
    ("smoothing_curve", (1, 3), {"smoothing_factor": 0.3}),
    ("dry_base", (1, 3), {"dry_multiplier": 0.5, "dry_allowed_length": 1}),
    ("temperature", (0, 1.2), {"xtc_probability": 0.5}),
    ("top_k", (1, 12), {"eta_cutoff": 0.05}),
]


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine(seed=1)


def fixed_beside(parameter: str, beside: dict[str, Any]) -> SamplingParams:
    """The others; a follower needs its leader, off, to be said."""
    neutral = PARAMETERS[parameter].neutral
    off = {} if neutral is None or PARAMETERS[parameter].leaders else {parameter: neutral}
    waits = {*FOLLOWERS.get(parameter, ()), "dry_breakers"} & {*beside}
    return SamplingParams(**beside, **(off if waits else {}))


def drawn(engine: FakeEngine, dial: Dial, values: list[float]) -> list[Completion]:
    """What `generate` draws at values of a dial."""
    whole = PARAMETERS[dial.parameter].kind == "int"
    asked = [
        dataclasses.replace(
            dial.request, params=with_value(dial.request.params, dial.parameter, int(v) if whole else v)
        )
        for v in values
    ]
    found = {c.request: c for c in engine.generate(asked)}
    return [found[request] for request in asked]


def places(dial: Dial, rng: np.random.Generator) -> list[float]:
    """Both ends, 12 values at random, and one of every piece."""
    whole = PARAMETERS[dial.parameter].kind == "int"
    some = rng.integers(dial.low, dial.high + 1, 12) if whole else rng.uniform(dial.low, dial.high, 12)
    return [dial.low, dial.high, *map(float, some), *(p.low for p in dial.pieces if p.low_closed)]


@pytest.mark.parametrize(("parameter", "reach", "beside"), EXACT, ids=lambda v: str(v))
def test_every_value_gives_what_generate_draws(
    engine: FakeEngine, tmp_path: Path, parameter: str, reach: tuple[float, float], beside: dict[str, Any]
) -> None:
    """Two draws of 16 tokens."""
    dials = poise.dial(
        engine, "a ship", parameter, *reach, params=fixed_beside(parameter, beside), draws=2, max_tokens=16,
        study=tmp_path / "s.db",
    )  # fmt: skip
    rng = np.random.default_rng(2)
    for d in dials:
        values = places(d, rng)
        assert d.exact_share == 1.0
        assert all(same(c, d.at(v)) for c, v in zip(drawn(engine, d, values), values, strict=True))
    assert sum(len(d.pieces) for d in dials) > 2  # something moved


@pytest.mark.parametrize(("parameter", "reach", "beside"), IN_PART, ids=lambda v: str(v))
def test_what_is_proved_is_what_generate_draws(
    engine: FakeEngine, tmp_path: Path, parameter: str, reach: tuple[float, float], beside: dict[str, Any]
) -> None:
    """One draw of 6 tokens; what is not proved at a hundredth of the range is the exception."""
    asked = {"params": fixed_beside(parameter, beside), "max_tokens": 6, "study": tmp_path / "s.db"}
    with pytest.raises(UsageError, match="resolution"):
        poise.dial(engine, "a ship", parameter, *reach, **asked)
    resolution = (reach[1] - reach[0]) / 100
    dial = poise.dial(engine, "a ship", parameter, *reach, resolution=resolution, **asked).only
    assert dial.exact_share > 0.6
    values = [v for v in places(dial, np.random.default_rng(3)) if dial.piece_at(v).known]
    assert all(same(c, dial.at(v)) for c, v in zip(drawn(engine, dial, values), values, strict=True))


@pytest.mark.parametrize(("parameter", "beside", "says"), [
    ("mirostat_tau", {"mirostat": 2}, "depends on the tokens that were drawn"),
    ("temperature", {"mirostat": 1}, "depends on the tokens that were drawn"),
    ("top_p", {"dialect": "llama.cpp", "order": ["temperature", "top_p", "typical_p", "repetition_penalty"],
               "typical_p": 0.5, "repetition_penalty": 1.1}, "repetition_penalty comes after"),
], ids=str)  # fmt: skip
def test_what_has_no_dial_says_why(
    engine: FakeEngine, tmp_path: Path, parameter: str, beside: dict[str, Any], says: str
) -> None:
    with pytest.raises(UsageError, match=says):
        poise.dial(engine, "a", parameter, 0.5, 1, params=SamplingParams(**beside), study=tmp_path / "s.db")
    with pytest.raises(UsageError, match="poise sweep"):
        poise.dial(engine, "a", parameter, 0.5, 1, params=SamplingParams(**beside), resolution=0.1)


def test_a_value_that_bars_every_token_is_not_known(tmp_path: Path) -> None:
    """Three words, n = 1: after three tokens nothing is left to say."""
    engine = FakeEngine(["", " a", " b"], lambda token: np.array([-50.0, 1.0, 0.0]))
    dial = poise.dial(
        engine, "x", "no_repeat_ngram_size", 0, 3, max_tokens=6, min_tokens=6, study=tmp_path / "s.db"
    ).only
    assert [p.known for p in dial.pieces if 1 in p] == [False]
    assert dial.at(0).finish_reason == "length"
    with pytest.raises(ParameterError, match="One token must stay possible"):
        poise.generate(engine, "x", SamplingParams(no_repeat_ngram_size=1), max_tokens=6, min_tokens=6)


def test_a_dial_of_a_leader_keeps_what_shapes_it(engine: FakeEngine, tmp_path: Path) -> None:
    """Dials beside other thresholds are others, and come back from the study as they were."""
    made = {}
    for threshold in (0.05, 0.3):
        params = SamplingParams(xtc_probability=0, xtc_threshold=threshold)
        made[threshold] = poise.dial(
            engine, "a", "xtc_probability", 0, 1, params=params, max_tokens=12, study=tmp_path / "s.db"
        ).only
    assert made[0.05].texts != made[0.3].texts
    with poise.Study.open(tmp_path / "s.db") as study:
        held = {d.request.params.xtc_threshold: d for d in study.dials()}
    assert {t: d.pieces for t, d in held.items()} == {t: d.pieces for t, d in made.items()}
    assert held[0.3].request.params.label == "temperature=1,xtc_threshold=0.3"


def test_why_agrees_with_the_dial(engine: FakeEngine, tmp_path: Path) -> None:
    """Of every parameter that can be told: the stretch is the dial's piece."""
    settings = SamplingParams(temperature=0.8, xtc_probability=0.4, dry_multiplier=0.5, dialect="llama.cpp")
    [why] = poise.why(engine, "a ship", settings, max_tokens=12)
    told = [r for r in why.reaches if r.span is not None]
    assert {"temperature", "xtc_probability", "xtc_threshold", "dry_allowed_length", "dry_last_n"} <= {
        r.parameter for r in told
    }
    for reach in told:
        if reach.parameter == "penalty_last_n":
            continue
        looked = (reach.lowest or PARAMETERS[reach.parameter].low, min(PARAMETERS[reach.parameter].high or 14, 14))
        low, high = (max(looked[0], 0.01), looked[1]) if reach.parameter == "repetition_penalty" else looked
        dial = poise.dial(
            engine, "a ship", reach.parameter, low, high, params=settings.without(reach.parameter), max_tokens=12,
            study=tmp_path / f"{reach.parameter}.db",
        ).only  # fmt: skip
        value = min(reach.value, dial.high)
        assert dial.at(value).token_ids == why.completion.token_ids
        shown = dial.piece_at(value).span.meet(reach.span)
        assert shown == dial.piece_at(value).span, reach.parameter
