"""Where a page goes: checked before any work, replaced in one step."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from poise.errors import StoreError, UsageError

_SQLITE = b"SQLite format 3\0"  # how a study's file begins


def checked_target(path: str | Path, *studies: Path, what: str = "A page", example: str = "-o page.html") -> Path:
    """A path that a page or figure can have.

    Args:
        path: as given.
        studies: that are read or written, there already or not: a page in their place would be their end.
        what: is written.
        example: of a flag or path that would do.

    Returns:
        It as a path.

    Raises:
        UsageError: no file, no folder, a device, a study.
        StoreError: the file cannot be written.
    """
    target = Path(path)
    if not str(path) or target.is_dir() or (target.exists() and not target.is_file()):
        got = "''" if not str(path) else f"the folder '{path}'" if target.is_dir() else f"'{path}', which is none"
        raise UsageError(f"{what} goes to a file", got, f"For example {example}")
    if not target.parent.is_dir():
        raise UsageError(f"{what} goes to a file in a folder that is there", str(path), "Make it, or name another")
    whole = _whole(target, what)
    beside = {f"{s.resolve()}{end}" for s in studies for end in ("", "-wal", "-shm", "-journal")}
    if str(whole) in beside or _is_study(target):
        raise UsageError(f"{what} never replaces a study", f"'{target}', which is one", "Name another file for it")
    part = _part(whole)
    with _writing(target, part, what):
        part.write_bytes(b"")
        part.unlink()
    return target


def write_target(target: Path, content: str | bytes, what: str = "A page") -> None:
    """Replace the file in one step: a reader never sees half of it.

    Args:
        target: from `checked_target`.
        content: text is written as UTF-8.
        what: is written.

    Raises:
        StoreError: the file cannot be written.
    """
    with replacing(target, what) as part:
        part.write_bytes(content.encode() if isinstance(content, str) else content)


@contextlib.contextmanager
def replacing(target: Path, what: str = "A page") -> Iterator[Path]:
    """A file to write into, which takes the target's place once it is whole; else nothing is left of it.

    A link stays one, and what it names is replaced; a file that was there passes on its mode.

    Args:
        target: from `checked_target`.
        what: is written.

    Raises:
        StoreError: the file cannot be written.
    """
    whole = _whole(target, what)
    part = _part(whole)
    with _writing(target, part, what):
        mode = stat.S_IMODE(whole.stat().st_mode) if whole.is_file() else None
        try:
            yield part
            if mode is not None:
                part.chmod(mode)
            part.replace(whole)
        finally:
            part.unlink(missing_ok=True)


def _whole(target: Path, what: str) -> Path:
    """Where a path leads to, through all links."""
    try:
        return target.resolve()
    except (OSError, RuntimeError) as error:  # a link to itself; which of the two depends on the Python
        raise StoreError(f"{what}'s file has to be writable", f"{target}: {error}", "Name another file") from None


def _part(target: Path) -> Path:
    return target.with_name(f".{target.name}.{os.getpid()}.part")


@contextlib.contextmanager
def _writing(target: Path, part: Path, what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink()
        rule = f"{what}'s file has to be writable"
        raise StoreError(rule, f"{target}: {error.strerror}", "Name another file") from error


def _is_study(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            return stream.read(len(_SQLITE)) == _SQLITE
    except OSError:
        return False
