"""Sampling keys of a GGUF file: read, written into a copy."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from poise.errors import UsageError
from poise.exports.llama_like import DECIMALS
from poise.exports.origin import Origin
from poise.exports.target import shortened
from poise.targets import replacing

MAGIC = b"GGUF"
PREFIX = "general.sampling."
ORIGIN = "poise.settings"  # where the settings come from; llama.cpp skips keys that it does not know
_BROKEN = (ValueError, IndexError, KeyError, OverflowError, UnicodeDecodeError, TypeError, AttributeError)


def read_keys(path: Path) -> dict[str, Any]:
    """What a GGUF file says of sampling.

    Args:
        path: of the file.

    Returns:
        Values by key, numbers with the decimals that llama.cpp reads.

    Raises:
        UsageError: no GGUF file, a damaged one, or the library for them is not there.
    """
    reader = _reader(path)
    try:
        found = {name: field.contents() for name, field in reader.fields.items() if name.startswith(PREFIX)}
    except _BROKEN as error:
        raise _damaged(path, error) from error
    return {name: _plain(value) for name, value in found.items()}


def write_copy(source: Path, target: Path, said: Mapping[str, Any], origin: Origin, name: str) -> None:
    """Write a copy of a GGUF file with other sampling keys; its tensors stay as they are.

    Args:
        source: the file.
        target: of the copy, from `targets.checked_target`; the file itself stays.
        said: values by key, `fields_of` the settings.
        origin: where they come from.
        name: of the target that they are for.

    Raises:
        UsageError: no GGUF file, a damaged one, the file itself as its copy.
        StoreError: the copy cannot be written.
    """
    if target.exists() and target.samefile(source):
        raise UsageError("A copy of a GGUF file goes to another file", str(target), "Name another -o")
    reader = _reader(source)
    import gguf
    from gguf.scripts.gguf_new_metadata import MetadataDetails, copy_with_new_metadata

    kinds = gguf.GGUFValueType
    fresh = {key: MetadataDetails(_kind(kinds, value), _joined(value)) for key, value in said.items()}
    fresh[ORIGIN] = MetadataDetails(kinds.STRING, json.dumps(origin.record(name)))
    gone = [key for key in reader.fields if key.startswith(PREFIX) and key not in fresh]
    with replacing(target, "A GGUF file") as part:
        try:
            architecture = reader.fields[gguf.Keys.General.ARCHITECTURE].contents()
            writer = gguf.GGUFWriter(part, arch=architecture, endianess=reader.endianess)
            alignment = reader.fields.get(gguf.Keys.General.ALIGNMENT)
            if alignment is not None:
                writer.data_alignment = alignment.contents()
            with contextlib.redirect_stderr(io.StringIO()):  # its progress bar
                copy_with_new_metadata(reader, writer, fresh, gone)
        except _BROKEN as error:
            raise _damaged(source, error) from error


def _kind(kinds: Any, value: Any) -> Any:
    return kinds.STRING if isinstance(value, list) else kinds.FLOAT32 if isinstance(value, float) else kinds.INT32


def _joined(value: Any) -> Any:
    return ";".join(value) if isinstance(value, list) else value


def _reader(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            start = file.read(len(MAGIC))
    except OSError as error:
        raise UsageError("A GGUF file can be read", f"{path}: {error.strerror}", "Name another") from error
    if start != MAGIC:
        raise UsageError("A GGUF file begins with GGUF", f"{path}, which does not", "Name another file")
    try:
        import gguf
    except ImportError as error:
        raise UsageError(
            "GGUF files are read with the library gguf", "no such library", "pip install 'poise[local]'"
        ) from error
    try:
        return gguf.GGUFReader(path)
    except _BROKEN as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> UsageError:
    why = f"{type(error).__name__}: {error}"[:200]
    return UsageError("A GGUF file is whole", f"{path}: {why}", "Download it again, or name another")


def _plain(value: Any) -> Any:
    """A value as Python has it."""
    if isinstance(value, np.generic):
        value = value.item()
    return shortened(value, DECIMALS) if isinstance(value, float) else value
