"""Goals that ask for what cannot be: found before any work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from commands import Run
from poise.comparisons import compare
from poise.engines import load
from poise.errors import MetricError, UsageError, UseCaseError
from poise.goals import read_goal
from poise.metrics.limits import check_limits
from poise.params import SamplingParams
from poise.sweeps import plan, sweep
from poise.usecases import UseCase
from poise.verdicts import decide, plan_rounds
from small_studies import COLD, HOT, WARM, long, study_of

HEATS = [SamplingParams(temperature=t) for t in (0.5, 1.5)]


def case(goal: Any) -> UseCase:
    return UseCase(name="ships", mode="text", prompts=[f"the ship {'so ' * i}" for i in range(9)], goal=goal)


@pytest.mark.parametrize(
    ("goal", "says"),
    [
        (
            {"lower": "loop_rate", "matters": 5},
            "Values of loop_rate lie between 0 and 1, and differ by no more than that, but got a difference of 5 that "
            "matters. Shares are written 0.05 for 5 %: perhaps 0.05 is meant.",
        ),
        (
            {"raise": "nll", "constraints": ["empty_output <= 5"]},
            "empty_output lies between 0 and 1, but got the constraint empty_output <= 5. Shares are written 0.05",
        ),
        ({"hold": "loop_rate", "near": 50}, "lies between 0 and 1, but got near 50. Shares are written 0.05 for 5 %:"),
        ({"raise": "nll", "also": {"hold": "loop_rate", "near": 1.5}}, "but got near 1.5. Shares are written"),
        (
            {"raise": "nll", "constraints": ["length >= -1"]},
            "length is at least 0, but got the constraint length >= -1",
        ),
        ({"hold": "nll", "near": -2.5}, "nll is at least 0, but got near -2.5. Name a number that nll can have"),
        ({"hold": "word_vector_distance", "near": 3}, "lies between 0 and 2, but got near 3"),
        ({"raise": "relevance", "matters": 4.5}, "Values of relevance lie between -2 and 2, and differ by no more"),
    ],
)
def test_numbers_that_a_metric_never_has(tmp_path: Path, goal: Any, says: str) -> None:
    with pytest.raises(UseCaseError) as caught:
        sweep(load("fake"), case(goal), HEATS, study=tmp_path / "s.db")
    assert says in str(caught.value)
    assert not (tmp_path / "s.db").exists()
    with pytest.raises(UseCaseError, match="but got"):
        plan_rounds(load("fake"), case({"matters": 0.1, **goal}), HEATS, study=tmp_path / "s.db")
    with study_of(tmp_path, {COLD: long(9), WARM: long(9)}) as study, pytest.raises(UseCaseError) as caught:
        decide(study, goal={**goal, "baseline": "temperature=0.3"})
    assert says in str(caught.value)


@pytest.mark.parametrize(
    "goal",
    [
        {"lower": "loop_rate", "matters": 1, "constraints": ["length >= 0", "invalid <= 1"]},
        {"hold": "loop_rate", "near": 0.05, "also": {"hold": "nll", "near": "reference"}},
        {"raise": "length", "matters": 500, "constraints": ["nll <= 5", "relevance >= -2"]},
    ],
)
def test_numbers_that_it_may_have(goal: Any) -> None:
    check_limits(read_goal(goal))


def test_an_unknown_metric_is_the_first_mistake() -> None:
    with pytest.raises(MetricError, match="Did you mean loop_rate"):
        check_limits(read_goal({"lower": "loop_rat", "matters": 5}))


def test_a_comparison_asks_for_no_more_than_a_share(tmp_path: Path) -> None:
    with study_of(tmp_path, {COLD: long(9), WARM: long(9)}) as study:
        with pytest.raises(UsageError, match=r"Shares are written 0\.05 for 5 %"):
            compare(study, COLD, WARM, metrics=["loop_rate"], matters=5)
        assert compare(study, COLD, WARM, metrics=["length"], matters=5)[0].matters == 5


@pytest.mark.parametrize(
    ("constraints", "says"),
    [
        (
            ["length <= 5", "length <= 6"],
            "one constraint on each side of a metric, but got length <= 5 and length <= 6",
        ),
        (["length <= 5", "length >= 6"], "but got length <= 5 and length >= 6, which exclude each other"),
        (["length >= 6", "nll <= 3", "length <= 5"], "length >= 6 and length <= 5, which exclude each other"),
    ],
)
def test_constraints_leave_room(constraints: list[str], says: str) -> None:
    with pytest.raises(UseCaseError) as caught:
        read_goal({"raise": "nll", "constraints": constraints})
    assert says in str(caught.value)
    assert read_goal({"raise": "nll", "constraints": ["length >= 5", "length <= 5"]}).constraints


def test_flags_say_each_side_once(run: Run, tmp_path: Path) -> None:
    with study_of(tmp_path, {COLD: long(9), HOT: long(12)}) as study:
        study.keep_goal(
            "prompt", read_goal({"raise": "length", "constraints": ["length >= 6"], "baseline": "temperature=0.3"})
        )
    twice = run("decide", "small.db", "--constraint", "length <= 50", "--constraint", "length<=60")
    assert twice.code == 2
    assert "'length <= 50' and 'length<=60'. Keep one" in twice.err
    against = run("decide", "small.db", "--constraint", "length <= 5")
    assert against.code == 2
    assert "length >= 6 and length <= 5, which exclude each other" in against.err
    assert run("decide", "small.db", "--constraint", "length >= 7").code == 0


def test_a_baseline_that_is_not_drawn(tmp_path: Path) -> None:
    fake, path = load("fake"), tmp_path / "s.db"
    goal = {"raise": "nll", "matters": 0.1, "baseline": "temperature=0.7"}
    with pytest.raises(UsageError, match=r"one of the settings drawn: temperature=0\.5; .*but got 'temperature=0\.7'"):
        plan_rounds(fake, case(goal), HEATS, study=path)
    with pytest.raises(UsageError, match="leave --no-baselines out"):
        plan_rounds(fake, case({**goal, "baseline": "greedy"}), HEATS, study=path, baselines=False)
    assert not path.exists()
    noted = "ships: its goal's baseline, temperature=0.7, is not among the settings"
    assert any(noted in note for note in plan(fake, case(goal), HEATS, study=path).notes)
    sweep(fake, case(None), SamplingParams(temperature=0.7), study=path, max_tokens=4).close()
    assert not any(noted in note for note in plan(fake, case(goal), HEATS, study=path, max_tokens=4).notes)
