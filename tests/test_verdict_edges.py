"""Verdicts where words easily say more than the numbers do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from poise.errors import UseCaseError
from poise.goals import Aim, Goal
from poise.params import SamplingParams
from poise.verdicts import Verdicts, decide
from small_studies import COLD, HOT, WARM, study_of

LONGER = {"raise": "length", "baseline": "temperature=0.7"}


def verdict(
    path: Path, values: Mapping[SamplingParams, Sequence[int]], goal: Mapping[str, Any] = LONGER
) -> tuple[Verdicts, str]:
    """Of texts that are as long as said, one per prompt."""
    texts = {params: {f"p{i}": ["x" * n] for i, n in enumerate(each)} for params, each in values.items()}
    with study_of(path, texts) as study:
        found = decide(study, goal=goal)
    return found, str(found)


def test_a_baseline_that_is_better_than_all_others_is_said_to_be(tmp_path: Path) -> None:
    base = [60 + i % 7 for i in range(24)]
    found, said = verdict(tmp_path, {WARM: base, COLD: [n - 20 - i % 5 for i, n in enumerate(base)]})
    assert (found[0].status, len(found[0].best_set)) == ("no difference", 1)
    assert "Keep temperature=0.7: every other setting was shown to be worse." in said
    assert "add about" not in said


def test_the_same_with_a_setting_that_breaks_a_constraint(tmp_path: Path) -> None:
    base = [60 + i % 7 for i in range(24)]
    low, high = [n - 20 - i % 5 for i, n in enumerate(base)], [n + 90 - i % 5 for i, n in enumerate(base)]
    goal = {**LONGER, "constraints": ["length <= 100"]}
    _, said = verdict(tmp_path, {WARM: base, COLD: low, HOT: high}, goal)
    assert "Keep temperature=0.7: every other setting was shown to be worse, or breaks a constraint." in said


def test_means_that_tie_with_the_baseline_are_no_promise(tmp_path: Path) -> None:
    base = [60 + i % 7 for i in range(24)]
    found, said = verdict(tmp_path, {WARM: base, COLD: base, HOT: base})
    assert found[0].naive is not None
    assert "would promise" not in said
    assert (found[0].naive.trial.params == WARM.normalised()) or "No mean is better than the baseline's." in said


@pytest.mark.parametrize(("bound", "surely"), [(15, True), (56, False)])
def test_constraints_that_means_alone_break_are_not_called_broken(tmp_path: Path, bound: int, surely: bool) -> None:
    base = [60 + (i % 9 - 4) * 10 for i in range(24)]
    goal = {**LONGER, "constraints": [f"length <= {bound}"]}
    found, said = verdict(tmp_path, {WARM: base, COLD: [n + i % 3 for i, n in enumerate(base)]}, goal)
    assert found[0].status == "constraints"
    assert (f"No setting keeps length <= {bound}. Closest" in said) == surely
    assert (f"<= {bound} in the mean; 2 of 2 were not shown to break it. Closest" in said) != surely


def test_an_interval_that_is_withheld_says_why(tmp_path: Path) -> None:
    few, many = "1. paint a red boat\n2. sing of the sea", "1. paint a red boat\n2. sing of the sea\n3. bake some bread"
    texts = {
        params: {f"p{i}": [many if params == HOT and i == 3 else few] for i in range(12)} for params in (WARM, HOT)
    }
    with study_of(tmp_path, texts) as study:
        said = str(decide(study, goal={"raise": "distinct_ideas", "baseline": "temperature=0.7"}))
    assert "no interval: too few differ from the baseline to tell their spread" in said


@pytest.mark.parametrize(
    ("aim", "more"),
    [
        (Aim("length", "maximise"), {}),  # type: ignore[arg-type]
        (Aim("length", "hold"), {}),
        (Aim("length", "raise", 3.0), {}),
        (("length", "raise"), {}),
        (Aim("length", "raise"), {"matters": -3.0}),
        (Aim("length", "raise"), {"also": "lower nll"}),
        (Aim("length", "raise"), {"constraints": ("nll <= 3",)}),
    ],
)
def test_a_goal_that_was_not_read_is_checked_too(aim: Any, more: dict[str, Any]) -> None:
    with pytest.raises(UseCaseError):
        Goal(aim, **more)


def test_a_target_is_shown_as_it_was_written() -> None:
    assert str(Aim("length", "hold", 10.0)) == "hold length near 10"
    assert str(Aim("nll", "hold", 2.25)) == "hold nll near 2.25"
