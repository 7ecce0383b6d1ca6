"""Judges: what is asked, how often, and what the answers are worth, with a judge that can be foreseen."""

from __future__ import annotations

from pathlib import Path

import pytest

from fake_judge import FakeJudge, serving
from judged_study import TEXTS, asked, of_why, values
from poise.comparisons import compare
from poise.errors import MetricError
from poise.goals import Aim, read_goal
from poise.judges.endpoint import KEY_ENV, QUESTION, Said, understood
from poise.judging import judge, plan_judging
from poise.measurements import measure
from poise.metrics import METRICS
from poise.metrics.judged import read_panel
from poise.metrics.readings import read_values
from poise.samples import take
from poise.study import Study
from poise.verdicts import decide
from small_studies import COLD, GREEDY, HOT, WARM, long, study_of


@pytest.fixture(autouse=True)
def no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY_ENV, raising=False)


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return study_of(tmp_path, TEXTS)


# What is asked, and what it is worth


def test_the_longer_text_wins_in_both_orders(study: Study) -> None:
    with serving(FakeJudge()) as server:
        done = asked(study, server)
    assert of_why(study) == {WARM: [0.5, 0.5], COLD: [1, 0.5], HOT: [0, 0.5]}
    assert (done.plan.pairs, done.plan.same, done.plan.calls, done.asked, len(server.asked)) == (3, 1, 6, 6, 6)
    trust = done.reliability
    assert (trust.orders.share, trust.orders.n, trust.first.share, trust.first.n) == (1, 3, 0.5, 4)
    assert (trust.garbage.share, trust.refusals.share, trust.withheld, done.notes) == (0, 0, 0, [])
    assert trust.orders.low is None
    assert trust.orders.note == "an interval needs 8 prompts"
    assert {(b["model"], b["temperature"]) for b in server.bodies} == {("wise", 0)}


def test_every_pair_is_shown_in_both_orders(study: Study) -> None:
    with serving(FakeJudge()) as server:
        asked(study, server, parallel=1)
    texts = [[q.split(f"<<<TEXT {name} ")[1].splitlines()[1] for name in "AB"] for q in server.asked]
    assert texts[:4] == [["xxx", "xx"], ["xx", "xxx"], ["x", "xx"], ["xx", "x"]]  # draw 0, then draw 1
    assert texts[4:] == [["zzz", "yyy"], ["yyy", "zzz"]]
    assert all(QUESTION in q for q in server.asked)


def test_swapping_takes_a_liking_for_the_first_text_out(tmp_path: Path) -> None:
    texts = {f"p{i}": ["xx"] for i in range(8)}
    longer = {p: ["xxx"] for p in texts}
    with study_of(tmp_path, {WARM: texts, COLD: longer}) as study, serving(FakeJudge("first")) as server:
        done = asked(study, server)
        assert set(values(study).values()) == {0.5}
    trust = done.reliability
    assert (trust.orders.share, trust.orders.n, trust.orders.n_prompts) == (0, 8, 8)
    assert trust.first.share == 1
    assert trust.first.low == pytest.approx(0.025 ** (1 / 8))  # of eight prompts, all
    assert "The judge prefers the text shown first (first: 100% [63%, 100%]);" in done.notes[0]


@pytest.mark.parametrize(
    ("way", "says"),
    [
        ("first", "both orders agree: 0% [0%, 37%]; first text preferred: 100% [63%, 100%]; garbage: 0% [0%, 37%];"),
        ("first", "The judge prefers the text shown first"),
        ("first", "Both orders of a pair agree in 0% [0%, 37%] of the cases, and two coins would in 50%:"),
        ("garbage", "garbage: 100% [63%, 100%]; refusals: 0% [0%, 37%]."),
        ("garbage", "100% of the answers are invalid, more than 20%: this judge cannot do it"),
        ("garbage", "8 of 8 pairs have no value"),
        ("longer", "both orders agree: 100% [63%, 100%]; first text preferred: 50%"),
    ],
)
def test_a_verdict_says_how_far_to_trust_its_judge(tmp_path: Path, way: str, says: str) -> None:
    goal = {"raise": "judge", "baseline": "temperature=0.7"}
    with study_of(tmp_path, {WARM: long(2), COLD: long(9)}) as study, serving(FakeJudge(way)) as server:
        asked(study, server)
        found = decide(study, goal=goal)
        other = decide(study, goal={**goal, "raise": "length"})
    assert "Judge wise, 8 pairs: both orders agree: " in str(found)
    assert says in str(found)
    assert "udge wise" not in str(other)


def test_repeats_are_asked_and_counted(study: Study) -> None:
    with serving(FakeJudge()) as server:
        done = asked(study, server, repeats=3)
    assert (done.plan.calls, len(server.asked)) == (18, 18)
    trust = done.reliability
    assert (trust.repeats.share, trust.repeats.n) == (1, 3 * 2 * 3)  # three ways to pair three repeats
    assert (trust.orders.share, trust.orders.n) == (1, 9)
    assert of_why(study)[COLD] == [1, 0.5]


def test_only_the_first_draws(study: Study) -> None:
    """Draws that were not judged whole have no values, the same words as the baseline's or not."""
    with serving(FakeJudge()) as server:
        assert asked(study, server, limit_draws=1).plan.calls == 4
    assert of_why(study) == {WARM: [0.5, 0.5], COLD: [1, 0.5], HOT: [0, None]}


