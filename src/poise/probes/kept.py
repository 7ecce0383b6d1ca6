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
from poise.servers.calls import About
from poise.servers.honours import Probe

OLD = 30 * 86_400  # seconds: a server may be set up anew without a new version


def kept(url: str, about: About) -> Probe | None:
    """The newest probe of a server as it is now.

    Args:
        url: of the server.
        about: what it says of itself; another version or other weights are another server.

    Returns:
        It; None where there is none, or it is older than 30 days.
    """
    try:
        found = Probe.read(json.loads(_path(url, about).read_text("utf-8")))
    except (OSError, ValueError, TypeError, KeyError):  # none, or of another version of poise
        return None
    return found if time.time() - found.made_at < OLD else None


def keep(probe: Probe) -> None:
    """Keep a probe for later commands; a disk that cannot be written to only costs another probe.

    Args:
        probe: of the server.
    """
    path = _path(probe.url, probe)
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as file:
            json.dump(probe.record(), file)
        os.replace(file.name, path)


def _path(url: str, known: About | Probe) -> Path:
    said = json.dumps([url, known.model, known.kind, known.version, known.identity])
    return places.studies_folder().parent / "probes" / f"{hashlib.sha256(said.encode()).hexdigest()[:20]}.json"
