"""Whether a study is drawn from one model, whatever its name."""

from __future__ import annotations

from typing import Any

from poise.errors import StudyError
from poise.servers.likeness import Likeness
from poise.study import Study

_KEY = "model"


def check_sameness(engine: Any, study: Study) -> None:
    """Hold the model behind a server's name against the one that a study was begun with; the first one is noted.

    Args:
        engine: any; one on this machine is known by its weights.
        study: bound to it.

    Raises:
        StudyError: it is another model.
        StoreError: the study cannot be written.
    """
    likeness: Likeness | None = getattr(engine, "likeness", None)
    if likeness is None or not likeness.record():
        return
    held = study.noted("likeness", _KEY)
    if held is None:
        study.note("likeness", _KEY, likeness.record())
    elif why := Likeness.read(held).differs(likeness):
        raise StudyError(
            f"A study belongs to one model, and {study.path} to another one of the name {engine.name}", why,
            "Name another study (--study), or serve again what it was begun with",
        )  # fmt: skip
