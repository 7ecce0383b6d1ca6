"""The stages of a probe, each built on those before it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from poise.params import PARAMETERS
from poise.probes import biasing, defaulting, limits, listing, ordering, penalising, plainly, repeats, shaping, silent
from poise.probes.desk import REFUSALS, Cost, Desk
from poise.probes.draws import MOST_LOST
from poise.probes.plan import PENALTIES, VALUES
from poise.probes.shaping import TRUNCATIONS, Findings
from poise.probes.words import finding, refused, summed
from poise.servers.calls import Call, Fault
from poise.servers.honours import Finding

LAW = frozenset({"temperature", "greedy", "order", "defaults", *TRUNCATIONS, *PENALTIES})
_NEEDS_LISTS = "without log-probabilities it cannot be told"


class Stage(NamedTuple):
    """A part of a probe: what is looked at, how, and the findings that come of it or build on it."""

    what: str
    work: Callable[[], Awaitable[None]]
    serves: frozenset[str]


class Inquiry:
    """What is known of one server, and how to learn more.

    Args:
        desk: the server.
        wanted: the findings that are looked for.
    """

    def __init__(self, desk: Desk, wanted: frozenset[str]) -> None:
        self.desk, self.known, self.wanted = desk, Findings(), wanted
        self.listing = listing.Listing("unknown")
        self.dialect, self.takes_ids, self.settled = "server", desk.about.takes_ids, False
        self._found: dict[str, Finding] = {}
        self._costs: dict[str, Cost] = {}
        self._silence: silent.Silence | None = None
        self._values: dict[str, float] = {}
        self.defaults: dict[str, float] | None = None

    def stages(self) -> tuple[Stage, ...]:
        """What is done, in order, as far as it serves what is wanted."""
        everything = self.wanted
        stages = (
            Stage("what switches everything off", self._settle, everything),
            Stage("which log-probabilities come back", self._lists, everything),
            Stage("whether luck repeats", self._luck, everything),
            Stage("what is in force when everything is off", self._plain, LAW),
            Stage("seeds", self._seeds, frozenset({"seed", "stop"})),
            Stage("several texts of one request", self._n, frozenset({"n"})),
            Stage("temperature", self._temperature, LAW),
            Stage("truncations", self._truncations, frozenset({*TRUNCATIONS, "order"})),
            Stage("order of the steps", self._order, frozenset({"order"})),
            Stage("penalties", self._penalties, frozenset(PENALTIES)),
            Stage("where texts end", self._limits, frozenset({"max_tokens", "stop"})),
            Stage("logit_bias", self._bias, frozenset({"logit_bias"})),
            Stage("token ids", self._ids, everything),
            Stage("what an empty request gets", self._defaults, frozenset({"defaults"})),
        )
        return tuple(stage for stage in stages if stage.serves & self.wanted)

    def _of(self, names: Sequence[str]) -> list[str]:
        """Parameters that can be sent and are wanted; where the order alone is, all that truncate."""
        known = shaping.names_of(self.desk, names)
        wanted = [n for n in known if n in self.wanted]
        return wanted or (known if names is TRUNCATIONS else [])

    def results(self) -> dict[str, Finding]:
        """Every finding so far."""
        for name in PARAMETERS:
            outcomes = self.known.of(name)
            if outcomes:
                told = self.desk.refused.get(name, "")
                self._found[name] = summed(name, outcomes, self._costs.get(name, Cost()), told)
        return {n: f._replace(value=self._values.get(n)) for n, f in self._found.items()}

    @property
    def repeats(self) -> bool:
        """Whether temperature 0 is greedy there, and gave the same text every time."""
        return self.known.repeats and "greedy" in self._found and self._found["greedy"].honour == "honoured"

    @property
    def _lists_tell(self) -> bool:
        return self.listing.sort in ("raw", "processed")

    async def _settle(self) -> None:
        await self.desk.settle()
        self.settled = True

    async def _lists(self) -> None:
        before, desk = self.desk.cost, self.desk
        found = self.listing = await listing.look(desk)
        desk.moved = frozenset(found.moved)
        self._found["logprobs"] = listing.finding_of(found, desk.cost.since(before), desk.wire.most_logprobs)
        if found.sort == "unknown":
            desk.likeliest = None

    async def _seeds(self) -> None:
        self._found["seed"] = await repeats.try_seed(self.desk)

    async def _n(self) -> None:
        self._found["n"] = await repeats.try_n(self.desk)

    async def _luck(self) -> None:
        self.desk.copies = await repeats.same_luck(self.desk)

    async def _plain(self) -> None:
        if self.listing.sort == "raw":
            await plainly.find_plain(self.desk, self.known)
        elif self.listing.sort == "processed":
            self.known.own, self.known.plain = await penalising.own_words(self.desk)

        if self.known.plain is not None and self.known.plain.lost > MOST_LOST:
            self._give_up_lists(f"{self.known.plain.lost:.0%} of drawn tokens do not fit what is listed")

    def _give_up_lists(self, told: str) -> None:
        """What is listed is not what tokens are drawn from: texts alone are left."""
        before = self._found["logprobs"]
        self.listing = self.listing._replace(sort="unknown", told=told)
        cost = Cost(before.requests, before.tokens)
        self._found["logprobs"] = listing.finding_of(self.listing, cost, self.desk.wire.most_logprobs)
        self.desk.likeliest, self.desk.moved, self.known.base = None, frozenset(), {}
        self.known.outcomes.clear()

    async def _temperature(self) -> None:
        desk, before = self.desk, self.desk.cost
        if not desk.can("temperature"):
            return
        if not self._lists_tell:
            self._found["temperature"], self._silence = await silent.try_temperature(desk)
            self._found["greedy"] = self._greedy_of(desk.cost.since(before))
            return
        await shaping.try_greedy(desk, self.known)
        await self._greedy()
        middle = desk.cost
        await shaping.try_temperature(desk, self.known)
        self._costs["temperature"] = desk.cost.since(middle)

    async def _greedy(self) -> None:
        """Temperature 0: the likeliest token, and so the same text again."""
        desk, before = self.desk, self.desk.cost
        outcome = self.known.greedy
        assert outcome is not None
        try:
            texts = await repeats.greedy_texts(desk)
        except Fault as fault:
            if fault.kind not in REFUSALS:
                raise
            self._found["greedy"] = refused("greedy", fault, desk.cost.since(before))
            return
        self.known.repeats = len(set(texts)) == 1
        told = summed("temperature", [outcome], desk.cost.since(before))
        evidence = f"temperature {told.evidence}; one request made {len(texts)} times: {repeats.different(texts)}"
        if told.honour == "honoured" and not self.known.repeats:
            evidence += ", each of them the likeliest by its own log-probabilities"
        if told.honour == "cannot tell" and self.known.repeats:
            told = told._replace(honour="honoured", false_alarm=0.0)
        self._found["greedy"] = told._replace(name="greedy", evidence=evidence)

    def _greedy_of(self, cost: Cost) -> Finding:
        """Greedy, from texts alone."""
        found = self._silence
        if found is None:
            return self._found["temperature"]._replace(name="greedy")
        seen = self._found["temperature"].evidence
        if found.cold.empty or found.plain.alike:
            return finding("greedy", "cannot tell", cost, evidence=seen)
        self.known.repeats = found.cold.alike
        if found.cold.alike:
            return finding("greedy", "honoured", cost, evidence=seen)
        how = "temperature 0 does not repeat itself"
        return finding("greedy", "honoured otherwise", cost, how=how, evidence=seen)

    async def _truncations(self) -> None:
        for name in self._of(TRUNCATIONS):
            before = self.desk.cost
            if self._lists_tell:
                await shaping.try_truncation(self.desk, self.known, name)
                self._costs[name] = self.desk.cost.since(before)
            elif self._silence is not None:
                self._found[name] = await silent.try_alone(self.desk, name, self._silence)
            else:
                self._found[name] = await self._mute(name)

    async def _mute(self, name: str) -> Finding:
        """Whether a parameter is at least not refused."""
        before = self.desk.cost
        try:
            value = VALUES[name][0]
            await self.desk.ask(self.desk.call(self.desk.opening(), self.desk.fields({name: value}), 1))
        except Fault as fault:
            if fault.kind not in REFUSALS:
                raise
            return refused(name, fault, self.desk.cost.since(before))
        return finding(name, "cannot tell", self.desk.cost.since(before), evidence=_NEEDS_LISTS)

    async def _penalties(self) -> None:
        for name in self._of(PENALTIES):
            before = self.desk.cost
            if self.listing.sort == "raw":
                await penalising.try_penalty(self.desk, self.known, name)
                self._costs[name] = self.desk.cost.since(before)
            elif self.known.repeats:
                self._found[name] = await silent.try_pressed(self.desk, name)
            else:
                self._found[name] = await self._mute(name)

    async def _order(self) -> None:
        if not self._lists_tell:
            self._found["order"] = finding("order", "cannot tell", evidence=_NEEDS_LISTS)
            return
        found = await ordering.try_order(self.desk, self.known)
        self.dialect, self.known.order, self._found["order"] = found

    async def _limits(self) -> None:
        self._found["max_tokens"] = await limits.try_max_tokens(self.desk)
        seeded = "seed" in self._found and self._found["seed"].honour == "honoured"
        greedy = {"fields": self.desk.fields({"temperature": 0.0})} if self.known.repeats else None
        self._found["stop"] = await limits.try_stop(self.desk, {"seed": repeats.SEED} if seeded else greedy)

    async def _bias(self) -> None:
        self._found["logit_bias"] = await biasing.try_bias(self.desk)

    async def _ids(self) -> None:
        """Whether prompts of token ids are read as the text that they spell."""
        desk = self.desk
        if not self.takes_ids:
            return
        text = desk.opening()
        try:
            ids = await desk.wire.tokenize(text, True)
            if not ids:
                return
            call = Call(ids=ids, fields=desk.fields({}), max_tokens=1, logprobs=desk.likeliest)
            answer = await desk.ask(call)
        except Fault as fault:
            if fault.kind not in REFUSALS:
                raise
            self.takes_ids = False
            return
        if desk.likeliest is not None and not desk.chat and answer.choices[0].positions:
            one = listing.listed(answer.choices[0].positions[0], desk.reader.width)
            other = await listing.first_list(desk, text, {})
            self.takes_ids = listing.distance(one, other) < max(0.1, 3 * self.listing.noise)

    async def _defaults(self) -> None:
        if self.listing.sort == "raw":
            found = await defaulting.try_defaults(self.desk, self.known)
            self._found["defaults"], self._values, self.defaults = found
        elif self._silence is not None:
            self._found["defaults"], value = await silent.try_defaults(self.desk, self._silence)
            self.defaults = None if value is None else {"temperature": value}
            self._values = self.defaults or {}
        else:
            self._found["defaults"] = finding("defaults", "cannot tell", evidence=_NEEDS_LISTS)
