"""Verdicts where words easily say more than the numbers do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from poise.engines import load
from poise.errors import UsageError, UseCaseError
from poise.goals import Aim, Goal
from poise.numerals import amount, difference, figure, interval, quantity, size
from poise.params import SamplingParams
from poise.sweeps import sweep
from poise.usecases import UseCase
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


def test_a_gain_near_a_target_cannot_be_read_backwards(tmp_path: Path) -> None:
    base = [60 + i % 7 for i in range(24)]
    goal = {"hold": "length", "near": 83, "baseline": "temperature=0.7"}
    found, said = verdict(tmp_path, {WARM: base, HOT: [n + 20 + i % 3 for i, n in enumerate(base)]}, goal)
    assert (
        "it was shown to bring length nearer to 83.0 tokens than temperature=0.7: its distance from the target" in said
    )
    fell = found[0].promised.difference
    assert fell is not None
    assert fell < 0
    assert f"fell by {-fell:.1f} tokens [+" in said
    assert f"Promised: its distance from the target fell by {-fell:.1f} tokens; delivered: it fell by" in said
    assert found[0].target == 83


def test_the_reference_is_shown_where_it_lies(tmp_path: Path) -> None:
    goal = {"hold": "nll", "near": "reference", "matters": 0.1}
    prompts = [{"text": f"the ship {'so ' * i}", "reference": "the sea was quiet and so"} for i in range(9)]
    case = UseCase(name="ships", mode="text", prompts=prompts, goal=goal)
    settings = [SamplingParams(temperature=t) for t in (0.5, 1.5)]
    with sweep(load("fake"), case, settings, study=tmp_path / "r.db", max_tokens=8) as study:
        found = decide(study)
    target = found[0].target
    assert target is not None
    where = f"{target:.2f} nats/token on average"
    assert f"the reference is at {where}; 9 prompts chose" in str(found)
    assert f"nearer to the reference ({where}) than" in str(found)


def test_numbers_have_their_unit_and_the_mean_has_a_heading(tmp_path: Path) -> None:
    base = [60 + i % 7 for i in range(24)]
    _, said = verdict(tmp_path, {WARM: base, HOT: [n + 20 + i % 3 for i, n in enumerate(base)]})
    assert "by +20.9 tokens [+" in said
    assert "Promised +20.9 tokens; delivered +21.1 tokens [+" in said
    assert " length (tokens)  " in said


def test_the_closest_setting_has_a_unit_too(tmp_path: Path) -> None:
    base = [60 + i % 7 for i in range(24)]
    _, said = verdict(tmp_path, {WARM: base, COLD: [n + 9 for n in base]}, {**LONGER, "constraints": ["length <= 5"]})
    assert "Closest is temperature=0.7, with length at 62.4 tokens." in said
    assert "; 16 prompts looked at" in said


@pytest.mark.parametrize(("matters", "sentence"), [
    (25.0, "That is less than the 25.0 tokens that matter"),
    (20.9, "That it is as much as the 20.9 tokens that matter was not shown."),
    (2.0, ""),
])  # fmt: skip
def test_a_gain_beside_the_difference_that_matters(tmp_path: Path, matters: float, sentence: str) -> None:
    base = [60 + i % 7 for i in range(24)]
    values = {WARM: base, HOT: [n + 20 + i % 3 for i, n in enumerate(base)]}
    _, said = verdict(tmp_path, values, {**LONGER, "matters": matters})
    headline = said.splitlines()[0]
    assert sentence in headline
    assert ("matter" in headline) == bool(sentence)


def test_two_settings_that_do_not_vary_do_not_hide_a_third_that_does(tmp_path: Path) -> None:
    base = [60 + i % 7 for i in range(24)]
    _, said = verdict(tmp_path, {WARM: base, COLD: base, HOT: [n - 20 - i % 3 for i, n in enumerate(base)]})
    assert "cannot be told: nothing varied between the baseline and its closest rival." in said


def test_texts_that_cannot_be_read_are_counted_once_and_held_against_settings_once(tmp_path: Path) -> None:
    texts = {params: {f"p{i}": ["  " if i else "x"] for i in range(9)} for params in (WARM, HOT)}
    with study_of(tmp_path, texts) as study:
        plain = str(decide(study, goal=LONGER))
        held = str(decide(study, goal={**LONGER, "constraints": ["empty_output <= 0.95"]}))
    assert "89% of the texts of every setting are empty; constraints: [empty_output <= 0.05] holds that" in plain
    assert "89% of the texts of every setting are empty.\n" in held


def test_nothing_chose_where_nothing_was_chosen(tmp_path: Path) -> None:
    texts = {params: {"p": ["xx", "xxx"]} for params in (WARM, HOT)}
    with study_of(tmp_path, texts) as study:
        assert "; nothing was chosen\n" in str(decide(study, goal=LONGER))


@pytest.mark.parametrize("holdout", ["no", None, 0.3, 1])
def test_holdout_is_yes_or_no(tmp_path: Path, holdout: Any) -> None:
    with study_of(tmp_path, {WARM: {"p": ["x"]}}) as study, pytest.raises(UsageError, match="holdout is True or False"):
        decide(study, goal=LONGER, holdout=holdout)


@pytest.mark.parametrize("unit", ["share", "nats/token", "ratio"])
def test_zero_has_no_sign(unit: str) -> None:
    for value in (0.0, -0.0, -1e-17, 1e-17):
        shown = [difference(value, unit), amount(value, unit), size(value, unit), figure(value, unit)]
        assert all(text.startswith("0") for text in shown), shown
        assert interval(value, 1, unit, of_difference=True).startswith("[0, ")
    assert difference(-0.00001, "share") == "0 points"
    assert quantity(-0.00001, "share") == "0.00%"


@pytest.mark.parametrize(("prompts", "unit"), [(1, "draw"), (2, "prompt"), (9, "prompt")])
def test_what_is_left_out_is_called_what_it_is(tmp_path: Path, prompts: int, unit: str) -> None:
    texts = {
        params: {f"p{i}": ["x" * (20 + d % 3 + add) for d in range(9)] for i in range(prompts)}
        for params, add in ((WARM, 0), (HOT, 5))
    }
    with study_of(tmp_path, texts) as study:
        assert f"With one {unit} left out, the best mean stays the best" in str(decide(study, goal=LONGER))


def test_texts_without_any_value_are_no_crash(tmp_path: Path) -> None:
    settings = [SamplingParams(top_k=1), SamplingParams(top_k=5)]
    with sweep(load("fake"), "the ship", settings, study=tmp_path / "s.db", draws=2, max_tokens=8) as study:
        said = str(decide(study, goal={"lower": "seq_rep_4"}))  # 8 tokens are too few for it
    assert "no text has a value" in said
