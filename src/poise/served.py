"""What to know of texts that a server drew by itself."""

from __future__ import annotations

from collections.abc import Iterable

from poise.params import SamplingParams
from poise.servers.honours import Finding, Probe
from poise.study import Study

OWN = (
    "the server drew these texts by itself: whether two settings shared noise is not known, and poise cannot draw "
    "them again"
)


def newest_probe(study: Study) -> Probe | None:
    """The newest probe of the server that drew a study.

    Args:
        study: any.

    Returns:
        It; None where poise drew, or nobody probed.
    """
    if not study.fingerprint.served:
        return None
    records = list(study.all_noted("probe").values())
    return Probe.read(records[-1]) if records else None


def otherwise(probe: Probe | None, settings: Iterable[SamplingParams]) -> list[str]:
    """What a server does otherwise than was asked, for the parameters that settings use.

    Args:
        probe: of the server; None says nothing.
        settings: that were, or will be, drawn.

    Returns:
        A note for each such parameter, and for the zero temperature.
    """
    if probe is None:
        return []
    used = list(settings)
    moved = {name for params in used for name in params.active()}
    moved |= {"greedy"} if any(params.greedy for params in used) else set()
    found = [f for f in probe.findings if f.name in moved and f.honour not in ("honoured", "rejected")]
    return [_said(f) for f in found]


def notes(study: Study, settings: Iterable[SamplingParams]) -> list[str]:
    """What a reader of numbers must know.

    Args:
        study: any.
        settings: that the numbers speak of.

    Returns:
        Notes; none where poise drew.
    """
    return [OWN, *otherwise(newest_probe(study), settings)] if study.fingerprint.served else []


def _said(found: Finding) -> str:
    if found.honour == "cannot tell":
        return f"{found.name}: whether the server honours it cannot be told"
    return f"{found.name}: {found.honour}{f' ({found.how})' if found.how else ''}"
