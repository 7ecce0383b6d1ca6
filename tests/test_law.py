"""law.py against what can be checked by eye, and against the engines' own test vectors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from poise import law
from poise.law import History
from poise.params import DIALECTS, SamplingParams

GOLDEN = json.loads((Path(__file__).parent / "data" / "golden_law.json").read_text())["cases"]
OFF = -np.inf


def row(*logits: float) -> law.Row:
    return np.array(logits, dtype=np.float64)


def kept(logits: law.Row) -> list[int]:
    return [int(i) for i in np.flatnonzero(logits > OFF)]


def logs(*probabilities: float) -> law.Row:
    with np.errstate(divide="ignore"):
        return np.log(np.array(probabilities))


def test_the_design_example() -> None:
    """Logits (3, 2, 1), T = 0.5: e^0 : e^-2 : e^-4 is 0.867 : 0.117 : 0.016, so 0.8 is reached at once."""
    assert_array_equal(law.reshape(row(3, 2, 1), SamplingParams(temperature=0.5, top_p=0.8)), [6, OFF, OFF])
    assert kept(law.top_p(row(3, 2, 1), 0.8)) == [0, 1]  # 0.665, 0.910: what truncating first would keep


def test_temperature() -> None:
    assert_array_equal(law.temperature(row(3, 2, OFF), 0.5), [6, 4, OFF])
    assert_array_equal(law.temperature(row(1, 5, 5), 0), [OFF, 5, OFF])  # the lowest id among ties


def test_top_k_keeps_ties() -> None:
    assert kept(law.top_k(row(2, 1, 1, 0), 1)) == [0]
    assert kept(law.top_k(row(2, 1, 1, 0), 2)) == [0, 1, 2]
    assert kept(law.top_k(row(2, 1, 1, 0), 99)) == [0, 1, 2, 3]


def test_top_p_stops_when_p_is_reached_and_cuts_ties_by_id() -> None:
    assert kept(law.top_p(logs(0.5, 0.25, 0.125, 0.125), 0.75)) == [0, 1]
    assert kept(law.top_p(logs(0.5, 0.25, 0.125, 0.125), 0.76)) == [0, 1, 2]
    assert kept(law.top_p(logs(0.125, 0.125, 0.25, 0.5), 0.76)) == [0, 2, 3]
    assert kept(law.top_p(logs(0.2, 0.5, 0.3), 0)) == [1]


def test_min_p_keeps_equality() -> None:
    assert kept(law.min_p(row(0, 0, -1), 1)) == [0, 1]
    assert kept(law.min_p(np.log(row(8, 4, 2, 1)), 0.25)) == [0, 1, 2]


def test_typical_p() -> None:
    """p = 1/2, 1/4, 1/8, 1/8: entropy 1.75 bits, distances 0.75, 0.25, 1.25, 1.25 bits."""
    p = logs(0.5, 0.25, 0.125, 0.125)
    assert kept(law.typical_p(p, 0.2)) == [1]
    assert kept(law.typical_p(p, 0.7)) == [0, 1]
    assert kept(law.typical_p(p, 0.8)) == [0, 1, 2, 3]  # the tie stays whole


def test_typical_p_can_remove_the_likeliest() -> None:
    assert 0 not in kept(law.typical_p(logs(0.4, *[0.01] * 60), 0.5))


def test_penalties_look_where_they_should() -> None:
    said = History(prompt=[3], output=[1, 1, 2])
    assert_allclose(law.repetition_penalty(row(0, 2, -2, 4), 2, said), [0, 1, -4, 2])
    assert_allclose(law.frequency_penalty(row(0, 2, -2, 4), 0.5, said), [0, 1, -2.5, 4])
    assert_allclose(law.presence_penalty(row(0, 2, -2, 4), 0.5, said), [0, 1.5, -2.5, 4])


def test_a_penalty_leaves_its_input_alone_and_a_cut_token_cut() -> None:
    logits = row(1, OFF, 2)
    for name, penalty in law.PENALTIES.items():
        after = penalty(logits, 1.5, History([0, 1], [1, 2]))
        assert after[1] == OFF, name
    assert_array_equal(logits, [1, OFF, 2])


def test_greedy_takes_the_top_after_penalties_and_before_truncation() -> None:
    """typical-p alone would cut token 0 of (0.4, 60 times 0.01)."""
    logits = logs(0.4, *[0.01] * 60)
    assert kept(law.reshape(logits, SamplingParams(temperature=0, typical_p=0.5, top_k=3))) == [0]
    said = History((), [0] * 4)
    assert kept(law.reshape(row(3, 2, 1), SamplingParams(temperature=0, frequency_penalty=0.5), said)) == [1]


def test_steps_come_in_the_order_of_the_dialect() -> None:
    everything = SamplingParams(
        min_p=0.1, top_p=0.9, top_k=3, temperature=0.5, typical_p=0.9,
        presence_penalty=1, frequency_penalty=1, repetition_penalty=2,
    )  # fmt: skip
    names = [s.name for s in law.steps(row(3, 2, 1, 0), everything, History([0], [1]))]
    assert names == list(DIALECTS["transformers"].order)
    assert law.steps(row(3, 2, 1), SamplingParams()) == []


def test_top_p_sees_what_top_k_left() -> None:
    """0.6, 0.25, 0.15 after k = 2 is 0.706, 0.294: 0.7 is reached with one token, not two."""
    logits = logs(0.6, 0.25, 0.15)
    assert kept(law.reshape(logits, SamplingParams(top_p=0.7))) == [0, 1]
    assert kept(law.reshape(logits, SamplingParams(top_k=2, top_p=0.7))) == [0]


def golden_params(case: dict[str, Any]) -> SamplingParams:
    return SamplingParams.model_validate(case["settings"])


def golden_logits(case: dict[str, Any]) -> law.Row:
    with np.errstate(divide="ignore"):
        if "log_of_range" in case["given"]:
            return np.log(np.arange(case["given"]["log_of_range"], dtype=np.float64))
        return np.array(case["given"]["logits"], float) if "logits" in case["given"] else logs(*case["given"]["probs"])


def golden_history(case: dict[str, Any]) -> History:
    return History(case.get("prompt", ()), case.get("output", ()))


def check_golden(case: dict[str, Any], after: law.Row) -> None:
    """Compare reshaped logits with what a case expects."""
    expect, tolerance = case["expect"], case["tolerance"]
    assert len(expect) == 1
    [(form, value)] = expect.items()
    if form == "kept":
        assert kept(after) == value
    elif form == "kept_range":
        assert kept(after) == list(range(*value))
    elif form == "n_kept":
        assert len(kept(after)) == value
    elif form == "argmax":
        assert int(np.argmax(after)) == value
    elif form == "logits":
        assert_allclose(after, value, atol=max(tolerance, 1e-4 * (case["id"] == "mlx-chain")))
    else:
        assert_allclose(law.probabilities(after), value, atol=tolerance)


@pytest.mark.parametrize("case", GOLDEN, ids=lambda c: c["id"])
def test_golden(case: dict[str, Any]) -> None:
    check_golden(case, law.reshape(golden_logits(case), golden_params(case), golden_history(case)))


def test_golden_covers_every_parameter() -> None:
    assert {name for case in GOLDEN for name in case["settings"]} == set(DIALECTS["transformers"].order)


logit_rows = st.lists(st.floats(-40, 40) | st.just(OFF), min_size=1, max_size=30).filter(lambda x: max(x) > OFF)


@given(logit_rows, st.floats(0.01, 5), st.floats(0, 1), st.integers(1, 40))
def test_truncation_keeps_the_top_and_invents_nothing(
    logits: list[float], temperature: float, share: float, k: int
) -> None:
    settings = SamplingParams(temperature=temperature, top_k=k, top_p=share, min_p=share)
    after = law.reshape(row(*logits), settings)
    assert kept(after), "one token at least is left"
    assert int(np.argmax(logits)) in kept(after)
    assert set(kept(after)) <= set(kept(row(*logits)))
    assert_array_equal(after[kept(after)], row(*logits)[kept(after)] / temperature)


@given(logit_rows, st.floats(0.01, 1), st.floats(0, 1))
def test_a_nucleus_holds_its_mass_and_not_a_token_more(logits: list[float], share: float, other: float) -> None:
    left = kept(law.top_p(row(*logits), share))
    p = np.sort(law.probabilities(row(*logits)))[::-1]
    assert p[: len(left)].sum() >= share - 1e-12 or len(left) == len(logits)
    assert p[: len(left) - 1].sum() < share + 1e-12
    wider = kept(law.top_p(row(*logits), max(share, other)))
    assert set(left) <= set(wider), "the nucleus grows with p"


@given(logit_rows, st.floats(0.01, 1, exclude_max=True))
def test_typical_mass_is_reached(logits: list[float], share: float) -> None:
    after = law.typical_p(row(*logits), share)
    assert law.probabilities(row(*logits))[kept(after)].sum() >= share - 1e-12


@given(logit_rows)
def test_neutral_values_change_nothing(logits: list[float]) -> None:
    neutral = SamplingParams(temperature=1, top_p=1, min_p=0, typical_p=1, repetition_penalty=1)
    assert_array_equal(law.reshape(row(*logits), neutral, History([0], [0])), logits)
    for name in ("top_p", "min_p", "typical_p"):
        value = {"top_p": 1.0, "min_p": 0.0, "typical_p": 1.0}[name]
        after = law.RESHAPINGS[name](row(*logits), value)
        heavy = law.probabilities(row(*logits)) > 1e-12
        assert_array_equal(after[heavy], row(*logits)[heavy])
