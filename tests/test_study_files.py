"""A study's file: damaged, foreign, newer, full, locked, read-only; and several processes at once."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from poise import database
from poise.errors import PoiseError, StoreError, StudyError
from poise.study import Study
from toy_study import MODEL, answer, ask, fill


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("POISE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def study(tmp_path: Path) -> Iterator[Study]:
    with Study.open(tmp_path / "study.db") as opened:
        opened.bind(MODEL)
        yield opened


# What can go wrong with a file


def broken_study(path: Path) -> None:
    with Study.open(path) as study:
        study.bind(MODEL)
        fill(study, range(100))
    content = bytearray(path.read_bytes())
    content[8192:40960] = b"\xa5" * (40960 - 8192)  # pages 3 to 10
    path.write_bytes(content)


def newer_schema(path: Path) -> None:
    with Study.open(path) as study:
        study.bind(MODEL)
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()


def other_database(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE bookmarks (url)")
    connection.commit()
    connection.close()


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (newer_schema, StudyError, r"up to schema 3, but got schema 99 .* Update poise"),
        (other_database, StudyError, r"another program's .* Name another --study"),
        (lambda path: path.write_text("a shopping list, long enough\n" * 40), StoreError, r"whole SQLite database"),
        (lambda path: path.mkdir(), StudyError, r"A study is a file, but got the folder"),
    ],
    ids=["newer schema", "another program's", "no database", "a folder"],
)
@pytest.mark.parametrize("read_only", [False, True], ids=["write", "read"])
def test_a_file_that_is_no_study_of_ours_is_refused_and_left_alone(
    tmp_path: Path, make: Callable[[Path], None], error: type[PoiseError], says: str, read_only: bool
) -> None:
    path = tmp_path / "s.db"
    make(path)
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(error, match=says):
        Study.open(path, read_only=read_only)
    assert before is None or path.read_bytes() == before


def test_a_damaged_file_is_an_error_not_a_wrong_answer(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    broken_study(path)
    with pytest.raises(StoreError, match="whole SQLite database"), Study.open(path, read_only=True) as study:
        list(study.completions())


def test_a_row_that_says_something_impossible_is_damage(study: Study) -> None:
    study.add(answer(ask()))
    study._db.write("UPDATE completions SET logprobs = x'00'")
    with pytest.raises(StoreError, match="whole SQLite database"):
        list(study.completions())


def test_no_file_is_an_error_for_those_who_read(tmp_path: Path) -> None:
    for how in ({"read_only": True}, {"create": False}):
        with pytest.raises(StudyError, match=r"must exist .*none\.db.*poise sweep"):
            Study.open(tmp_path / "none.db", **how)
    assert not (tmp_path / "none.db").exists()


def test_an_empty_file_becomes_a_study(tmp_path: Path) -> None:
    (tmp_path / "s.db").touch()
    with pytest.raises(StudyError, match="empty file"):
        Study.open(tmp_path / "s.db", read_only=True)
    with Study.open(tmp_path / "s.db") as study:
        study.bind(MODEL)


def test_a_study_opened_for_reading_is_not_written(tmp_path: Path) -> None:
    with Study.open(tmp_path / "s.db") as study:
        study.bind(MODEL)
    with Study.open(tmp_path / "s.db", read_only=True) as study, pytest.raises(StudyError, match="for reading"):
        study.bind(MODEL)


def test_a_closed_study_says_so(study: Study) -> None:
    study.close()
    with pytest.raises(StudyError, match="while it is open"):
        study.trials()
    assert "while it is open" in repr(study)
    assert "while it is open" in study._repr_html_()


def test_a_full_file_is_an_error_and_keeps_what_was_finished(study: Study) -> None:
    study.add(answer(ask()))
    ((pages,),) = study._db.rows("PRAGMA page_count")
    study._db.rows(f"PRAGMA max_page_count = {pages + 4}")
    with pytest.raises(StoreError, match=r"must have room.*database or disk is full.*run it again"):
        fill(study, range(1, 100))
    kept = study.count()
    assert 1 <= kept < 99
    study._db.rows("PRAGMA max_page_count = 100000")
    study.add(answer(ask("another prompt", draw=500)))
    assert study.count() == kept + 1
    assert study._db.rows("PRAGMA integrity_check") == [("ok",)]


def test_a_full_disk_is_an_error_and_keeps_what_was_finished(tmp_path: Path) -> None:
    folder = tmp_path / "small"
    folder.mkdir()
    mount = shutil.which("mount")
    if (
        mount is None
        or subprocess.run([mount, "-t", "tmpfs", "-o", "size=400k", "tmpfs", folder], capture_output=True).returncode
    ):
        pytest.skip("only root may mount a small disk")
    try:
        study = Study.open(folder / "s.db")
        study.bind(MODEL)
        added: list[int] = []
        with pytest.raises(StoreError, match="must have room"):
            fill(study, range(1000), added)
        study.close()
        with Study.open(folder / "s.db", read_only=True) as study:
            assert len(added) > 10
            assert study.count() == len(added)
            assert study._db.rows("PRAGMA integrity_check") == [("ok",)]
    finally:
        subprocess.run(["umount", folder], check=True)


def as_nobody(act: Callable[[], None]) -> str:
    """What `act` raises where rights count: root may write anywhere, so root becomes nobody in a child."""
    if os.getuid() != 0:
        try:
            act()
        except PoiseError as error:
            return f"{type(error).__name__}: {error}"
        return ""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.setgid(65534)
        os.setuid(65534)
        try:
            act()
            said = ""
        except BaseException as error:
            said = f"{type(error).__name__}: {error}"
        os.write(writing, said.encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    return said


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[Path]:
    """A study in a folder that may not be written, with ways to it that may be walked."""
    folder = tmp_path / "locked"
    with Study.open(folder / "s.db") as study:
        study.bind(MODEL)
        study.add(answer(ask()))
    for above in (folder, *list(folder.parents)[:4]):
        if above.owner() == folder.owner() and above != Path("/tmp"):
            above.chmod(above.stat().st_mode | 0o055)
    (folder / "s.db").chmod(0o444)
    folder.chmod(0o555)
    yield folder
    folder.chmod(0o755)


def test_a_read_only_folder_is_an_error_for_those_who_write(locked: Path) -> None:
    assert as_nobody(lambda: Study.open(locked / "new.db").close()).startswith(
        "StoreError: The study's file and its folder"
    )
    assert as_nobody(lambda: Study.open(locked / "deep" / "new.db").close()).startswith(
        "StoreError: The study's folder"
    )
    assert as_nobody(lambda: Study.open(locked / "s.db").close()).startswith(
        "StoreError: The study's file and its folder"
    )


def test_a_read_only_folder_can_be_read(locked: Path) -> None:
    def read() -> None:
        with Study.open(locked / "s.db", read_only=True) as study:
            assert [c.text for c in study.completions()] == ["and on"]

    assert as_nobody(read) == ""


def test_reading_leaves_no_files_behind(tmp_path: Path) -> None:
    with Study.open(tmp_path / "a" / "s.db") as study:
        study.bind(MODEL)
    with Study.open(tmp_path / "a" / "s.db", read_only=True) as study:
        study.trials()
    assert os.listdir(tmp_path / "a") == ["s.db"]


# Several at once


def test_a_study_held_by_another_process_is_waited_for_then_an_error(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "PATIENCE", 0.2)
    holder = sqlite3.connect(study.path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with Study.open(study.path, create=False, read_only=True) as reader:
        assert reader.count() == 0  # reading goes on
    with pytest.raises(StoreError, match=r"No other process may hold the study"):
        Study.open(study.path)
    holder.execute("COMMIT")
    holder.close()
    Study.open(study.path).close()


def test_a_new_file_that_another_process_is_looking_at_is_waited_for(tmp_path: Path) -> None:
    holder = sqlite3.connect(tmp_path / "s.db", isolation_level=None, check_same_thread=False)
    holder.execute("CREATE TABLE later (x)")
    holder.execute("DROP TABLE later")
    holder.execute("BEGIN")
    holder.execute("SELECT * FROM sqlite_master").fetchall()
    release = threading.Timer(0.3, lambda: holder.execute("COMMIT"))
    release.start()
    Study.open(tmp_path / "s.db").close()
    release.join()
    holder.close()


def test_processes_that_switch_a_new_file_to_its_log_at_once_try_again(tmp_path: Path) -> None:
    """SQLite then refuses one of them without waiting (2 of 240 openings, four at a time), so we wait ourselves."""
    holder = sqlite3.connect(tmp_path / "s.db", isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    late = sqlite3.connect(tmp_path / "s.db", isolation_level=None, timeout=0)
    tries = []

    def act() -> None:
        tries.append(True)
        if len(tries) == 3:
            holder.execute("COMMIT")
        late.execute("PRAGMA journal_mode = WAL")

    database._patiently(act)
    assert len(tries) == 3
    late.close()
    holder.close()


WRITER = """
import sys
from pathlib import Path
from toy_study import *
path, who = Path(sys.argv[1]), int(sys.argv[2])
sys.stdin.readline()
with Study.open(path) as study:
    study.bind(MODEL)
    study.expect([ask(draw=d) for d in range(150)])
    for draw in range(150):
        study.add(answer(ask(draw=draw if draw % 3 else draw + 1000 * who), f"by {who}"))
"""


def test_processes_that_begin_and_fill_one_study_at_once_all_succeed(tmp_path: Path) -> None:
    path = tmp_path / "together.db"
    here = Path(__file__).parent
    command = [sys.executable, "-c", WRITER, str(path)]
    writers = [
        subprocess.Popen([*command, str(who)], cwd=here, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for who in (1, 2, 3)
    ]
    time.sleep(1.5)  # until all have imported and wait for the start
    errors = [writer.communicate("go\n", timeout=60)[1] for writer in writers]
    assert errors == ["", "", ""]
    with Study.open(path, read_only=True) as study:
        # 100 requests wanted by all three, and 50 by each alone.
        assert study.count() == 100 + 3 * 50
        assert study._db.rows("PRAGMA integrity_check") == [("ok",)]
        assert len(study.provenances()) == 1
