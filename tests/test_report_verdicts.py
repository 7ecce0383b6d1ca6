"""The verdict on the page: the terminal's sentences, its evidence, texts of both sides, quiet where there is none."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

import poise
from commands import Run
from poise.errors import StudyError, UsageError
from poise.goals import read_goal
from poise.params import SamplingParams
from poise.reports.charts import NOTEBOOK
from poise.reports.gaps import MAX_ROWS, gap_spec, in_words, shown_in
from poise.reports.ruling import rule_on
from poise.verdicts.words import headline, sentences
from small_studies import COLD, GREEDY, HOT, WARM, study_of

RAISE = {"raise": "length", "baseline": "temperature=0.3", "matters": 2}


def texts(add: Sequence[int], prompts: int = 16) -> Mapping[str, Sequence[str]]:
    """Of prompt i: 20 + i tokens, and what `add` says of this prompt in turn."""
    return {f"p{i}": ["x" * (20 + i + add[i % len(add)])] for i in range(prompts)}


@pytest.fixture
def study(tmp_path: Path) -> poise.Study:
    """0.7 is longer than 0.3 by 2 to 6 tokens, 4 on average, and 0.9 by none on average."""
    return study_of(tmp_path, {COLD: texts([0]), WARM: texts([3, 2, 5, 6]), HOT: texts([1, -2, 2, -1])})


def written(study: poise.Study, folder: Path, goal: Mapping[str, Any] | None = None) -> str:
    goals = None if goal is None else {"prompt": read_goal(goal)}
    page = poise.report(study, folder / "page.html", goals=goals).read_text(encoding="utf-8")
    return page.partition("<script>")[0]


def plain(page: str) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page)).split())


def test_the_page_says_what_the_terminal_says(study: poise.Study, tmp_path: Path) -> None:
    study.keep_goal("prompt", read_goal(RAISE))
    page = written(study, tmp_path)
    [verdict] = poise.decide(study)
    for sentence in (headline(verdict), *sentences(verdict)):
        assert sentence in plain(page)
    assert plain(page).index(headline(verdict)) < plain(page).index("Promised")
    assert page.count(html.escape(headline(verdict))) == 1, "once, at the top of a page of one section"
    assert "The goal: raise length; differences under 2 do not matter; baseline temperature=0.3." in plain(page)
    assert "No goal was given" not in page
    assert "A verdict compares every setting with every other" in page


def test_the_evidence_is_one_click_below(study: poise.Study, tmp_path: Path) -> None:
    page = written(study, tmp_path, RAISE)
    details = re.search(r'<details class="grounds">(.*?)</details>', page, re.DOTALL)
    assert details
    said = plain(details[1])
    assert said.startswith("The evidence: every setting against the baseline")
    assert "temperature=0.7 was shown to be better" in said
    best = re.findall(r'<tr class="best"><th scope="row">(.*?)</th>', details[1])
    assert best == ["temperature=0.7"]
    spec = json.loads(re.findall(r'<script type="application/json">(.*?)</script>', details[1])[0])
    dots = {d["setting"]: (round(d["at"]), d["best"]) for d in spec["datasets"]["contenders"]}
    assert dots["temperature=0.3"] == (0, False)
    assert dots["temperature=0.7"] == (4, True)
    assert dots["temperature=0.9"] == (0, False)
    assert spec["datasets"]["band"] == [{"from": -2.0, "to": 2.0}]


def test_both_sides_stand_beside_it(study: poise.Study, tmp_path: Path) -> None:
    ruling, why = rule_on(study, "prompt", {"prompt": read_goal(RAISE)})
    assert why == ""
    assert ruling is not None
    assert ruling.sides is not None
    left, right = ruling.sides.pair
    assert (left.role, left.excerpt.trial.label, left.excerpt.tokens) == ("recommended", "temperature=0.7", 23)
    assert (right.role, right.excerpt.trial.label, right.excerpt.tokens) == ("baseline", "temperature=0.3", 20)
    assert (ruling.sides.prompt.text, ruling.sides.draw) == ("p0", 0)
    page = written(study, tmp_path, RAISE)
    assert page.count('<div class="side">') == 2
    assert "Draw 0, seed 0, of “ p0 ”: the first of the first prompt, unchosen." in plain(page)


def test_where_the_baseline_stays_the_best_mean_stands_beside_it(study: poise.Study) -> None:
    kept, _ = rule_on(study, "prompt", {"prompt": read_goal({**RAISE, "baseline": "temperature=0.7"})})
    assert kept is not None
    assert kept.sides is not None
    assert [s.role for s in kept.sides.pair] == ["next best", "baseline"]
    assert kept.sides.pair[1].excerpt.trial.label == "temperature=0.7"


def test_too_little_has_no_sides_and_no_chart(tmp_path: Path) -> None:
    with study_of(tmp_path, {COLD: texts([0], 3), WARM: texts([3, 5], 3)}) as few:
        ruling, _ = rule_on(few, "prompt", {"prompt": read_goal(RAISE)})
        page = written(few, tmp_path, RAISE)
    assert ruling is not None
    assert ruling.headline.startswith(
        "Nothing can be concluded yet: an interval needs 8 draws of each of these prompts"
    )
    assert (ruling.sides, ruling.chart) == (None, None)
    assert '<div class="ruling alone">' in page


def test_without_a_goal_a_quiet_line_says_how(study: poise.Study, tmp_path: Path) -> None:
    said = plain(written(study, tmp_path))
    assert "No goal was given, so nothing is decided here. poise decide --raise METRIC says which setting suits" in said
    assert "A verdict compares" not in said


def test_a_kept_goal_that_cannot_be_decided_is_no_fault_of_the_page(study: poise.Study, tmp_path: Path) -> None:
    goal = read_goal({"raise": "length"})
    study.keep_goal("prompt", goal)
    said = plain(written(study, tmp_path))
    assert "No verdict: The baseline of prompt is one of the settings drawn for it" in said
    with pytest.raises(StudyError, match="The baseline of prompt"):
        poise.report(study, tmp_path / "page.html", goals={"prompt": goal})
    with pytest.raises(UsageError, match=r"Goals are given by use case, but got 'poems'\. The study holds prompt"):
        poise.report(study, tmp_path / "page.html", goals={"poems": goal})


def test_the_command_takes_a_goal(run: Run, study: poise.Study, tmp_path: Path) -> None:
    study.close()
    words = ["--raise", "length", "--baseline", "temperature=0.3"]
    hint = run("decide", "small.db", *words).out.splitlines()[-1]
    done = run(*hint.removeprefix("Next: poise ").split())
    assert done.code == 0, done.err
    page = (tmp_path / "report.html").read_text("utf-8")
    assert "Use temperature=0.7: it was shown to raise length over temperature=0.3" in page
    wrong = run("report", "--study", "small.db", "--raise", "lenght")
    assert wrong.code == 2
    assert "Did you mean length?" in wrong.err


def test_a_chart_of_shares_is_in_points_and_draws(tmp_path: Path) -> None:
    """vl-convert holds the specification against Vega-Lite by drawing it."""
    vl_convert = pytest.importorskip("vl_convert")
    loop = {f"p{i}": ["abc" * 20 if i % 4 else "xyz and so it goes on"] for i in range(16)}
    free = {f"p{i}": ["once upon a time there was a ship"[: 20 + i]] for i in range(16)}
    with study_of(tmp_path, {GREEDY: loop, COLD: free, WARM: free}) as study:
        [verdict] = poise.decide(study, goal={"lower": "loop_rate", "baseline": "temperature=0"})
    spec = gap_spec(verdict, NOTEBOOK)
    assert spec is not None
    low = min(d["at"] for d in spec["datasets"]["contenders"])
    assert low == 100 * min(c.difference or 0 for c in verdict.contenders) < -50
    svg = vl_convert.vegalite_to_svg({**spec, "width": 400})
    assert "points; better is to the left" in svg
    assert "temperature=0.7" in svg
    assert "lowest −" in in_words(verdict)
    assert "highest 0 points at temperature=0." in in_words(verdict)


def test_the_chart_of_many_settings_keeps_the_baseline(tmp_path: Path) -> None:
    laid = {SamplingParams(temperature=t / 100): texts([t % 7, t % 5]) for t in range(30, 80)}
    with study_of(tmp_path, laid) as study:
        for label in ("temperature=0.3", "temperature=0.79"):
            [verdict] = poise.decide(study, goal={"raise": "length", "baseline": label})
            shown = shown_in(verdict)
            assert len(shown) == MAX_ROWS
            assert verdict.of(verdict.baseline) in shown
    ruling, _ = rule_on(study_of(tmp_path, {}), "prompt", {"prompt": read_goal({**RAISE, "matters": None})})
    assert ruling is not None
    assert ruling.chart is not None
    assert ruling.chart.lines_hidden == 10
