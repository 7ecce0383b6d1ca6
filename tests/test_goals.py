"""Goals: how they are written, read back and kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poise.errors import StudyError, UseCaseError
from poise.goals import REFERENCE, Aim, Constraint, Goal, read_goal
from poise.study import Study
from toy_study import MODEL

METRICS = st.sampled_from(["loop_rate", "nll", "seq_rep_4", "exact_match"])
NUMBERS = st.floats(-1e9, 1e9, allow_nan=False)
CONSTRAINTS = st.builds(Constraint, METRICS, st.booleans(), NUMBERS)


@st.composite
def aims(draw: Any, metric: st.SearchStrategy[str] = METRICS) -> Aim:
    sense = draw(st.sampled_from(["raise", "lower", "hold"]))
    target = draw(st.one_of(st.just(REFERENCE), NUMBERS)) if sense == "hold" else None
    return Aim(draw(metric), sense, target)


GOALS = st.builds(
    Goal, aims(), st.lists(CONSTRAINTS, max_size=3, unique_by=lambda c: c.metric).map(tuple),
    st.one_of(st.none(), st.floats(1e-9, 1e9)), st.sampled_from(["greedy", "temperature=0.7,top_p=0.9"]),
    st.one_of(st.none(), aims(st.just("relevance"))),
)  # fmt: skip


@given(GOALS)
def test_a_goal_is_read_back_as_it_was_written(goal: Goal) -> None:
    assert read_goal(goal.record()) == goal


@given(CONSTRAINTS, NUMBERS)
def test_a_value_is_inside_exactly_where_its_margin_is_not_negative(constraint: Constraint, value: float) -> None:
    inside = value <= constraint.bound if constraint.most else value >= constraint.bound
    assert (constraint.margin(value) >= 0) == inside


def test_what_a_goal_names() -> None:
    goal = read_goal({
        "hold": "nll", "near": "reference", "also": {"raise": "distinct_2"}, "matters": 0.1,
        "constraints": ["loop_rate <= 0.05", "nll >= 1"],
    })  # fmt: skip
    assert goal.metrics == ("nll", "distinct_2", "loop_rate")
    assert goal.needs_reference
    assert goal.baseline == "engine-default"
    assert str(goal) == (
        "hold nll near the reference; also raise distinct_2; loop_rate <= 0.05; nll >= 1; differences under 0.1 do not "
        "matter; baseline engine-default"
    )
    assert read_goal({"raise": "nll", "constraints": "nll<=3"}).constraints == (Constraint("nll", True, 3.0),)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("loops", "A goal is a mapping, but got 'loops'"),
        ({}, "exactly one of raise, lower and hold, but got none"),
        ({"raise": "nll", "lower": "nll"}, "but got raise and lower"),
        ({"raise": 3}, "A goal names a metric, but got 3"),
        ({"hold": "nll"}, "hold goes with near"),
        ({"raise": "nll", "near": 2}, "raise and lower go without, but got near: 2"),
        ({"hold": "nll", "near": "refrence"}, "near is a number, or reference, but got 'refrence'"),
        ({"hold": "nll", "near": True}, "near is a number, or reference, but got True"),
        ({"hold": "nll", "near": float("nan")}, "near is a number, or reference, but got nan"),
        ({"raise": "nll", "matters": 0}, "above 0, but got 0"),
        ({"raise": "nll", "matters": "little"}, "above 0, but got 'little'"),
        ({"raise": "nll", "matter": 1}, "but got matter. Remove it"),
        ({"raise": "nll", "constraints": 5}, "constraints is a list of texts, but got 5"),
        ({"raise": "nll", "constraints": ["nll < 3"]}, "<= or >=, and a number, but got 'nll < 3'"),
        ({"raise": "nll", "baseline": ""}, "A baseline is a trial's settings or its name"),
        ({"raise": "nll", "also": {"lower": "nll"}}, "also names another metric than the goal's first"),
        ({"raise": "nll", "also": "lower nll"}, "under raise, lower or hold, but got 'lower nll'"),
        ({"raise": "nll", "also": {"lower": "loop_rate", "matters": 1}}, "A second metric has raise, lower or hold"),
    ],
)
def test_mistakes_are_answered(said: Any, message: str) -> None:
    with pytest.raises(UseCaseError) as caught:
        read_goal(said)
    assert message in str(caught.value)


def test_a_study_keeps_the_newest_goal_of_a_use_case(tmp_path: Path) -> None:
    first, second = read_goal({"raise": "nll"}), read_goal({"lower": "nll", "matters": 0.5})
    with Study.open(tmp_path / "s.db") as study:
        study.bind(MODEL)
        assert study.goal("tales") is None
        study.keep_goal("tales", first)
        study.keep_goal("tales", second)
        study.keep_goal("tales", second)
        assert len(study._db.rows("SELECT id FROM notes")) == 2  # an equal one is not written again
    with Study.open(tmp_path / "s.db", read_only=True) as study:
        assert study.goal("tales") == second
        assert study.goal("others") is None
        with pytest.raises(StudyError, match="opened for reading"):
            study.keep_goal("tales", first)
    with Study.open(tmp_path / "s.db") as study:
        study.keep_goal("tales", None)
        assert study.goal("tales") is None
