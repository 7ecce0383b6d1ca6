"""poise dial and generate --why on the command line."""

from __future__ import annotations

import csv
import json
import signal
from pathlib import Path

import pytest

import poise
from commands import SWEEP, Run, spawn
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
    assert len(json.loads(done.out)["dials"]) == 24


def test_use_cases_of_other_lengths_are_told_apart(run: Run, tmp_path: Path) -> None:
    """A curve averages texts of one use case: two with other limits get sentences of their own."""
    for name, most in (("first", 20), ("second", 30)):
        (tmp_path / f"{name}.yaml").write_text(f"name: {name}\nmode: text\nmax_tokens: {most}\nprompts: [a ship]\n")
    files = ["-f", "first.yaml", "-f", "second.yaml"]
    done = run("dial", "fake", *files, "--temperature", "0..1.5", "--draws", "2", "--study", "s.db")
    assert done.code == 0, done.err
    said = done.out[done.out.index("\nfirst:\n") : done.out.index("of the range is known")]
    assert "\nsecond:\n" in said
    assert said.count("No band: it takes 8 prompts, or 8 draws of each") == 2


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "over a range, but got none. For example --temperature 0..1.5"),
        (["--temperature", "0.5"], "over a range, but got temperature=0.5, one value. For example --temperature"),
        (["--top-k", "off"], "but got top_k=off, one value. For example --top-k 1..off"),
        (["--temperature", "0..1:0.1"], "but got temperature=0..1:0.1, a grid of 11 values"),
        (["--temperature", "0.5,1", "--top-p", "0.9"], "temperature=0.5,1, a list of 2 values; top_p=0.9, one value"),
        (["--temperature", "0..1", "--top-p", "0..1"], "but got temperature=0..1 and top_p=0..1. Keep one"),
        (["--temperature", "0..1", "--top-p", "0.5,0.9"], "have one value, but got top_p=0.5,0.9, a list of 2 values"),
        (["--temperature", "0..1,2"], "stands alone, but got '0..1,2'. Write 0..1, nothing beside it"),
        (["--temperature", "0.."], "Write a..b to move it, for example 0..1.5, or one value, or off"),
        (["--temperature", "nan..1"], "Write a..b to move it"),
        (["--temperature", "0..inf"], "Write a..b to move it"),
        (["--temperature", "0..off"], "ends at a number, but got '0..off'. For example 0..1.5"),
        (["--top-p", "0..off"], "ends at a number, but got '0..off'. For example 0..1"),
        (["--temperature", "0...1"], "has two dots, but got '0...1'. Write 0..1, and a value below 1 with its 0"),
        (["--temperature", "0..1", "--resolution", "fine"], "--resolution takes a number, but got 'fine'. For example"),
        (["--temperature", "0..1", "--max-rows", "1.5"], "--max-rows takes a whole number, but got '1.5'"),
        (["--temperature", "0..1", "--max-texts", "few"], "--max-texts takes a whole number, but got 'few'"),
        (["--temperature", "1..0.5"], r"Swap them: 0.5..1"),
        (["--temperature", "0..1", "--max-rows", "2"], "Give at least 63"),
        (["--temperature", "0..1", "--typical-p", "0.5"], "Give a --resolution"),
        (["--temperature", "0..1", "--report", "no/where.html"], "A page goes to a file in a folder that is there"),
        (["--temperature", "0..1", "--report", ""], "A page goes to a file, but got ''. For example --report"),
        (["--temperature", "0..1", "--study", "no/where.db"], "but got no/where.db: no folder no. Make the folder"),
        (["--temperature", "0..1", "--study", ""], "A study is a file in a folder that is there, but got ''"),
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


def test_a_study_of_dials_alone_is_read_by_a_dump(run: Run) -> None:
    """Without --study: pieces and curves come from what was dialled last, the rest from what was drawn last."""
    none = run("dump", "--what", "pieces")
    assert none.code == 2
    assert "Pieces and curves need a dial, but got none noted in" in none.err
    assert "`poise dial` makes one" in none.err
    dialled = run(*DIAL, "--study", "dials.db")
    assert dialled.code == 0, dialled.err
    assert "dials.db, which holds dials alone" in run("measure").err  # there is nothing else yet
    assert run(*SWEEP, "--study", "texts.db").code == 0
    for what in ("pieces", "curves"):
        done = run("dump", "--what", what, "-o", f"{what}.csv", "--json")
        assert done.code == 0, done.err
        assert json.loads(done.out)["study"].endswith("dials.db")
    assert json.loads(run("measure", "--json").out)["study"].endswith("texts.db")
    run(*DIAL, "--study", "dials.db")  # once more: nothing is drawn, and the latest texts stay those
    assert json.loads(run("measure", "--json").out)["study"].endswith("texts.db")


@pytest.mark.parametrize("words", [["measure"], ["compare", "greedy", "engine-default"], ["report"]])
def test_what_reads_texts_shows_the_way_to_read_dials(run: Run, words: list[str]) -> None:
    run(*DIAL, "--study", "my dials.db")
    done = run(*words, "--study", "my dials.db")
    assert (done.code, done.out) == (2, "")
    assert "which holds dials alone" in done.err
    assert "`poise dump --what curves -o curves.csv --study 'my dials.db'`" in done.err
    assert "`poise dial ... --report dial.html`" in done.err
    empty = run("dump", "-o", "texts.csv", "--study", "my dials.db").out
    assert "(0 completions)" in empty
    assert "Next: poise dump --what pieces" in empty


def test_counts_of_one_have_no_plural(run: Run) -> None:
    one = run("dial", "fake", "a ship", "--temperature", "0.1..0.1001", "--max-tokens", "3")
    assert "draw 0: 1 text on 1 piece " in one.out
    assert "1 piece, 2 rows in" in one.out
    assert "expected 1 piece and" in one.out
    assert "(1 piece)" in run("dump", "--what", "pieces", "-o", "p.csv").out
    texts = ["sweep", "fake", "a ship", "--temperature", "0.5", "--draws", "1", "--no-baselines"]
    assert "1 text drawn, 0 reused" in run(*texts).out


def test_narrow_pieces_show_where_they_end(run: Run) -> None:
    done = run("dial", "fake", "a ship", "--temperature", "0.5..0.50000001", "--max-tokens", "3")
    assert "[0.5, 0.50000001]" in done.out


def test_what_is_not_known_says_why(run: Run) -> None:
    long = [*DIAL[:-1], "64"]
    assert "not finished: the budget ended" in run(*long, "--max-rows", "80").out
    coarse = run("dial", "fake", "a ship", "--temperature", "0..1.5", "--max-tokens", "16", "--resolution", "0.4").out
    assert "narrower than the resolution, 0.4" in coarse
    assert "not finished" not in coarse


def test_json_says_whether_a_dial_is_exact(run: Run) -> None:
    exact = json.loads(run(*DIAL, "--json").out)
    assert exact["exact"] is True
    assert "upper envelope" in exact["why"]
    part = json.loads(run(*DIAL, "--typical-p", "0.5", "--resolution", "0.1", "--json").out)
    assert part["exact"] is False


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
