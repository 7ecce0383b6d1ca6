"""`measure` on studies of a few texts: means, units, scopes, notes, tables."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

import poise
from poise.engines import load
from poise.errors import MetricError, StudyError
from poise.measurements import Measurement, Measurements, measure
from poise.metrics import METRICS
from poise.metrics.context import Context
from poise.metrics.metric import CompletionMetric
from poise.params import SamplingParams
from poise.records import Completion, Prompt, Request
from poise.stats import Bounds, mean_interval
from poise.study import Study
from small_studies import COLD, GREEDY, HOT, WARM, drawn, study_of


def one(found: Measurements, metric: str, params: SamplingParams = WARM) -> Measurement:
    [measurement] = [m for m in found if m.metric == metric and m.trial.params == params]
    return measurement


def test_the_mean_is_the_mean_of_the_prompts_means(tmp_path: Path) -> None:
    with study_of(tmp_path, {WARM: {"a": ["x" * 10] * 3, "b": ["x" * 40]}}) as study:
        found = one(measure(study, metrics=["length"]), "length")
    assert (found.mean, found.n, found.n_prompts, found.unit) == (25.0, 4, 2, "tokens")


def test_eight_prompts_speak_of_the_use_case(tmp_path: Path) -> None:
    counts = [10, 12, 14, 16, 18, 20, 22, 24]
    with study_of(tmp_path, {WARM: {f"p{n}": ["x" * n, "x" * (n + 2)] for n in counts}}) as study:
        found = one(measure(study, metrics=["length"]), "length")
    expected = mean_interval([np.array(counts) + 1.0], Bounds(0, 512))
    assert (found.scope, found.n_prompts, found.n, found.mean) == ("use_case", 8, 16, 18.0)
    assert (found.low, found.high, found.note) == (*expected[:2], "")


def test_eight_draws_speak_of_these_prompts_only(tmp_path: Path) -> None:
    texts = {"a": ["x" * (10 + i) for i in range(8)], "b": ["x" * (50 + i) for i in range(8)]}
    with study_of(tmp_path, {WARM: texts}) as study:
        found = one(measure(study, metrics=["length"]), "length")
    assert (found.scope, found.n_prompts, found.n, found.mean) == ("prompt", 2, 16, 33.5)
    assert found.low is not None
    assert found.high is not None
    assert 31 < found.low < 33.5 < found.high < 36  # the prompts are 40 apart, and that is no noise here


@pytest.mark.parametrize(
    ("prompts", "draws", "say"),
    [
        (7, 7, "8 draws of each of these prompts: add 1 draw; or add 1 prompt"),
        (1, 1, "8 draws of this prompt: add 7 draws; or add 7 prompts"),
        (4, 4, "8 draws of each of these prompts: add 4 draws; or add 4 prompts"),
    ],
)
def test_below_that_no_interval_but_what_to_add(tmp_path: Path, prompts: int, draws: int, say: str) -> None:
    texts = {f"p{i}": ["x" * (20 + i + j) for j in range(draws)] for i in range(prompts)}
    with study_of(tmp_path, {WARM: texts}) as study:
        found = one(measure(study, metrics=["length"]), "length")
    assert found.mean is not None
    assert (found.low, found.high, found.scope) == (None, None, "prompt")
    assert say in found.note


def test_one_prompt_with_fewer_draws_than_the_other_has_no_interval(tmp_path: Path) -> None:
    with study_of(tmp_path, {WARM: {"a": ["x" * (9 + i) for i in range(30)], "b": ["y" * 9] * 7}}) as study:
        found = one(measure(study, metrics=["length"]), "length")
    assert found.low is None
    assert "add 1 draw" in found.note


def test_metrics_of_groups_need_eight_prompts(tmp_path: Path) -> None:
    few = {"a": [f"text {i}" for i in range(20)]}
    many = {f"p{i}": ["a", "b" if i else "a"] for i in range(8)}
    (tmp_path / "few").mkdir()
    with study_of(tmp_path / "few", {WARM: few}) as study:
        found = one(measure(study, metrics=["distinct_texts"]), "distinct_texts")
    assert (found.mean, found.low, found.scope, found.n) == (1.0, None, "prompt", 20)
    assert "one value per prompt" in found.note
    assert "add 7 prompts" in found.note
    with study_of(tmp_path, {WARM: many}) as study:
        found = one(measure(study, metrics=["distinct_texts"]), "distinct_texts")
    assert (found.mean, found.scope, found.n, found.n_prompts) == ((7 + 0.5) / 8, "use_case", 16, 8)
    assert found.low is not None


def test_what_is_measured_without_asking(tmp_path: Path) -> None:
    asked = Prompt("why", answers=("42",), reference="It is 42.", checks=poise.read_checks("numeric"))
    needy = {"exact_match", "passes", "invalid", "reference_f1"}
    with study_of(tmp_path, {WARM: {"a": ["x"]}}) as study:
        study.add(drawn("42", dataclasses.replace(asked, use_case="sums")))
        plain, full = ({m.metric for m in measure(study, use_case=name)} for name in ("prompt", "sums"))
        assert full - plain == needy
        assert set(METRICS) - full == {"judge", "distinct_ideas"}
        study.keep_goal("sums", poise.read_goal({"raise": "distinct_ideas", "constraints": ["judge >= 0.5"]}))
        assert {m.metric for m in measure(study, use_case="sums")} - full == {"distinct_ideas"}, "the goal names it"
        assert one(measure(study, metrics=["distinct_ideas"], use_case="prompt"), "distinct_ideas").unit == "ideas"


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        ("exact_match", "exact_match needs prompts with answers, but got use case 'prompt' without any"),
        ("passes", "passes needs prompts with checks, but got use case 'prompt' without any. Write `check:`"),
        ("invalid", "invalid needs prompts with checks"),
        (
            "reference_f1",
            "reference_f1 needs prompts with a reference, but got use case 'prompt' without any. Give each",
        ),
        ("judge", "judge needs texts that a judge compared"),
    ],
)
def test_what_is_missing_is_said(tmp_path: Path, metric: str, message: str) -> None:
    with study_of(tmp_path, {WARM: {"a": ["x"]}}) as study, pytest.raises(MetricError, match=message):
        measure(study, metrics=[metric])


def test_greedy_draws_are_no_evidence_of_noise(tmp_path: Path) -> None:
    with study_of(tmp_path, {GREEDY: {"a": ["x" * 30] * 8}, WARM: {"a": ["y" * (20 + i) for i in range(8)]}}) as study:
        found = measure(study, metrics=["length", "distinct_texts"])
    greedy = one(found, "length", GREEDY)
    assert (greedy.mean, greedy.low, greedy.high, greedy.n) == (30.0, None, None, 8)
    assert "same text every time" in greedy.note
    assert one(found, "length").low is not None
    by_definition = one(found, "distinct_texts", GREEDY)
    assert (by_definition.mean, by_definition.low) == (1 / 8, None)
    assert "by definition" in by_definition.note


def test_greedy_over_eight_prompts_has_an_interval_of_prompts(tmp_path: Path) -> None:
    with study_of(tmp_path, {GREEDY: {f"p{i}": ["x" * (20 + i)] * 8 for i in range(8)}}) as study:
        found = measure(study, metrics=["length", "finish_length", "distinct_texts"])
    assert one(found, "length", GREEDY).low is not None
    assert one(found, "finish_length", GREEDY).low == pytest.approx(0.025 ** (1 / 8))  # 8 trials, not 64
    assert one(found, "distinct_texts", GREEDY).low is None


def test_no_data_no_number(tmp_path: Path) -> None:
    with study_of(tmp_path, {WARM: {"a": ["short"]}}) as study:
        found = measure(study)
    for name in ("seq_rep_4", "compression_ratio", "loop_onset", "loop_period", "distinct_2", "relevance"):
        empty = one(found, name)
        assert (empty.mean, empty.low, empty.n, empty.n_prompts) == (None, None, 0, 0), name
        assert empty.note == METRICS[name].absent


def test_answers_are_needed_where_asked_for(tmp_path: Path) -> None:
    with study_of(tmp_path, {WARM: {"a": ["42"]}}) as study:
        assert "exact_match" not in {m.metric for m in measure(study)}
        with pytest.raises(MetricError, match="exact_match needs prompts with answers, but got use case 'prompt'"):
            measure(study, metrics=["length", "exact_match"])
        asked = Prompt("b", answers=("42",))
        study.add(drawn("42.", asked))
        found = one(measure(study), "exact_match")
        assert (found.mean, found.n, found.n_prompts) == (1.0, 1, 1)


def test_unknown_names(tmp_path: Path) -> None:
    with study_of(tmp_path, {WARM: {"a": ["text"]}}) as study:
        with pytest.raises(MetricError, match="Did you mean length"):
            measure(study, metrics=["lenght"])
        with pytest.raises(StudyError, match="use case"):
            measure(study, use_case="nonsense")


def test_texts_are_compared_at_equal_size(tmp_path: Path) -> None:
    twice = "abcdefghijklmnop" * 2
    texts = {COLD: {"a": [twice] * 10}, HOT: {"a": [twice[:31]] + [twice[::-1] + "z" * 32] * 9}}
    with study_of(tmp_path, texts) as study:
        found = measure(study, metrics=["seq_rep_4", "distinct_2"])
    cold, hot = one(found, "seq_rep_4", COLD), one(found, "seq_rep_4", HOT)
    assert [cold.mean, hot.mean] == pytest.approx([1 - 16 / 29] * 2)  # and not the z's behind
    assert (cold.n, hot.n) == (10, 9)
    assert hot.basis == "first 32 tokens of each text; shorter texts are left out"
    assert one(found, "distinct_2", HOT).n == 9
    assert one(found, "distinct_2", HOT).basis.startswith("9 texts per prompt, first 32 tokens")


def test_a_small_trial_changes_no_other_measurement(tmp_path: Path) -> None:
    texts = {s: {"a": [("abcdefgh" * 20)[i : i + 70] for i in range(10)]} for s in (COLD, WARM)}
    names = ["seq_rep_4", "compression_ratio", "distinct_2", "distinct_texts"]
    with study_of(tmp_path, texts) as study:
        before = measure(study, metrics=names)
        for draw in range(2):
            study.add(drawn("x" * 20, "a", HOT, draw))
        after = measure(study, metrics=names)
    assert list(before) == [m for m in after if m.trial.params != HOT]
    for name in names:
        small = one(after, name, HOT)
        assert (small.mean, small.n) == (None, 0), name
        assert "no say in the size" in small.note


def test_n_counts_what_a_value_is_made_of(tmp_path: Path) -> None:
    alike = ["the sea is wide"] * 4
    with study_of(
        tmp_path, {COLD: {"a": alike}, WARM: {"a": [*alike[:3], "", "a cat", "a dog", "a cow", "a hen"]}}
    ) as s:
        s.add(drawn("", "a", WARM, 3))
        distinct, vectors = (one(measure(s), m) for m in ("distinct_texts", "word_vector_distance"))
    # 4 of 8 texts on average over all 70 choices; the sea is in all but the 5 that choose among the other five.
    assert distinct.mean == pytest.approx((5 * 0.5 + (1 - 5 / 70)) / 4)
    assert (distinct.n, distinct.basis) == (8, "4 texts per prompt; of more, the mean over all choices: each counts")
    assert vectors.n == 7  # no words, no part


def test_draws_under_other_limits_are_not_counted_twice(tmp_path: Path) -> None:
    """Draw 0 cut at 10 tokens is the beginning of draw 0 cut at 512: they share their noise."""
    with study_of(tmp_path, {WARM: {"a": ["x" * 30] * 8}}) as study:
        assert one(measure(study, metrics=["length"]), "length").n == 8
        for i in range(3):
            study.add(drawn("x" * 10, "a", draw=i, limit=10))
        found = one(measure(study, metrics=["length"]), "length")
    assert (found.mean, found.n) == (10.0, 3)  # what was asked last


def test_what_was_read_is_read_again_when_it_changes(tmp_path: Path) -> None:
    with study_of(tmp_path, {WARM: {"a": ["xx"] * 2}}) as study:
        assert one(measure(study, metrics=["length"]), "length").mean == 2
        study.add(drawn("x" * 5, "a", draw=2))
        assert one(measure(study, metrics=["length"]), "length").mean == 3
        for answers, right in ((("xx",), 2 / 3), (("none",), 0.0)):
            study.expect([drawn("", Prompt("a", answers=answers)).request])
            assert one(measure(study, metrics=["exact_match"]), "exact_match").mean == pytest.approx(right)


def test_a_metric_of_your_own(tmp_path: Path) -> None:
    def shouting(completion: Completion, context: Context) -> float | None:
        return float(completion.text.isupper())

    mine = CompletionMetric(
        name="shouting", unit="share", direction="lower", high=1.0, binary=True, compute=shouting,
        meaning="The share of texts in capitals.", absent="every text has one", source="an example",
    )  # fmt: skip
    with study_of(tmp_path, {WARM: {f"p{i}": ["AHOY" if i < 2 else "ahoy"] for i in range(8)}}) as study:
        found = measure(study, metrics=[mine, "length"])
    assert [m.metric for m in found] == ["shouting", "length"]
    assert found[0].mean == 0.25
    assert found[0].low is not None


def test_rows_are_what_json_promises(tmp_path: Path) -> None:
    with study_of(tmp_path, {WARM: {"a": ["text"]}, GREEDY: {"a": ["text"]}}) as study:
        study.name_trial(GREEDY, "greedy")
        found = measure(study, metrics=["length"])
    rows = json.loads(json.dumps(found.rows()))
    promised = {"use_case", "params", "metric", "unit", "n", "n_prompts", "scope", "mean", "low", "high"}
    assert all(promised <= set(row) for row in rows)
    assert [row["params"] for row in rows] == [
        {"temperature": 0.0, "dialect": "transformers"},
        {"temperature": 0.7, "dialect": "transformers"},
    ]
    assert rows[0]["names"] == ["greedy"]


def test_tables(tmp_path: Path) -> None:
    prompt = Prompt("a", use_case="<b>\x1b[31mtales")
    with study_of(tmp_path, {WARM: {"b": ["text"]}}) as study:
        study.add(drawn("text", prompt, GREEDY))
        study.name_trial(GREEDY, "greedy")
        found = measure(study, metrics=["length", "loop_onset"])
        text, html = str(found), found._repr_html_()
    assert "use case prompt" in text
    assert "temperature=0 (greedy)" in text
    assert "\x1b" not in text + html
    assert "<b>" not in html
    assert "&lt;b&gt;␛[31mtales" in html
    assert html.count("<table>") == 2
    assert "[1] an interval needs 8 draws of this prompt" in text
    assert len(found[:1]) == 1
    assert str(found[:0]).startswith("Nothing was measured")


def test_greedy_on_the_fake_model_loops(tmp_path: Path) -> None:
    engine = load("fake")
    prompts = [Prompt(t) for t in ("the ship", "a star", "on a quiet ship")]
    settings = [SamplingParams(temperature=0), SamplingParams(temperature=2)]
    requests = [Request(p, engine.encode(p), s, 0, d, 60) for p in prompts for s in settings for d in range(2)]
    with Study.open(tmp_path / "fake.db") as study:
        study.bind(engine.fingerprint)
        for completion in engine.generate(requests):
            study.add(completion)
        found = poise.measure(study, metrics=["loop_rate", "loop_period", "seq_rep_4", "nll"])
    assert one(found, "loop_rate", settings[0]).mean == 1
    period = one(found, "loop_period", settings[0]).mean
    assert period is not None
    assert 1 <= period <= 12  # a bigram model without noise walks in a circle of its twelve words
    assert one(found, "loop_rate", settings[1]).mean == 0
    cold, hot = (one(found, "nll", s).mean for s in settings)
    assert cold is not None
    assert hot is not None
    assert cold < hot
