"""Probes kept between commands: one file per server, model and version."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import time
from pathlib import Path

from poise import places
from poise.params import PARAMETERS
from poise.servers.calls import About
from poise.servers.honours import Finding, Probe

OLD = 30 * 86_400  # seconds: a server may be set up anew without a new version


def kept(url: str, about: About) -> Probe | None:
    """The newest probe of a server as it is now.

    Args:
        url: of the server.
        about: what it says of itself; another version or other weights are another server.

    Returns:
        It; None where there is none, or it is older than 30 days.
    """
    return _read(_path(url, about))


def keep(probe: Probe) -> Probe:
    """Keep a probe for later commands; a disk that cannot be written to only costs another probe.

    Args:
        probe: of the server, whole or cut short.

    Returns:
        What is kept: of what this probe did not reach, what an earlier one found.
    """
    path = _path(probe.url, probe)
    before = _read(path)
    probe = probe if before is None else joined(before, probe)
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as file:
            json.dump(probe.record(), file)
        os.replace(file.name, path)
    return probe


def joined(before: Probe, now: Probe) -> Probe:
    """Two probes of one server as one.

    What is found anew replaces what was found before; where a probe was cut short, the one that looked longer counts.
    An order of steps, once known, stays known: texts are kept under it.

    Args:
        before: the earlier one.
        now: the later one.

    Returns:
        The probe; its date is the earlier one's where anything of that is left.
    """
    cut = tuple(not probe.whole for probe in (before, now))
    found, stays = {f.name: f for f in now.findings}, set[str]()
    for old in before.findings:
        new = found.get(old.name)
        order_gets_lost = old.name == "order" and now.dialect == "server" != before.dialect
        if new is None or order_gets_lost or _fuller(old, new, *cut) is old:
            found[old.name] = old
            stays.add(old.name)
    spent = [now, *([before] if stays else [])]
    ordered, listing, drawn, empty = (
        before if n in stays else now for n in ("order", "logprobs", "greedy", "defaults")
    )
    return now._replace(
        dialect=ordered.dialect, steps=ordered.steps, repeats=drawn.repeats, defaults=empty.defaults,
        logprobs=listing.logprobs, top_logprobs=listing.top_logprobs,
        takes_ids=before.takes_ids if cut == (False, True) else now.takes_ids,
        findings=tuple(sorted(found.values(), key=_place)), requests=sum(p.requests for p in spent),
        tokens=sum(p.tokens for p in spent), seconds=sum(p.seconds for p in spent),
        made_at=min(p.made_at for p in spent),
    )  # fmt: skip


def _place(told: Finding) -> int:
    """Parameters in their order, then everything else as it was found."""
    return [*PARAMETERS, told.name].index(told.name)


def _fuller(old: Finding, new: Finding, old_was_cut: bool, new_was_cut: bool) -> Finding:
    """The finding that looked; of two, the later one, unless it may have been cut short."""
    if old.missed or new.missed:
        return old if new.missed else new
    return old if new_was_cut and not (old_was_cut and new.requests >= old.requests) else new


def _read(path: Path) -> Probe | None:
    try:
        found = Probe.read(json.loads(path.read_text("utf-8")))
    except (OSError, ValueError, TypeError, KeyError):  # none, or of another version of poise
        return None
    return found if time.time() - found.made_at < OLD else None


def _path(url: str, known: About | Probe) -> Path:
    said = json.dumps([url, known.model, known.kind, known.version, known.identity])
    return places.studies_folder().parent / "probes" / f"{hashlib.sha256(said.encode()).hexdigest()[:20]}.json"
