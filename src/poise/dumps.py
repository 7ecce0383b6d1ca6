"""A study's completions as JSON lines, CSV or Parquet."""

from __future__ import annotations

import csv
import io
import itertools
import json
import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple

from poise.errors import StoreError, UsageError
from poise.params import PARAMETERS, SamplingParams
from poise.records import Completion
from poise.study import Study

Format = Literal["jsonl", "csv", "parquet"]
Kind = Literal["text", "texts", "integer", "integers", "number", "numbers", "messages"]
Record = dict[str, Any]  # one completion, by column

# What a spreadsheet takes for a formula, or skips on its way to one; the mark goes in front.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠", "'")
MARK = "'"
_BATCH = 2_000  # rows of Parquet written at once


class Column(NamedTuple):
    """A column of a dump: its type, and what it holds."""

    kind: Kind
    meaning: str


COLUMNS: Mapping[str, Column] = {
    "model": Column("text", "the model's name, as it was first written"),
    "use_case": Column("text", 'name of the use case; "prompt" for prompts without one'),
    "prompt_index": Column("integer", "position of the prompt in its use case, from 0"),
    "prompt": Column("text", "the prompt's text, or its last user message"),
    "messages": Column("messages", "the chat turns; none where the prompt was continued as text"),
    "answers": Column("texts", "accepted right answers"),
    "reference": Column("text", "a human text to compare with; null without one"),
    "setting": Column("text", "the settings as users write them, the trial's name"),
    "names": Column("texts", "what else the trial is called: greedy, engine-default, vendor"),
    **{
        name: Column("integer" if p.kind == "int" else "number", f"{p.meaning} Null: off.")
        for name, p in PARAMETERS.items()
    },
    "dialect": Column("text", "whose order and boundary rules hold"),
    "seed": Column("text", "the seed, a whole number of any size"),
    "draw": Column("integer", "number of the draw, from 0"),
    "max_tokens": Column("integer", "new tokens at most"),
    "min_tokens": Column("integer", "the model could not end the text before this many; a stop string still could"),
    "stop": Column("texts", "strings that end the text"),
    "text": Column("text", "without the prompt, special tokens, stop string and thinking"),
    "thinking": Column("text", "what a reasoning model thought before its text"),
    "token_ids": Column("integers", "every token drawn, a closing end-of-text token included"),
    "logprobs": Column("numbers", "ln p of each token under the model itself, nats"),
    "finish_reason": Column("text", "eos, stop (a stop string) or length (max_tokens)"),
}


def dump(study: Study, format: Format, path: str | Path | None = None, *, everything: bool = True) -> int:
    """Write a study's completions as a table, one row each; `COLUMNS` says what the columns hold.

    JSON lines are pure ASCII and exact. Parquet and CSV are UTF-8, in which a lone surrogate becomes U+FFFD.
    CSV alone changes texts, so that a spreadsheet computes none of them: one that starts with any of
    `FORMULA_STARTS` gets an apostrophe in front (taking one leading apostrophe away restores it); lists are
    JSON in their cell. The file appears whole or not at all.

    Args:
        study: the study.
        format: ``jsonl``, ``csv`` or ``parquet``.
        path: the file to write or replace; None or "-" for standard output.
        everything: also what earlier askings drew: prompts that left a use case, other limits; False leaves it out.

    Returns:
        How many completions were written.

    Raises:
        UsageError: an unknown format, a folder, the study itself.
        StoreError: the file cannot be written.
    """
    Study.given(study)
    if format not in _WRITERS:
        raise UsageError(f"A dump's format is one of {', '.join(_WRITERS)}", repr(format), "Take jsonl for all of it")
    records = _records(study, everything)
    with _target(study, None if path in (None, "-") else Path(str(path)), format) as stream:
        return _WRITERS[format](records, stream)


def _records(study: Study, everything: bool) -> Iterator[Record]:
    names = {trial.params: list(trial.names) for trial in study.trials()}
    model = study.fingerprint.model if study.use_cases() else ""
    seen: dict[str, dict[tuple[int, ...], int]] = {}  # prompts of each use case, in order
    of_trials = itertools.groupby(study.completions(everything=everything), key=lambda c: c.request.params)
    for params, of_trial in of_trials:
        law = _law(params, names.get(params, []))
        for completion in of_trial:
            places = seen.setdefault(completion.request.prompt.use_case, {})
            index = places.setdefault(completion.request.prompt_ids, len(places))
            yield {"model": model, "prompt_index": index, **law, **_record(completion)}


def _law(params: SamplingParams, names: list[str]) -> Record:
    on = params.active()
    values = {name: on.get(name) for name in PARAMETERS}
    return {"setting": params.label, "names": names, **values, "dialect": params.dialect}


def _record(completion: Completion) -> Record:
    request, prompt = completion.request, completion.request.prompt
    return {
        "use_case": prompt.use_case,
        "prompt": prompt.shown,
        "messages": [{"role": m.role, "content": m.content} for m in prompt.messages],
        "answers": list(prompt.answers),
        "reference": prompt.reference,
        "seed": str(request.seed),
        "draw": request.draw,
        "max_tokens": request.max_tokens,
        "min_tokens": request.min_tokens,
        "stop": list(request.stop),
        "text": completion.text,
        "thinking": completion.thinking,
        "token_ids": list(completion.token_ids),
        "logprobs": [p if math.isfinite(p) else None for p in completion.logprobs],
        "finish_reason": completion.finish_reason,
    }


def _write_jsonl(records: Iterable[Record], stream: BinaryIO) -> int:
    n = 0
    for record in records:
        line = json.dumps({name: record[name] for name in COLUMNS}, allow_nan=False)
        stream.write(line.encode("ascii") + b"\n")
        n += 1
    return n


def _write_csv(records: Iterable[Record], stream: BinaryIO) -> int:
    n = 0
    line = io.StringIO(newline="")
    writer = csv.writer(line)
    writer.writerow(COLUMNS)
    for record in records:
        writer.writerow([_cell(record[name], column.kind) for name, column in COLUMNS.items()])
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


def _write_parquet(records: Iterable[Record], stream: BinaryIO) -> int:
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
    fields = [pa.field(n, types[c.kind], metadata={"meaning": c.meaning}) for n, c in COLUMNS.items()]
    table = pa.schema(fields)
    waiting, n = iter(records), 0
    with pq.ParquetWriter(stream, table, compression="zstd") as writer:
        while batch := list(itertools.islice(waiting, _BATCH)):
            writer.write_table(pa.Table.from_pylist([_all_valid(r) for r in batch], schema=table))
            n += len(batch)
    return n


_WRITERS: Mapping[str, Callable[[Iterable[Record], BinaryIO], int]] = {
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
def _target(study: Study, path: Path | None, format: str) -> Iterator[BinaryIO]:
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
    if path.is_dir() or (path.parent == study.path.resolve().parent and path.name.startswith(study.path.name)):
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
