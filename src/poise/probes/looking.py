"""A server is looked at before it is swept, where nobody did."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from poise.params import SamplingParams
from poise.probes.desk import Progress
from poise.probes.kept import keep
from poise.probes.probing import probe_wire


def look_first(engine: Any, settings: Sequence[SamplingParams], progress: Progress | None = None) -> None:
    """Probe a server before several settings are drawn on it, unless it was probed before.

    Args:
        engine: any; one on this machine needs no probe.
        settings: that will be drawn. One alone compares nothing.
        progress: told the requests made, and what is looked at.

    Raises:
        ServerError: it cannot be reached, or refuses.
    """
    learn = getattr(engine, "learn", None)
    if learn is None or engine.probe is not None or len({p.normalised() for p in settings}) < 2:
        return
    found = engine.run(probe_wire(engine.wire, progress=progress))
    keep(found)
    learn(found)
