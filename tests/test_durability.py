"""`kill -9` at random moments: nothing finished is lost, and the study resumes as if nothing had been."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from functools import cache
from pathlib import Path
from random import Random

import numpy as np
import pytest

from poise.engines.fake import WORDS, FakeEngine
from poise.params import grid
from poise.records import Completion
from poise.study import Study
from poise.sweeps import Progress, sweep

ROOT = Path(__file__).resolve().parent.parent
PROMPTS = ["a ship", "one quiet star", "nothing new"]
DRAWS, MAX_TOKENS, STEP = 6, 40, 0.02  # seconds that the fake model takes a step

# Says how many texts `add` has returned for, one line each, written through at once.
CHILD = """
import os, sys
from tests.test_durability import sweep_once
os.write(1, b"ready\\n")
sweep_once(sys.argv[1], lambda done, total, tally: os.write(1, b"%d\\n" % done))
os.write(1, b"end\\n")
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POISE_HOME", str(tmp_path / "home"))


def engine() -> FakeEngine:
    """A model whose texts end at every length, so that some finish at every moment."""
    table = np.random.default_rng(1).normal(0, 1.0, (len(WORDS), len(WORDS)))
    return FakeEngine(bigram=lambda token: np.asarray(table[token]), delay=STEP)


def sweep_once(path: str | Path, progress: Progress | None = None) -> Study:
    settings = grid(temperature=[0.3, 0.9, 1.5], top_p=[None, 0.9])
    return sweep(engine(), PROMPTS, settings, study=path, draws=DRAWS, max_tokens=MAX_TOKENS, progress=progress)


@cache
def uninterrupted(folder: Path) -> list[Completion]:
    with sweep_once(folder / "whole.db") as study:
        return list(study.completions())


@pytest.fixture
def whole(tmp_path_factory: pytest.TempPathFactory) -> list[Completion]:
    return uninterrupted(tmp_path_factory.getbasetemp())


def killed(path: Path, after: int, delay: float) -> tuple[int, bool]:
    """Sweep in a process of its own, and kill it some time after it has kept so many texts.

    Returns how many it has kept in truth, and whether it was still at work.
    """
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    said = [child.stdout.readline() for _ in range(after)]
    time.sleep(delay)
    child.send_signal(signal.SIGKILL)
    said += child.stdout.readlines()
    child.stdout.close()
    assert child.wait() in (0, -signal.SIGKILL)
    return max([int(line) for line in said if line.strip().isdigit()], default=0), "end\n" not in said


def check_kills(path: Path, moments: Random, kills: int, whole: list[Completion]) -> int:
    """Kill one study's sweep again and again, then let it end. Returns how many kills hit it at work."""
    expected = {(c.request.prompt.text, c.request.params, c.request.draw): c for c in whole}
    kept = at_work = 0
    for _ in range(kills):
        # Anywhere from before the file is there to the middle of a write near the end.
        drawn, busy = killed(path, moments.randrange(len(whole) // kills), moments.uniform(0, 0.03))
        kept, at_work = kept + drawn, at_work + busy
        if not path.exists():
            continue  # killed before the first byte
        with Study.open(path) as study:  # and not for reading: the file may be empty still
            assert study._db.rows("PRAGMA integrity_check") == [("ok",)]
            held = list(study.completions())
        assert len(held) >= kept, "a text that was finished is lost"
        for c in held:
            assert c == expected[c.request.prompt.text, c.request.params, c.request.draw]
        kept = len(held)
    with sweep_once(path) as study:
        assert study.last_sweep is not None
        assert study.last_sweep.reused == kept
        assert list(study.completions()) == whole
    return at_work


def test_the_uninterrupted_study_is_the_same_twice(tmp_path: Path, whole: list[Completion]) -> None:
    assert len(whole) == len(PROMPTS) * 8 * DRAWS  # six settings and two baselines, one of them alike
    with sweep_once(tmp_path / "again.db") as study:
        assert list(study.completions()) == whole


def test_five_kills(tmp_path: Path, whole: list[Completion]) -> None:
    """One study killed five times over: also a resumed sweep is killed, and its resumption."""
    assert check_kills(tmp_path / "s.db", Random(5), 5, whole) >= 4


@pytest.mark.slow
def test_fifty_kills(tmp_path: Path, whole: list[Completion]) -> None:
    """Twenty sweeps killed once, anywhere, and six killed five times over."""
    moments = Random(50)
    kills = [1] * 20 + [5] * 6
    at_work = [check_kills(tmp_path / f"{i}.db", moments, n, whole) for i, n in enumerate(kills)]
    assert sum(at_work) >= 40
