"""Rounds: what they ask, drop, spend and keep."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from commands import Run
from poise.cli import racing
from poise.cli.progress import Meter
from poise.engines.fake import WORDS, FakeEngine, make
from poise.errors import PoiseError, UsageError, UseCaseError
from poise.params import SamplingParams, grid
from poise.records import Completion, Prompt, Request
from poise.sessions import Tally
from poise.study import Study
from poise.usecases import UseCase
from poise.verdicts import decide, plan_rounds, sweep_until_decided

MADE = ("the" + "".join(words) for words in itertools.product(WORDS[1:8], WORDS[2:10]))
PROMPTS = list({make().encode(Prompt(text)): text for text in MADE}.values())[:40]
GOAL = {"lower": "seq_rep_4", "matters": 0.01, "constraints": ["loop_rate <= 0.5"]}
HEATS = grid(temperature=[0.2, 0.5, 1.0, 1.5])
DRAW: Any = {"draws": 4, "max_tokens": 40, "min_tokens": 40}


def case(goal: Any = GOAL, prompts: Iterable[str] = PROMPTS) -> UseCase:
    return UseCase(name="tales", prompts=tuple(prompts), goal=goal)


def test_worse_settings_get_fewer_prompts_and_the_plan_is_never_passed(tmp_path: Path) -> None:
    plan = plan_rounds(make(), case(), HEATS, study=tmp_path / "s.db", **DRAW)
    # 13 of 40 prompts check. Five settings, greedy among them: 27 × 5 × 4 + 13 × 3 × 4, or all: 40 × 5 × 4.
    assert (plan.sizes, plan.held_out, plan.most, plan.fixed) == ((10, 15, 27), 13, 696, 800)
    told: list[tuple[int, int]] = []
    with sweep_until_decided(
        make(), case(), HEATS, study=tmp_path / "s.db", progress=lambda d, t, _: told.append((d, t)), **DRAW
    ) as study:
        said = study.noted("rounds", "tales")
        assert said is not None
        assert said["asked"]["temperature=0"] == 10  # it loops: out at the first look
        assert study.count("tales", SamplingParams(temperature=0)) == 10 * 4
        (verdict,) = decide(study)
        assert study.caveats() == []  # what was dropped is not missing
        assert study.last_sweep is not None
        assert study.last_sweep.drawn == study.count() < plan.most
    assert verdict.looks == tuple(n for n in plan.sizes if n <= said["seen"])
    assert verdict.units == said["seen"]
    out = next(c for c in verdict.contenders if c.trial.params.greedy)
    assert not out.in_set
    assert told[0] == (0, 696)
    assert all(done <= most for done, most in told)
    assert [d for d, _ in told] == sorted(d for d, _ in told)


def test_the_held_out_prompts_see_only_what_the_verdict_speaks_of(tmp_path: Path) -> None:
    with sweep_until_decided(make(), case(), HEATS, study=tmp_path / "s.db", **DRAW) as study:
        said, (verdict,) = study.noted("rounds", "tales"), decide(study)
    assert said is not None
    assert verdict.naive is not None
    named = {t.label for t in (verdict.baseline, verdict.recommended, verdict.naive.trial) if t is not None}
    assert set(said["checked"]) == named
    if len(named) > 1:
        assert verdict.naive.delivered.how == "held out"
        assert verdict.naive.delivered.units <= 13


class Stops(FakeEngine):
    """Ends with an exception after so many texts."""

    left = 100

    def generate(self, requests: Iterable[Request], tally: Tally | None = None) -> Iterator[Completion]:
        for completion in super().generate(requests, tally):
            if self.left == 0:
                raise KeyboardInterrupt
            self.left -= 1
            yield completion


def test_an_interrupted_race_goes_on_to_the_same_verdict(tmp_path: Path) -> None:
    with sweep_until_decided(make(), case(), HEATS, study=tmp_path / "whole.db", **DRAW) as study:
        whole, texts = decide(study).rows(), study.count()
    for left in (3, 300):
        engine, path = Stops(), tmp_path / f"{left}.db"
        engine.left = left
        with pytest.raises(KeyboardInterrupt):
            sweep_until_decided(engine, case(), HEATS, study=path, **DRAW)
        with Study.open(path, read_only=True) as study:
            assert study.count() == left
            assert "missing" in study.caveats()[0]
        with sweep_until_decided(make(), case(), HEATS, study=path, **DRAW) as study:
            assert (decide(study).rows(), study.count()) == (whole, texts)


def test_another_plan_in_the_same_study_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    sweep_until_decided(make(), case(), HEATS, study=path, **DRAW).close()
    for change, told in (
        (lambda: plan_rounds(make(), case(), HEATS, study=path, **{**DRAW, "draws": 5}), "draws"),
        (lambda: plan_rounds(make(), case(), HEATS[:3], study=path, **DRAW), "settings"),
        (lambda: plan_rounds(make(), case({**GOAL, "matters": 0.1}), HEATS, study=path, **DRAW), "goal"),
        (lambda: plan_rounds(make(), case(prompts=PROMPTS[:30]), HEATS, study=path, **DRAW), "prompts"),
    ):
        with pytest.raises(UsageError, match=f"go on as they were planned, but got other .*{told}.* --study"):
            change()


def test_another_goal_gets_one_look_at_the_error_of_the_last_one(tmp_path: Path) -> None:
    """The rounds stopped when the data said so: only the share of the error planned for that look is left."""
    with sweep_until_decided(make(), case(), HEATS, study=tmp_path / "s.db", **DRAW) as study:
        said = study.noted("rounds", "tales")
        (found,) = decide(study, goal={"raise": "nll"})
        (changed,) = decide(study, goal={**GOAL, "matters": 0.2})
        with pytest.raises(UsageError, match="hold out the prompts that were planned"):
            decide(study, holdout=False)
    assert said is not None
    looks = [0, *(n for n in said["sizes"] if n <= said["seen"])]
    share = (looks[-1] - looks[-2]) / said["sizes"][-1]
    for verdict in (found, changed):
        assert len(verdict.looks) == 1
        assert any(f"at an error of {0.05 * share:.1%}" in note for note in verdict.notes)


@pytest.mark.parametrize(
    ("use_case", "error", "says"),
    [
        (case(None), UseCaseError, "goal"),
        (case({"lower": "seq_rep_4"}), UseCaseError, "Add matters:"),
        (case({"lower": "seq_rep", "matters": 1}), PoiseError, "Did you mean seq_rep_4"),
        (case(prompts=PROMPTS[:7]), UseCaseError, "sweep without --until-decided"),
        (case({"hold": "nll", "near": "reference", "matters": 0.1}), UseCaseError, "40 prompts without one"),
        ("tales", UsageError, "UseCase"),
    ],
)
def test_mistakes_are_told_before_anything_is_drawn(
    tmp_path: Path, use_case: Any, error: type[PoiseError], says: str
) -> None:
    with pytest.raises(error) as caught:
        sweep_until_decided(make(), use_case, HEATS, study=tmp_path / "s.db", **DRAW)
    assert says in str(caught.value)
    assert not (tmp_path / "s.db").exists()


def test_on_the_command_line(run: Run, tmp_path: Path) -> None:
    prompts = "".join(f"  - {p!r}\n" for p in PROMPTS)
    goal = "goal: {lower: seq_rep_4, matters: 0.01, constraints: [loop_rate <= 0.5]}\n"
    (tmp_path / "tales.yaml").write_text(f"{goal}prompts:\n{prompts}", encoding="utf-8")
    words = ("sweep", "fake", "-f", "tales.yaml", "--temperature", "0.2,0.5,1,1.5", "--until-decided")
    more = ("--draws", "4", "--max-tokens", "40", "--min-tokens", "40")
    planned = run(*words, *more, "--dry-run")
    assert planned.code == 0
    assert "at most 696, at 4 draws; all at once would take 800" in planned.out
    done = run(*words, *more)
    assert done.code == 0
    assert "of 800 that all prompts under all settings would take" in done.out
    assert "tales: Use temperature=1.5: it was shown to lower seq_rep_4" in done.out
    assert run("sweep", "fake", "a ship", "--temperature", "0.2", "--until-decided").code == 2


def test_an_interruption_says_what_this_call_drew(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second time, what the first had drawn is not counted again."""
    prompts = "".join(f"  - {p!r}\n" for p in PROMPTS)
    goal = "goal: {lower: seq_rep_4, matters: 0.01}\n"
    (tmp_path / "tales.yaml").write_text(f"{goal}prompts:\n{prompts}", encoding="utf-8")
    words = ["sweep", "fake", "-f", "tales.yaml", "--temperature", "0.2,1.5", "--draws", "2", "--max-tokens", "8"]
    words += ["--until-decided", "--study", "s.db"]
    ends = iter([28, 1])

    class Impatient(Meter):
        def __call__(self, done: int, total: int, tally: Any) -> None:
            super().__call__(done, total, tally)
            if done == self.ends:
                raise KeyboardInterrupt

        def __enter__(self) -> Any:
            self.ends = next(ends)
            return super().__enter__()

    monkeypatch.setattr(racing, "Meter", Impatient)
    for said in ("28 more texts were drawn and are kept in s.db", "1 more text was drawn and is kept in s.db"):
        done = run(*words)
        assert done.code == 130
        assert f"Interrupted: {said}.\nThe same command goes on." in done.err
    with Study.open(tmp_path / "s.db") as study:
        assert len(list(study.completions("tales"))) == 29
