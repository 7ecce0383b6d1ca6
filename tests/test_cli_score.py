"""`poise score`: given text and reference texts on the fake engine."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

import poise
from commands import Run
from poise.cli.schemas import DOCUMENTS

TEXT = " sailed on and on"
SHIPS = """
name: ships
prompts:
  - {text: the ship, reference: sailed on and on}
  - {text: a star, reference: found the ship}
  - no reference
"""


def test_a_text_has_its_nll_perplexity_and_tokens(run: Run) -> None:
    done = run("score", "fake", "the ship", TEXT)
    found = poise.score(poise.load("fake"), "the ship", TEXT)
    assert done.code == 0, done.err
    assert done.out.splitlines()[0] == f"{found.nll:.3f} nats/token, perplexity {found.perplexity:.1f}, 4 tokens"
    assert done.out.rstrip().endswith("Next: poise sweep fake 'the ship' --temperature 0.3,0.5,0.9")
    [row] = json.loads(run("score", "fake", "the ship", TEXT, "--json").out)["rows"]
    assert (row["nll"], row["perplexity"]) == (found.nll, found.perplexity)
    assert (row["tokens"], tuple(row["token_ids"]), row["text"]) == (4, found.token_ids, TEXT)
    assert row["nll"] == pytest.approx(-sum(row["logprobs"]) / 4)


def test_a_file_in_place_of_the_text(run: Run, tmp_path: Path) -> None:
    for end in ("", "\n", "\r\n"):
        (tmp_path / "text.txt").write_bytes((TEXT + end).encode())
        for flag in ("--file", "-f"):
            done = run("score", "fake", "the ship", flag, "text.txt", "--json")
            assert json.loads(done.out)["rows"][0]["text"] == TEXT


def test_the_reference_texts_of_a_use_case(run: Run, tmp_path: Path) -> None:
    (tmp_path / "ships.yaml").write_text(SHIPS)
    done = run("score", "fake", "-f", "ships.yaml")
    assert done.code == 0, done.err
    engine = poise.load("fake")
    ship, star = (poise.score(engine, *t).nll for t in (("the ship", TEXT), ("a star", " found the ship")))
    for line in (f"the ship {ship:.3f} 4", f"a star {star:.3f} 3", f"mean over prompts {(ship + star) / 2:.3f}"):
        assert line in " ".join(done.out.split())
    assert "no interval: an interval needs 8 prompts" in done.out
    assert "1 prompt without a reference left out" in done.out
    record = DOCUMENTS["score"].model_validate_json(run("score", "fake", "-f", "ships.yaml", "--json").out, strict=True)
    found = record.model_dump()
    assert found["mean"] == pytest.approx((ship + star) / 2)
    assert (found["low"], found["without"], len(found["rows"])) == (None, 1, 2)


def test_eight_references_have_an_interval(run: Run, tmp_path: Path) -> None:
    words = ["the ship", "a star", "the quiet", "a quiet ship", "and on", "on", "found", "sailed"]
    lines = [f"  - {{text: '{w}', reference: '{r}'}}" for w, r in zip(words, reversed(words), strict=True)]
    (tmp_path / "eight.yaml").write_text("prompts:\n" + "\n".join(lines))
    found = json.loads(run("score", "fake", "-f", "eight.yaml", "--json").out)
    assert found["low"] < found["mean"] < found["high"]
    assert "95 % interval of the mean: [" in run("score", "fake", "-f", "eight.yaml").out


def test_chat_and_system_go_through_the_template(run: Run) -> None:
    """The fake model's template ends in the last word: with a system message it is another prompt, scored alike."""
    plain, chat, system = (
        json.loads(run("score", "fake", "the ship", TEXT, *flags, "--json").out)["rows"][0]
        for flags in ([], ["--chat"], ["--system", "Be brief."])
    )
    assert plain["nll"] == chat["nll"] == system["nll"]
    hint = run("score", "fake", "the ship", TEXT, "--system", "Be brief.").out.rstrip().splitlines()[-1]
    assert hint == "Next: poise sweep fake 'the ship' --temperature 0.3,0.5,0.9 --system 'Be brief.'"
    assert run(*shlex.split(hint)[2:], "--max-tokens", "2").code == 0


def test_a_word_that_sticks_to_the_prompt_is_told(run: Run) -> None:
    assert "without a space" in run("score", "fake", "the ship", ".").err
    assert run("score", "fake", "the ship", TEXT).err == ""
    assert run("score", "fake", "the ship", ".", "--chat").err == ""


def test_a_prompt_that_looks_like_a_flag(run: Run) -> None:
    done = run("score", "fake", "--", "--draws", TEXT)
    assert done.code == 0, done.err
    hint = done.out.rstrip().splitlines()[-1]
    assert hint == "Next: poise sweep --temperature 0.3,0.5,0.9 -- fake --draws"
    assert run(*shlex.split(hint)[2:]).code == 0


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (
            ["fake", "the ship", ""],
            2,
            "A text to score has at least one token, but got an empty one. Give it some text.",
        ),
        (["fake", "the ship", "-f", "empty.txt"], 2, "at least one token"),
        (["fake"], 2, "Scoring takes a prompt and a text, or a use case (-f), but got neither"),
        (["fake", "the ship"], 2, "with a TEXT, or a --file that holds it, but got neither"),
        (["fake", "the ship", " on", "-f", "empty.txt"], 2, "but got both. Give one of them."),
        (["fake", "the ship", "-f", "nowhere.txt"], 2, "nowhere.txt: No such file"),
        (["fake", "the ship", "-f", "."], 2, "Is a directory"),
        (["fake", "the ship", "-f", "binary.txt"], 2, "is UTF-8, but got binary.txt"),
        (["fake", "-f", "none.yaml"], 2, "Reference texts are scored, but got 2 prompts without any. Give prompts a"),
        (["fake", "-f", "creative-storey"], 2, "creative-story"),
        (["fake", "hi", " on", "--system", "x", "--text"], 2, "--system with --text. Drop one."),
        (["fake", "", " on"], 2, "A prompt has at least one character"),
        (["fake", "hi", " on", "--dtype", "float16"], 2, "'float16'"),
        (["gpt2", "hi", " on"], 2, "hf:gpt2"),
        (["fake:nan", "hi", " on"], 3, "Log-probabilities are numbers, but got NaN."),
    ],
    ids=str,
)
def test_mistakes(run: Run, tmp_path: Path, words: list[str], code: int, said: str) -> None:
    (tmp_path / "empty.txt").write_text("\n")
    (tmp_path / "binary.txt").write_bytes(bytes(range(256)))
    (tmp_path / "none.yaml").write_text("prompts: [one, two]")
    done = run("score", *words)
    assert (done.code, done.out) == (code, "")
    assert said in done.err
    assert len(done.err.splitlines()) == 1
