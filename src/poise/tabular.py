"""Rows of typed columns as JSON lines, CSV or Parquet."""

from __future__ import annotations

import csv
import io
import itertools
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple

from poise.errors import StoreError, UsageError

Format = Literal["jsonl", "csv", "parquet"]
Kind = Literal["text", "texts", "integer", "integers", "number", "numbers", "messages"]
Record = dict[str, Any]  # one row, by column

# What a spreadsheet takes for a formula, or skips on its way to one; the mark goes in front.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠", "'")
MARK = "'"
_BATCH = 2_000  # rows of Parquet written at once


class Column(NamedTuple):
    """A column of a dump: its type, and what it holds."""

    kind: Kind
    meaning: str


Columns = Mapping[str, Column]


def write_rows(columns: Columns, records: Iterable[Record], format: Format, path: Path | None, beside: Path) -> int:
    """Write rows as a table. The file appears whole or not at all.

    JSON lines are pure ASCII and exact. Parquet and CSV are UTF-8, in which a lone surrogate becomes U+FFFD.
    CSV alone changes texts, so that a spreadsheet computes none of them: one that starts with any of
    `FORMULA_STARTS` gets an apostrophe in front (taking one leading apostrophe away restores it); lists are
    JSON in their cell.

    Args:
        columns: names and types.
        records: rows, with a value for each column.
        format: ``jsonl``, ``csv`` or ``parquet``.
        path: the file to write or replace; None for standard output.
        beside: the study that the rows come from, which must not be overwritten.

    Returns:
        How many rows were written.

    Raises:
        UsageError: an unknown format, a folder, the study itself.
        StoreError: the file cannot be written.
    """
    if format not in _WRITERS:
        raise UsageError(f"A dump's format is one of {', '.join(_WRITERS)}", repr(format), "Take jsonl for all of it")
    with _target(beside, path, format) as stream:
        return _WRITERS[format](columns, records, stream)


def _write_jsonl(columns: Columns, records: Iterable[Record], stream: BinaryIO) -> int:
    n = 0
    for record in records:
        line = json.dumps({name: record[name] for name in columns}, allow_nan=False)
        stream.write(line.encode("ascii") + b"\n")
        n += 1
    return n


def _write_csv(columns: Columns, records: Iterable[Record], stream: BinaryIO) -> int:
    n = 0
    line = io.StringIO(newline="")
    writer = csv.writer(line)
    writer.writerow(columns)
    for record in records:
        writer.writerow([_cell(record[name], column.kind) for name, column in columns.items()])
        stream.write(line.getvalue().encode())
        line.seek(0)
        line.truncate()
        n += 1
    stream.write(line.getvalue().encode())  # the header, where there was no row
    return n


def _cell(value: Any, kind: Kind) -> str | int | float | None:
    if kind in ("integer", "number") or value is None:
        return value  # type: ignore[no-any-return]
    if kind != "text":
        return json.dumps(value, allow_nan=False)
    text = _valid(value)
    return MARK + text if text.startswith(FORMULA_STARTS) else text


def _write_parquet(columns: Columns, records: Iterable[Record], stream: BinaryIO) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    message = pa.struct([("role", pa.string()), ("content", pa.string())])
    types = {
        "text": pa.string(),
        "texts": pa.list_(pa.string()),
        "integer": pa.int64(),
        "integers": pa.list_(pa.int32()),
        "number": pa.float64(),
        "numbers": pa.list_(pa.float64()),
        "messages": pa.list_(message),
    }
    fields = [pa.field(n, types[c.kind], metadata={"meaning": c.meaning}) for n, c in columns.items()]
    table = pa.schema(fields)
    waiting, n = iter(records), 0
    with pq.ParquetWriter(stream, table, compression="zstd") as writer:
        while batch := list(itertools.islice(waiting, _BATCH)):
            writer.write_table(pa.Table.from_pylist([_all_valid(r) for r in batch], schema=table))
            n += len(batch)
    return n


_WRITERS: Mapping[str, Callable[[Columns, Iterable[Record], BinaryIO], int]] = {
    "jsonl": _write_jsonl,
    "csv": _write_csv,
    "parquet": _write_parquet,
}


def _valid(text: str) -> str:
    """The text as UTF-8 can hold it."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace") if not text.isascii() else text


def _all_valid(value: Any) -> Any:
    if isinstance(value, str):
        return _valid(value)
    if isinstance(value, dict):
        return {name: _all_valid(v) for name, v in value.items()}
    if isinstance(value, list) and value and not isinstance(value[0], (int, float)):
        return [_all_valid(v) for v in value]
    return value


@contextmanager
def _target(study: Path, path: Path | None, format: str) -> Iterator[BinaryIO]:
    """Where to write: standard output, or a file that takes its name once it is whole."""
    if path is None:
        stream = _stdout(format)
        try:
            yield stream
            stream.flush()
        except BrokenPipeError:
            raise  # a reader who has seen enough is no fault
        except OSError as error:
            said = error.strerror or str(error)
            raise StoreError("Standard output must have room", said, "Free some space, or name a file") from error
        return
    path = path.resolve()
    if path.is_dir() or (path.parent == study.resolve().parent and path.name.startswith(study.name)):
        raise UsageError("A dump goes to a file other than the study's", str(path), "Name another file")
    part = path.with_name(f".{path.name}.{os.getpid()}.part") if path.is_file() or not path.exists() else path
    try:
        with part.open("wb") as stream:
            yield stream
        if part != path:
            part.replace(path)
    except OSError as error:
        raise StoreError("The dump's folder must be there and have room", str(error), "Name another file") from error
    finally:
        if part != path:
            part.unlink(missing_ok=True)


def _stdout(format: str) -> BinaryIO:
    stream: BinaryIO | None = getattr(sys.stdout, "buffer", None)
    if stream is None or (format == "parquet" and sys.stdout.isatty()):
        raise UsageError(f"Standard output takes no {format} here", "no path", "Name a file")
    sys.stdout.flush()
    return stream
