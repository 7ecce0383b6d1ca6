"""Finds a model's files: embedded, by folder, by hub name, from GGUF."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from poise.errors import ModelError
from poise.models import cache, embedded, hub
from poise.models.cache import cache_root
from poise.models.folder import ModelFiles, describe

__all__ = ["ModelFiles", "cache_root", "find"]

# Raise it when the converter writes other files for the same GGUF: old ones are then made again.
CONVERTER = 1

Convert = Callable[[Path, Path], None]


def find(spec: str, *, convert: Convert, trust_remote_code: bool = False) -> ModelFiles:
    """Find a model's files, fetching and converting what is not there yet.

    Once there, the embedded model needs no network, and is found in milliseconds.

    Args:
        spec: ``smollm2``, ``hf:NAME_OR_DIR`` or ``gguf:FILE``.
        convert: writes a GGUF file (first argument) as transformers loads it into an empty folder (second).
        trust_remote_code: accept Python code that ships with an ``hf:`` model.

    Returns:
        Where the files are and what identifies them.

    Raises:
        ModelError: an unknown, unsuitable or unsafe model.
        FetchError: a download that did not come or came wrong; it says the way out.
    """
    kind, colon, name = spec.partition(":")
    if spec == embedded.NAME:
        folder = _converted(embedded.GGUF_SHA256, embedded.gguf_file, convert)
    elif kind == "gguf" and colon:
        path = _gguf(name)
        folder = _converted(cache.sha256_of(path), lambda: path, convert)
    elif kind == "hf" and colon:
        folder = hub.directory_of(name, trust_remote_code=trust_remote_code)
    else:
        raise ModelError(
            "A model is smollm2, hf:NAME_OR_DIR or gguf:FILE", repr(spec), f"A hub name needs its kind: hf:{spec}"
        )
    return describe(spec, folder, trust_remote_code=trust_remote_code)


def _converted(sha256: str, source: Callable[[], Path], convert: Convert) -> Path:
    """The folder that a GGUF file was converted into; `source` is asked for the file only when there is none."""

    def make(part: Path) -> None:
        path = source()
        cache.say(f"converting {path.name} once")
        convert(path, part)

    return cache.make_once(cache_root() / "models" / f"gguf-{sha256[:32]}-{CONVERTER}", make)


def _gguf(name: str) -> Path:
    path = Path(name).expanduser()
    if not path.is_file():
        raise ModelError(
            "gguf: takes a file", repr(name), "Check the path; a folder of safetensors or a hub name is hf:NAME_OR_DIR"
        )
    with path.open("rb") as file:
        start = file.read(4)
    if start != b"GGUF":
        raise ModelError("A GGUF file starts with the letters GGUF", f"{start!r} in {name}", "Download it again")
    return path
