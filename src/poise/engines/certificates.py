"""What the self-test at load found, kept per model, dtype and machine."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from poise.models import cache_root


@dataclass(frozen=True)
class Certificate:
    """The decode path chosen for a model, and the padding that keeps a row's bits.

    Args:
        path: name of the step.
        least, multiple, most, verified: the padding.
    """

    path: str
    least: int
    multiple: int
    most: int
    verified: bool

    @property
    def padding(self) -> tuple[int, int, int, bool]:
        """The padding's fields."""
        return self.least, self.multiple, self.most, self.verified


def key(*parts: object) -> str:
    """A file name from everything that may change the outcome."""
    return hashlib.sha256(json.dumps([str(p) for p in parts]).encode()).hexdigest()[:32]


def read(name: str) -> Certificate | None:
    """A certificate of the cache.

    Args:
        name: from `key`.

    Returns:
        None when there is none, or it cannot be read: the test is then made again.
    """
    try:
        return Certificate(**json.loads(_path(name).read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def write(name: str, certificate: Certificate) -> None:
    """Keep a certificate; where the cache cannot be written, the next load tests again."""
    path = _path(name)
    part = path.with_suffix(f".{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(asdict(certificate)), "utf-8")
        part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)


def _path(name: str) -> Path:
    return cache_root() / "self-tests" / f"{name}.json"
