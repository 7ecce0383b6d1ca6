"""Reads a use-case file as text: bounded, UTF-8."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from poise.errors import UseCaseError

MAX_BYTES = 5_000_000

Place = tuple[str | int, ...]


class Mark(NamedTuple):
    """Where a value stands, its line counted from 1, and a scalar as it is written."""

    line: int
    written: str | None


class Document(NamedTuple):
    """A file's content as plain data, and a `Mark` for the places in it.

    Args:
        name: of the file.
        content: plain data.
        marks: by place; where a place has none, that of what it lies in counts.
        quoted: what helps where text is written as something else, such as a number.
    """

    name: str
    content: object
    marks: dict[Place, Mark]
    quoted: str = "Put text in quotes where YAML reads something else"


def read_text(path: Path) -> str:
    """Read a whole file.

    Args:
        path: of at most `MAX_BYTES`.

    Returns:
        Its text, without a byte order mark.

    Raises:
        UseCaseError: no such file, not readable, too large, not UTF-8.
    """
    try:
        if not path.is_file():
            raise UseCaseError(
                "A use case is a YAML, JSONL or CSV file", repr(str(path)), "`poise usecase new FILE` writes one"
            )
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UseCaseError(
            "A use-case file must be readable", f"{path}: {error.strerror}", "Check its permissions"
        ) from error
    if len(raw) > MAX_BYTES:
        raise UseCaseError(
            f"A use-case file has at most {MAX_BYTES / 1e6:g} MB", f"{path.stat().st_size / 1e6:.1f} MB", "Split it"
        )
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise UseCaseError("A use-case file is UTF-8 text", f"line {line} of {path.name}", "Save it as UTF-8") from None
