"""Dumps: the same completions in three formats, exact where they can be, safe where they must be."""

from __future__ import annotations

import csv
import io
import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from poise.dumps import COLUMNS, FORMULA_STARTS, MARK, dump
from poise.errors import StoreError, UsageError
from poise.params import SamplingParams
from poise.records import Completion, Fingerprint, Message, Prompt, Request
from poise.study import Study
from poise.tabular import _cell

MODEL = Fingerprint("toy", "w", "t", "c", "float32", "stock")
HOSTILE = '=cmd|"/c calc"!A1\x00\x1b[31m\r\n,\u202e\u2028\ud800é😀'
FORMATS = ("jsonl", "csv", "parquet")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POISE_HOME", str(tmp_path / "home"))


@pytest.fixture
def study(tmp_path: Path) -> Iterator[Study]:
    """Two prompts and two settings; the last text is hostile."""
    plain = Prompt("Once", use_case="story")
    chat = Prompt(
        messages=(Message("system", "Be brief."), Message("user", "2+2?")), answers=("4", "four"), use_case="sums"
    )
    with Study.open(tmp_path / "study.db") as opened:
        opened.bind(MODEL)
        for params, seed in ((SamplingParams(temperature=0), 0), (SamplingParams(temperature=0.9, top_k=5), 2**70)):
            opened.add(Completion(Request(plain, (1, 2), params, seed, 0, 8), " upon", (3, 0), (-0.5, -1 / 3), "eos"))
        opened.add(Completion(Request(chat, (4,), params, 7, 2, 8, 1, ("\n",)), HOSTILE, (9,), (-2.0,), "stop", "hm"))
        opened.name_trial(SamplingParams(temperature=0), "greedy")
        yield opened


def rows(study: Study, path: Path, format: str) -> list[dict[str, object]]:
    """What was dumped, as any reader of the format sees it."""
    assert dump(study, format, path) == 3  # type: ignore[arg-type]
    if format == "jsonl":
        return [json.loads(line) for line in path.read_text("ascii").splitlines()]
    if format == "parquet":
        return pq.read_table(path).to_pylist()  # type: ignore[no-any-return]
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_json_lines_hold_every_column_exactly(study: Study, tmp_path: Path) -> None:
    greedy, warm, hostile = rows(study, tmp_path / "d.jsonl", "jsonl")
    assert greedy == {
        "model": "toy",
        "use_case": "story",
        "prompt_index": 0,
        "prompt": "Once",
        "messages": [],
        "answers": [],
        "reference": None,
        "setting": "temperature=0",
        "names": ["greedy"],
        **dict.fromkeys(SamplingParams.model_fields),
        "temperature": 0.0,
        "dialect": "transformers",
        "seed": "0",
        "draw": 0,
        "max_tokens": 8,
        "min_tokens": 0,
        "stop": [],
        "text": " upon",
        "thinking": "",
        "token_ids": [3, 0],
        "logprobs": [-0.5, -1 / 3],
        "finish_reason": "eos",
    }
    assert list(greedy) == list(COLUMNS)
    assert (warm["seed"], warm["top_k"], warm["setting"]) == (str(2**70), 5, "temperature=0.9,top_k=5")
    assert hostile["text"] == HOSTILE
    assert hostile["messages"] == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "2+2?"}]
    assert (hostile["answers"], hostile["stop"], hostile["thinking"]) == (["4", "four"], ["\n"], "hm")


def test_parquet_is_typed_and_says_what_its_columns_mean(study: Study, tmp_path: Path) -> None:
    lines = rows(study, tmp_path / "d.jsonl", "jsonl")
    table = rows(study, tmp_path / "d.parquet", "parquet")
    assert table[:2] == lines[:2]
    assert table[2] == {**lines[2], "text": HOSTILE.replace("\ud800", "\ufffd")}
    schema = pq.read_schema(tmp_path / "d.parquet")
    assert str(schema.field("logprobs").type) == "list<element: double>"
    assert schema.field("logprobs").metadata == {b"meaning": COLUMNS["logprobs"].meaning.encode()}


def test_csv_is_read_back_with_its_formulas_disarmed(study: Study, tmp_path: Path) -> None:
    greedy, warm, hostile = rows(study, tmp_path / "d.csv", "csv")
    assert list(greedy) == list(COLUMNS)
    assert (greedy["temperature"], greedy["top_k"], greedy["reference"]) == ("0.0", "", "")
    assert json.loads(str(greedy["token_ids"])) == [3, 0]
    assert json.loads(str(greedy["logprobs"])) == [-0.5, -1 / 3]
    assert hostile["text"] == MARK + HOSTILE.replace("\ud800", "\ufffd")
    assert warm["text"] == " upon"


