"""The file that dials are kept in: several at once, killed, older, read-only, damaged, full."""

from __future__ import annotations

import itertools
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from poise import schema
from poise.errors import PoiseError, StoreError, StudyError
from poise.spans import Span, closed
from poise.study import Study
from test_study_dials import ASKED, between, bound, piece
from toy_study import HIGH, LOW, MODEL, ask

HERE = Path(__file__).parent


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POISE_HOME", str(tmp_path / "home"))


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return bound(tmp_path / "s.db")


# Several at once, and the end in the middle

WRITER = """
import os, sys
from test_study_dials import ASKED, bound, between, piece
path, who = sys.argv[1], int(sys.argv[2])
sys.stdin.readline()
with bound(path) as study:
    study.expect_dial(ASKED, "temperature", 0, 300)
    study.add_fork(ASKED, "temperature", (1,), between(0, 300), "[1]")
    for i in range(300):
        at = (i * 7 + who * 100) % 300
        study.add_piece(ASKED, "temperature", piece(between(at, min(300, at + 1 + (at + who) % 3)), f"by {who}"))
        os.write(1, b".")
"""


def writer(path: Path, who: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(path), str(who)]
    pipes = subprocess.PIPE
    return subprocess.Popen(command, cwd=HERE, stdin=pipes, stdout=pipes, stderr=pipes, text=True)


def test_processes_that_find_other_pieces_of_one_dial_at_once_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "together.db"
    writers = [writer(path, who) for who in (0, 1, 2)]
    time.sleep(1.5)  # until all have imported and wait for the start
    for process in writers:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    assert [process.communicate(timeout=60)[1] for process in writers] == ["", "", ""]
    with Study.open(path, read_only=True) as study:
        [dial] = study.dials()
        found = study.pieces(ASKED, "temperature")
        assert study._db.rows("PRAGMA integrity_check") == [("ok",)]
        assert study._db.rows("SELECT COUNT(*) FROM asked_dials") == [(1,)]
        assert len(study.forks(ASKED, "temperature")) == 1
    assert sum(f.span.width for f in found) == 300
    assert all(a.span.high == b.span.low for a, b in itertools.pairwise(found))
    assert [p.high for p in dial.pieces if not p.known] == [300]  # the value 300 itself: pieces leave their end out


def test_kills_in_the_middle_lose_no_finished_piece(tmp_path: Path) -> None:
    path = tmp_path / "killed.db"
    kept = at_work = 0
    for after in (1, 60, 150):
        process = writer(path, 0)
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("go\n")
        process.stdin.flush()
        said = process.stdout.read(after)
        process.send_signal(signal.SIGKILL)
        said += process.stdout.read()
        process.communicate()
        at_work += process.returncode == -signal.SIGKILL
        kept = max(kept, len(said))
        with Study.open(path) as study:
            assert study._db.rows("PRAGMA integrity_check") == [("ok",)]
            found = study.pieces(ASKED, "temperature")
        held = {unit for f in found for unit in range(int(f.span.low.value), int(f.span.high.value))}
        assert held >= {i * 7 % 300 for i in range(kept)}
        assert all(a.span.high <= b.span.low for a, b in itertools.pairwise(found))
    assert kept >= 150
    assert at_work >= 2


# Older files, and files that may not be written


@pytest.fixture
def first_schema(tmp_path: Path) -> Path:
    """A study as the first schema wrote it: four texts under two settings, one of them called vendor."""
    path = tmp_path / "v1.db"
    connection = sqlite3.connect(path)
    connection.executescript((HERE / "data" / "study-v1.sql").read_text(encoding="utf-8"))
    connection.close()
    return path


def version(path: Path) -> int:
    with sqlite3.connect(path) as connection:
        ((found,),) = connection.execute("PRAGMA user_version").fetchall()
    connection.close()
    return int(found)


def test_a_study_of_the_first_schema_is_read_as_it_is(first_schema: Path) -> None:
    before = first_schema.read_bytes()
    with Study.open(first_schema, read_only=True) as study:
        assert (study.dials(), study.pieces(ASKED, "temperature"), study.forks(ASKED, "temperature")) == ([], [], [])
        assert [(c.request.params, c.text) for c in study.completions()] == [
            (LOW, "draw 0"), (LOW, "draw 1"), (HIGH, "draw 0"), (HIGH, "draw 1")
        ]  # fmt: skip
    assert first_schema.read_bytes() == before


