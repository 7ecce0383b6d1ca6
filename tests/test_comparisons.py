"""`compare` on studies of a few texts: pairs, tests, detection, names of trials."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from poise.comparisons import Comparison, Comparisons, compare
from poise.errors import MetricError, StudyError, UsageError
from poise.goals import read_goal
from poise.measurements import measure
from poise.params import SamplingParams
from poise.records import Prompt, Trial
from poise.stats import Bounds, Interval, difference_interval, power
from poise.tables import figure, interval
from poise.trials import find_trial
from small_studies import COLD, GREEDY, HOT, WARM, drawn, study_of


def one(found: Comparisons, metric: str) -> Comparison:
    [comparison] = [c for c in found if c.metric == metric]
    return comparison


def lengths(counts: list[int], draws: int = 1) -> dict[str, list[str]]:
    return {f"p{i}": ["x" * (n + d) for d in range(draws)] for i, n in enumerate(counts)}


def test_paired_by_prompt(tmp_path: Path) -> None:
    cold, hot = [10, 20, 30, 40, 50, 60, 70, 80], [12, 23, 34, 43, 52, 63, 74, 83]
    with study_of(tmp_path, {COLD: lengths(cold, 2), HOT: lengths(hot, 2)}) as study:
        found = one(compare(study, "temperature=0.3", "temperature=0.9", metrics=["length"]), "length")
        means = {m.trial.params: m.mean for m in measure(study, metrics=["length"])}
    a, b = np.array(cold) + 0.5, np.array(hot) + 0.5
    assert found.difference == pytest.approx(3.0) == (means[HOT] or 0) - (means[COLD] or 0)
    assert (found.low, found.high) == difference_interval([a], [b], Bounds(0, 512))[:2]
    assert (found.n_prompts, found.n_pairs, found.scope, found.comparisons) == (8, 16, "use_case", 1)
    assert found.p_value == found.p_adjusted == 2 / 256  # eight prompts, all on one side
    assert found.detected
    assert found.low is not None
    assert found.low > 0
    error, reach = np.std(b - a, ddof=1) / 8**0.5, max(3 - found.low, (found.high or 0.0) - 3)
    assert reach >= 2.3646 * error - 1e-9, "no shorter than the t interval"
    assert found.smallest_detectable == pytest.approx(reach + 0.8960 * error, rel=1e-3)


def power_of(found: Comparison) -> str:
    """What its table says about power."""
    said = [line.strip() for line in str(Comparisons([found])).splitlines() if line.strip().startswith("Power:")]
    return said[0] if said else ""


def test_how_likely_a_difference_that_matters_was_found(tmp_path: Path) -> None:
    cold, hot = [10, 20, 30, 40, 50, 60, 70, 80], [12, 23, 34, 43, 52, 63, 74, 83]
    with study_of(tmp_path, {COLD: lengths(cold), HOT: lengths(hot)}) as study:
        silent = one(compare(study, COLD, HOT, metrics=["length"]), "length")
        large = one(compare(study, COLD, HOT, metrics=["length"], matters=3), "length")
        study.keep_goal("prompt", read_goal({"raise": "length", "matters": 0.5, "baseline": "greedy"}))
        of_goal = compare(study, COLD, HOT, metrics=["length", "nll"])
        study.keep_goal("prompt", read_goal({"hold": "length", "near": 40, "matters": 0.5, "baseline": "greedy"}))
        near_a_target = one(compare(study, COLD, HOT, metrics=["length"]), "length")
    assert (silent.matters, silent.power, power_of(silent)) == (None, None, "")
    assert (near_a_target.matters, near_a_target.power) == (None, None)  # it is no difference of means
    apart = np.subtract(hot, cold)
    assert large.power == power([apart.astype(float)], 3, Interval(large.low, large.high))
    assert large.power is not None
    assert large.power > 0.99
    assert "finds a true difference of 3 tokens of length. Where it is below 80%" in power_of(large)
    small, other = of_goal
    assert (small.matters, other.matters, other.power) == (0.5, None, None)
    assert small.power is not None
    assert 0.2 < small.power < 0.366  # 1.87 standard errors of 0.27, 7 degrees of freedom; the interval reaches further
    assert small.smallest_detectable is not None
    assert small.smallest_detectable > 0.5, "less than 4 times in 5"
    assert small.row()["power"] == small.power


@pytest.mark.parametrize("matters", [0, -1, float("nan"), float("inf"), "0.1", True])
def test_what_cannot_matter(tmp_path: Path, matters: float) -> None:
    with (
        study_of(tmp_path, {COLD: lengths([9]), HOT: lengths([8])}) as study,
        pytest.raises(UsageError, match="above 0, but got"),
    ):
        compare(study, COLD, HOT, metrics=["length"], matters=matters)


def test_a_difference_that_matters_has_one_unit(tmp_path: Path) -> None:
    with study_of(tmp_path, {COLD: lengths([9]), HOT: lengths([8])}) as study:
        shares = compare(study, COLD, HOT, metrics=["seq_rep_4", "loop_rate"], matters=0.1)
        assert [c.matters for c in shares] == [0.1, 0.1]
        assert [c.power for c in shares] == [None, None]
        with pytest.raises(UsageError, match=r"in one unit, but got metrics in tokens, share\. Name one metric"):
            compare(study, COLD, HOT, metrics=["length", "loop_rate"], matters=0.1)


def test_turned_round(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    texts = {s: lengths(list(rng.integers(10, 90, 9))) for s in (COLD, HOT)}
    with study_of(tmp_path, texts) as study:
        there, back = compare(study, COLD, HOT), compare(study, HOT, COLD)
    for x, y in zip(there, back, strict=True):
        assert (x.difference is None) == (y.difference is None)
        if x.difference is None or x.low is None or x.high is None:
            continue
        assert (y.difference, y.low, y.high) == pytest.approx((-x.difference, -x.high, -x.low), abs=1e-9)
        assert y.p_value == pytest.approx(x.p_value)


def test_only_equal_draws_of_equal_prompts_are_pairs(tmp_path: Path) -> None:
    cold = {"a": ["", "x" * 20, "x" * 20], "b": ["x" * 20]}
    hot = {"a": ["y" * 99, "y" * 21, "y" * 23], "c": ["y" * 99]}
    with study_of(tmp_path, {COLD: cold, HOT: hot}) as study:
        found = one(compare(study, COLD, HOT, metrics=["length"]), "length")
    assert (found.difference, found.n_pairs, found.n_prompts) == (2.0, 2, 1)
    assert (found.low, found.p_value, found.detected, found.smallest_detectable) == (None, None, False, None)
    assert "8 draws of this prompt: add 6 draws; or add 7 prompts" in found.note


def test_a_small_trial_is_compared_at_a_size_of_its_own(tmp_path: Path) -> None:
    texts = {s: {"a": [("abcdefgh" * 20)[i : i + 70] for i in range(10)]} for s in (COLD, WARM)}
    names = ["seq_rep_4", "distinct_texts"]
    with study_of(tmp_path, texts) as study:
        before = compare(study, COLD, WARM, metrics=names)
        for draw in range(2):
            study.add(drawn("x" * 20, "a", HOT, draw))
        assert list(compare(study, COLD, WARM, metrics=names)) == list(before)
        repeated, distinct = compare(study, COLD, HOT, metrics=names)
        assert list(compare(study, COLD, WARM, metrics=names)) == list(before)
        measured = [m.mean for m in measure(study, metrics=["distinct_texts"])]
    assert before[0].basis.startswith("first 64 tokens")
    assert "these two trials" not in before[0].basis
    assert (repeated.n_pairs, repeated.difference) == (2, pytest.approx((1 - 1 / 13) - (1 - 8 / 13)))
    assert repeated.basis.startswith("first 16 tokens of each text")
    assert "a size for these two trials alone" in repeated.basis
    assert distinct.basis.startswith("2 texts per prompt")
    assert distinct.difference == pytest.approx(0.5 - (1 - 1 / 45))  # of 45 pairs, 2 are of equal texts
    assert measured[0] == 0.8


def test_what_the_table_says_of_tests_is_said_of_as_many(tmp_path: Path) -> None:
    texts = {s: {"a": ["x" * (n + i) for i in range(8)]} for s, n in ((COLD, 20), (HOT, 24))}
    with study_of(tmp_path, texts) as study:
        one_tested = str(compare(study, COLD, HOT, metrics=["length"]))
        two_tested = str(compare(study, COLD, HOT, metrics=["length", "nll"]))
        none_tested = str(compare(study, COLD, HOT, metrics=["distinct_texts"]))
    assert "Detected: p is at most 0.05" in one_tested
    assert "was 0.00 times that of unrelated draws" in one_tested
    assert "adjusted for the 2 metrics tested here" in two_tested
    assert "Detected:" not in none_tested


def test_no_minus_before_a_zero() -> None:
    assert [figure(v, sign=s) for v in (-0.0, 0.0) for s in (False, True)] == ["0.000", "+0.000"] * 2
    assert interval(-0.0, 0.25) == "[0.000, 0.250]"
    assert figure(-0.001) == "-0.001"


def test_few_prompts_are_compared_draw_by_draw(tmp_path: Path) -> None:
    cold = {"a": ["x" * (20 + i) for i in range(8)], "b": ["x" * (60 + i) for i in range(8)]}
    hot = {p: [t + "y" * (3 + i % 2) for i, t in enumerate(texts)] for p, texts in cold.items()}
    with study_of(tmp_path, {COLD: cold, HOT: hot}) as study:
        found = one(compare(study, COLD, HOT, metrics=["length"]), "length")
    assert (found.difference, found.n_pairs, found.n_prompts, found.scope) == (3.5, 16, 2, "prompt")
    assert found.p_value == 2 / 2**16
    assert found.detected
    assert found.variance_ratio is not None
    assert found.variance_ratio < 0.1  # the draws of both settings rise together


def test_a_greedy_trial_has_its_text_in_every_draw(tmp_path: Path) -> None:
    with study_of(tmp_path, {GREEDY: {"a": ["x" * 30]}, WARM: {"a": ["y" * (40 + i) for i in range(9)]}}) as study:
        found = one(compare(study, GREEDY, WARM, metrics=["length"]), "length")
        back = one(compare(study, WARM, GREEDY, metrics=["length"]), "length")
        warm = next(m for m in measure(study, metrics=["length"]) if m.trial.params == WARM)
    assert (found.difference, found.n_pairs, found.variance_ratio) == (14.0, 9, None)
    assert warm.low is not None
    assert warm.high is not None
    # All doubt is that of the other arm: greedy's length is known.
    assert (found.low, found.high) == pytest.approx((warm.low - 30, warm.high - 30))
    assert (back.low, back.high) == pytest.approx((30 - warm.high, 30 - warm.low))


def test_two_greedy_trials_differ_without_noise(tmp_path: Path) -> None:
    penalty = SamplingParams(temperature=0, repetition_penalty=1.2)
    with study_of(tmp_path, {GREEDY: {"a": ["x" * 30] * 8}, penalty: {"a": ["y" * 40] * 8}}) as study:
        found = compare(study, GREEDY, penalty, metrics=["length", "distinct_texts"])
    assert [c.difference for c in found] == [10.0, 0.0]
    assert [(c.low, c.p_value, c.detected) for c in found] == [(None, None, False)] * 2
    assert "same text every time" in found[0].note
    assert "by definition" in found[1].note


def test_equal_texts_leave_room_for_what_was_not_seen(tmp_path: Path) -> None:
    with study_of(tmp_path, {COLD: lengths([40] * 8), HOT: lengths([40] * 8)}) as study:
        found = compare(study, COLD, HOT, metrics=["length", "finish_length", "nll"])
    share = 1 - 0.05 ** (1 / 8)
    assert (found[1].low, found[1].high) == pytest.approx((-share, share))
    assert found[0].low == pytest.approx(-512 * share)
    assert (found[2].low, found[2].high) == (None, None)
    assert "differences are equal" in found[2].note
    assert [c.p_value for c in found] == [1, 1, 1]
    assert not any(c.detected for c in found)
    assert [c.smallest_detectable for c in found] == [None] * 3


def test_more_metrics_make_chance_likelier(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    letters = list("abcdefgh .")
    texts = {s: {f"p{i}": ["".join(rng.choice(letters, 70 + rng.integers(9)))] for i in range(9)} for s in (COLD, HOT)}
    with study_of(tmp_path, texts) as study:
        alone = one(compare(study, COLD, HOT, metrics=["length"]), "length")
        among = compare(study, COLD, HOT)
    tested = [c for c in among if c.p_value is not None]
    assert one(among, "length").p_value == alone.p_value
    assert {c.comparisons for c in tested} == {len(tested)}
    assert len(tested) > 5
    assert all((c.p_adjusted or 0) >= (c.p_value or 0) for c in tested)
    assert any((c.p_adjusted or 0) > (c.p_value or 0) for c in tested)


def test_metrics_of_two_scopes_in_one_call(tmp_path: Path) -> None:
    """Loops in two prompts only: their onset is compared draw by draw, the rest prompt by prompt."""
    loop = {
        f"p{i}": [("abc" * 12)[i % 2 :] + "abc" * d for d in range(8)] if i < 2 else ["plain text"] for i in range(8)
    }
    other = {p: [("z" * (2 + i % 3) + t) for i, t in enumerate(texts)] for p, texts in loop.items()}
    with study_of(tmp_path, {COLD: loop, HOT: other}) as study:
        found = compare(study, COLD, HOT, metrics=["loop_onset", "length"])
    onset, length = found
    assert (onset.scope, onset.n_prompts, onset.n_pairs) == ("prompt", 2, 16)
    assert (length.scope, length.n_prompts, length.n_pairs) == ("use_case", 8, 22)
    assert onset.comparisons == length.comparisons == 2
    assert length.p_adjusted == pytest.approx(2 * (length.p_value or 0))


def test_names_of_trials() -> None:
    both = Trial(SamplingParams(temperature=0.3, top_p=0.9))
    plain, cold = Trial(SamplingParams(), ("engine-default", "vendor")), Trial(GREEDY, ("greedy",))
    known = [cold, both, plain]
    for asked in ("temperature=0.3,top_p=0.9", "top_p=.9, temperature=0.30", "temperature=0.3,top_p=0.9,top_k=off"):
        assert find_trial(known, asked) is both
    for asked in ("temperature=1", "vendor", "engine-default", "top_p=1.0"):
        assert find_trial(known, asked) is plain
    for exact in (GREEDY, cold, "greedy", "temperature=0"):
        assert find_trial(known, exact) is cold
    for wrong, hint in (
        ("temperature=0.4,top_p=0.9", "Did you mean temperature=0.3,top_p=0.9"),
        ("greddy", "Did you mean greedy"),
        ("temperature=hot", "temperature=0.3,top_p=0.9; temperature=1"),
        ("temperature=-1", "A trial here is one of"),
        (SamplingParams(top_k=3), "'temperature=1,top_k=3'"),
    ):
        with pytest.raises(StudyError, match=hint):
            find_trial(known, wrong)
    with pytest.raises(StudyError, match="none yet"):
        find_trial([], "greedy")


def test_what_cannot_be_compared(tmp_path: Path) -> None:
    with study_of(tmp_path, {COLD: {"a": ["text"]}}) as study:
        study.add(drawn("text", Prompt("b", use_case="tales"), HOT))
        with pytest.raises(StudyError, match=r"temperature=0\.3 twice"):
            compare(study, COLD, "temperature=0.30")
        with pytest.raises(StudyError, match=r"prompt: nothing was drawn under temperature=0\.9; tales: nothing"):
            compare(study, COLD, HOT)
        with pytest.raises(StudyError, match=r"A trial here is one of temperature=0\.3,"):
            compare(study, COLD, HOT, use_case="prompt")
        study.add(drawn("text", Prompt("b", use_case="tales"), COLD))
        found = compare(study, COLD, HOT, metrics=["length"])
        assert [c.use_case for c in found] == ["tales"]
        assert found.notes == ("prompt: nothing was drawn under temperature=0.9",)
        with pytest.raises(MetricError):
            compare(study, COLD, HOT, metrics=["exact_match"])


def test_rows_and_tables(tmp_path: Path) -> None:
    prompts = {f"p{i}<script>": [f"text {i}"] for i in range(8)}
    with study_of(
        tmp_path, {COLD: prompts, HOT: {p: [t[0] + "!" * (i % 3)] for i, (p, t) in enumerate(prompts.items())}}
    ) as study:
        found = compare(study, COLD, HOT)
    rows = json.loads(json.dumps(found.rows()))
    promised = {
        "use_case", "metric", "difference", "low", "high", "n_prompts", "scope", "p_value", "detected",
        "smallest_detectable",
    }  # fmt: skip
    assert all(promised <= set(row) for row in rows)
    text, html = str(found), found._repr_html_()
    assert "A: temperature=0.3, B: temperature=0.9; intervals speak of prompts like these" in text
    tested = sum(c.p_value is not None for c in found)
    assert f"adjusted for the {tested} metrics tested here" in text
    assert "<script>" not in html
    assert [c.metric for c in found[:2]] == ["seq_rep_4", "loop_rate"]
