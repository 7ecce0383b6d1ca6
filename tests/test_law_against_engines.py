"""The law against vLLM, mlx-lm and SGLang, each in its own environment; skipped where `make servers` has none."""

from __future__ import annotations

import pytest
from scripts.conformance import outside

from poise.dialects import DIALECTS

pytestmark = pytest.mark.slow
ENGINES = (outside.VLLM, outside.MLX, outside.SGLANG)


@pytest.mark.parametrize("engine", ENGINES, ids=lambda e: e.name)
def test_equal_on_random_rows(engine: outside.Engine) -> None:
    """20,000 rows: no difference, boundary hits in two comparisons of a thousand at most, every step seen."""
    if not engine.ready:
        pytest.skip(f"{engine.folder} is not set up: make servers")
    score, version = outside.compared(engine, 20_000, seed=11)
    assert score.examples == {}
    assert (score.rows, score.total("different")) == (20_000, 0)
    assert score.total("boundary") <= 0.002 * sum(map(score.total, ("equal", "boundary", "tie")))
    assert {s for steps in score.counts for s in steps} == {*DIALECTS[engine.name].order}
    assert max(score.apart.values()) <= 1e-5
    assert version


def test_what_mlx_counts() -> None:
    """`generate_step` under a presence penalty of a model without preferences: the whole prompt counts, windowed."""
    if not outside.MLX.ready:
        pytest.skip(f"{outside.MLX.folder} is not set up: make servers")
    [[plain, drawn], [windowed, _], [everything, _]] = outside.scopes()
    assert (plain, drawn) == ([[7, 8], [0, 7, 8], [0, 1, 7, 8]], [0, 1, 2])
    assert windowed == [[4, 5], [0, 5], [0, 1]]
    assert everything[0] == [1, 2, 3], "a context of 0 tokens means all of them"
