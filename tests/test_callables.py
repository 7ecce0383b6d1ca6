"""Callables of checks: run only when allowed, in a process of their own, answered whatever they do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from poise import checks
from poise.checks import allow_callable, read_checks
from poise.errors import MetricError, UseCaseError
from poise.measurements import measure
from poise.metrics import examining
from poise.metrics.checked import invalid, passes
from poise.metrics.context import Context
from poise.metrics.examining import EXAMINER
from poise.params import SamplingParams
from poise.records import Completion, Prompt
from poise.study import Study
from poise.verdicts import decide
from small_studies import COLD, GREEDY, WARM, drawn, study_of


@pytest.fixture(autouse=True)
def nothing_allowed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Each test starts with nothing allowed, in a folder of its own, with a process of its own."""
    monkeypatch.setattr(checks, "_allowed", set())
    monkeypatch.chdir(tmp_path)
    EXAMINER.close()
    yield
    EXAMINER.close()


def call(name: str, text: str = "a text", answers: tuple[str, ...] = ()) -> float | None:
    return passes(of(name, text, answers), Context())


def of(name: str, text: str, answers: tuple[str, ...] = ()) -> Completion:
    return drawn(text, Prompt("why", answers=answers, checks=read_checks({"callable": name})))


def write_callable(body: str, name: str = "mine") -> str:
    Path(f"{name}.py").write_text(body, encoding="utf-8")
    return f"{name}:check"


def test_a_callable_runs_only_when_it_is_allowed() -> None:
    name = write_callable("open('ran', 'w')\ndef check(text): return text == 'good'")
    with pytest.raises(MetricError, match=r"only where it is allowed by name.*--allow-callable mine:check"):
        call(name)
    assert not Path("ran").exists(), "not even imported"
    allow_callable("mine:other")
    with pytest.raises(MetricError, match="only where it is allowed by name"):
        call(name)
    allow_callable(name)
    assert [call(name, t) for t in ("good", "bad")] == [1, 0]
    with pytest.raises(UseCaseError, match="an import path"):
        allow_callable("mine")


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ("def check(text): return 0.25", 0.25),
        ("def check(text): return 1", 1),
        ("def check(text, prompt): return prompt['answers'] == ['4'] and prompt['prompt'] == 'why'", 1),
        ("def check(text, strict=True): return strict is True", 1),
        ("import numpy\ndef check(text): return numpy.bool_(True)", 1),
        ("import sys\ndef check(text): sys.stderr.write('note'); return True", 1),
        ("print('hello')\ndef check(text): return True", 1),  # as it is imported, it may
        ("class check:\n    def __new__(cls, text): return True", 1),
        ("def check(text): return None", 0),
    ],
)
def test_what_a_callable_may_return(body: str, found: float) -> None:
    allow_callable(name := write_callable(body))
    assert call(name, answers=("4",)) == found
    assert invalid(of(name, "a text", ("4",)), Context()) == float("None" in body)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("def check(text): raise ValueError('no ' + text)", "got ValueError: no a text at the text 'a text'"),
        ("def check(text): return 'yes'", "got 'yes' at the text 'a text'"),
        ("def check(text): return 1.5", "got 1.5 at the text"),
        ("def check(text): return float('nan')", "got nan at the text"),
        ("def check(text): print('hello'); return True", "and prints nothing, but got printed 'hello\\n'"),
        ("import sys\ndef check(text): sys.exit(0)", "got SystemExit: 0"),
        ("def check(text): return input()", "got EOFError"),
        ("def check(): return True", "got TypeError"),
        ("class Odd:\n  def __repr__(self): 1 / 0\ndef check(text): return Odd()", "got a Odd that cannot be shown"),
        ("import os\ndef check(text): os._exit(3)", "callable mine:check, which ended the process"),
        ("def check(text):\n  while True: pass", "mine:check still running at the text 'a text'"),
        ("import time\ndef check(text): time.sleep(1000)", "mine:check still running at the text 'a text'"),
        ("x = 1", "a function that can be imported, but got mine:check: AttributeError"),
        ("check = 3", "got mine:check: TypeError: check is no function, but int"),
        ("1 / 0", "got mine:check: ZeroDivisionError"),
        ("import sys; sys.exit(1)", "got mine:check: SystemExit: 1"),
    ],
)
def test_a_callable_that_misbehaves(body: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if "still running" in message:
        monkeypatch.setattr(examining, "SECONDS", 0.5)
    allow_callable(name := write_callable(body))
    with pytest.raises(MetricError) as caught:
        call(name)
    assert message in str(caught.value)
    assert "mine:check" in str(caught.value)
    assert caught.value.next_step
    monkeypatch.setattr(examining, "SECONDS", 10.0)
    allow_callable(fine := write_callable("def check(text): return True", "fine"))
    assert call(fine) == 1, "the next one is answered"


def test_what_a_callable_says_is_shown_and_clipped() -> None:
    allow_callable(name := write_callable("def check(text): raise ValueError('\\x1b[31m' + text * 100)"))
    with pytest.raises(MetricError) as caught:
        call(name, "long \x1b[31m" * 100)
    assert "\x1b" not in str(caught.value)
    assert len(str(caught.value)) < 600


# In a study

TEXTS = {WARM: ["42", "41", "none"], COLD: ["42", "42", "42"]}


def checked_study(path: Path, name: str, texts: dict[SamplingParams, list[str]]) -> Study:
    study = study_of(path, {})
    for params, all_texts in texts.items():
        for i, text in enumerate(all_texts):
            asked = Prompt("why", checks=read_checks({"callable": name}))
            study.add(drawn(text, asked, params, i))
    return study


def test_an_error_of_a_callable_loses_nothing(tmp_path: Path) -> None:
    allow_callable(name := write_callable("def check(text): raise ValueError('bad')"))
    with checked_study(tmp_path, name, TEXTS) as study:
        with pytest.raises(MetricError, match="ValueError: bad"):
            measure(study)
        assert EXAMINER._process is None, "no process is left behind"
        assert study.count() == 6
        assert [m.metric for m in measure(study, metrics=["length"])] == ["length"] * 2
        write_callable("def check(text): return text == '42'")
        assert {m.trial.params: m.mean for m in measure(study, metrics=["passes"])}[COLD] == 1


def test_a_strangers_callable_is_refused_where_it_is_asked_for_and_else_left_out(tmp_path: Path) -> None:
    with checked_study(tmp_path, "mine:check", TEXTS) as study:
        with pytest.raises(MetricError, match=r"'mine:check'\. Read it, then add --allow-callable mine:check"):
            measure(study, metrics=["passes"])
        found = measure(study)
        assert "passes" not in {m.metric for m in found}
        assert found.notes[-1].startswith("passes and invalid were left out: mine:check is not allowed")
        (verdict,) = decide(study, goal={"raise": "length", "baseline": "temperature=0.3"})
        assert "checks by mine:check were not made: --allow-callable mine:check makes them" in verdict.notes


def test_greedy_texts_are_asked_about_once(tmp_path: Path) -> None:
    allow_callable(name := write_callable("def check(text):\n  open('calls', 'a').write('x')\n  return True"))
    with checked_study(tmp_path, name, {GREEDY: ["same"] * 8, WARM: ["same", "other"]}) as study:
        measure(study, metrics=["passes", "invalid"])
    assert Path("calls").read_text() == "xx"
