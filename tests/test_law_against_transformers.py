"""The law against transformers' own processors, on random rows."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from scripts.conformance import of_transformers as theirs  # noqa: E402
from scripts.conformance.judge import Score  # noqa: E402
from scripts.conformance.rows import Group  # noqa: E402

from poise.dialects import DIALECTS  # noqa: E402
from poise.params import SamplingParams  # noqa: E402

MINE = {*DIALECTS["transformers"].order} - DIALECTS["transformers"].extensions


def sound(score: Score, rows: int) -> None:
    """No difference, boundary hits in one comparison of a thousand at most, every step seen."""
    assert score.examples == {}
    assert (score.rows, score.total("different")) == (rows, 0)
    assert score.total("boundary") <= 0.001 * sum(map(score.total, ("equal", "boundary", "tie")))
    assert {s for steps in score.counts for s in steps} == MINE
    assert max(score.apart.values()) <= 1e-5


def test_equal_on_random_rows() -> None:
    """Single steps and whole chains in the order of `_get_logits_processor`, which `compared` holds against poise's."""
    sound(theirs.compared(3000, seed=11), 3000)


def test_equal_in_float64() -> None:
    """Where transformers computes as finely as poise the numbers agree to the last digits but two."""
    score = theirs.compared(2000, seed=12, dtype=torch.float64)
    assert score.total("different") == 0
    assert max(score.apart.values()) <= 1e-13


@pytest.mark.slow
def test_equal_on_a_hundred_thousand_rows() -> None:
    sound(theirs.compared(100_000, seed=13), 100_000)


def group(settings: dict, logits: list[float], said: list[int]) -> Group:
    row, ids = np.array([logits], dtype=np.float32), np.array([said], dtype=np.int64)
    return Group({**settings, "dialect": "transformers"}, row, np.zeros_like(row), ids, ids[:, :0], ())


def test_the_whole_chain_is_in_its_order() -> None:
    """Everything on at once: transformers names the steps in the order that the dialect has."""
    settings = {
        "guidance_scale": 1.5, "logit_bias": {0: 1.0}, "repetition_penalty": 1.2, "no_repeat_ngram_size": 2,
        "bad_words": ((1,),), "temperature": 0.7, "top_h": 0.9, "top_k": 4, "top_p": 0.95, "min_p": 0.01,
        "typical_p": 0.9, "epsilon_cutoff": 0.001, "eta_cutoff": 0.001,
    }  # fmt: skip
    [stages] = theirs.stages(group(settings, [1, 2, 3, 4, 5, 6], [0, 2]))
    assert [s for stage in stages for s in stage.steps] == list(SamplingParams.model_validate(settings).steps)
    assert {*SamplingParams.model_validate(settings).steps} == MINE


def test_the_known_differences_are_there() -> None:
    """With every token barred transformers goes on: log-probabilities of nothing, or an error of torch."""
    barred = group({"bad_words": ((0,), (1,))}, [1.0, 2.0], [0])
    [[stage]] = theirs.stages(barred)
    assert np.isneginf(stage.row).all()
    with pytest.raises(ValueError, match="Categorical"):
        list(theirs.stages(group({"bad_words": ((0,), (1,)), "top_h": 0.5}, [1.0, 2.0], [0])))
