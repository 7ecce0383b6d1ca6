"""generate --why: how far each parameter can move."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from poise.cli.flags import MAX_TOKENS, Drawing, Subject, command, draws_of, flag
from poise.cli.grammar import OFF, RANGES
from poise.cli.schemas import ChangeRecord, CompletionRecord, Generated, ReachRecord
from poise.cli.terminal import counted, one_line, show, show_heading, show_json, stretch, wrapped
from poise.errors import UsageError
from poise.params import PARAMETERS
from poise.records import Completion, params_record
from poise.tables import Table

if TYPE_CHECKING:
    from poise.sweeps import Plan
    from poise.whys import Change, Reach, Why

RESOLUTION = "0.001"  # of a dial that cannot be exact


def check_nothing_kept(asked: Drawing) -> None:
    """Refuse a study where nothing is kept."""
    if asked.study is not None:
        raise UsageError("--why draws anew and keeps nothing", f"--study {asked.study}", "Leave one of them out")


def whole_plan(plan: Plan, max_tokens: int) -> Plan:
    """The plan of texts that are all drawn, whatever a study holds.

    Args:
        plan: of the same request into a study.
        max_tokens: of each text.
    """
    return dataclasses.replace(plan, reused=0, max_new_tokens=plan.total * max_tokens, rate=None)


def said_of(plan: Plan) -> str:
    """A plan that keeps nothing, for people: `Plan` says where a study is in it."""
    lines = [
        ("model", plan.model),
        ("settings", plan.trials[0].label),
        ("texts", f"{counted(plan.total, 'text')} to draw, seed {plan.seed}; nothing is kept"),
        ("tokens", f"at most {plan.max_new_tokens:,} new ones"),
        *(("note", note) for note in plan.notes),
    ]
    return "\n".join(f"{name:<9} {said}" for name, said in lines)


def show_whys(found: list[Why], subject: Subject, asked: Drawing) -> None:
    """Print texts with the stretch of every parameter on which each is drawn.

    Args:
        found: one per draw.
        subject: the model and the prompt.
        asked: the flags.
    """
    if asked.as_json:
        show_json(Generated(
            study=None, completions=[completion_record(w.completion) for w in found],
            whys=[[_reach_record(r) for r in w.reaches] for w in found],
        ))  # fmt: skip
        return
    for w in found:
        request = w.completion.request
        show_heading(f"{request.params.label}, draw {request.draw}")
        show(w.completion.text.strip("\n"))
        head = ("parameter", " drawn at", "this very text on", "below it", "above it")
        told = [r for r in w.reaches if r.span is not None or r.on]
        show(f"\n{Table('', head, [_row(r) for r in told], ()).text()}")
        for reach in (r for r in told if r.span is None):
            show(wrapped(f"{reach.parameter} cannot be told exactly: {reach.why}"))
        if rest := [r.parameter for r in w.reaches if r not in told]:
            show(wrapped(f"of what is off, these cannot be told exactly (--json says why): {', '.join(rest)}"))
    show(f"\nNext: {_dial(found[0], subject, asked)}")


def _dial(first: Why, subject: Subject, asked: Drawing) -> str:
    """The command that finds the texts on either side: of a parameter that is on and exact, else of any that is."""
    exact = [r for r in first.reaches if r.span is not None]
    moving = next((r for r in exact if r.on), exact[0] if exact else first.reaches[0])
    name, value = moving.parameter, moving.value
    low, high = RANGES[name].split("..")
    low = low if value >= float(low) else repr(value)
    high = high if high == OFF or value <= float(high) else repr(value)
    kept = [w for n, text in asked.written.items() if n != name for w in (flag(n), text)]
    more = [] if exact else ["--resolution", RESOLUTION]
    more += ["--max-tokens", str(MAX_TOKENS)] if asked.max_tokens is None else []
    return command("dial", subject, asked, [flag(name), f"{low}..{high}", *kept], [*more, *draws_of(asked)])


def completion_record(completion: Completion) -> CompletionRecord:
    """A completion as JSON."""
    request = completion.request
    return CompletionRecord(
        prompt=request.prompt.shown, use_case=request.prompt.use_case, draw=request.draw, seed=request.seed,
        params=params_record(request.params), text=completion.text, thinking=completion.thinking,
        token_ids=list(completion.token_ids), logprobs=list(completion.logprobs),
        finish_reason=completion.finish_reason,
    )  # fmt: skip


def _row(reach: Reach) -> list[str]:
    span = "?"
    if reach.span is not None:
        low, high = reach.span.low.value, reach.span.high.value
        span = stretch(reach.span) if PARAMETERS[reach.parameter].kind == "float" else f"{low:.0f} to {high:.0f}"
    drawn_at = f"{reach.value:g}" if reach.on else "off"
    return [reach.parameter, drawn_at, span, *(one_line(s) or "-" for s in (reach.below_said, reach.above_said))]


def _reach_record(reach: Reach) -> ReachRecord:
    span = reach.span
    return ReachRecord(
        parameter=reach.parameter, value=reach.value if reach.on else None,
        low=span and span.low.value, high=span and span.high.value,
        low_closed=span and not span.low.after, high_closed=span and span.high.after, below=_change(reach.below),
        above=_change(reach.above), lowest=reach.lowest, widest=reach.widest, why=reach.why,
    )  # fmt: skip


def _change(change: Change | None) -> ChangeRecord | None:
    if change is None:
        return None
    return ChangeRecord(
        value=change.value, position=change.position, was=change.was_text, becomes=change.becomes_text
    )  # fmt: skip
