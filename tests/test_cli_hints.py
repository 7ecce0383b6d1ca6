"""The command that each one ends with: the same request, exact, and safe to paste."""

from __future__ import annotations

import json
import shlex
import subprocess
from pathlib import Path

import pytest

from commands import SWEEP, Run
from poise.cli.terminal import quoted

RANGE = "0.1234567890123..1.5"
DIAL = ["dial", "fake", "a ship", "--temperature", RANGE, "--top-p", "0.98765432109", "--max-tokens", "4"]


def hint(out: str) -> str:
    return out.rstrip().splitlines()[-1].removeprefix("Next: poise ")


def test_a_dial_asks_for_its_page_in_the_same_words(run: Run) -> None:
    limits = ["--resolution", "0.0001", "--max-rows", "900", "--max-texts", "77", "--seed", "5", "--study", "s.db"]
    done = run(*DIAL, *limits, "--draws", "2")
    assert done.code == 0, done.err
    words = hint(done.out)
    assert words.startswith(f"dial fake 'a ship' --temperature {RANGE} --top-p 0.98765432109 ")
    given = [*limits, "--draws", "2", "--report", "dial.html", "--max-tokens", "4"]
    assert all(f" {flag} {value}" in words for flag, value in zip(given[::2], given[1::2], strict=True))
    again = run(*shlex.split(words), "--json")
    assert again.code == 0, again.err
    assert json.loads(again.out)["rows"] == 0, "nothing was left to draw"


def test_following_the_hint_draws_no_more_than_before(run: Run) -> None:
    done = run(*DIAL)
    assert " --report dial.html --draws 1 " in hint(done.out)
    assert json.loads(run(*shlex.split(hint(done.out)), "--json").out)["rows"] == 0


@pytest.mark.parametrize(
    "words",
    [
        [*SWEEP, "--no-baselines", "--draws", "3", "--top-p", "0.9,off"],
        ["generate", "fake", "hi", "--temperature", "0.7", "--draws", "2", "--seed", "4"],
        ["generate", "fake", "hi", "--temperature", "0.7", "--max-tokens", "4", "--why"],
        ["sweep", "fake", "-f", "creative-story", "--temperature", "0..1:0.5", "--draws", "1", "--max-tokens", "2"],
        [*DIAL, "--draws", "2", "--report", "page.html", "--max-rows", "500"],
    ],
)
def test_a_dry_run_ends_with_the_command_that_does_it(run: Run, tmp_path: Path, words: list[str]) -> None:
    planned = run(*words, "--dry-run")
    assert planned.code == 0, planned.err
    assert not list(tmp_path.rglob("*.db")) + list(tmp_path.glob("*page.html*"))
    following = shlex.split(hint(planned.out))
    assert sorted(following) == sorted(w.replace("--file", "-f") for w in words)
    assert run(*following).code == 0


def test_a_prompt_that_looks_like_a_flag(run: Run) -> None:
    done = run("generate", "--temperature", "0.7", "--", "fake", "-x marks")
    assert done.code == 0, done.err
    assert hint(done.out) == "sweep --temperature 0.3,0.5,0.9 -- fake '-x marks'"
    assert run(*shlex.split(hint(done.out))).code == 0


@pytest.mark.parametrize(
    "word",
    ["hi", "a ship", "it's", "", "tab\there", "two\nlines", "\x1b[2Jgone", "a\\n\x07'\"$(x)`!", "‮tfel", "ö\r",
     "z" + "\u0301" * 9, "\udcff.db", "日本\x01"],
)  # fmt: skip
def test_a_shell_reads_back_what_was_quoted(word: str) -> None:
    line = quoted(word)
    done = subprocess.run(
        ["bash", "-c", f"printf %s {line}".encode("utf-8", "surrogateescape")], capture_output=True, check=True
    )
    assert done.stdout == word.encode("utf-8", "surrogateescape")
    assert line.isprintable(), "a terminal shows it, and obeys nothing"


def test_a_hostile_prompt_is_pasted_as_it_was(run: Run) -> None:
    prompt = "\x1b[2J\u202ehi you"
    done = run("dial", "fake", prompt, "--temperature", "0..1", "--max-tokens", "2")
    line = f'set -- {hint(done.out)}; printf %s "$3"'
    read = subprocess.run(["bash", "-c", line], capture_output=True, check=True).stdout.decode()
    assert read == prompt
