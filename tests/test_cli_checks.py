"""Goals, checks and callables on the command line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from commands import Ended, Run
from poise import checks
from poise.metrics.examining import EXAMINER

CASE = """
name: ships
description: Whether it sails.
goal: {raise: passes, constraints: [invalid <= 0.1], matters: 0.05}
check: {callable: "mine:is_good"}
prompts:
  - text: the ship
    must_not_include: "\\e[31msorry"
"""
SWEEP = ("sweep", "fake", "-f", "ships.yaml", "--temperature", "0.3,0.9", "--draws", "8", "--max-tokens", "8")


@pytest.fixture
def swept(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ended]:
    """A study of a use case whose check is code."""
    monkeypatch.setattr(checks, "_allowed", set())
    (tmp_path / "ships.yaml").write_text(CASE, encoding="utf-8")
    (tmp_path / "mine.py").write_text("open('ran', 'w')\ndef is_good(text): return True", encoding="utf-8")
    yield run(*SWEEP)
    EXAMINER.close()


@pytest.mark.parametrize(
    "words", [("measure",), ("compare", "temperature=0.3", "temperature=0.9"), ("report",)], ids=lambda w: w[0]
)
def test_code_runs_only_when_it_is_allowed_by_name(
    run: Run, swept: Ended, tmp_path: Path, words: tuple[str, ...]
) -> None:
    assert swept.code == 0, swept.err
    refused = run(*words)
    assert (refused.code, refused.out) == (2, "")
    assert "only where it is allowed by name" in refused.err
    assert "--allow-callable mine:is_good" in refused.err
    assert not (tmp_path / "ran").exists()
    allowed = run(*words, "--allow-callable", "mine:is_good")
    assert allowed.code == 0, allowed.err
    assert (tmp_path / "ran").exists()


def test_the_next_command_may_run_the_same_code(run: Run, swept: Ended) -> None:
    measured = run("measure", "--metric", "passes", "--allow-callable", "mine:is_good")
    assert measured.out.rstrip().endswith("--allow-callable mine:is_good")
    rows = json.loads(run("measure", "--metric", "passes", "--allow-callable", "mine:is_good", "--json").out)["rows"]
    assert {r["mean"] for r in rows} == {1.0}


def test_a_name_that_is_none(run: Run, swept: Ended) -> None:
    ended = run("measure", "--allow-callable", "mine.py")
    assert (ended.code, ended.out) == (2, "")
    assert "callable is an import path, but got 'mine.py'. For example package.module:function." in ended.err


def test_usecase_show_shows_goal_and_checks(run: Run, swept: Ended) -> None:
    shown = run("usecase", "show", "ships.yaml")
    goal = "raise passes; invalid <= 0.1; differences under 0.05 do not matter; baseline engine-default"
    assert f"goal: {goal}" in shown.out
    assert "  1  the ship\n     check: must_not_include ␛[31msorry\n     check: callable mine:is_good\n" in shown.out
    record = json.loads(run("usecase", "show", "ships.yaml", "--json").out)
    assert record["goal"] == goal
    assert record["checks"] == [["must_not_include ␛[31msorry", "callable mine:is_good"]]


def test_a_goal_of_an_unknown_metric_is_found_before_drawing(run: Run, tmp_path: Path) -> None:
    (tmp_path / "ships.yaml").write_text("prompts: [a]\ngoal: {raise: pases}\n", encoding="utf-8")
    ended = run(*SWEEP)
    assert ended.code == 2
    assert "but got 'pases'. Did you mean passes?" in ended.err
    assert not list((tmp_path / "home").rglob("*.db"))


@pytest.mark.parametrize("metric", ["passes", "exact_match", "reference_f1"])
def test_a_goal_that_no_prompt_can_meet_is_found_before_drawing(run: Run, tmp_path: Path, metric: str) -> None:
    (tmp_path / "ships.yaml").write_text(f"prompts: [a]\ngoal: {{raise: {metric}}}\n", encoding="utf-8")
    ended = run(*SWEEP)
    assert ended.code == 2
    assert f"{metric} needs prompts with" in ended.err
    assert not list((tmp_path / "home").rglob("*.db"))
