"""Findings from what was seen, in words."""

from __future__ import annotations

from collections.abc import Sequence

from poise.params import PARAMETERS
from poise.probes.desk import Cost
from poise.probes.fits import ALPHA, BETA
from poise.probes.trying import Outcome
from poise.servers.calls import Fault
from poise.servers.honours import Finding, Honour

NOTHING = Cost()
SPENT = "the budget of requests was spent before it was looked at"
STOPPED = "the server refused a request, and what comes after that was not looked at"


def finding(
    name: str, honour: Honour, cost: Cost = NOTHING, *, how: str = "", evidence: str = "",
    false_alarm: float | None = 0.0, power: float | None = None,
) -> Finding:  # fmt: skip
    """A finding that rests on what cannot happen by chance, unless its errors are given."""
    if honour == "cannot tell":
        false_alarm = power = None
    return Finding(name, honour, how, evidence, cost.requests, cost.tokens, false_alarm, power)


def missed(name: str, refusal: str | None) -> Finding:
    """What was not looked at: the budget was spent, or the server refused a request, with these words."""
    if refusal is None:
        return finding(name, "cannot tell", evidence=SPENT)._replace(missed="budget")
    return finding(name, "cannot tell", evidence=f"{STOPPED}: {refusal}")._replace(missed="refusal")


def refused(name: str, fault: Fault, cost: Cost) -> Finding:
    """The server answers with an error."""
    return finding(name, "rejected", cost, how=f"the server answers: {fault.told}", evidence=f"{name} was refused")


def summed(name: str, outcomes: Sequence[Outcome], cost: Cost, told: str = "") -> Finding:
    """All values of a parameter in one finding.

    Args:
        name: of the parameter.
        outcomes: of its values.
        cost: of all.
        told: the server's words where it refuses even the value that changes nothing.

    Returns:
        The finding.
    """
    verdicts = {o.verdict for o in outcomes}
    evidence = "; ".join(o.said for o in outcomes) or "no value was tried"
    judged = sum(o.verdict not in ("unclear", "rejected") for o in outcomes)
    false_alarm, power = ALPHA * judged, 1 - BETA if judged else None
    if verdicts and verdicts <= {"rejected"}:
        words = next(o.told for o in outcomes)
        return finding(name, "rejected", cost, how=f"the server answers: {words}", evidence=evidence)
    decided = verdicts - {"unclear"}
    if not decided:
        return finding(name, "cannot tell", cost, evidence=evidence + (f"; {told}" if told else ""))
    if decided == {"as asked"}:
        return finding(name, "honoured", cost, evidence=evidence, false_alarm=false_alarm, power=power)
    if decided == {"ignored"}:
        stuck = next((o.rival.value for o in outcomes if o.rival is not None and o.rival.value is not None), None)
        neutral = stuck is None or stuck == PARAMETERS[name].neutral
        how = "it changes nothing" if neutral else f"it stays {stuck:g} whatever is sent"
        return finding(name, "ignored", cost, how=how, evidence=evidence, false_alarm=false_alarm, power=power)
    how = how_of(outcomes)
    return finding(name, "honoured otherwise", cost, how=how, evidence=evidence, false_alarm=false_alarm, power=power)


def how_of(outcomes: Sequence[Outcome]) -> str:
    """What happens instead, value by value."""
    habits = {o.rival.habit for o in outcomes if o.verdict == "otherwise" and o.rival is not None}
    decided = {o.verdict for o in outcomes} - {"unclear", "as asked"}
    if len(habits) == 1 and "" not in habits and decided == {"otherwise"}:
        return habits.pop()
    found = []
    for o in outcomes:
        off = o.question.value == float("inf")
        asked = f"{o.question.name}, switched off," if off else f"{o.question.name} {o.question.value:g}"
        if o.verdict == "rejected":
            found.append(f"{asked} is refused")
        elif o.verdict == "ignored" and o.rival is not None and o.rival.value is not None:
            found.append(f"{asked} acts like {o.rival.value:g}")
        elif o.verdict == "ignored":
            found.append(f"{asked} changes nothing")
        elif o.verdict == "otherwise" and o.rival is not None:
            found.append(f"{asked} acts like {o.rival.said}")
    return "; ".join(found)
