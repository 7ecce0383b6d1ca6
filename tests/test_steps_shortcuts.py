"""The shortcuts of the law at speed: they change the time that it takes, and nothing else."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from poise import law
from poise.law import Facts
from poise.params import SamplingParams

torch = pytest.importorskip("torch")

from test_steps import WIDE, check, natural, one  # noqa: E402  needs torch

cuts, floors, rows_of, torch_law = (
    importlib.import_module(f"poise.steps.{name}") for name in ("cuts", "floors", "row", "torch_law")
)

SHORTCUTS = [
    (floors, "MANY", 1), (floors, "MANY", 10**9), (floors, "BENT", 8), (floors, "BENT", 10**9), (floors, "WIDTH", 3),
    (floors, "ROUGH", 1e-3), (rows_of, "ROUGH", 1e-3), (rows_of, "FINE", 1e-3), (cuts, "FINE", 1e-3),
    (cuts, "NEAR", 10.0), (cuts, "RARE", -1.0),
]  # fmt: skip


@pytest.mark.parametrize(("module", "name", "value"), SHORTCUTS, ids=lambda v: getattr(v, "__name__", str(v)))
def test_no_shortcut_decides(monkeypatch: pytest.MonkeyPatch, module: Any, name: str, value: float) -> None:
    """What is kept does not hang on where the shortcuts switch over, nor on how much error they allow for."""
    rows = [natural(seed, 20_011, torch.bfloat16) for seed in range(3)]
    settings: list[dict[str, Any]] = [
        {"temperature": 1.3, "top_p": 0.9}, {"temperature": 0.8, "typical_p": 0.9}, {"top_k": 30, "min_p": 0.01},
        {"epsilon_cutoff": 0.001}, {"eta_cutoff": 0.001}, {"top_a": 0.1}, {"tfs": 0.95}, {"mirostat": 2},
        {"xtc_probability": 1, "xtc_threshold": 0.01, "top_k": 30}, {"top_n_sigma": 2.0},
    ]  # fmt: skip
    params = [SamplingParams.model_validate(p) for p in settings]
    before = [one(row, p) for row in rows for p in params]
    monkeypatch.setattr(module, name, value)
    for row, expected in zip([one(row, p) for row in rows for p in params], before, strict=True):
        assert_array_equal(row, expected)


def asked_of(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """Filled with the steps that the definition is asked for."""
    asked: list[tuple[str, ...]] = []

    def scaled(row: Any, names: tuple[str, ...], facts: Facts) -> tuple[Any, float]:
        asked.append(names)
        return law.scaled(row, names, facts)

    monkeypatch.setattr(torch_law, "scaled", scaled)
    return asked


def test_boundaries_go_to_the_definition(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a mass equals p the rounding of a sum would decide; there, and only there, the definition is asked."""
    asked = asked_of(monkeypatch)
    halves = torch.log(torch.tensor([0.5, 0.25, 0.125, 0.125], dtype=torch.float64))
    flat = torch.zeros(20_000)
    for row, on_it, beside in [
        (halves, {"top_p": 0.75}, {"top_p": 0.8}),
        (halves, {"epsilon_cutoff": 0.25}, {"epsilon_cutoff": 0.3}),
        (halves, {"eta_cutoff": (0.125 * 2**1.75) ** 2}, {"eta_cutoff": 0.1}),  # H is 1.75 bits
        (halves, {"top_a": 0.5}, {"top_a": 0.6}),
        (halves, {"mirostat": 2, "mirostat_tau": 1}, {"mirostat": 2, "mirostat_tau": 1.2}),
        (halves, {"xtc_probability": 1, "xtc_threshold": 0.25}, {"xtc_probability": 1, "xtc_threshold": 0.2}),
        (torch.log(torch.tensor([16.0, 8, 4, 2, 1]).double()), {"tfs": 4 / 7}, {"tfs": 0.6}),
        (flat, {"top_p": 0.25}, {"top_p": 0.25 + 1e-5}),
    ]:
        one(row, SamplingParams.model_validate(beside))
        assert asked == [], beside
        one(row, SamplingParams.model_validate(on_it))
        assert len(asked) == 1, on_it
        asked.clear()
    assert np.isfinite(one(flat, SamplingParams(top_p=0.25))).sum() == 5000


def test_the_definition_is_seldom_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = asked_of(monkeypatch)
    for given_ in WIDE:
        for seed in range(4):
            one(natural(seed, 20_011, torch.float32), SamplingParams.model_validate(given_))
    assert asked == []


def test_rounding_at_a_boundary_is_that_of_the_definition() -> None:
    """Logits exactly ln m below the top, and typical tokens equally far on both sides of the entropy.

    Which way such a case falls hangs on the last bit, so the last bit has to be the definition's.
    """
    for temperature in (0.3, 0.7, 1.0, 3.0):
        for gap in range(1, 30):
            row = torch.tensor([20.0, 20.0 - gap, 20.0 - gap / 2])
            check(row, SamplingParams(temperature=temperature, min_p=float(np.exp(-gap / temperature))))
    halves = torch.log(torch.tensor([0.5, 0.125, 0.125, 0.125, 0.125], dtype=torch.float64))
    for shift in np.linspace(-3, 3, 101):  # 1 bit and 3 bits, entropy 2 bits
        for p in (0.3, 0.5, 0.6):
            check(halves + shift, SamplingParams(typical_p=p))
