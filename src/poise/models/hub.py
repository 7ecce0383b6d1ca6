"""Models by folder or by name on the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path

from poise.errors import FetchError, ModelError
from poise.models.folder import refuse_weights

_WANTED = ("*.safetensors", "*.json", "tokenizer*", "vocab*", "merges.txt", "spiece.model", "*.jinja")
# Folders hold other formats of the same weights; "consolidated" is a second copy.
_UNWANTED = ("*/*", "consolidated*")


def directory_of(name: str, *, trust_remote_code: bool) -> Path:
    """The folder of a model, downloaded when it is a hub name.

    Only safetensors, JSON, tokenizer files and templates are downloaded; Python files with `trust_remote_code`.

    Args:
        name: a folder, or ``owner/model``.
        trust_remote_code: download the model's Python code too.

    Returns:
        A folder.

    Raises:
        ModelError: no such folder or model, a gated one, pickled weights.
        FetchError: the hub cannot be reached and the model is not in its cache.
    """
    folder = Path(name).expanduser()
    if name and folder.is_dir():
        return folder
    if not name or folder.exists() or name.startswith((".", "/", "~")) or name.count("/") > 1 or "\\" in name:
        raise ModelError(
            "hf: takes a folder or a name on the hub",
            repr(name),
            "A folder holds config.json and safetensors; a name looks like hf:owner/model; a GGUF file is gguf:FILE",
        )
    return _downloaded(name, trust_remote_code=trust_remote_code)


def _downloaded(name: str, *, trust_remote_code: bool) -> Path:
    import huggingface_hub
    from huggingface_hub import errors

    wanted = [*_WANTED, "*.py"] if trust_remote_code else list(_WANTED)
    files = _listed(name)
    if files is not None and not any(file.endswith(".safetensors") for file in files):
        raise refuse_weights(files, name)
    try:
        return Path(huggingface_hub.snapshot_download(name, allow_patterns=wanted, ignore_patterns=list(_UNWANTED)))
    except errors.GatedRepoError as error:
        raise ModelError(
            "The model's makers ask for agreement first", repr(name), "Agree on its hub page, then `hf auth login`"
        ) from error
    except (errors.RepositoryNotFoundError, errors.HFValidationError) as error:
        raise ModelError(
            "A model must exist on the hub",
            repr(name),
            "Check the spelling, as in hf:owner/model; for a private one, `hf auth login`",
        ) from error
    except Exception as error:  # the library lets errors of several HTTP clients through
        raise FetchError(
            "The hub must be reachable, or the model whole in its cache",
            f"{name}: {type(error).__name__}",
            "Connect and try again; or copy the model's folder here and give it as hf:DIR",
        ) from error


def _listed(name: str) -> list[str] | None:
    """The files at the top of a model's hub folder, None when the hub does not tell.

    Whether the hub's cache has the model then, and which error it is otherwise, is `snapshot_download`'s to say.
    """
    import huggingface_hub

    try:
        found = huggingface_hub.HfApi().model_info(name).siblings or []
    except Exception:
        return None
    return [file.rfilename for file in found if "/" not in file.rfilename]
