"""poise dial and generate --why on the command line."""

from __future__ import annotations

import csv
import json
import signal
from pathlib import Path

import pytest

import poise
from commands import Run, spawn
from poise.engines.fake import FakeEngine

DIAL = ["dial", "fake", "a ship", "--temperature", "0..1.5", "--max-tokens", "16"]


def test_a_dial_says_what_it_expects_and_what_it_was(run: Run) -> None:
    done = run(*DIAL, "--draws", "2")
    assert done.code == 0, done.err
    assert "expected  about" in done.err
    assert "exact     each token's score is a line" in done.err
    assert "100.0% of the range is known exactly" in done.out
    assert "Next: poise dial fake 'a ship' --temperature 0..1.5 --report dial.html" in done.out
    again = run(*DIAL, "--draws", "2")
    assert " 0 rows in " in again.out


def test_json_tiles_the_range_and_agrees_with_python(run: Run, tmp_path: Path) -> None:
    found = json.loads(run(*DIAL, "--top-p", "0.9", "--json").out)
    [dial] = found["dials"]
    ours = poise.dial(
        FakeEngine(), "a ship", "temperature", 0, 1.5, params=poise.SamplingParams(top_p=0.9), max_tokens=16,
        study=tmp_path / "x.db",
    )  # fmt: skip
    assert [(p["low"], p["high"], p["text"]) for p in dial["pieces"]] == [(p.low, p.high, p.text) for p in ours.pieces]
    assert dial["params"] == {"top_p": 0.9, "dialect": "transformers"}


def test_a_page_and_the_tables_come_of_it(run: Run, tmp_path: Path) -> None:
    done = run(*DIAL, "--report", "page.html", "--study", "s.db")
    assert done.code == 0, done.err
    assert "<title>What does temperature do?" in (tmp_path / "page.html").read_text("utf-8")
    assert run("dump", "--study", "s.db", "--what", "pieces", "-o", "p.csv").code == 0
    with (tmp_path / "p.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert {row["draw"] for row in rows} == {"0", "1", "2", "3"}
    assert float(rows[0]["low"]) == 0
    assert run("dump", "--study", "s.db", "--what", "curves", "--metric", "nll", "-o", "c.jsonl").code == 0
    lines = [json.loads(line) for line in (tmp_path / "c.jsonl").read_text().splitlines()]
    assert {line["metric"] for line in lines} == {"nll"}
    assert run("dump", "--study", "s.db", "--what", "nonsense").code == 2


def test_a_use_case_is_dialled_prompt_by_prompt(run: Run) -> None:
    done = run("dial", "fake", "-f", "creative-story", "--temperature", "0..1", "--max-tokens", "4", "--json")
    assert done.code == 0, done.err
    assert len(json.loads(done.out)["dials"]) == 16


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--temperature", "0.5"], "A dial moves one parameter over a range, but got none"),
        (["--temperature", "0..1", "--top-p", "0..1"], "but got 2"),
        (["--temperature", "0..1", "--top-p", "0.5,0.9"], "have one value, but got several of top_p"),
        (["--temperature", "1..0.5"], r"Swap them: 0.5..1"),
        (["--temperature", "0..1", "--max-rows", "2"], "Give at least 63"),
        (["--temperature", "0..1", "--typical-p", "0.5"], "Give a --resolution"),
        (["--temperature", "0..1", "--report", "no/where.html"], "A page goes to a file in a folder that is there"),
        (["--temperature", "0..1", "-f", "creative-story"], "A dial takes a prompt or use cases (-f), but got both"),
    ],
)
def test_mistakes_are_told(run: Run, words: list[str], says: str) -> None:
    done = run("dial", "fake", "a ship", *words)
    assert done.code == 2
    assert says in done.err
    assert "Traceback" not in done.err


def test_other_commands_refuse_a_range(run: Run) -> None:
    done = run("sweep", "fake", "a ship", "--temperature", "0..1")
    assert done.code == 2
    assert "a..b is a range" in done.err


def test_why_shows_how_far_each_parameter_can_move(run: Run) -> None:
    done = run("generate", "fake", "a ship", "--temperature", "0.8", "--max-tokens", "8", "--why")
    assert done.code == 0, done.err
    assert "this very text on" in done.out
    assert "token 1:" in done.out or "token 2:" in done.out or "token 3:" in done.out
    found = json.loads(
        run("generate", "fake", "a ship", "--temperature", "0.8", "--max-tokens", "8", "--why", "--json").out
    )
    [[temperature, *_]] = found["whys"]
    assert temperature["low"] <= 0.8 <= temperature["high"]


def test_control_c_keeps_every_finished_piece(tmp_path: Path) -> None:
    """A slow model is interrupted at work: it says so, and the study can be read."""
    words = ["dial", "fake:slow", "a ship", "--temperature", "0..1.5", "--max-tokens", "400", "--draws", "40"]
    process = spawn(*words, "--study", str(tmp_path / "s.db"), home=tmp_path)
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("expected"):
            break
    with pytest.raises(Exception, match="timed out"):
        process.wait(4)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "every finished piece is kept" in err
    with poise.Study.open(tmp_path / "s.db", read_only=True) as study:
        assert len(study.dials()) == 40