@given(st.text(st.characters(exclude_categories=())))
def test_no_text_is_a_formula_in_csv_and_the_mark_comes_off(text: str) -> None:
    cell = _cell(text, "text")
    assert isinstance(cell, str)
    assert not cell.startswith(tuple(set(FORMULA_STARTS) - {MARK}))
    back = cell[1:] if cell.startswith(MARK) else cell
    lone = any(0xD800 <= ord(c) < 0xE000 for c in text)
    assert lone or back == text


@pytest.mark.parametrize("start", FORMULA_STARTS)
def test_each_start_of_a_formula_is_marked(start: str) -> None:
    assert _cell(start + "1", "text") == MARK + start + "1"


@pytest.mark.parametrize("format", FORMATS)
def test_standard_output_gets_the_same_bytes_as_a_file(study: Study, tmp_path: Path, format: str) -> None:
    dump(study, format, tmp_path / "file")  # type: ignore[arg-type]
    code = "import sys, poise; poise.dump(poise.Study.open(sys.argv[1], read_only=True), sys.argv[2], '-')"
    piped = subprocess.run([sys.executable, "-c", code, study.path, format], capture_output=True, check=True)
    assert piped.stdout == (tmp_path / "file").read_bytes()


@pytest.mark.parametrize("format", FORMATS)
def test_a_dump_of_nothing_is_an_empty_table(tmp_path: Path, format: str) -> None:
    with Study.open(tmp_path / "empty.db") as study:
        assert dump(study, format, tmp_path / "d") == 0  # type: ignore[arg-type]
    if format == "csv":
        assert (tmp_path / "d").read_bytes().decode().split("\r\n")[1:] == [""]
    if format == "parquet":
        assert pq.read_table(tmp_path / "d").num_rows == 0


def test_a_dump_holds_what_is_measured_or_everything(study: Study, tmp_path: Path) -> None:
    new = Prompt("Twice", use_case="story")
    study.expect([Request(new, (5,), SamplingParams(temperature=0), 0, 0, 8)], whole={"story"})
    assert dump(study, "jsonl", tmp_path / "now", everything=False) == 1
    assert dump(study, "jsonl", tmp_path / "ever", everything=True) == 3


class Broken(Exception):
    """Stands for any failure in the middle of a dump."""


@pytest.mark.parametrize("format", FORMATS)
def test_a_file_appears_whole_or_not_at_all(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: str
) -> None:
    target = tmp_path / "out" / "d"
    target.parent.mkdir()
    target.write_text("before")
    completions = study.completions

    def breaking(**how: Any) -> Iterator[Completion]:
        yield next(completions(**how))
        raise Broken

    monkeypatch.setattr(study, "completions", breaking)
    with pytest.raises(Broken):
        dump(study, format, target)  # type: ignore[arg-type]
    assert os.listdir(target.parent) == ["d"]
    assert target.read_text() == "before"
    monkeypatch.undo()
    dump(study, format, target)  # type: ignore[arg-type]
    assert target.read_bytes() != b"before"
    assert os.listdir(target.parent) == ["d"]


def test_a_link_is_written_through_and_a_new_file_has_the_usual_rights(study: Study, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "usual").touch()
    dump(study, "csv", tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert stat.S_IMODE((tmp_path / "real").stat().st_mode) == stat.S_IMODE((tmp_path / "usual").stat().st_mode)


def test_a_pipe_is_written_to_not_replaced(study: Study, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDWR)
    assert dump(study, "jsonl", tmp_path / "pipe") == 3
    assert os.read(reader, 100_000).count(b"\n") == 3
    os.close(reader)
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


def test_mistakes_are_told(study: Study, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"one of jsonl, csv, parquet, but got 'xlsx'"):
        dump(study, "xlsx", tmp_path / "d")  # type: ignore[arg-type]
    for own in (study.path, f"{study.path}-wal", tmp_path):
        with pytest.raises(UsageError, match="other than the study's"):
            dump(study, "csv", own)
    with pytest.raises(StoreError, match=r"folder must be there.*Name another file"):
        dump(study, "csv", tmp_path / "no" / "folder" / "d.csv")
    assert study.count() == 3


def test_parquet_does_not_go_to_a_terminal(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.TextIOWrapper):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdout", Terminal(io.BytesIO()))
    with pytest.raises(UsageError, match="takes no parquet"):
        dump(study, "parquet")
