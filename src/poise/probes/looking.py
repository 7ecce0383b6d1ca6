"""A server is looked at before it is swept, where nobody did."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from poise.params import PARAMETERS, SamplingParams
from poise.probes.desk import Progress
from poise.probes.kept import keep
from poise.probes.probing import BEHAVIOURS, probe_wire
from poise.servers.honours import Probe


def look_first(engine: Any, settings: Sequence[SamplingParams], progress: Progress | None = None) -> Probe | None:
    """Probe a server before several settings are drawn on it, as far as it was not probed before.

    Args:
        engine: any; one on this machine needs no probe.
        settings: that will be drawn. One alone compares nothing.
        progress: told the requests made, and what is looked at.

    Returns:
        What was looked at now; None where that was not needed.

    Raises:
        ServerError: it cannot be reached, or refuses.
    """
    learn = getattr(engine, "learn", None)
    if learn is None or len({p.normalised() for p in settings}) < 2:
        return None
    wanted = None if engine.probe is None else _unknown(engine, settings)
    if wanted == []:
        return None
    found: Probe = engine.run(probe_wire(engine.wire, progress=progress, names=wanted))
    learn(keep(found))
    return found


def _unknown(engine: Any, settings: Sequence[SamplingParams]) -> list[str]:
    """What a probe did not come to; nothing where it knows what differs between the settings, and their order."""
    probe: Probe = engine.probe
    active = [p.active() for p in settings]
    known = [n for n in PARAMETERS if n in engine.wire.names]
    swept = {n for n in known if len({a.get(n) for a in active}) > 1}
    asked = {f.name for f in probe.findings if f.missed != "budget"}
    return [] if asked >= {*swept, "order"} else [n for n in (*known, *BEHAVIOURS) if n not in asked]
