"""Verdicts on studies whose every number can be checked by eye."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from poise.engines.fake import make
from poise.errors import MetricError, PoiseError, StudyError, UseCaseError
from poise.params import SamplingParams
from poise.study import Study
from poise.sweeps import sweep
from poise.usecases import UseCase
from poise.verdicts import Verdict, decide
from small_studies import COLD, HOT, WARM, study_of

BOTH = SamplingParams(temperature=0.9, top_p=0.5)
LONGER = {"raise": "length", "baseline": "temperature=0.7"}


def lengths(path: Path, values: Mapping[SamplingParams, Sequence[int] | Sequence[Sequence[int]]]) -> Study:
    """A study whose texts are as long as said: per setting and prompt one length, or one per draw."""
    return study_of(path, {
        params: {f"p{i}": ["x" * n for n in ([said] if isinstance(said, int) else said)] for i, said in enumerate(each)}
        for params, each in values.items()
    })  # fmt: skip


def verdict(study: Study, goal: Mapping[str, Any] = LONGER, **how: Any) -> Verdict:
    with study:
        (found,) = decide(study, goal=goal, **how)
    json.dumps(found.row())
    return found


def noise(seed: int, prompts: int = 24, around: int = 60) -> list[int]:
    return [int(n) for n in np.random.default_rng(seed).integers(around - 9, around + 10, prompts)]


def test_a_setting_that_is_better_everywhere_is_recommended(tmp_path: Path) -> None:
    base = noise(1)
    more = [n + 20 + i % 5 for i, n in enumerate(base)]
    found = verdict(lengths(tmp_path, {WARM: base, HOT: more}))
    assert (found.status, found.recommended.params if found.recommended else None) == ("better", HOT.normalised())
    assert (found.detected, found.units, found.held_out) == (True, 16, 8)
    assert [t.params for t in found.best_set] == [HOT.normalised()]
    # Every difference is 20 to 24, on the prompts that chose and on the others.
    for gain in (found.promised, found.delivered):
        assert gain.low is not None
        assert gain.high is not None
        assert gain.difference is not None
        assert 20 <= gain.low < gain.difference < gain.high <= 24.5
    assert (found.delivered.how, found.delivered.units) == ("held out", 8)
    total = 16 * (found.promised.difference or 0) + 8 * (found.delivered.difference or 0)
    assert total == pytest.approx(sum(20 + i % 5 for i in range(24)))


def test_no_difference_keeps_the_baseline_and_says_what_could_have_been_seen(tmp_path: Path) -> None:
    found = verdict(lengths(tmp_path, {COLD: noise(1), WARM: noise(2), HOT: noise(3)}))
    assert (found.status, found.recommended, found.detected) == ("no difference", found.baseline, False)
    assert len(found.best_set) == 3
    assert found.smallest_detectable is not None
    assert 3 < found.smallest_detectable < 20
    assert found.promised.difference == found.delivered.difference == 0.0
    assert found.naive is not None
    assert found.more is not None
    assert found.more.prompts > 0


def test_the_simplest_of_the_best_set_is_recommended(tmp_path: Path) -> None:
    """With top_p the mean is higher by a little, which is not shown: the setting with one parameter less is named."""
    base = noise(1)
    better = [n + 30 + i % 7 for i, n in enumerate(base)]
    alike = [n + (1 if i % 2 else 0) for i, n in enumerate(better)]
    for i in (0, 3, 5, 8, 13):
        alike[i] -= 2
    found = verdict(lengths(tmp_path, {WARM: base, HOT: better, BOTH: alike}))
    assert {t.params for t in found.best_set} == {HOT.normalised(), BOTH.normalised()}
    assert found.recommended is not None
    assert found.recommended.params == HOT.normalised()


def test_lower_turns_everything_round(tmp_path: Path) -> None:
    base = noise(1)
    study = lengths(tmp_path, {WARM: base, HOT: [n - 20 - i % 5 for i, n in enumerate(base)]})
    found = verdict(study, {"lower": "length", "baseline": "temperature=0.7"})
    assert found.status == "better"
    assert found.promised.difference is not None
    assert -24 <= found.promised.difference <= -20


def test_hold_near_a_target_takes_the_nearest_mean_not_the_largest(tmp_path: Path) -> None:
    """Means near 60, 80 and 100: held near 82, distances are about 22, 2 and 18."""
    base = noise(1)
    values = {WARM: base, HOT: [n + 20 + i % 3 for i, n in enumerate(base)], BOTH: [n + 40 for n in base]}
    values[BOTH] = [n + i % 4 for i, n in enumerate(values[BOTH])]
    goal = {"hold": "length", "near": 82, "baseline": "temperature=0.7"}
    found = verdict(lengths(tmp_path, values), goal)
    assert [t.params for t in found.best_set] == [HOT.normalised()]
    means = {c.trial.params: c.mean for c in found.contenders}
    distance = {p: abs((m or 0) - 82) for p, m in means.items()}
    moved = distance[HOT.normalised()] - distance[WARM.normalised()]
    assert found.promised.difference == pytest.approx(moved)
    assert moved < -10


def test_a_setting_that_breaks_a_constraint_is_neither_recommended_nor_beats_others(tmp_path: Path) -> None:
    base = noise(1)
    values = {WARM: base, HOT: [n + 50 + i % 5 for i, n in enumerate(base)]}
    found = verdict(lengths(tmp_path, values), {**LONGER, "constraints": ["length <= 90"]})
    assert (found.status, found.recommended) == ("no difference", found.baseline)
    assert [t.params for t in found.best_set] == [WARM.normalised()]
    (kept,) = found.of(found.baseline).kept
    assert (kept.status, str(kept.constraint)) == ("kept", "length <= 90")
    out = next(c for c in found.contenders if c.trial.params == HOT.normalised())
    assert (out.kept[0].status, out.out) == ("broken", "breaks length <= 90")


def test_constraints_that_nothing_keeps_name_the_closest(tmp_path: Path) -> None:
    study = lengths(tmp_path, {COLD: noise(1, around=60), WARM: noise(2, around=80)})
    with study:
        found = decide(study, goal={**LONGER, "constraints": ["length >= 200"]})
        said = str(found)
    assert (found[0].status, found[0].recommended) == ("constraints", None)
    assert "No setting keeps length >= 200. Closest is temperature=0.7, with length at " in said


def test_fewer_than_16_prompts_are_cross_fitted(tmp_path: Path) -> None:
    base = noise(1, 12)
    found = verdict(lengths(tmp_path, {WARM: base, HOT: [n + 20 + i % 5 for i, n in enumerate(base)]}))
    assert (found.units, found.held_out, found.delivered.how) == (12, 0, "cross-fitted")
    # One setting is best in every part: cross-fitting gives the plain mean of 20 to 24.
    assert found.delivered.difference == pytest.approx(np.mean([20 + i % 5 for i in range(12)]))


def test_fewer_than_8_prompts_speak_of_themselves(tmp_path: Path) -> None:
    draws = [noise(1, 10), noise(2, 10)]
    more = [[n + 20 + i % 5 for i, n in enumerate(d)] for d in draws]
    found = verdict(lengths(tmp_path, {WARM: draws, HOT: more}))
    assert (found.status, found.scope, found.units) == ("better", "prompt", 20)
    assert found.promised.difference == pytest.approx(22.0)


def test_too_few_draws_of_too_few_prompts_say_what_to_add(tmp_path: Path) -> None:
    study = lengths(tmp_path, {WARM: [[60, 61, 62]], HOT: [[80, 81, 85]]})
    with study:
        found = decide(study, goal=LONGER)
        assert "Nothing can be concluded yet: an interval needs 8 draws" in str(found)
    assert (found[0].status, found[0].recommended, found[0].best_set) == ("not enough", None, ())
    assert "add 5 draws; or 7 prompts" in found[0].notes[0]


def test_the_parameter_that_matters_has_the_variation(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    base = rng.integers(50, 70, 24)
    grid = {
        SamplingParams(temperature=t, top_p=p): [int(n) for n in base + 100 * t + rng.integers(0, 5, 24)]
        for t in (0.3, 0.6, 0.9)
        for p in (0.5, 0.9)
    }
    found = verdict(lengths(tmp_path, grid), {"raise": "length", "baseline": "temperature=0.3,top_p=0.9"})
    shares = {e.parameter: e.share for e in found.effects}
    assert set(shares) == {"temperature", "top_p", "together"}
    assert shares["temperature"] > 0.98
    assert all(e.low is not None and e.high is not None and e.low <= e.share <= e.high for e in found.effects[:1])


def test_two_metrics_have_a_front(tmp_path: Path) -> None:
    """The hot texts are longer, which is better, and loop later, which is worse here; the cold ones are beaten."""
    texts = {
        params: {f"p{i}": [f"{'abcdefghij'[:late]}{'x' * (n + more + i % 5)}"] for i, n in enumerate(noise(1))}
        for params, late, more in ((WARM, 2, 10), (HOT, 9, 30), (COLD, 5, 0))
    }
    with study_of(tmp_path, texts) as study:
        (found,) = decide(study, goal={**LONGER, "also": {"lower": "loop_onset"}})
    fronts = {c.trial.params: c.front for c in found.contenders}
    assert fronts == {HOT.normalised(): 1.0, WARM.normalised(): 1.0, COLD.normalised(): 0.0}


def test_a_lucky_best_mean_promises_more_than_it_delivers(tmp_path: Path) -> None:
    """Eight settings without any difference: what the best mean promises is luck, and other prompts take it back."""
    settings = {SamplingParams(temperature=t / 10): noise(t) for t in range(1, 8)} | {WARM: noise(51)}
    found = verdict(lengths(tmp_path, settings))
    assert found.naive is not None
    promised, delivered = found.naive.promised.difference, found.naive.delivered.difference
    assert promised is not None
    assert delivered is not None
    assert promised > max(delivered, 1.0)
    assert found.status == "no difference"


@pytest.mark.parametrize(
    ("goal", "error", "says"),
    [
        ({"raise": "lenght"}, MetricError, "Did you mean length"),
        ({"raise": "length", "baseline": "temperature=5"}, StudyError, "--baseline"),
        ({"raise": "length"}, StudyError, "'engine-default'. Name another with --baseline"),
        ({"raise": "exact_match", "baseline": "temperature=0.7"}, MetricError, "answers"),
        ({"raise": "length", "constraints": ["lengthy"]}, UseCaseError, "loop_rate <= 0.05"),
        ({"hold": "length"}, UseCaseError, "near"),
        ({"raise": "length", "lower": "nll"}, UseCaseError, "exactly one"),
        ({"hold": "nll", "near": "reference", "baseline": "temperature=0.7"}, PoiseError, "reference"),
        (None, UseCaseError, "--raise METRIC"),
    ],
)  # fmt: skip
def test_mistakes_are_answered(tmp_path: Path, goal: Any, error: type[PoiseError], says: str) -> None:
    with lengths(tmp_path, {WARM: noise(1), HOT: noise(2)}) as study, pytest.raises(error) as caught:
        decide(study, goal=goal)
    assert says in str(caught.value)


def test_one_setting_has_nothing_to_be_chosen_from(tmp_path: Path) -> None:
    with lengths(tmp_path, {WARM: noise(1)}) as study, pytest.raises(StudyError, match="chooses between settings"):
        decide(study, goal=LONGER)


def test_the_goal_of_the_use_case_is_kept_with_the_texts(tmp_path: Path) -> None:
    words = ("ship", "star", "and", "on", "a", "the", "found", "quiet", "sailed")
    goal = {"raise": "length", "matters": 2, "baseline": "temperature=1"}
    case = UseCase(name="tales", prompts=tuple(f"the {w}" for w in words), goal=goal)
    path = tmp_path / "s.db"
    with sweep(make(), case, [SamplingParams(temperature=t) for t in (0.5, 1.5)], study=path, draws=2, max_tokens=9):
        pass
    with Study.open(path, read_only=True) as study:
        (found,) = decide(study)
    assert str(found.goal) == "raise length; differences under 2 do not matter; baseline temperature=1"
    assert found.use_case == "tales"


def test_settings_without_values_are_set_aside_and_named(tmp_path: Path) -> None:
    """No text of the third setting ends in a loop: it has no loop_onset, and takes no prompt from the others."""
    loops = ["x" * (40 + i % 6) for i in range(24)]
    values = {
        params: {f"p{i}": [f"{'abcdefgh'[: start + i % 3]}{t}"] for i, t in enumerate(loops)}
        for params, start in ((WARM, 1), (HOT, 4))
    }
    values[COLD] = {f"p{i}": ["abcdefghijklmnopqrstuvwxyz"] for i in range(24)}
    with study_of(tmp_path, values) as study:
        (found,) = decide(study, goal={"raise": "loop_onset", "baseline": "temperature=0.7"})
    out = next(c for c in found.contenders if c.trial.params == COLD.normalised())
    assert "too few values of loop_onset" in out.out
    assert any(n.startswith("set aside: temperature=0.3") for n in found.notes)
    assert found.units == 16
