"""`poise decide`: what it prints, how flags make and change a goal, what it refuses, how it ends."""

from __future__ import annotations

import doctest
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from commands import Run
from poise.cli import aims
from poise.cli.aims import Wanted
from poise.errors import UsageError, UseCaseError
from poise.goals import Goal, read_goal
from poise.params import SamplingParams
from poise.records import Prompt
from poise.study import Study
from small_studies import COLD, HOT, WARM, drawn, study_of
from toy_study import MODEL

Make = Callable[..., Path]
BASE = ["--baseline", "temperature=0.3"]
RAISE = ["--raise", "length", *BASE]


def texts(add: Sequence[int], prompts: int = 16, draws: int = 1) -> Mapping[str, Sequence[str]]:
    """Of prompt i and draw d: 20 + i + d tokens, and what `add` says of this prompt in turn."""
    return {f"p{i}": ["x" * (20 + i + d + add[i % len(add)]) for d in range(draws)] for i in range(prompts)}


@pytest.fixture
def make(run: Run, tmp_path: Path) -> Make:
    """A study in which 0.7 is longer than 0.3 by 3 or 5 tokens, and 0.9 by one or minus one."""

    def made(goal: Mapping[str, Any] | None = None, prompts: int = 16, draws: int = 1) -> Path:
        settings: dict[SamplingParams, Sequence[int]] = {COLD: [0], WARM: [3, 5], HOT: [1, -1]}
        laid = {params: texts(add, prompts, draws) for params, add in settings.items()}
        with study_of(tmp_path, laid) as study:
            if goal is not None:
                study.keep_goal("prompt", read_goal(goal))
            return Path(study.path.name)

    return made


def verdict(run: Run, *words: str) -> dict[str, Any]:
    done = run("decide", *words, "--json")
    assert done.out, done.err
    found: dict[str, Any] = json.loads(done.out)["verdicts"][0]
    return found


def test_the_verdict_is_printed_and_the_next_command(run: Run, make: Make) -> None:
    done = run("decide", str(make(prompts=24)), *RAISE)
    assert done.code == 0, done.err
    first, *rest = done.out.splitlines()
    assert first.startswith("prompt: Use temperature=0.7: it was shown to raise length over temperature=0.3, by +3.88 ")
    assert rest[0].startswith("  Promised +3.88 tokens; delivered +4.25 tokens [")
    assert rest[0].endswith(" on 8 prompts that did not choose it.")
    assert "raise length; baseline temperature=0.3; 16 prompts chose" in done.out
    assert rest[-1] == "Next: poise report --study small.db --raise length --baseline temperature=0.3"


def test_json_says_the_same(run: Run, make: Make) -> None:
    found = verdict(run, str(make(prompts=24)), *RAISE)
    assert (found["status"], found["detected"], found["scope"]) == ("better", True, "use_case")
    assert (found["recommended"], found["baseline"]) == (
        {"temperature": 0.7, "dialect": "transformers"}, {"temperature": 0.3, "dialect": "transformers"},
    )  # fmt: skip
    assert found["best_set"] == [found["recommended"]]
    assert (found["n_prompts"], found["held_out"]) == (16, 8)
    assert 3 <= found["promised"] <= 5
    assert (found["delivered"]["how"], found["delivered"]["units"]) == ("held out", 8)
    assert (2 * found["promised"] + found["delivered"]["difference"]) / 3 == 4  # the mean of all 24
    assert found["delivered"]["low"] > 0


def test_the_study_is_named_by_place_or_flag_or_is_the_latest(run: Run, make: Make) -> None:
    path = str(make())
    by_flag, by_place = (run("decide", *words, *RAISE) for words in (["--study", path], [path]))
    assert by_flag == by_place
    twice = run("decide", path, "--study", path, *RAISE)
    assert twice.code == 2
    assert "A study is named once" in twice.err
    run("sweep", "fake", "hello", "--temperature", "0.3,1.2", "--max-tokens", "16")
    latest = run("decide", "--raise", "nll")
    assert latest.code == 0
    assert latest.out.splitlines()[-1] == "Next: poise report --raise nll"


def test_without_holding_out_all_choose(run: Run, make: Make) -> None:
    found = verdict(run, str(make()), *RAISE, "--no-holdout")
    assert (found["n_prompts"], found["held_out"], found["promised"]) == (16, 0, 4)
    assert found["delivered"]["how"] == "cross-fitted"


def test_flags_change_the_goal_of_the_study(run: Run, make: Make) -> None:
    path = str(make({"raise": "length", "constraints": ["length <= 99"], "baseline": "temperature=0.3"}))
    assert verdict(run, path)["goal"] == "raise length; length <= 99; baseline temperature=0.3"
    changed = verdict(run, path, "--matters", "6", "--constraint", "loop_rate <= 1", "--baseline", "temperature=0.9")
    assert changed["goal"] == (
        "raise length; length <= 99; loop_rate <= 1; differences under 6 do not matter; baseline temperature=0.9"
    )
    tighter = verdict(run, path, "--constraint", "length <= 88", "--constraint", "length >= 7")
    assert tighter["goal"] == "raise length; length <= 88; length >= 7; baseline temperature=0.3"
    second = verdict(run, path, "--also", "lower nll")
    assert second["goal"] == "raise length; also lower nll; length <= 99; baseline temperature=0.3"
    other = verdict(run, path, "--lower", "nll", *BASE)
    assert other["goal"] == "lower nll; baseline temperature=0.3"


