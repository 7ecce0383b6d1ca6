"""What a server's settings are compared with, and what is lacking."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from poise.models.vendors import vendor
from poise.params import SamplingParams
from poise.servers.calls import About
from poise.servers.honours import Probe
from poise.servers.usual import published

UNKNOWN = "what an empty request gets there is not known; `poise probe` finds it where it can be found"
Refusal = Callable[[SamplingParams], str]


class Baselines(NamedTuple):
    """Baselines by name, and notes: where each comes from, or why it is left out."""

    settings: dict[str, SamplingParams]
    notes: tuple[str, ...]


def find_baselines(
    about: About, default: SamplingParams | str, dialect: str, thinking: bool | None, refusal: Refusal
) -> Baselines:
    """greedy, engine-default and vendor, as far as each is known and can be drawn.

    Args:
        about: the server.
        default: what an empty request gets, or why that cannot be said.
        dialect: of the others.
        thinking: the mode that a recommendation is for; None for the usual one.
        refusal: says why a setting cannot be drawn there, one clause; empty where it can.

    Returns:
        Them.
    """
    settings: dict[str, SamplingParams] = {}
    notes: list[str] = []
    wanted = {"greedy": SamplingParams(temperature=0, dialect=dialect)}
    if isinstance(default, str):
        notes.append(f"engine-default is left out: {default}.")
    else:
        wanted["engine-default"] = default
    told = vendor(about.model, thinking)
    if told is not None:
        wanted["vendor"] = SamplingParams.model_validate({**told.params.model_dump(), "dialect": dialect})
    for name, params in wanted.items():
        if why := refusal(params):
            notes.append(f"{name} is left out: {why.rstrip('.')}.")
        else:
            settings[name] = params.normalised()
    if told is not None and "vendor" in settings:
        notes.append(f"vendor: {told.family}, read {told.read} at {told.source}. {told.note}".rstrip())
    return Baselines(settings, tuple(notes))


def default_of(about: About, probe: Probe | None, dialect: str) -> SamplingParams | str:
    """What an empty request gets, where a probe established it.

    A fit of the probe is known to some fineness only, and would be another setting: it is told, not drawn.

    Args:
        about: the server.
        probe: of it; None for none.
        dialect: whose order of steps it has.

    Returns:
        The setting; else why that cannot be said.
    """
    told = None if probe is None else probe.of("defaults")
    if probe is None or told is None or told.honour not in ("honoured", "honoured otherwise"):
        return UNKNOWN
    if probe.defaults is not None:
        return SamplingParams.model_validate({**probe.defaults, "dialect": dialect})
    temperature = probe.of("temperature")
    if told.honour == "honoured":
        return SamplingParams.model_validate({**published(about), "dialect": dialect})
    if temperature is not None and temperature.value == 0:
        return SamplingParams(temperature=0, dialect=dialect)
    return f"{told.how or told.evidence}, so that it is not known exactly"
