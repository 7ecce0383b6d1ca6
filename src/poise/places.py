"""Where studies lie, and which was written last."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

from poise.errors import StudyError

POINTER, DIAL_POINTER = "latest", "latest-dial"


def studies_folder() -> Path:
    """The folder of studies that were given no path: $POISE_HOME/studies, or the user's data folder."""
    home = os.environ.get("POISE_HOME")
    return Path(home) / "studies" if home else Path(platformdirs.user_data_dir("poise")) / "studies"


def remember_latest(path: Path, pointer: str = POINTER) -> str:
    """Note that this study is being written, so that the next command finds it.

    Args:
        path: of the study, wherever it lies.
        pointer: POINTER for what is measured and compared, DIAL_POINTER for what pieces and curves are read from.

    Returns:
        A warning when the note could not be made, else the empty string.
    """
    folder = studies_folder()
    note = folder / f".{pointer}-{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        note.write_bytes(os.fsencode(path.absolute()))
        note.replace(folder / pointer)
    except OSError as error:
        return f"The latest study could not be noted ({error}); name it with --study."
    return ""


def latest_study() -> Path:
    """The study written to last, wherever it lies.

    Returns:
        Its path.

    Raises:
        StudyError: there is none, or it is gone.
    """
    return _noted(POINTER, ("There must be a study to read", "`poise sweep` makes one"))


def latest_dial() -> Path:
    """The study dialled into last, wherever it lies.

    Returns:
        Its path.

    Raises:
        StudyError: there is none, or it is gone.
    """
    return _noted(DIAL_POINTER, ("Pieces and curves need a dial", "`poise dial` makes one"))


def _noted(name: str, otherwise: tuple[str, str]) -> Path:
    """The path in a note that is there."""
    pointer = studies_folder() / name
    try:
        path = Path(os.fsdecode(pointer.read_bytes()))
    except OSError as error:
        raise StudyError(otherwise[0], f"none noted in {pointer}", otherwise[1]) from error
    if not path.is_file():
        raise StudyError("The latest study must still be there", f"{path} is gone", "Name another with --study")
    return path
