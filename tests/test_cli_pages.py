"""Pages are refused before any work: where a study lies, where nothing can be written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import poise
from commands import SWEEP, Run

DIAL = ["dial", "fake", "a ship", "--temperature", "0..1.5", "--max-tokens", "4"]


def no_work(*_: object, **__: object) -> None:
    raise AssertionError("work was begun")


@pytest.mark.parametrize("page", ["s.db", "here/../s.db", "link.db", "s.db-wal", "other.db"])
@pytest.mark.parametrize("there", [True, False])
def test_a_page_never_replaces_a_study(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, page: str, there: bool
) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "link.db").symlink_to("s.db")
    assert run(*DIAL, "--study", "other.db").code == 0
    if there:
        assert run(*DIAL, "--study", "s.db").code == 0
    before = {p: p.read_bytes() for p in tmp_path.glob("*.db") if p.exists()}
    monkeypatch.setattr(poise, "dial", no_work)
    done = run(*DIAL, "--study", "s.db", "--report", page)
    assert done.code == 2, done.err
    assert f"A page never replaces a study, but got '{page}', which is one" in done.err
    assert {p: p.read_bytes() for p in tmp_path.glob("*.db") if p.exists()} == before


def test_nor_the_study_that_no_flag_names(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = poise.plan_dial(poise.load("fake"), "a ship", "temperature", 0, 1.5, max_tokens=4)
    plan.study.parent.mkdir(parents=True, exist_ok=True)
    monkeypatch.setattr(poise, "dial", no_work)
    done = run(*DIAL, "--report", str(plan.study))
    assert done.code == 2
    assert "A page never replaces a study" in done.err
    assert not plan.study.exists()


def test_nor_does_a_report_or_a_demo(run: Run, tmp_path: Path) -> None:
    assert run(*SWEEP, "--study", "s.db").code == 0
    kept = (tmp_path / "s.db").read_bytes()
    for words in (["report", "--study", "s.db", "-o", "s.db"],
                  ["demo", "--model", "fake", "--no-open", "--study", "s.db", "-o", "s.db"],
                  ["demo", "--model", "fake", "--no-open", "--study", "new.db", "--dial", "new.db"]):  # fmt: skip
        done = run(*words)
        assert done.code == 2
        assert f"A {'report' if words[0] == 'report' else 'page'} never replaces a study" in done.err
    assert (tmp_path / "s.db").read_bytes() == kept
    both = run("demo", "--model", "fake", "--no-open", "-o", "one.html", "--dial", "one.html")
    assert both.code == 2
    assert "are two files, but got one.html" in both.err


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="no folder that nobody can write to")
def test_a_page_that_cannot_be_written_is_found_out_first(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(poise, "load", no_work)
    done = run(*DIAL, "--report", "/proc/x.html")
    assert done.code == 3
    assert "A page's file has to be writable, but got /proc/x.html: " in done.err
    assert "work was begun" not in done.err


def test_pages_and_figures_replace_nothing_but_files(run: Run, tmp_path: Path) -> None:
    """A pipe stands for every device: a root user's page must not become /dev/null."""
    os.mkfifo(tmp_path / "pipe.svg")
    assert run(*SWEEP, "--study", "texts.db").code == 0
    assert run(*DIAL, "--study", "s.db").code == 0
    figure = ["dump", "--what", "curves", "--study", "s.db", "--format", "svg", "-o"]
    for words, what in (([*DIAL, "--report"], "page"), (["report", "--study", "texts.db", "-o"], "report"),
                        (figure, "figure")):  # fmt: skip
        done = run(*words, "pipe.svg")
        assert done.code == 2, done.err
        assert f"A {what} goes to a file, but got 'pipe.svg', which is none" in done.err
    assert (tmp_path / "pipe.svg").is_fifo()
    study = (tmp_path / "s.db").read_bytes()
    assert "A figure never replaces a study" in run(*figure, "s.db").err
    assert (tmp_path / "s.db").read_bytes() == study


def test_the_trial_leaves_nothing_and_an_old_page_stays_until_the_new_one(run: Run, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("old")
    assert run(*DIAL, "--report", "page.html", "--study", "s.db", "--dry-run").code == 0
    assert [p.name for p in tmp_path.iterdir() if p.is_file()] == ["page.html"]
    assert (tmp_path / "page.html").read_text() == "old"
    assert run(*DIAL, "--report", "page.html", "--study", "s.db").code == 0
    assert (tmp_path / "page.html").read_text("utf-8").startswith("<!")
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("words", [SWEEP, ["generate", "fake", "hi"], DIAL, ["demo", "--model", "fake", "--no-open"]])
def test_no_folder_is_made_for_a_study(run: Run, tmp_path: Path, words: list[str]) -> None:
    done = run(*words, "--study", str(tmp_path / "nowhere" / "s.db"))
    assert done.code == 2
    assert "A study is a file in a folder that is there" in done.err
    assert not (tmp_path / "nowhere").exists()