def test_another_baseline_question_and_judge_are_other_judgements(study: Study) -> None:
    with serving(FakeJudge()) as server:
        asked(study, server)
        assert asked(study, server, baseline="temperature=0.9").plan.kept == 0
        assert of_why(study) == {WARM: [1, 0.5], COLD: [1, 0.5], HOT: [0.5, 0.5]}
        assert asked(study, server, question="Which is funnier?").plan.kept == 0
        assert "Which is funnier?" in server.asked[-1]
        assert judge(study, server.url, "wiser", baseline=WARM).plan.kept == 0
        assert asked(study, server).asked == 0  # the first one again: all of it is there, and it counts
    panel = read_panel(study, "prompt")
    assert panel is not None
    assert (panel.model, panel.baseline) == ("wise", WARM.normalised())


def test_the_baseline_is_the_goals(study: Study) -> None:
    study.keep_goal("prompt", read_goal({"raise": "judge", "baseline": "temperature=0.9"}))
    with serving(FakeJudge()) as server:
        plan = plan_judging(study, server.url, "wise")
    assert plan.baselines["prompt"].label == "temperature=0.9"
    assert "prompt: temperature=0.9" in str(plan)
    assert server.asked == []


def test_measure_and_compare_read_it(tmp_path: Path) -> None:
    """Eight prompts: COLD wins on six, loses on two: 0.75, 0.25 above the baseline."""
    warm = {f"p{i}": ["xx"] for i in range(8)}
    cold = {f"p{i}": ["xxx" if i < 6 else "x"] for i in range(8)}
    with study_of(tmp_path, {WARM: warm, COLD: cold}) as study, serving(FakeJudge()) as server:
        assert "judge" not in {m.metric for m in measure(study)}
        with pytest.raises(MetricError, match=r"judge needs texts that a judge compared.*`poise judge` asks one"):
            measure(study, metrics=["judge"])
        asked(study, server)
        rows = {m.trial.params: m for m in measure(study) if m.metric == "judge"}
        assert rows[COLD.normalised()].mean == 0.75
        [found] = compare(study, WARM, COLD, metrics=["judge"])
        assert found.difference == 0.25
        assert found.low is not None
        assert found.low < 0.25


# Answers that are none


def test_garbage_is_asked_for_once_more_and_then_counted(study: Study) -> None:
    with serving(FakeJudge("garbage")) as server:
        done = asked(study, server)
        assert (done.asked, len(server.asked)) == (12, 12)
        assert asked(study, server).asked == 0  # never a third time
    assert done.reliability.garbage.share == 1
    assert done.reliability.withheld == 3
    assert "100% of the answers are invalid, more than 20%" in done.notes[0]
    assert "3 of 3 pairs have no value" in done.notes[1]
    assert of_why(study) == {WARM: [0.5, 0.5], COLD: [None, None], HOT: [None, None]}
    kept = [r for r in study.all_noted("judgement").values() if "pair" in r]
    assert {(r["answer"], r["attempts"], r["said"]) for r in kept} == {("garbage", 2, "Both texts have their merits.")}


def test_a_judge_that_collects_itself_counts(study: Study) -> None:
    with serving(FakeJudge("mumbles")) as server:
        done = asked(study, server)
    assert done.asked == 12
    assert done.reliability.garbage.share == 0
    assert of_why(study)[COLD] == [1, 0.5]


def test_refusals(study: Study) -> None:
    with serving(FakeJudge("refuses")) as server:
        done = asked(study, server)
    assert (done.reliability.refusals.share, done.reliability.garbage.share, done.asked) == (1, 0, 12)


def test_thinking_aloud_is_no_garbage(study: Study) -> None:
    with serving(FakeJudge("thinks")) as server:
        asked(study, server)
    assert of_why(study)[HOT] == [0, 0.5]


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("A", "A"), (" b.\n", "B"), ("**TIE**", "TIE"), ("Tie!", "TIE"), ("\"A\"", "A"), ("ＴＩＥ", "TIE"),
        ("A or B", "garbage"), ("", "garbage"), ("C", "garbage"), ("Answer: A", "garbage"),
        ("</think>B", "B"), ("<think>never ends A", "garbage"),
    ],
)  # fmt: skip
def test_what_an_answer_means(said: str, meant: str) -> None:
    assert understood(Said(said)) == meant
    assert understood(Said(said, refused=True)) == "refusal"


def test_the_docs_show_the_question() -> None:
    page = (Path(__file__).resolve().parent.parent / "docs" / "judge.md").read_text("utf-8")
    assert QUESTION in " ".join(page.replace("\n> ", " ").split())


def test_a_greedy_text_is_worth_something_else_beside_each_text_of_the_baseline(tmp_path: Path) -> None:
    """One greedy text, longer than two of the baseline's four, shorter than one, equal to one: 0.625, by draw too."""
    base = ["x", "xx", "xxx", "xxxx"]
    with (
        study_of(tmp_path, {WARM: {"why": base}, GREEDY: {"why": ["xxx"] * 4}}) as study,
        serving(FakeJudge()) as server,
    ):
        assert asked(study, server).plan.same == 1
        assert [values(study)[GREEDY, 0, d] for d in range(4)] == [1, 1, 0.5, 0]
        means = {m.trial.params: m.mean for m in measure(study, metrics=["judge"])}
        assert means == {WARM.normalised(): 0.5, GREEDY.normalised(): 0.625}
        [found] = compare(study, WARM, GREEDY, metrics=["judge"])
        assert (found.difference, found.n_pairs) == (0.125, 4)
        sample = take(study, read_values(study, "prompt", [METRICS["judge"]]), Aim("judge", "raise"), [0])
        assert sorted(map(tuple, sample.strata[0].tolist())) == [(0, 0.5), (0.5, 0.5), (1, 0.5), (1, 0.5)]
