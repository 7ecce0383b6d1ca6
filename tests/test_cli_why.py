"""poise generate --why on the command line: what it keeps, shows and leads to."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import poise
from commands import Run
from poise.cli.grammar import RANGES, parse_range
from poise.engines.fake import FakeEngine
from poise.params import PARAMETERS

WHY = ["generate", "fake", "a ship", "--temperature", "0.8", "--max-tokens", "8", "--why"]


def test_nothing_is_kept_and_no_study_is_named(run: Run, tmp_path: Path) -> None:
    run(*WHY[:-1])  # the same text, in a study already
    refused = run(*WHY, "--study", "s.db")
    assert refused.code == 2
    assert "--why draws anew and keeps nothing, but got --study s.db. Leave one of them out." in refused.err
    assert not (tmp_path / "s.db").exists()
    done = run(*WHY)
    assert "study " not in done.err
    assert "texts     1 text to draw, seed 0; nothing is kept" in done.err
    assert "tokens    at most 8 new ones" in done.err
    assert json.loads(run(*WHY, "--json").out)["study"] is None
    plan = json.loads(run(*WHY, "--dry-run", "--json").out)
    assert (plan["study"], plan["reused"], plan["missing"], plan["max_new_tokens"]) == (None, 0, 1, 8)


def test_what_is_off_says_so(run: Run) -> None:
    done = run(*WHY)
    for name in ("top_k", "top_p", "repetition_penalty"):
        assert re.search(rf"^ *{name} +off ", done.out, re.MULTILINE), done.out
    assert re.search(r"^ *temperature +0\.8 ", done.out, re.MULTILINE)
    [reaches] = json.loads(run(*WHY, "--json").out)["whys"]
    assert {r["parameter"]: r["value"] for r in reaches if r["value"] is not None} == {"temperature": 0.8}


def test_where_looking_ended_is_said(run: Run) -> None:
    """A first token alone: no penalty changes it, however large."""
    words = ["generate", "fake", "a ship", "--max-tokens", "1", "--why"]
    for seed in range(40):
        [found] = poise.why(FakeEngine(), "a ship", max_tokens=1, seed=seed)
        reach = found["repetition_penalty"]
        if reach.above is None:
            break
    assert (reach.on, reach.widest) == (False, 100.0)
    assert str(reach).startswith("repetition_penalty off: this very text on ")
    assert str(reach).endswith("up to 100, the widest looked at")
    done = run(*words, "--seed", str(seed))
    [row] = [line for line in done.out.splitlines() if line.lstrip().startswith("repetition_penalty")]
    assert row.rstrip().endswith("up to 100, the widest looked at")
    [reaches] = json.loads(run(*words, "--seed", str(seed), "--json").out)["whys"]
    widest = {r["parameter"]: r["widest"] for r in reaches}
    assert widest["repetition_penalty"] == 100
    assert widest["top_k"] is None  # the vocabulary ends there
    assert found["top_p"].above_said == "" or found["top_p"].above is not None


def test_the_hint_dials_the_same_text(run: Run) -> None:
    done = run(*WHY, "--top-p", "0.95", "--draws", "2", "--seed", "3")
    hint = done.out.rstrip().splitlines()[-1]
    assert hint == (
        "Next: poise dial fake 'a ship' --temperature 0..1.5 --top-p 0.95 --draws 2 --seed 3 --max-tokens 8"
    )
    dialled = run(*shlex.split(hint)[2:], "--json")
    assert dialled.code == 0, dialled.err
    found = json.loads(dialled.out)["dials"]
    texts = [c["text"] for c in json.loads(run(*WHY, "--top-p", "0.95", "--draws", "2", "--seed", "3", "--json").out)
             ["completions"]]  # fmt: skip
    at = [next(p["text"] for p in d["pieces"] if p["low"] <= 0.8 < p["high"]) for d in found]
    assert at == texts


def test_the_hint_holds_the_value_and_its_length(run: Run) -> None:
    hot = run("generate", "fake", "hi", "--temperature", "3.25", "--why").out.rstrip().splitlines()[-1]
    assert "--temperature 0..3.25 --max-tokens 128" in hot
    mixed = run("generate", "fake", "hi", "--temperature", "0.7", "--typical-p", "0.5", "--max-tokens", "4", "--why")
    assert run(*shlex.split(mixed.out.rstrip().splitlines()[-1])[2:]).code == 0


def test_every_parameter_has_a_range_to_show() -> None:
    assert set(RANGES) == set(PARAMETERS)
    assert all(parse_range(name, text) for name, text in RANGES.items())
