"""Properties that every step of the law has, whatever the row."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from poise import law
from poise.law import History, State
from poise.params import PARAMETERS, SamplingParams
from test_law import OFF, kept, row

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
    neutral = {n: p.neutral for n, p in PARAMETERS.items() if p.neutral is not None and not p.leaders}
    params = SamplingParams.model_validate(neutral)
    assert law.steps(row(*logits), params, History([0], [0])) == []
    for name in ("top_p", "min_p", "typical_p"):
        after = law.reshape(row(*logits), SamplingParams.model_construct(**{name: neutral[name]}))
        heavy = law.probabilities(row(*logits)) > 1e-12
        assert_array_equal(after[heavy], row(*logits)[heavy])


VALUES = {
    "top_n_sigma": [0.1, 1, 3], "epsilon_cutoff": [1e-3, 0.2], "eta_cutoff": [1e-3, 0.2], "top_h": [0.1, 0.5, 1],
    "tfs": [0, 0.5, 0.99], "top_a": [0.01, 1, 5], "mirostat": [1, 2], "top_k": [1, 3], "min_p": [0.01, 0.5],
}  # fmt: skip
PREFIXES = [(name, value) for name, values in VALUES.items() for value in values]


@given(logit_rows, st.sampled_from(PREFIXES), st.floats(-2, 12))
def test_most_truncations_keep_the_likeliest(logits: list[float], step: tuple[str, float], mu: float) -> None:
    """At least one token, and nobody who is less likely than a token that is cut."""
    name, value = step
    after = law.reshape(row(*logits), SamplingParams.model_validate({name: value}), state=State(mu=mu))
    left = after > OFF
    assert left.any()
    assert_array_equal(after[left], row(*logits)[left])
    assert row(*logits)[left].min() >= max(row(*logits)[~left], default=OFF)


@given(logit_rows, st.floats(0, 0.5))
def test_xtc_keeps_a_tail(logits: list[float], threshold: float) -> None:
    """What it cuts is likelier than what it keeps, and passed the threshold, as one that is left did."""
    p = law.probabilities(row(*logits))
    left = law.xtc(row(*logits), threshold) > OFF
    lost = ~left & (row(*logits) > OFF)
    assert left.any()
    if lost.any():
        assert p[lost].min() >= p[left].max() - 1e-15
        assert p[left].max() >= threshold * (1 - 1e-9)


@given(logit_rows, st.floats(0.01, 3), st.floats(1, 3))
def test_smoothing_keeps_the_order(logits: list[float], factor: float, curve: float) -> None:
    after = law.smoothing(row(*logits), factor, curve)
    order = np.argsort(row(*logits), kind="stable")
    assert after.max() == max(logits)
    assert (np.diff(after[order][np.isfinite(after[order])]) >= -1e-9).all()
