"""Finds out what a server really does with every parameter."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence

from poise.errors import ServerError, UsageError
from poise.params import PARAMETERS
from poise.probes.desk import REFUSALS, Desk, Progress, Spent
from poise.probes.inquiry import Inquiry
from poise.probes.kept import keep
from poise.probes.shaping import TRUNCATIONS
from poise.probes.words import missed
from poise.servers.calls import Fault, Wire
from poise.servers.honours import Finding, Probe
from poise.servers.loops import LoopThread
from poise.servers.opening import TIMEOUT, open_wire
from poise.servers.words import Place, error_of

BUDGET = 300  # requests
LEAST = 20
BEHAVIOURS = ("greedy", "order", "logit_bias", "stop", "max_tokens", "seed", "n", "logprobs", "defaults")


async def probe_wire(
    wire: Wire, *, seed: int = 0, budget: int = BUDGET, progress: Progress | None = None,
    names: Collection[str] | None = None,
) -> Probe:  # fmt: skip
    """Find out what a server honours.

    Args:
        wire: to the server.
        seed: of the order in which openings are used.
        budget: requests at most, at least 20.
        progress: told the requests made, and what is looked at.
        names: parameters and behaviours that are looked at; None for all. Where the temperature and a truncation are
            among them, so is their order.

    Returns:
        One finding per parameter that the wire can name, and per behaviour; of those wanted.

    Raises:
        Fault: the server is not there, or answers nothing.
        UsageError: a budget that is too small.
    """
    if isinstance(budget, bool) or not isinstance(budget, int) or budget < LEAST:
        raise UsageError(f"A probe needs at least {LEAST} requests", repr(budget), f"The usual budget is {BUDGET}")
    began, about = time.perf_counter(), await wire.about()
    desk = Desk(wire, about, budget, seed, progress)
    wanted = _wanted(wire, names)
    inquiry = Inquiry(desk, frozenset(wanted))
    refusal = await _inquire(desk, inquiry)
    return Probe(
        url=wire.url, model=about.model, kind=about.kind, version=about.version, identity=about.identity,
        dialect=inquiry.dialect, logprobs=inquiry.listing.sort, top_logprobs=inquiry.listing.most,
        takes_ids=inquiry.takes_ids, findings=_complete(wanted, inquiry.results(), refusal),
        requests=desk.requests, tokens=desk.tokens, seconds=time.perf_counter() - began, made_at=time.time(),
        defaults=inquiry.defaults, steps=inquiry.known.order or (), repeats=inquiry.repeats,
    )  # fmt: skip


async def _inquire(desk: Desk, inquiry: Inquiry) -> str | None:
    """Go through the stages. Returns the refusal that ended it; None where all were done, or the budget ended it."""
    refusal = None
    for stage in inquiry.stages():
        desk.say(stage.what)
        try:
            await stage.work()
        except Spent:
            return None
        except Fault as fault:
            if fault.kind not in REFUSALS or not inquiry.settled:
                raise
            refusal = fault.told
    return refusal


def _wanted(wire: Wire, names: Collection[str] | None) -> list[str]:
    """What is looked at, in order."""
    known = [*(n for n in PARAMETERS if n in wire.names), *BEHAVIOURS]
    if names is None:
        return known
    parts = "temperature" in names and bool({*names} & {*TRUNCATIONS})
    return [n for n in known if n in names or (parts and n == "order")]


def _complete(wanted: Sequence[str], found: dict[str, Finding], refusal: str | None) -> tuple[Finding, ...]:
    """What is wanted, in order; what was not reached cannot be told, and why."""
    return tuple(found.get(n) or missed(n, refusal) for n in wanted)


def probe(
    server: str | Wire, *, key_env: str | None = None, timeout: float = TIMEOUT, seed: int = 0, budget: int = BUDGET,
    progress: Progress | None = None, names: Collection[str] | None = None,
) -> Probe:  # fmt: skip
    """Find out what a server really does with every parameter.

    The whole probe of a server that is named is kept: whoever loads that server finds it.

    Args:
        server: ``http(s)://HOST[:PORT]/v1[#MODEL]``, ``ollama:NAME``, or a wire.
        key_env: the environment variable that holds the server's key.
        timeout: seconds that an answer may take.
        seed: of the order in which prompts are used.
        budget: requests at most.
        progress: told the requests made, and what is looked at.
        names: parameters and behaviours that are looked at; None for all.

    Returns:
        What the server honours, with evidence and error rates.

    Raises:
        ServerError: it cannot be reached, or answers nothing.
        ModelError: no URL of a server, or no such model.
        UsageError: a budget that is too small, or a library that is not installed.
    """
    if isinstance(server, str):
        wire, place = open_wire(server, key_env, timeout)
    else:
        wire, place = server, Place(server.url, server.model, key_env=key_env or "", names=server.names)
    loop = LoopThread(wire.close)
    try:
        found = loop.run(probe_wire(wire, seed=seed, budget=budget, progress=progress, names=names))
        if isinstance(server, str) and names is None:
            keep(found)
        return found
    except Fault as fault:
        raise _busy(fault, place) if fault.kind == "busy" else error_of(fault, place) from None
    finally:
        loop.close()


def _busy(fault: Fault, place: Place) -> ServerError:
    """A probe asks little at once, so that only time helps."""
    asks = "" if fault.wait is None else f"; it asks to wait {fault.wait:g} s"
    told = f": {fault.told.rstrip('.')}" if fault.told else ""
    return ServerError(
        "A server has room for a probe", f"{fault.status or 'no room'} from {place.url}{told}{asks}", "Try again later"
    )
