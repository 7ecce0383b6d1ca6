"""Where studies lie, and which was written last."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

from poise.errors import StudyError

POINTER = "latest"


def studies_folder() -> Path:
    """The folder of studies that were given no path: $POISE_HOME/studies, or the user's data folder."""
    home = os.environ.get("POISE_HOME")
    return Path(home) / "studies" if home else Path(platformdirs.user_data_dir("poise")) / "studies"


def remember_latest(path: Path) -> str:
    """Note that this study is being written, so that the next command finds it.

    Args:
        path: of the study, wherever it lies.

    Returns:
        A warning when the note could not be made, else the empty string.
    """
    folder = studies_folder()
    note = folder / f".{POINTER}-{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        note.write_bytes(os.fsencode(path.absolute()))
        note.replace(folder / POINTER)
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
    pointer = studies_folder() / POINTER
    try:
        path = Path(os.fsdecode(pointer.read_bytes()))
    except OSError as error:
        raise StudyError(
            "There must be a study to read", f"none noted in {pointer}", "`poise sweep` makes one"
        ) from error
    if not path.is_file():
        raise StudyError("The latest study must still be there", f"{path} is gone", "Name another with --study")
    return path