def test_a_goal_from_a_file(run: Run, make: Make, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("goal: {lower: length, matters: 2, baseline: temperature=0.9}\nprompts: [hi]\n")
    path = str(make())
    assert verdict(run, path, "--goal-from", "mine.yaml")["goal"].startswith("lower length; differences under 2")
    changed = verdict(run, path, "--goal-from", "mine.yaml", "--matters", "0.5", *BASE)
    assert changed["goal"] == "lower length; differences under 0.5 do not matter; baseline temperature=0.3"
    file.write_text("prompts: [hi]\n")
    done = run("decide", path, "--goal-from", "mine.yaml")
    assert done.code == 2
    assert "A use case that lends its goal has one, but got mine without" in done.err


def test_no_setting_keeps_the_constraints(run: Run, make: Make) -> None:
    path = str(make())
    done = run("decide", path, *RAISE, "--constraint", "length <= 5")
    assert done.code == 1
    said = done.out.splitlines()[0]
    assert said.startswith("prompt: No setting keeps length <= 5. Closest is temperature=0.3, with length at 2")
    assert done.out.splitlines()[-1].startswith("Next: poise report")
    as_json = run("decide", path, *RAISE, "--constraint", "length <= 5", "--json")
    assert as_json.code == 1
    assert json.loads(as_json.out)["verdicts"][0]["recommended"] is None


def test_few_prompts_speak_for_themselves_and_few_draws_say_what_to_add(run: Run, make: Make) -> None:
    enough = run("decide", str(make(prompts=3, draws=8)), *RAISE)
    assert enough.code == 0
    assert "It is for these prompts only: fewer than 8 say nothing of others." in enough.out
    Path("small.db").unlink()
    few = run("decide", str(make(prompts=3, draws=5)), *RAISE)
    assert few.code == 0
    said = (
        "Nothing can be concluded yet: an interval needs 8 draws of each of these prompts: add 3 draws; or 5 prompts."
    )
    assert said in few.out
    assert "Next: poise report" in few.out


def test_use_cases_with_and_without_a_goal(run: Run, make: Make) -> None:
    path = make({"raise": "length", "baseline": "temperature=0.3"})
    with Study.open(path) as study:
        study.bind(MODEL)
        for params in (COLD, WARM):
            study.add(drawn("and so on", Prompt("b", use_case="tales"), params))
    for more in ([], ["--matters", "2"]):
        found = json.loads(run("decide", str(path), *more, "--json").out)
        assert [v["use_case"] for v in found["verdicts"]] == ["prompt"]
        assert found["notes"] == ["tales has no goal: nothing is decided about it"]
    both = json.loads(run("decide", str(path), *RAISE, "--json").out)
    assert [v["use_case"] for v in both["verdicts"]] == ["prompt", "tales"]
    assert both["notes"] == []
    unknown = run("decide", str(path), *RAISE, "--use-case", "poems")
    assert unknown.code == 2
    assert "'poems'" in unknown.err


def test_a_hostile_name_is_shown_not_obeyed(run: Run, tmp_path: Path) -> None:
    with study_of(tmp_path, {}) as study:
        for i in range(8):
            for params, length in ((COLD, 20), (WARM, 24)):
                study.add(drawn("x" * (length + i % 3), Prompt(f"p{i}", use_case="\x1b[2Jtales\u202e"), params))
    done = run("decide", "small.db", *RAISE)
    assert done.code == 0, done.err
    assert done.out.startswith("␛[2Jtales⟦RLO⟧: ")
    assert not {"\x1b", "\u202e"} & set(done.out)


MISTAKES: dict[str, tuple[list[str], str]] = {
    "no goal": ([], "A verdict needs a goal: which metric should rise, fall or stay near a target, but got none"),
    "nothing to change": (["--matters", "2"], "Add --raise METRIC, --lower METRIC or --hold METRIC --near VALUE"),
    "unknown metric": (["--raise", "lenght"], "but got 'lenght'. Did you mean length?"),
    "unknown constraint": ([*RAISE, "--constraint", "lop_rate <= 1"], "but got 'lop_rate'. Did you mean loop_rate?"),
    "answers without answers": (["--raise", "exact_match", *BASE], "Give each prompt its `answer`"),
    "baseline not drawn": (
        ["--raise", "length"],
        "The baseline of prompt is one of the settings drawn for it: temperature=0.3; temperature=0.7; "
        "temperature=0.9, but got 'engine-default'. Name another with --baseline",
    ),
    "no constraint": ([*RAISE, "--constraint", "length < 5"], "a metric, <= or >=, and a number, but got 'length < 5'"),
    "two senses": (["--raise", "length", "--lower", "nll"], "but got --raise and --lower. Keep one; a second"),
    "a sense and a file": (["--raise", "length", "--goal-from", "x.yaml"], "got --raise and --goal-from"),
    "hold without near": (["--hold", "nll"], "--hold and --near go together, but got --hold nll alone"),
    "near without hold": (["--near", "2"], "--hold and --near go together, but got --near 2 alone"),
    "near what": (["--hold", "nll", "--near", "home"], "--near is a number, or reference, but got 'home'"),
    "near infinity": (["--hold", "nll", "--near", "inf"], "near is a number, or reference, but got inf"),
    "no reference": (["--hold", "nll", "--near", "reference", *BASE], "prompts need reference texts"),
    "also what": ([*RAISE, "--also", "distinct_2"], "raise, lower or hold, and a metric, but got 'distinct_2'"),
    "also the same": ([*RAISE, "--also", "lower length"], "also names another metric than the goal's first"),
    "also near nothing": ([*RAISE, "--also", "hold nll"], "hold goes with near"),
    "matters no number": ([*RAISE, "--matters", "much"], "--matters takes a number, but got 'much'"),
    "matters nothing": ([*RAISE, "--matters", "0"], "above 0, but got 0.0"),
    "no such file": (["--goal-from", "missing.yaml"], "missing.yaml"),
    "no such study": (["nowhere.db", *RAISE], "nowhere.db"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_says_the_rule_and_the_value(run: Run, make: Make, name: str) -> None:
    words, said = MISTAKES[name]
    make()
    done = run("decide", *([] if words[:1] == ["nowhere.db"] else ["small.db"]), *words)
    assert done.code == 2
    assert done.out == ""
    assert said in done.err


def test_dials_alone_and_one_setting_alone(run: Run, tmp_path: Path) -> None:
    run("dial", "fake", "hello", "--temperature", "0..1", "--max-tokens", "8", "--study", "dials.db")
    dials = run("decide", "dials.db", "--raise", "nll")
    assert dials.code == 2
    assert "`poise decide` reads texts that `poise sweep` drew" in dials.err
    with study_of(tmp_path, {COLD: texts([0])}):
        pass
    alone = run("decide", "small.db", *RAISE)
    assert alone.code == 2
    assert "A verdict chooses between settings, but got prompt with temperature=0.3 alone" in alone.err


def test_compare_leads_to_decide_where_there_is_a_goal(run: Run, make: Make) -> None:
    words = ["compare", "temperature=0.3", "temperature=0.7", "--study", str(make())]
    assert run(*words).out.splitlines()[-1] == "Next: poise report --study small.db"
    with Study.open("small.db") as study:
        study.keep_goal("prompt", read_goal({"raise": "length", "baseline": "temperature=0.3"}))
    assert run(*words).out.splitlines()[-1] == "Next: poise decide --study small.db"
    assert run("decide", "--study", "small.db").out.splitlines()[-1] == "Next: poise report --study small.db"


# the flags by themselves


def wanted(**said: Any) -> Wanted:
    nothing: dict[str, Any] = dict.fromkeys(Wanted.__dataclass_fields__)
    return Wanted(**{**nothing, "constraints": [], **said})


KEPT = read_goal({"raise": "nll", "matters": 0.1, "constraints": ["loop_rate <= 0.05"]})


def test_the_examples_in_docstrings_are_true() -> None:
    assert doctest.testmod(aims).failed == 0


def test_nothing_said_leaves_the_goal_as_it_is() -> None:
    assert not wanted().said
    assert wanted().over(KEPT) == KEPT
    assert wanted().over(None) is None
    assert wanted(matters=1.0).over(None) is None


@pytest.mark.parametrize(
    ("said", "goal"),
    [
        ({"held": "nll", "near": "reference"}, {"hold": "nll", "near": "reference"}),
        ({"held": "nll", "near": "-2.5"}, {"hold": "nll", "near": -2.5}),
        ({"lowered": "length", "also": "hold nll near the reference"},
         {"lower": "length", "also": {"hold": "nll", "near": "reference"}}),
        ({"also": "  raise  length "}, {**KEPT.record(), "also": {"raise": "length"}}),
        ({"constraints": ["loop_rate <= 0.1", "loop_rate >= 0.01"]},
         {"raise": "nll", "matters": 0.1, "constraints": ["loop_rate <= 0.1", "loop_rate >= 0.01"]}),
    ],
)  # fmt: skip
def test_a_goal_out_of_flags(said: dict[str, Any], goal: dict[str, Any]) -> None:
    made = wanted(**said).over(KEPT)
    assert isinstance(made, Goal)
    assert made == read_goal(goal)


def test_what_a_goal_cannot_be() -> None:
    with pytest.raises(UsageError, match="said once"):
        wanted(raised="a", held="b", near="1").over(None)
    with pytest.raises(UseCaseError, match="A constraint is"):
        wanted(constraints=["x"]).over(KEPT)
