"""Pieces and curves as tables: one row each, exact, safe in a spreadsheet."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import poise
from commands import Run
from poise import dumps
from poise.dumps import CURVE_COLUMNS, MARK, PIECE_COLUMNS, dump
from poise.engines.fake import FakeEngine
from poise.errors import MetricError, StudyError, UsageError
from poise.params import SamplingParams
from poise.pieces import Found, Piece
from poise.records import Completion, Message, Prompt, Request
from poise.spans import Cut, Span, closed
from poise.study import Study
from toy_study import MODEL

HOSTILE = '=cmd|"/c calc"!A1\x00\x1b[31m\r\n,\u202e\u2028\ud800é😀'
FORMATS = ("jsonl", "csv", "parquet")
CHAT = Prompt(messages=(Message("user", HOSTILE),), answers=("4",), use_case="sums")
WARM = Request(CHAT, (4, 5), SamplingParams(top_p=0.9), 2**70, 3, 8, 1, ("\n",))


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POISE_HOME", str(tmp_path / "home"))


@pytest.fixture
def study(tmp_path: Path) -> Iterator[Study]:
    """A dial of temperature over [0, 1]: greedy at 0, a hostile text up to 0.1 + 0.2, then nothing known."""
    with Study.open(tmp_path / "study.db") as opened:
        opened.bind(MODEL)
        opened.expect_dial(WARM, "temperature", 0, 1)
        for span, text, ids in (
            (closed(0, 0), "cold", (7, 8)),
            (Span(Cut(0.0, after=True), Cut(0.1 + 0.2)), HOSTILE, (7, 9, 0)),
        ):
            done = Completion(WARM, text, ids, tuple(-1 / i for i in ids if i) + (-2.5,) * (0 in ids), "eos", "hm")
            opened.add_piece(WARM, "temperature", Found(span, done, ids, (1,) if 9 in ids else ()))
        yield opened


def rows(study: Study, path: Path, format: str, **how: Any) -> list[dict[str, Any]]:
    """What was dumped, as any reader of the format sees it."""
    n = dump(study, format, path, **{"what": "pieces", **how})  # type: ignore[arg-type]
    if format == "jsonl":
        found = [json.loads(line) for line in path.read_text("ascii").splitlines()]
    elif format == "parquet":
        found = pq.read_table(path).to_pylist()
    else:
        with path.open(encoding="utf-8", newline="") as stream:
            found = list(csv.DictReader(stream))
    assert n == len(found)
    return found


def test_json_lines_hold_every_piece_exactly(study: Study, tmp_path: Path) -> None:
    cold, hostile, unknown = rows(study, tmp_path / "d.jsonl", "jsonl")
    assert cold == {
        "model": "toy",
        "use_case": "sums",
        "prompt_index": 0,
        "prompt": HOSTILE,
        "messages": [{"role": "user", "content": HOSTILE}],
        "answers": ["4"],
        "reference": None,
        "setting": "top_p=0.9",
        **dict.fromkeys(SamplingParams.model_fields),
        "top_p": 0.9,
        "dialect": "transformers",
        "seed": str(2**70),
        "draw": 3,
        "max_tokens": 8,
        "min_tokens": 1,
        "stop": ["\n"],
        "parameter": "temperature",
        "range_low": 0,
        "range_high": 1,
        "low": 0,
        "high": 0,
        "low_closed": 1,
        "high_closed": 1,
        "parent": None,
        "departs": 0,
        "known": 1,
        "doubtful": [],
        "text": "cold",
        "thinking": "hm",
        "token_ids": [7, 8],
        "logprobs": [-1 / 7, -1 / 8],
        "finish_reason": "eos",
    }
    assert list(cold) == list(PIECE_COLUMNS)
    assert (hostile["text"], hostile["high"], hostile["low_closed"], hostile["high_closed"]) == (
        HOSTILE,
        0.1 + 0.2,
        0,
        0,
    )
    assert (hostile["parent"], hostile["departs"], hostile["doubtful"]) == (0, 1, [1])
    assert (unknown["known"], unknown["text"], unknown["token_ids"], unknown["finish_reason"]) == (0, None, [], None)
    assert (unknown["low"], unknown["high"], unknown["low_closed"], unknown["high_closed"]) == (0.1 + 0.2, 1, 1, 1)


def test_parquet_is_typed_and_equal(study: Study, tmp_path: Path) -> None:
    lines = rows(study, tmp_path / "d.jsonl", "jsonl")
    table = rows(study, tmp_path / "d.parquet", "parquet")
    valid = HOSTILE.replace("\ud800", "\ufffd")
    for line in lines:
        line["prompt"], line["messages"][0]["content"] = valid, valid
        line["text"] = line["text"] and line["text"].replace("\ud800", "\ufffd")
    assert table == lines
    types = pq.read_schema(tmp_path / "d.parquet")
    assert (str(types.field("low").type), str(types.field("parent").type)) == ("double", "int64")
    assert types.field("departs").metadata == {b"meaning": PIECE_COLUMNS["departs"].meaning.encode()}


def test_csv_is_read_back_with_its_formulas_disarmed(study: Study, tmp_path: Path) -> None:
    cold, hostile, unknown = rows(study, tmp_path / "d.csv", "csv")
    disarmed = MARK + HOSTILE.replace("\ud800", "\ufffd")
    assert (cold["text"], hostile["text"], unknown["text"]) == ("cold", disarmed, "")
    assert hostile["prompt"] == disarmed
    assert (float(hostile["high"]), hostile["parent"], cold["parent"]) == (0.1 + 0.2, "0", "")
    assert (json.loads(hostile["token_ids"]), json.loads(hostile["doubtful"])) == ([7, 9, 0], [1])


@pytest.mark.parametrize("format", FORMATS)
def test_a_file_appears_whole_or_not_at_all(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: str
) -> None:
    """The second of three pieces fails."""
    target = tmp_path / "out" / "d"
    target.parent.mkdir()
    target.write_text("before")
    whole = dumps._piece

    def breaking(piece: Piece) -> dict[str, Any]:
        if piece.text == HOSTILE:
            raise RuntimeError
        return whole(piece)

    monkeypatch.setattr(dumps, "_piece", breaking)
    with pytest.raises(RuntimeError):
        rows(study, target, format)
    assert (os.listdir(target.parent), target.read_text()) == (["d"], "before")
    monkeypatch.undo()
    assert len(rows(study, target, format)) == 3


def test_each_use_case_has_rows_of_its_own(study: Study, tmp_path: Path) -> None:
    other = dataclasses.replace(WARM, prompt=Prompt("alike", use_case="other"))
    study.expect_dial(other, "temperature", 0, 0.25)
    found = rows(study, tmp_path / "d.jsonl", "jsonl")
    assert [(r["use_case"], r["prompt_index"], r["high"]) for r in found] == [
        ("sums", 0, 0), ("sums", 0, 0.1 + 0.2), ("sums", 0, 1), ("other", 0, 0), ("other", 0, 0.25)
    ]  # fmt: skip


def test_pieces_of_a_dial_are_the_rows_of_its_dump(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    dials = poise.dial(FakeEngine(), ["a ship", "the star"], "temperature", 0, 1.5, draws=2, max_tokens=16, study=path)
    with Study.open(path, read_only=True) as study:
        found = rows(study, tmp_path / "d.parquet", "parquet")
    pieces = [(i // 2, d.draw, p) for i, d in enumerate(dials) for p in d.pieces]
    assert [(r["prompt_index"], r["draw"], r["low"], r["high"], r["text"], r["parent"]) for r in found] == [
        (index, draw, p.low, p.high, p.text, p.parent) for index, draw, p in pieces
    ]


def test_curves_are_rows_of_steps_with_their_bands(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    dials = poise.dial(FakeEngine(), "a ship", "temperature", 0, 1.5, draws=8, max_tokens=16, study=path)
    with Study.open(path, read_only=True) as study:
        found = rows(study, tmp_path / "d.jsonl", "jsonl", what="curves", metrics=["nll", "loop_rate"])
    assert list(found[0]) == list(CURVE_COLUMNS)
    for name in ("nll", "loop_rate"):
        steps = [r for r in found if r["metric"] == name]
        ours = poise.curve(dials, name)
        assert [(r["low"], r["high"], r["mean"], r["band_low"], r["band_high"]) for r in steps] == [
            (s.span.low.value, s.span.high.value, s.mean, s.low, s.high) for s in ours.steps
        ]
        assert {(r["n_prompts"], r["n_draws"], r["scope"], r["note"]) for r in steps} == {(1, 8, "prompt", "")}


def test_dials_with_other_limits_or_ranges_are_other_curves(tmp_path: Path) -> None:
    """Texts of 4 and of 9 tokens are not averaged; nor are other ranges, settings and parameters."""
    engine, path = FakeEngine(), tmp_path / "s.db"
    how: dict[str, Any] = {"study": path, "max_tokens": 4}
    poise.dial(engine, "a ship", "temperature", 0, 1, draws=2, **how)
    poise.dial(engine, "a ship", "temperature", 0, 1, draws=3, study=path, max_tokens=9)
    poise.dial(engine, "the star", "temperature", 0, 0.5, **how)
    poise.dial(engine, "a ship", "temperature", 0, 1, params=SamplingParams(top_k=5), **how)
    poise.dial(engine, "a ship", "top_p", 0, 1, **how)
    with Study.open(path, read_only=True) as study:
        found = rows(study, tmp_path / "d.jsonl", "jsonl", what="curves", metrics=["nll"])
    kinds = {(r["parameter"], r["setting"], r["max_tokens"], r["n_prompts"], r["n_draws"]) for r in found}
    assert kinds == {
        ("temperature", "", 4, 1, 2), ("temperature", "", 9, 1, 3),
        ("temperature", "", 4, 1, 1), ("temperature", "top_k=5", 4, 1, 1),
        ("top_p", "temperature=1", 4, 1, 1),
    }  # fmt: skip


def test_the_default_stays_completions(study: Study, tmp_path: Path) -> None:
    assert dump(study, "jsonl", tmp_path / "d") == 0


def test_mistakes_are_told(study: Study, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="completions, pieces or curves, but got 'texts'"):
        dump(study, "csv", tmp_path / "d", what="texts")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="other than the study's"):
        dump(study, "csv", study.path, what="pieces")
    with pytest.raises(MetricError):
        dump(study, "csv", tmp_path / "d", what="curves", metrics=["luck"])
    with Study.open(tmp_path / "none.db") as empty, pytest.raises(StudyError, match=r"Pieces need a dial.*none\.db"):
        dump(empty, "csv", tmp_path / "d", what="pieces")
    assert not (tmp_path / "d").exists()


def test_the_command_names_what_comes_next(run: Run, tmp_path: Path) -> None:
    assert run("dial", "fake", "a ship", "--temperature", "0..1", "--max-tokens", "6", "--study", "s.db").code == 0
    done = run("dump", "--what", "pieces", "-o", "p.csv", "--study", "s.db")
    assert done.out.splitlines()[-1] == "Next: poise dump --what curves -o curves.csv --study s.db"
    assert " pieces)" in done.out
    done = run("dump", "--what", "curves", "-m", "nll", "-o", "c.parquet", "--study", "s.db", "--json")
    assert json.loads(done.out)["n"] == pq.read_table(tmp_path / "c.parquet").num_rows
    for kind, start in {"svg": b"<svg", "png": b"\x89PNG", "pdf": b"%PDF"}.items():
        done = run("dump", "--what", "curves", "-o", f"c.{kind}", "--study", "s.db")
        assert (done.code, f"c.{kind}  (2 curves)" in done.out) == (0, True), done.err
        assert (tmp_path / f"c.{kind}").read_bytes().startswith(start)
    wrong = run("dump", "-o", "texts.svg", "--study", "s.db")
    assert (wrong.code, "Figures are of curves" in wrong.err) == (2, True)
    wrong = run("dump", "--what", "curves", "-o", "none/c.svg", "--study", "s.db")
    assert (wrong.code, "A figure goes to a file in a folder that is there" in wrong.err) == (2, True)
    wrong = run("dump", "--what", "pieces", "-m", "nll", "-o", "p.csv", "--study", "s.db")
    assert (wrong.code, "Add --what curves" in wrong.err) == (2, True)
