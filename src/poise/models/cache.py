"""The cache: content hashes, and directories made exactly once."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import platformdirs

from poise.errors import FetchError

MANIFEST = "poise.json"  # in every directory made here: the SHA-256 of each of its files
_BLOCK = 1 << 20


def cache_root() -> Path:
    """Where models are kept: $POISE_CACHE, else $POISE_HOME/cache, else the user's cache folder."""
    if cache := os.environ.get("POISE_CACHE"):
        return Path(cache)
    if home := os.environ.get("POISE_HOME"):
        return Path(home) / "cache"
    return Path(platformdirs.user_cache_dir("poise"))


def say(text: str) -> None:
    """Tell a waiting user what takes time, on stderr: stdout may be read by a program."""
    print(f"poise: {text}", file=sys.stderr, flush=True)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, remembered under its path, size and time of change.

    Args:
        path: an existing file.

    Returns:
        The hash, hexadecimal.
    """
    stat = path.stat()
    key, mark = str(path.resolve()), [stat.st_size, stat.st_mtime_ns]
    known = _remembered()
    if known.get(key, [])[:2] == mark:
        return str(known[key][2])
    found = _hash(path)
    # What was read may already have changed: remember only what stayed the same meanwhile.
    after = path.stat()
    if [after.st_size, after.st_mtime_ns] == mark:
        _remember(key, [*mark, found])
    return found


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _remembered() -> dict[str, list[int | str]]:
    try:
        known = json.loads((cache_root() / "hashes.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}  # a lost memory costs time, nothing else
    return known if isinstance(known, dict) else {}


def _remember(key: str, entry: list[int | str]) -> None:
    kept = {path: value for path, value in _remembered().items() if Path(path).exists()}
    with contextlib.suppress(OSError):  # a read-only cache hashes again next time
        write_atomically(cache_root() / "hashes.json", json.dumps({**kept, key: entry}, indent=0))


def write_atomically(path: Path, text: str) -> None:
    """Write a small file so that a reader sees the old content or the new, never half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f"{path.name}.part-", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def intact(directory: Path) -> bool:
    """Whether a directory made by `make_once` still holds what was put into it."""
    try:
        manifest = json.loads((directory / MANIFEST).read_text(encoding="utf-8"))
        return all(sha256_of(directory / name) == value for name, value in manifest["files"].items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def make_once(target: Path, make: Callable[[Path], None]) -> Path:
    """Make a directory unless it is there and intact; among processes, one makes and the others wait.

    What a killed process left behind is removed; a damaged directory is made again.

    Args:
        target: the directory.
        make: fills an empty directory beside it, which is then renamed.

    Returns:
        The directory.

    Raises:
        FetchError: the cache cannot be written, or the disk is full.
    """
    if intact(target):
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _locked(target):
            if not intact(target):  # another process may have made it while this one waited
                _make(target, make)
    except OSError as error:
        raise FetchError(
            "The model's cache must be writable and have 500 MB free",
            f"{error.strerror or error}: {cache_root()}",
            "Free some space, or set POISE_CACHE to a folder elsewhere",
        ) from error
    return target


def _make(target: Path, make: Callable[[Path], None]) -> None:
    for left_over in target.parent.glob(f"{target.name}.part-*"):
        shutil.rmtree(left_over, ignore_errors=True)
    part = Path(tempfile.mkdtemp(prefix=f"{target.name}.part-", dir=target.parent))
    try:
        make(part)
        files = sorted(p for p in part.iterdir() if p.is_file())
        manifest = {"files": {path.name: _hash(path) for path in files}}
        (part / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
        part.chmod(0o755)  # mkdtemp's 0700 would keep a shared cache from being shared
        for path in files:
            path.chmod(0o644)
        if target.exists():
            shutil.rmtree(target)
        part.rename(target)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    if not intact(target):  # also fills the memory of hashes, so that the next look is quick
        raise OSError(f"what was written to {target} reads back differently")


@contextlib.contextmanager
def _locked(target: Path) -> Iterator[None]:
    import filelock  # third-party, and only needed to fetch or convert

    # The lock file stays: removing it would let two processes lock two files of one name.
    lock = filelock.FileLock(f"{target}.lock")
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        say(f"another process is preparing {target.name}; waiting for it")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