def test_a_study_of_the_first_schema_is_brought_up_to_date_when_written(first_schema: Path) -> None:
    with Study.open(first_schema, read_only=True) as study:
        before = (list(study.completions()), study.trials(), study.provenances())
    with bound(first_schema) as study:
        assert (list(study.completions()), study.trials(), study.provenances()) == before
        assert study.missing([ask(params=LOW), ask(params=LOW, draw=2)]) == [ask(params=LOW, draw=2)]
        study.expect_dial(ASKED, "temperature", 0, 1)
        study.add_piece(ASKED, "temperature", piece(closed(0, 1)))
        assert study._db.rows("PRAGMA integrity_check") == [("ok",)]
    assert version(first_schema) == schema.VERSION
    with Study.open(first_schema, read_only=True) as study:
        assert (len(study.dials()), list(study.completions())) == (1, before[0])


def test_an_update_that_fails_changes_nothing(first_schema: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "DIALS", (*schema.DIALS, "CREATE TABLE dials (again)"))
    with pytest.raises(StoreError):
        Study.open(first_schema)
    monkeypatch.undo()
    assert version(first_schema) == 1
    with Study.open(first_schema, read_only=True) as study:
        assert study._db.rows("SELECT name FROM sqlite_master WHERE name IN ('dials', 'pieces')") == []
    Study.open(first_schema).close()
    assert version(first_schema) == schema.VERSION


def test_an_update_by_several_at_once_happens_once(first_schema: Path) -> None:
    errors: list[PoiseError] = []

    def update() -> None:
        try:
            Study.open(first_schema).close()
        except PoiseError as error:
            errors.append(error)

    threads = [threading.Thread(target=update) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert version(first_schema) == schema.VERSION


def test_a_study_opened_for_reading_takes_no_dial(study: Study) -> None:
    study.expect_dial(ASKED, "temperature", 0, 1)
    study.close()
    with Study.open(study.path, read_only=True) as reader:
        for act in (
            lambda: reader.expect_dial(ASKED, "temperature", 0, 2),
            lambda: reader.add_piece(ASKED, "temperature", piece(closed(0, 1))),
            lambda: reader.add_fork(ASKED, "temperature", (), closed(0, 1), "[]"),
            lambda: reader.bind(MODEL),
        ):
            with pytest.raises(StudyError):
                act()
        assert [(d.low, d.high, d.exact_share) for d in reader.dials()] == [(0, 1, 0.0)]


@pytest.mark.parametrize(
    "harm",
    [
        "UPDATE pieces SET logprobs = x'00'",
        "UPDATE pieces SET logprobs = zeroblob(8)",
        "UPDATE dials SET settings = 'none'",
        "UPDATE dials SET parameter = 'luck'",
        "UPDATE asked_dials SET prompt = '[]'",
    ],
)
def test_a_dial_that_says_something_impossible_is_damage(study: Study, harm: str) -> None:
    study.expect_dial(ASKED, "temperature", 0, 1)
    study.add_piece(ASKED, "temperature", piece(closed(0, 1)))
    study._db.write(harm)
    with pytest.raises(StoreError, match="whole SQLite database"):
        study.dials()


def fill(study: Study, added: list[Span]) -> None:
    """Add long pieces; `added` learns of each that `add_piece` returned for."""
    for i in range(100):
        study.add_piece(ASKED, "temperature", piece(between(i, i + 1), "word " * 200))
        added.append(between(i, i + 1))


def test_a_full_file_keeps_the_pieces_before(study: Study) -> None:
    study.expect_dial(ASKED, "temperature", 0, 100)
    ((pages,),) = study._db.rows("PRAGMA page_count")
    study._db.rows(f"PRAGMA max_page_count = {pages + 30}")
    added: list[Span] = []
    with pytest.raises(StoreError, match="must have room"):
        fill(study, added)
    assert [f.span for f in study.pieces(ASKED, "temperature")] == added
    assert len(added) > 2
