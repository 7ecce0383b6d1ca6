"""The law against what can be checked by eye; test_golden.py has the engines' own test vectors."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from poise import law
from poise.law import History, State
from poise.params import DIALECTS, PARAMETERS, SamplingParams

OFF = -np.inf
SAID = History(prompt=[0, 1], output=[2, 2, 3])


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


def test_top_k_may_take_exactly_k() -> None:
    """Two tokens tie for the second place: the lower id wins."""
    assert kept(law.top_k(row(2, 1, 1, 0), 2, "exact")) == [0, 1]
    assert kept(law.reshape(row(0, 1, 1, 2), SamplingParams(top_k=2, dialect="llama.cpp"))) == [1, 3]


def test_a_nucleus_that_passes_takes_one_more_at_the_boundary() -> None:
    """0.5 + 0.25 is 0.75: enough where >= p ends it, one token short where > p does."""
    p = logs(0.5, 0.25, 0.125, 0.125)
    assert kept(law.top_p(p, 0.75, passes=True)) == [0, 1, 2]
    assert kept(law.top_p(p, 0.74, passes=True)) == [0, 1]
    assert kept(law.top_p(p, 0.76, ties="keep")) == [0, 1, 2, 3]


def test_a_joint_nucleus_weighs_the_row_before_top_k() -> None:
    """0.5, 0.3, 0.2 with k = 2 is 0.625, 0.375: 0.6 is reached by one token of what is left, by two of the whole."""
    p = logs(0.5, 0.3, 0.2)
    both = {"top_k": 2, "top_p": 0.6}
    assert kept(law.reshape(p, SamplingParams(**both))) == [0]
    assert kept(law.reshape(p, SamplingParams(**both, dialect="sglang"))) == [0, 1]
    assert kept(law.reshape(p, SamplingParams(**both, min_p=0.01, dialect="sglang"))) == [0]


def test_typical_p_of_llama_cpp() -> None:
    """Distances 0.75, 0.25, 1.25, 1.25 bits: in order 0.25, 0.75, 0.875, 1. No ties, and > p."""
    p = logs(0.5, 0.25, 0.125, 0.125)
    assert kept(law.typical_p(p, 0.8, "exact", passes=True)) == [0, 1, 2]
    assert kept(law.typical_p(p, 0.75, passes=True)) == [0, 1, 2, 3]
    assert kept(law.typical_p(p, 0.75, "exact", passes=True)) == [0, 1, 2]


def test_top_n_sigma() -> None:
    """4, 3, 2, 1, 0: σ is √2; a cut token does not count."""
    assert kept(law.top_n_sigma(row(4, 3, 2, 1, 0, OFF), 1.25)) == [0, 1]
    assert kept(law.top_n_sigma(row(4, 3, 2, 1, 0, OFF), 1.5)) == [0, 1, 2]
    assert kept(law.top_n_sigma(row(2, 0), 2)) == [0, 1]  # σ is 1: the bar is 0 itself
    assert kept(law.top_n_sigma(row(2, 2, OFF), 0.1)) == [0, 1]


def test_epsilon_cutoff() -> None:
    p = logs(0.5, 0.25, 0.125, 0.125)
    assert kept(law.epsilon_cutoff(p, 0.25)) == [0, 1]
    assert kept(law.epsilon_cutoff(p, 0.26)) == [0]
    assert kept(law.epsilon_cutoff(logs(0.4, 0.4, 0.2), 0.9)) == [0, 1]  # the likeliest stay, all of them


def test_eta_cutoff() -> None:
    """Four alike: H = ln 4, so √ε exp(-H) = √ε / 4. With ε = 0.81 the bar is 0.225, with 1 it is 0.25."""
    p = logs(0.25, 0.25, 0.25, 0.25)
    assert kept(law.eta_cutoff(p, 0.81)) == [0, 1, 2, 3]
    sure = logs(0.97, 0.01, 0.01, 0.01)  # H = 0.168: min(0.01, 0.1 * 0.845) = 0.01
    assert kept(law.eta_cutoff(sure, 0.01)) == [0, 1, 2, 3]
    assert kept(law.eta_cutoff(sure, 0.011)) == [0]


def test_top_a() -> None:
    """p_max² = 0.25: a = 0.5 asks for 0.125, a = 1 for 0.25."""
    p = logs(0.5, 0.25, 0.125, 0.125)
    assert kept(law.top_a(p, 0.5)) == [0, 1, 2, 3]
    assert kept(law.top_a(p, 0.51)) == [0, 1]
    assert kept(law.top_a(p, 1.01)) == [0]
    assert kept(law.top_a(p, 99)) == [0]  # no token has as much: the likeliest stays


def test_top_h() -> None:
    """Terms -p log2 p: 0.5, 0.5, 0.375, 0.375, of 1.75. Half of it, 0.875, has the first alone; 1 has two."""
    p = logs(0.5, 0.25, 0.125, 0.125)
    assert kept(law.top_h(p, 0.5)) == [0]
    assert kept(law.top_h(p, 1 / 1.75)) == [0, 1]
    assert kept(law.top_h(p, 1)) == [0, 1, 2, 3]
    assert kept(law.top_h(p, 0.01)) == [0]
    assert kept(law.top_h(np.zeros(300), 1)) == list(range(100))


def test_tfs() -> None:
    """p = 16, 8, 4, 2, 1 (of 31) bends by 4, 2, 1: shares 4/7, 6/7, 1. The token that passes z still stays."""
    p = np.log(row(16, 8, 4, 2, 1))
    assert kept(law.tfs(p, 0.5)) == [0]
    assert kept(law.tfs(p, 0.6)) == [0, 1]
    assert kept(law.tfs(p, 6 / 7)) == [0, 1, 2]
    assert kept(law.tfs(p, 0.9999)) == [0, 1, 2]
    assert kept(law.tfs(np.zeros(5), 0.5)) == [0, 1, 2, 3]  # nothing bends: only the last goes
    assert kept(law.tfs(row(2, 1), 0.5)) == [0]
    assert kept(law.tfs(row(2), 0.5)) == [0]


def test_xtc_cuts_all_likely_tokens_but_the_last() -> None:
    p = logs(0.4, 0.3, 0.2, 0.1)
    assert kept(law.xtc(p, 0.2)) == [2, 3]
    assert kept(law.xtc(p, 0.35)) == [0, 1, 2, 3]  # one alone: nothing to cut
    assert kept(law.xtc(logs(0.5, 0.5), 0.5)) == [1]
    assert kept(law.xtc(logs(0.6, 0.4), 0.51)) == [0, 1]  # above one half it is off
    assert kept(law.xtc(row(0, 1, OFF), 0)) == [0]  # a cut token is none of them


def test_xtc_of_mlx() -> None:
    """p > t, and what ties with the least of these stays."""
    p = logs(0.4, 0.2, 0.2, 0.2)
    assert kept(law.xtc(p, 0.2)) == [3]
    assert kept(law.xtc(p, 0.2, strict=True)) == [0, 1, 2, 3]
    assert kept(law.xtc(p, 0.1, strict=True)) == [1, 2, 3]


def test_xtc_acts_only_where_its_coin_struck() -> None:
    params, p = SamplingParams(xtc_probability=0.5, xtc_threshold=0.2), logs(0.4, 0.3, 0.2, 0.1)
    assert kept(law.reshape(p, params)) == [2, 3]
    assert kept(law.reshape(p, params, state=State(struck=False))) == [0, 1, 2, 3]


def test_mirostat_2_cuts_by_surprise() -> None:
    """1, 2, 3, 3 bits. At the start of a text the cut is 2 τ; one token stays whatever it is."""
    p = logs(0.5, 0.25, 0.125, 0.125)
    assert kept(law.mirostat(p, 2, 2.0)) == [0, 1]
    assert kept(law.mirostat(p, 2, 3.0)) == [0, 1, 2, 3]
    assert kept(law.mirostat(logs(0.25, 0.25, 0.25, 0.25), 2, 0.5)) == [0]
    params = SamplingParams(mirostat=2, mirostat_tau=1)
    assert kept(law.reshape(p, params)) == [0, 1]
    assert kept(law.reshape(p, params, state=State(mu=1.0))) == [0]


def test_mirostat_follows_the_surprise() -> None:
    """A token of a quarter of what is left is a surprise of 2 bits, 3 below τ = 5: the cut rises by 0.1 * 3."""
    p = logs(0.2, 0.2, 0.2, 0.4)
    p[0] = OFF
    assert law.surprise(p, 1) == pytest.approx(2)
    assert law.next_mu(10, 5, 0.1, 2) == pytest.approx(10.3)


def test_mirostat_1_fits_a_power_law() -> None:
    """p_i ~ 1 / i²: s = 2, ε = 1, k = √(2^μ / (1 - 1/V))."""
    zipf = -2 * np.log(np.arange(1, 1001))
    assert law.power_law_k(zipf[:100], 1000, 6) == 8  # √64.06
    assert law.power_law_k(zipf[:100], 1000, 5.9) == 7  # √59.8
    assert kept(law.mirostat(zipf, 1, 6)) == list(range(8))
    assert law.power_law_k(zipf[:100] / 2, 1000, np.log2(np.log(1000) * 50)) == 49  # s = 1: k = 2^μ / ln V, less a bit
    assert law.power_law_k(np.zeros(100), 1000, 1) == 1  # flat: 2 / 999 is below 1
    assert law.power_law_k(np.zeros(100), 1000, 10) == 1000
    assert law.power_law_k(row(3, OFF), 1000, 5) == 1


def test_dynamic_temperature() -> None:
    """Two alike: H / ln n = 1, so T + δ. One certain token: T - δ. A quarter of the way, squared: a sixteenth."""
    assert law.dynamic(row(0, 0), 1, 0.5, 1) == pytest.approx(1.5)
    assert law.dynamic(row(100, 0), 1, 0.5, 1) == pytest.approx(0.5)
    assert law.dynamic(row(0, 0, OFF, OFF), 1, 0.5, 1) == pytest.approx(1.5)  # cut tokens do not count
    assert law.dynamic(row(0, 0, OFF, OFF), 1, 0.5, 1, listed=4) == pytest.approx(1.0)  # unless the engine counts them
    quarter = row(0, 0, *[-100] * 14)  # ln 2 of ln 16
    assert law.dynamic(quarter, 1, 1, 1) == pytest.approx(0.5)
    assert law.dynamic(quarter, 1, 1, 2) == pytest.approx(0.125)
    assert law.dynamic(row(5), 0.3, 0.1, 1) == 1  # one token: as it is
    assert law.dynamic(row(2000, 0), 0.5, 0.5, 1) == 0


def test_a_dynamic_temperature_takes_the_place_of_the_plain_one() -> None:
    params = SamplingParams(temperature=1, dynatemp_range=0.5)
    [step] = law.steps(row(1, 1), params)
    assert step.name == "dynatemp_range"
    assert_allclose(step.logits, row(1, 1) / 1.5)
    assert kept(law.reshape(row(2000, 0), SamplingParams(temperature=0.5, dynatemp_range=0.5))) == [0]
    assert not SamplingParams(temperature=0, dynatemp_range=0.5).greedy


def test_smoothing() -> None:
    """d = 0, -1, -2. c = 1: l_max - s d². c = 3: l_max + s d³."""
    assert_allclose(law.smoothing(row(3, 2, 1, OFF), 0.5, 1), [3, 2.5, 1, OFF])
    assert_allclose(law.smoothing(row(3, 2, 1, OFF), 0.5, 3), [3, 2.5, -1, OFF])
    assert_allclose(law.smoothing(row(3, 2, 1, OFF), 0.5, 2), [3, 2.5, 0, OFF])


def test_temperatures_as_engines_take_them() -> None:
    heats = {
        (t, d): law.heat(SamplingParams(temperature=t, dialect=d))
        for t in (0, 1e-7, 0.005, 0.7)
        for d in ("transformers", "vllm", "sglang")
    }
    assert [heats[t, "transformers"] for t in (0, 1e-7, 0.005, 0.7)] == [0, 1e-7, 0.005, 0.7]
    assert [heats[t, "vllm"] for t in (0, 1e-7, 0.005, 0.7)] == [0, 0.01, 0.01, 0.7]
    assert [heats[t, "sglang"] for t in (0, 1e-7, 0.005, 0.7)] == [0, 0, 0.005, 0.7]
    assert kept(law.reshape(row(1, 2), SamplingParams(temperature=1e-7, top_k=1, dialect="vllm"))) == [1]


def test_greedy_takes_the_top_after_penalties_and_before_truncation() -> None:
    """typical-p alone would cut token 0 of (0.4, 60 times 0.01)."""
    logits = logs(0.4, *[0.01] * 60)
    assert kept(law.reshape(logits, SamplingParams(temperature=0, typical_p=0.5, top_k=3))) == [0]
    said = History((), [0] * 4)
    assert kept(law.reshape(row(3, 2, 1), SamplingParams(temperature=0, frequency_penalty=0.5), said)) == [1]


def test_greedy_of_llama_cpp_takes_the_top_of_what_is_left() -> None:
    params = SamplingParams(temperature=0, typical_p=0.5, dialect="llama.cpp")
    assert kept(law.reshape(logs(0.4, *[0.01] * 60), params)) == [1]
    first = SamplingParams(temperature=0, top_k=3, order=["temperature", "top_k"], dialect="llama.cpp")
    assert [s.name for s in law.steps(row(1, 2), first)] == ["temperature"]  # nothing acts on one token


EVERYTHING = {
    "top_n_sigma": 2, "top_h": 0.9, "top_k": 3, "top_p": 0.9, "min_p": 0.1, "typical_p": 0.9, "epsilon_cutoff": 0.01,
    "eta_cutoff": 0.01, "tfs": 0.9, "top_a": 0.1, "mirostat": 2, "xtc_probability": 0.5, "temperature": 0.5,
    "smoothing_factor": 0.1, "presence_penalty": 1, "frequency_penalty": 1, "repetition_penalty": 2,
    "guidance_scale": 2, "dry_multiplier": 1, "no_repeat_ngram_size": 3, "logit_bias": {0: 1}, "bad_words": [[0, 0, 0]],
}  # fmt: skip


@pytest.mark.parametrize("dialect", DIALECTS)
def test_steps_come_in_the_order_of_the_dialect(dialect: str) -> None:
    able = DIALECTS[dialect]
    mine = {n: v for n, v in EVERYTHING.items() if able.has(n) and n not in able.alone}
    params = SamplingParams.model_validate({**mine, "dialect": dialect})
    names = [s.name for s in law.steps(row(3, 2, 1, 0), params, History([0], [1]), unconditional=row(0, 0, 0, 0))]
    assert names == [n for n in able.order if n in mine]
    assert law.steps(row(3, 2, 1), SamplingParams(dialect=dialect)) == []


def test_every_step_of_every_dialect_is_defined() -> None:
    assert {n for d in DIALECTS.values() for n in d.order} == law.DEFINITIONS.keys()
    assert {n for n, p in PARAMETERS.items() if not p.leaders} | {"logit_bias", "bad_words"} == law.DEFINITIONS.keys()


def test_a_custom_order() -> None:
    """Temperature first is 0.867, 0.117, 0.016: one token. Last, 0.665, 0.245, 0.09: two."""
    settings = {"temperature": 0.5, "top_p": 0.8, "dialect": "llama.cpp"}
    last = SamplingParams.model_validate(settings)
    first = SamplingParams.model_validate({**settings, "order": ["temperature", "top_p"]})
    assert kept(law.reshape(row(3, 2, 1), last)) == [0, 1]
    assert kept(law.reshape(row(3, 2, 1), first)) == [0]


def test_scaled_is_the_same_as_the_noise_takes_it() -> None:
    """values / scale is the reshaped row, whatever bends and cuts it."""
    for settings in (
        {"temperature": 0.5, "top_p": 0.8}, {"dynatemp_range": 0.5, "top_k": 2}, {"presence_penalty": 1},
        {"smoothing_factor": 0.3, "temperature": 2},
        {"smoothing_factor": 0.3, "temperature": 2, "dynatemp_range": 1, "min_p": 0.2},
    ):  # fmt: skip
        params = SamplingParams.model_validate(settings)
        values, scale = law.scaled(row(3, 2, 1, 0), law.acting(params), law.Facts(params, SAID))
        assert_allclose(values / scale, law.reshape(row(3, 2, 1, 0), params, SAID))
    params = SamplingParams(temperature=0, presence_penalty=2)
    values, scale = law.scaled(row(3, 2, 1, 0), law.acting(params), law.Facts(params, SAID))
    assert_array_equal(values, [3, 2, -1, -2])
    assert scale == 0


def test_top_p_sees_what_top_k_left() -> None:
    """0.6, 0.25, 0.15 after k = 2 is 0.706, 0.294: 0.7 is reached with one token, not two."""
    logits = logs(0.6, 0.25, 0.15)
    assert kept(law.reshape(logits, SamplingParams(top_p=0.7))) == [0, 1]
    assert kept(law.reshape(logits, SamplingParams(top_k=2, top_p=0.7))) == [0]
