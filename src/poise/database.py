"""A SQLite file: opened safely, written durably, its errors mapped."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

from poise import schema
from poise.errors import PoiseError, StoreError, StudyError

Row = tuple[Any, ...]
PATIENCE = 60.0  # seconds to wait for another process's write; a write itself takes about 50 µs


class Database:
    """One open study file.

    A write outside `transaction` is on its way to disk when `write` returns: it outlives the death of
    the process. It is a write-ahead log, not synced at each write, so a power cut may lose the last
    ones, never the file.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection, writable: bool) -> None:
        self.path, self.writable, self._connection = path, writable, connection

    def rows(self, sql: str, values: Sequence[object] = ()) -> list[Row]:
        """All rows of a query."""
        try:
            return self._connection.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            self._fail(error)
        except UnicodeDecodeError as error:
            raise damaged(self.path, str(error)) from error

    def stamp(self) -> tuple[int, int]:
        """What changes whenever this process or another one writes: equal stamps, equal contents."""
        ((version,),) = self.rows("PRAGMA data_version")
        return self._connection.total_changes, version

    def write(self, sql: str, values: Sequence[object] = ()) -> int:
        """Run one statement. Returns how many rows it changed."""
        if not self.writable:
            raise StudyError(
                "A study opened for reading is not written to", str(self.path), "Open it without read_only"
            )
        try:
            return self._connection.execute(sql, values).rowcount
        except sqlite3.Error as error:
            self._fail(error)
        except UnicodeEncodeError as error:
            raise StudyError("Names in a study are valid Unicode", repr(error.object), "Take other names") from error

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Everything inside is written, or nothing is."""
        self.write("BEGIN IMMEDIATE")
        try:
            yield
            self.write("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):  # the first error is the one to tell
                self._connection.rollback()
            raise

    def close(self) -> None:
        """Fold the log into the file and let go of it."""
        try:
            self._connection.close()
        except sqlite3.Error as error:
            self._fail(error)

    def _fail(self, error: sqlite3.Error) -> NoReturn:
        raise mapped(error, self.path) from error


def open_database(path: Path, *, create: bool, read_only: bool) -> Database:
    """Open a study's file, or make one.

    Args:
        path: the file.
        create: make the file where there is none.
        read_only: promise not to write; works in a folder that cannot be written to.

    Returns:
        The open file, its tables in place.

    Raises:
        StudyError: no such file, not a study, a newer schema.
        StoreError: it cannot be opened, or is damaged.
    """
    if path.is_dir():
        raise StudyError("A study is a file", f"the folder {path}", "Name a file in it, for example study.db")
    if not path.exists():
        if read_only or not create:
            raise StudyError("A study must exist before it is read", str(path), "`poise sweep` makes one")
        _make_folder(path.parent)
    return _open_to_read(path) if read_only else _open_to_write(path)


def mapped(error: sqlite3.Error, path: Path) -> PoiseError:
    """SQLite's error in our words.

    Args:
        error: as raised.
        path: the study's file.

    Returns:
        A StoreError; a StudyError where the study was already closed.
    """
    got = f"{error} ({path})"
    code = getattr(error, "sqlite_errorcode", None)
    primary = None if code is None else code & 0xFF
    if isinstance(error, sqlite3.ProgrammingError) and primary is None:
        return StudyError("A study is used while it is open, in the thread that opened it", got, "Open it again")
    kept = "what was finished is kept"
    if primary in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
        return StoreError(f"The disk must have room for the study; {kept}", got, "Make room, then run it again")
    if primary in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
        return StoreError(
            "The study's file and its folder must be writable", got, "Change their rights, or name another --study"
        )
    if primary in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return damaged(path, str(error))
    if primary in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return StoreError(
            f"No other process may hold the study for more than {PATIENCE:.0f} s; {kept}", got, "Run it again"
        )
    return StoreError(f"The study's file must work; {kept}", got, "Check the disk")


def damaged(path: Path, found: str) -> StoreError:
    """The error for a file whose content cannot be a study's."""
    return StoreError(
        "The study's file must be a whole SQLite database",
        f"{path}: {found}",
        "`sqlite3 FILE .recover` saves what can be read; or name another --study",
    )


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError("The study's folder must be writable", str(error), "Name another --study") from error


def _open_to_write(path: Path) -> Database:
    connection = _connect(path, "rwc")
    database = Database(path, connection, writable=True)
    try:
        _check_identity(connection, path, empty_is_fine=True)
        _patiently(lambda: connection.execute("PRAGMA journal_mode = WAL"))
        connection.execute("PRAGMA synchronous = NORMAL")
        with database.transaction():
            if _is_empty(connection):
                for statement in schema.STATEMENTS:
                    connection.execute(statement)
                connection.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            for since, statements in ((2, schema.DIALS), (3, schema.NOTES)):
                for statement in statements if version < since else ():
                    connection.execute(statement)
            if version < schema.VERSION:
                connection.execute(f"PRAGMA user_version = {schema.VERSION}")
    except sqlite3.Error as error:
        connection.close()
        raise mapped(error, path) from error
    except BaseException:
        connection.close()
        raise
    return database


def _open_to_read(path: Path) -> Database:
    """Reading needs the log's index beside the file; where that cannot be made, the file alone must do."""
    ways = ["rw", "ro"]
    log = path.with_name(path.name + "-wal")
    if not log.exists() or log.stat().st_size == 0:
        ways.append("ro&immutable=1")
    for way in ways:
        connection = _connect(path, way)
        try:
            connection.execute("PRAGMA query_only = ON")
            _check_identity(connection, path, empty_is_fine=False)
            return Database(path, connection, writable=False)
        except sqlite3.Error as error:
            connection.close()
            refused = error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN)
            if not refused or way == ways[-1]:
                raise mapped(error, path) from error
        except PoiseError:
            connection.close()
            raise
    raise AssertionError("one way always ends")


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    address = f"{path.absolute().as_uri()}?mode={mode}"
    try:
        connection = sqlite3.connect(address, uri=True, timeout=PATIENCE, isolation_level=None)
    except sqlite3.Error as error:
        raise mapped(error, path) from error
    # Model output may hold lone surrogates, which strict UTF-8 refuses.
    connection.text_factory = lambda stored: stored.decode("utf-8", "surrogatepass")
    return connection


def is_blank(path: Path) -> bool:
    """Whether there is nothing to read: no file, or one whose making was interrupted before its first table."""
    if not path.exists() or (path.is_file() and path.stat().st_size == 0):
        return True
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as connection:
            return _is_empty(connection)
    except sqlite3.Error:
        return False  # opening it for good says what is wrong


def _is_empty(connection: sqlite3.Connection) -> bool:
    return bool(connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone() == (0,))


def _check_identity(connection: sqlite3.Connection, path: Path, *, empty_is_fine: bool) -> None:
    """Before anything is changed: is this ours, and not newer than we are?"""
    if _is_empty(connection):
        if empty_is_fine:
            return
        raise StudyError("A study must exist before it is read", f"the empty file {path}", "`poise sweep` makes one")
    (owner,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if owner != schema.APPLICATION_ID:
        raise StudyError("A study is a file that poise made", f"another program's {path}", "Name another --study")
    if version > schema.VERSION:
        raise StudyError(
            f"This poise reads studies up to schema {schema.VERSION}", f"schema {version} in {path}", "Update poise"
        )


def _patiently(act: Callable[[], object]) -> None:
    """Switching to the log does not wait for other processes by itself."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            act()
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(0.02)
