"""Prompts from JSONL and CSV: one record a line, named columns."""

from __future__ import annotations

import csv
import difflib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from poise.errors import UseCaseError
from poise.usecases.files import Document, Mark, Place, read_text

COLUMNS = ("prompt", "messages", "answer", "reference", "must_include", "must_not_include")
SUFFIXES = (".jsonl", ".csv")
_SEVERAL = ("answer", "must_include", "must_not_include")
_SEPARATOR = "|"
_OTHER_DELIMITERS = {";": "semicolons", "\t": "tabs"}
_EXAMPLES = {
    ".jsonl": 'One record a line, for example {"prompt": "My parcel never came.", "answer": "delivery"}',
    ".csv": "A header and one record a line, for example prompt,answer and below it My parcel never came.,delivery",
}
_COLUMN_RULE = f"A column is one of {', '.join(COLUMNS)}"


def read(path: Path) -> Document:
    """Read the prompts of a JSONL or CSV file.

    Args:
        path: its file; the suffix decides.

    Returns:
        What a YAML file with these prompts would hold; the marks are their lines.

    Raises:
        UseCaseError: no such file, too large, not UTF-8; a line that is no record, an unknown column; no prompt.
    """
    text = read_text(path)
    kind = path.suffix.lower()
    records = _of_csv if kind == ".csv" else _of_jsonl
    prompts: list[object] = []
    marks: dict[Place, Mark] = {(): Mark(1, None), ("prompts",): Mark(1, None)}
    for line, record in records(text, path.name):
        marks["prompts", len(prompts)] = Mark(line, None)
        if "prompt" not in record and "messages" not in record:
            rule = "A ticket has a prompt, or messages"
            raise UseCaseError(rule, f"{_at(line, path.name)}, which has no prompt", "Write one, or remove the line")
        prompts.append(record)
    if not prompts:
        raise UseCaseError("A ticket file has at least one prompt", f"none in {path.name}", _EXAMPLES[kind])
    return Document(path.name, {"prompts": prompts}, marks, quoted="Write text in double quotes")


def _of_jsonl(text: str, name: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Each record with its line; blank lines are passed over."""
    for line, written in enumerate(text.split("\n"), 1):
        if not written.strip():
            continue
        record = _json(written, "A line of a JSONL file is one JSON object", _at(line, name))
        if not isinstance(record, dict):
            got = f"{type(record).__name__}, {_at(line, name)}"
            raise UseCaseError(
                "A line of a JSONL file is one JSON object", got, 'For example {"prompt": "…", "answer": "…"}'
            )
        for column in record:
            _known(column, _at(line, name))
        yield line, {column: said for column, said in record.items() if said is not None}


def _of_csv(text: str, name: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Each record with its first line; empty cells are not said, empty rows are passed over."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    columns: list[str] | None = None
    before = 0
    try:
        for cells in reader:
            line, before = before + 1, reader.line_num
            if not any(cell.strip() for cell in cells):
                continue
            if columns is None:
                columns = _header(cells, _at(line, name))
            elif len(cells) != len(columns):
                got = f"{len(cells)}, {_at(line, name)}"
                raise UseCaseError(
                    f"A row has as many cells as the header, here {len(columns)}", got,
                    "Put cells that hold commas or line breaks in double quotes",
                )  # fmt: skip
            else:
                yield line, _record(dict(zip(columns, cells, strict=True)), _at(line, name))
    except csv.Error as error:
        raise UseCaseError(
            "A CSV file has its cells in quotes where they hold commas, quotes or line breaks",
            f"{error}, {_at(reader.line_num, name)}", "Write a quote inside quotes twice",
        ) from None  # fmt: skip


def _header(cells: list[str], where: str) -> list[str]:
    columns = [cell.strip() for cell in cells]
    for delimiter, called in _OTHER_DELIMITERS.items():
        if len(columns) == 1 and columns[0].split(delimiter)[0].strip() in COLUMNS and delimiter in columns[0]:
            raise UseCaseError(
                "A CSV file has commas between its cells", f"{called}, {where}", "Save it with commas, or as JSONL"
            )
    for column in columns:
        _known(column, where)
    if twice := [c for c in dict.fromkeys(columns) if columns.count(c) > 1]:
        raise UseCaseError("A column is there once", f"{twice[0]!r} twice, {where}", "Remove one of them")
    return columns


def _record(cells: dict[str, str], where: str) -> dict[str, Any]:
    said: dict[str, Any] = {column: cell for column, cell in cells.items() if cell.strip()}
    for column in _SEVERAL:
        if column in said:
            said[column] = [part.strip() for part in said[column].split(_SEPARATOR)]
    if "messages" in said:
        said["messages"] = _json(said["messages"], "A cell of messages is a JSON list of {role, content}", where)
    return said


def _json(written: str, rule: str, where: str) -> object:
    try:
        return json.loads(written, parse_constant=_refuse, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        why = "nested too deep" if isinstance(error, RecursionError) else str(error).partition(": line")[0]
        raise UseCaseError(rule, f"{why}, {where}", "Write it with a JSON library") from None


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A field that is there twice would be one of both, in silence."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice if len(twice) <= 60 else twice[:59] + '…'!r} twice")
    return found


def _known(column: str, where: str) -> None:
    if column not in COLUMNS:
        near = difflib.get_close_matches(column, COLUMNS, n=1)
        shown = repr(column if len(column) <= 60 else f"{column[:59]}…")
        raise UseCaseError(
            _COLUMN_RULE, f"{shown}, {where}", f"Did you mean {near[0]}?" if near else "Remove it, or rename it"
        )


def _at(line: int, name: str) -> str:
    return f"line {line} of {name}"
