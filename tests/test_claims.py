"""Sentences that interpret: there when the measurements support them, gone when they do not."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import poise
from poise.comparisons import Comparison
from poise.engines.fake import WORDS, FakeEngine
from poise.measurements import Measurement
from poise.metrics import METRICS
from poise.params import SamplingParams
from poise.records import Trial
from poise.reports.axes import Contrast
from poise.reports.claims import CLAIMS, ClaimResult, judge
from poise.reports.evidence import Evidence, holm, weigh
from poise.reports.findings import HEADLINES, open_with

UNITS = {"word_vector_distance": "1 - cosine", "nll": "nats/token", "relevance": "cosine"}


def trial(temperature: float) -> Trial:
    return Trial(SamplingParams(temperature=temperature))


def compared(metric: str, a: Trial, b: Trial, difference: float | None, p_value: float | None = 0.001) -> Comparison:
    """Sixteen prompts; the interval excludes 0 where p is at most 0.05."""
    width = 0.02 if p_value is None or p_value <= 0.05 else 2 * abs(difference or 0)
    return Comparison(
        use_case="creative-story", metric=metric, unit=UNITS.get(metric, "share"), a=a, b=b, difference=difference,
        low=None if difference is None else difference - width, high=None if difference is None else difference + width,
        n_prompts=16, n_pairs=128, scope="use_case", p_value=p_value,
        detected=p_value is not None and p_value <= 0.05, smallest_detectable=0.031, variance_ratio=0.9,
        note="" if p_value is not None else "add 5 prompts", p_adjusted=p_value,
    )  # fmt: skip


def measured(metric: str, at: Trial, mean: float | None, use_case: str = "creative-story") -> Measurement:
    unit = UNITS.get(metric, "share")
    return Measurement(use_case, at, metric, unit, 128, 16, "use_case", mean, None, None, "")


def judged(
    use_case: str,
    temperatures: Sequence[float],
    metrics: Sequence[str],
    difference: float = -0.3,
    p_value: float = 0.001,
) -> dict[str, ClaimResult]:
    trials = [trial(t) for t in temperatures]
    rows = [measured(m, t, 0.5, use_case) for m in metrics for t in trials]

    def look(a: Trial, b: Trial, wanted: Sequence[str]) -> list[Comparison]:
        return [compared(m, a, b, difference, p_value) for m in wanted]

    return {r.claim.key: r for r in judge(use_case, trials, rows, look)}


ALL = ["seq_rep_4", "word_vector_distance", "nll", "relevance"]
ARTICLE = [0.2, 0.3, 0.5, 0.7, 0.9]


def test_a_claim_is_supported_contradicted_or_not_detectable() -> None:
    falls = judged("creative-story", ARTICLE, ALL, difference=-0.3)
    assert falls["low-repeats"].status == "supported"
    assert falls["high-varies"].status == "contradicted"  # it should rise
    rises = judged("creative-story", ARTICLE, ALL, difference=0.3)
    assert rises["low-repeats"].status == "contradicted"
    assert rises["high-varies"].status == "supported"
    unsure = judged("creative-story", ARTICLE, ALL, p_value=0.4)
    assert {r.status for r in unsure.values()} == {"not detectable", "cannot be judged"}


def test_the_numbers_stand_beside_the_status() -> None:
    result = judged("creative-story", ARTICLE, ALL)["low-repeats"]
    [line] = result.numbers
    for said in (
        "temperature=0.2 → temperature=0.9",
        "−30 points [−32, −28]",
        "128 pairs of 16 prompts, speaking of prompts like these",
    ):
        assert said in line
    undetected = judged("creative-story", ARTICLE, ALL, p_value=0.4)["low-repeats"]
    assert "no detectable difference: the smallest we could have seen is 3 points" in undetected.numbers[0]


def test_stories_loop_at_a_low_temperature_or_nothing_is_detected() -> None:
    both = [0.2, 0.9]
    loops = judged("creative-story", both, ["loop_rate"], difference=-0.3)["low-loops"]
    assert (loops.status, loops.evidence[0].comparison.metric) == ("supported", "loop_rate")
    null = judged("creative-story", both, ["loop_rate"], difference=-0.02, p_value=0.4)["low-loops"]
    assert null.status == "not detectable"
    assert "no detectable difference: the smallest we could have seen is 3 points" in str(null)
    assert "low-loops" not in judged("technical-explanation", both, ["loop_rate"])


def test_a_difference_too_small_for_its_family_says_so() -> None:
    many = [compared("nll", trial(0.2), trial(0.9), 0.3, 0.03)] * 3
    line = ClaimResult(CLAIMS[0], "u", "not detectable", tuple(weigh(many[:1], [0.09], []))).numbers[0]
    assert "no detectable difference: p = 0.09 once corrected for all that was looked at" in line


def test_creativity_and_accuracy_are_not_judged() -> None:
    assert judged("creative-story", ARTICLE, ALL)["high-is-creative"].status == "cannot be judged"
    technical = judged("technical-explanation", ARTICLE, ALL)
    assert technical["high-is-inaccurate"].status == "cannot be judged"
    assert technical["high-is-inaccurate"].evidence == ()
    assert "high-is-creative" not in technical
    with_answers = judged("technical-explanation", ARTICLE, [*ALL, "exact_match"])
    assert with_answers["high-is-inaccurate"].status == "supported"


def test_a_claim_about_missing_temperatures_is_not_measured() -> None:
    few = judged("creative-story", [0.3, 0.9], ALL)
    assert few["low-repeats"].status == "supported"  # 0.3 stands in for 0.2
    assert few["middle-balances"].status == "not measured"
    assert "0.5" in few["middle-balances"].reason
    assert judged("creative-story", [0.4, 1.2], ALL) == {}


def test_a_setting_with_anything_else_on_is_not_the_articles() -> None:
    trials = [Trial(SamplingParams(temperature=t, top_p=0.9)) for t in ARTICLE]
    assert judge("creative-story", trials, [], lambda a, b, m: []) == []


def test_too_few_prompts_is_not_measured_and_says_what_to_add() -> None:
    trials = [trial(0.2), trial(0.9)]
    rows = [measured("seq_rep_4", t, 0.5) for t in trials]
    found = judge("creative-story", trials, rows, lambda a, b, m: [compared(x, a, b, -0.3, None) for x in m])
    [repeats] = [r for r in found if r.claim.key == "low-repeats"]
    assert repeats.status == "not measured"
    assert "add 5 prompts" in str(repeats)


def test_a_metric_without_data_says_why() -> None:
    trials = [trial(0.2), trial(0.9)]
    note = "a text has too few tokens"
    rows = [dataclasses.replace(measured("seq_rep_4", t, None), note=note) for t in trials]
    found = {r.claim.key: r for r in judge("creative-story", trials, rows, lambda a, b, m: [])}
    assert found["low-repeats"].status == "not measured"
    assert note in found["low-repeats"].reason


def test_every_claim_has_a_metric_that_exists_or_says_what_is_beyond() -> None:
    for claim in CLAIMS:
        assert claim.expected or claim.beyond
        assert all(x.metric in METRICS for x in claim.expected)
    assert set(HEADLINES) <= set(METRICS)


def test_many_looks_need_stronger_evidence() -> None:
    """One test at p = 0.03 is a finding, five of them are none: Holm multiplies the first by 5."""
    found = [compared("nll", trial(0.2), trial(0.9), 0.3, 0.03)]
    assert weigh(found, holm([0.03]), [])[0].direction == "rises"
    many = weigh(found * 5, holm([0.03] * 5), [])
    assert {e.direction for e in many} == {"undetected"}
    assert many[0].reason == "p = 0.15 once corrected for all that was looked at"


@given(st.lists(st.one_of(st.none(), st.floats(0, 1)), max_size=8))
def test_holm_keeps_the_order_and_never_helps(p_values: list[float | None]) -> None:
    corrected = holm(p_values)
    pairs = [(p, c) for p, c in zip(p_values, corrected, strict=True) if p is not None and c is not None]
    assert len(pairs) == len([p for p in p_values if p is not None])
    assert all(p <= c <= 1 for p, c in pairs)
    assert not pairs or min(pairs)[1] == min(1.0, min(pairs)[0] * len(pairs))  # the smallest pays for all
    assert [c for _, c in sorted(pairs)] == sorted(c for _, c in pairs)


def evidence(metric: str, difference: float, p_value: float | None = 0.001) -> Evidence:
    a, b = trial(0.2), trial(0.9)
    rows = [measured(metric, a, 0.62), measured(metric, b, 0.62 + difference)]
    return weigh([compared(metric, a, b, difference, p_value)], [p_value], rows)[0]


CONTRAST = Contrast("temperature", trial(0.2), trial(0.9), "")


def test_the_opening_says_what_was_found_with_its_numbers() -> None:
    found = [evidence("seq_rep_4", -0.58), evidence("nll", 0.3), evidence("relevance", -0.01, 0.6)]
    opening = open_with(CONTRAST, found)
    assert opening.sentence == (
        "From temperature 0.2 to 0.9 the texts repeat themselves less (62% → 4%) "
        "and use words the model finds less likely (0.62 → 0.92)."
    )
    assert opening.plain.endswith("repeat themselves less and use words the model finds less likely.")
    assert opening.caveat == "16 prompts, speaking of prompts like these"


def test_the_opening_vanishes_without_support() -> None:
    nothing = open_with(CONTRAST, [evidence("seq_rep_4", -0.58, 0.2), evidence("nll", 0.3, 0.9)])
    assert nothing.sentence == "From temperature 0.2 to 0.9 no difference was detected."
    unknown = open_with(CONTRAST, [evidence("seq_rep_4", -0.58, None)])
    assert unknown.sentence == "Too little was drawn to say what changes from temperature 0.2 to 0.9."
    assert (unknown.evidence, unknown.caveat) == ((), "add 5 prompts")


def test_two_metrics_of_one_thing_make_one_clause() -> None:
    both = open_with(CONTRAST, [evidence("loop_rate", -0.5), evidence("seq_rep_4", -0.3)])
    assert "repeat themselves" not in both.plain
    apart = open_with(CONTRAST, [evidence("loop_rate", -0.5), evidence("seq_rep_4", 0.3)])
    assert "end in loops less often and repeat themselves more" in apart.plain


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> poise.Study:
    """Ten prompts of a model that goes in a circle unless noise throws it out."""
    circle = np.full((len(WORDS), len(WORDS)), 0.0)
    for token in range(1, len(WORDS)):
        circle[token, 1 + token % (len(WORDS) - 1)] = 3.0
    circle[:, 0] = -20.0
    engine = FakeEngine(bigram=lambda token: circle[token], name="circle")
    path: Path = tmp_path_factory.mktemp("claims") / "study.db"
    prompts = [poise.Prompt("go " * (i + 1), use_case="creative-story\x1b[31m") for i in range(10)]
    settings = poise.grid(temperature=[0.2, 0.9])
    return poise.sweep(engine, prompts, settings, study=path, draws=4, max_tokens=64)


def test_claims_of_a_real_study(study: poise.Study) -> None:
    """The circle loops at 0.2 and is left at 0.9: a difference no test can miss."""
    found = {r.claim.key: r for r in poise.check_claims(study)}
    assert found["low-repeats"].status == "supported"
    assert found["high-varies"].status == "supported"
    assert found["middle-balances"].status == "not measured"
    text = str(poise.check_claims(study))
    assert "\x1b" not in text
    assert "creative-story␛[31m" in text
