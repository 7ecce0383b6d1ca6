"""A model's folder: what is refused, and the hashes that identify it."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from poise.errors import ModelError
from poise.models import cache

# A pickle can run code when it is opened.
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_DECODERS = ("ForCausalLM", "LMHeadModel")
_TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt", "merges.txt",
    "added_tokens.json", "special_tokens_map.json",
)  # fmt: skip
_VOLATILE = ("transformers_version", "_name_or_path")  # keys of config.json that decide no text


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """A model on disk, ready to be loaded.

    Args:
        name: the model as the user wrote it.
        directory: holds config.json, safetensors, tokenizer files.
        weights_sha256: of the weights and of what config.json says about computing with them.
        tokenizer_sha256: of the tokenizer's files.
        template_sha256: of the chat template, or of there being none.
        generation_config: what the model's maker recommends, None where nothing is shipped.
    """

    name: str
    directory: Path
    weights_sha256: str
    tokenizer_sha256: str
    template_sha256: str
    generation_config: Mapping[str, object] | None


def describe(name: str, directory: Path, *, trust_remote_code: bool) -> ModelFiles:
    """Check a folder and hash it.

    Args:
        name: the model as the user wrote it.
        directory: an existing folder.
        trust_remote_code: accept a model that brings Python code of its own.

    Returns:
        What identifies the model.

    Raises:
        ModelError: a file is missing or damaged, pickled weights, remote code, no decoder-only model.
    """
    config = _read(directory / "config.json")
    settings = _read(directory / "tokenizer_config.json", needed=False)
    _refuse(directory, config, settings, trust_remote_code=trust_remote_code)
    weights = _weight_files(directory)
    for path in weights:
        _check_header(path)
    generation = _read(directory / "generation_config.json", needed=False)
    decides = {key: value for key, value in config.items() if key not in _VOLATILE}
    weighed = [[path.name, cache.sha256_of(path)] for path in weights]
    template = {
        "tokenizer_config.json": settings.get("chat_template"),
        **{name: _text(directory / name) for name in ("chat_template.jinja", "chat_template.json")},
    }
    without_template = {key: value for key, value in settings.items() if key != "chat_template"}
    tokenizer = [[n, cache.sha256_of(directory / n)] for n in _TOKENIZER_FILES if (directory / n).is_file()]
    return ModelFiles(
        name=name,
        directory=directory,
        weights_sha256=_digest([weighed, decides, generation.get("eos_token_id")]),
        tokenizer_sha256=_digest([tokenizer, without_template]),
        template_sha256=_digest(template),
        generation_config=generation or None,
    )


def _digest(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _text(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.is_file() else None


def _read(path: Path, *, needed: bool = True) -> dict[str, object]:
    if not path.is_file():
        if not needed:
            return {}
        raise ModelError(
            f"A model's folder must hold {path.name}",
            str(path.parent),
            "Give the folder that transformers' save_pretrained wrote; a GGUF file is gguf:FILE",
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(content, dict):
            return content
        why = f"a {type(content).__name__}"
    except (ValueError, RecursionError) as error:
        why = str(error)
    raise ModelError(f"{path.name} must hold one JSON object", f"{why} in {path}", "Download the model again")


def _refuse(
    directory: Path, config: Mapping[str, object], settings: Mapping[str, object], *, trust_remote_code: bool
) -> None:
    kinds = config.get("architectures")
    names = [str(kind) for kind in kinds] if isinstance(kinds, list) else []
    if config.get("is_encoder_decoder") or not any(name.endswith(_DECODERS) for name in names):
        raise ModelError(
            "A model must be decoder-only: its config.json names a …ForCausalLM architecture",
            ", ".join(names) or "none named",
            "Choose a model for text generation; encoders and encoder-decoders draw no continuation",
        )
    foreign = ("auto_map" in config and not _is_known(config)) or "auto_map" in settings
    if foreign and not trust_remote_code:
        raise ModelError(
            "A model that brings Python code of its own is not loaded unless asked for by name",
            f"auto_map in {directory}",
            "Read that code; if you trust it, pass trust_remote_code=True (--trust-remote-code)",
        )
    if (directory / "adapter_config.json").is_file():
        raise ModelError(
            "A model must be whole",
            f"an adapter in {directory}",
            "Merge it into its model first: peft's merge_and_unload, then save_pretrained",
        )
    if not any((directory / name).is_file() for name in _TOKENIZER_FILES[:5]):
        raise ModelError(
            "A model's folder must hold its tokenizer", str(directory), "Save it there too: tokenizer.save_pretrained"
        )


def _is_known(config: Mapping[str, object]) -> bool:
    """Whether transformers has this model itself, so that the code beside it is not needed and not run."""
    found = importlib.util.find_spec("transformers")
    kind = str(config.get("model_type", "")).replace("-", "_")
    if found is None or found.origin is None or not kind.isidentifier():
        return False
    return (Path(found.origin).parent / "models" / kind).is_dir()


def _weight_files(directory: Path) -> list[Path]:
    """The files that transformers reads: the single one, else those that the index lists."""
    single, index = directory / "model.safetensors", directory / "model.safetensors.index.json"
    if single.is_file():
        return [single]
    if not index.is_file():
        raise refuse_weights([path.name for path in directory.iterdir()], str(directory))
    shards = _read(index).get("weight_map")
    names = sorted({str(name) for name in shards.values()}) if isinstance(shards, dict) else []
    missing = [name for name in names if Path(name).name != name or not (directory / name).is_file()]
    if missing or not names:
        shown = ", ".join(missing[:3]) or "no shard"
        raise ModelError(f"Every shard listed in {index.name} must be there", shown, "Download the model again")
    return [directory / name for name in names]


def refuse_weights(names: list[str], where: str) -> ModelError:
    """The error for a model without safetensors.

    Args:
        names: of the files that it has.
        where: the folder or hub name, for the message.

    Returns:
        The error, to be raised.
    """
    pickled = sorted(name for name in names if name.endswith(PICKLES))
    if pickled:
        return ModelError(
            "Weights must be safetensors: a pickle can run code when it is opened",
            f"{pickled[0]} in {where}",
            "Ask its maker for safetensors, or convert it in an environment you can throw away",
        )
    return ModelError(
        "A model must have weights, in model.safetensors or in shards with their index",
        where,
        "Check the name; a GGUF file is gguf:FILE",
    )


def _check_header(path: Path) -> None:
    """A cut-off download or a Git LFS pointer is told apart from weights before anything is loaded."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else size
        header = file.read(length) if 8 + length <= size else b""
    try:
        tensors = json.loads(header)
        end = max((t["data_offsets"][1] for name, t in tensors.items() if name != "__metadata__"), default=0)
        whole = 8 + length + end == size
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
        whole = False
    if not whole:
        raise ModelError(
            "A safetensors file must be whole",
            f"{path} of {size:,} bytes",
            "Download it again; in a Git checkout, `git lfs pull`",
        )
