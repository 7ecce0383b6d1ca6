"""generate --why: how far each parameter can move."""

from __future__ import annotations

from typing import TYPE_CHECKING

from poise.cli.schemas import ChangeRecord, CompletionRecord, Generated, ReachRecord
from poise.cli.terminal import one_line, show, show_heading, show_json
from poise.params import PARAMETERS
from poise.records import Completion, params_record
from poise.tables import Table

if TYPE_CHECKING:
    from poise.cli.flags import Drawing
    from poise.sweeps import Plan
    from poise.whys import Change, Reach, Why


def show_whys(found: list[Why], plan: Plan, asked: Drawing) -> None:
    """Print texts with the stretch of every parameter on which each is drawn.

    Args:
        found: one per draw.
        plan: of the same request.
        asked: the flags.
    """
    if asked.as_json:
        show_json(Generated(
            study=str(plan.study), completions=[completion_record(w.completion) for w in found],
            whys=[[_reach_record(r) for r in w.reaches] for w in found],
        ))  # fmt: skip
        return
    for w in found:
        request = w.completion.request
        show_heading(f"{request.params.label}, draw {request.draw}")
        show(w.completion.text.strip("\n"))
        head = ("parameter", " drawn at", "this very text on", "below it", "above it")
        show(f"\n{Table('', head, [_row(r) for r in w.reaches], ()).text()}")
        for reach in w.reaches:
            if reach.span is None:
                show(f"{reach.parameter} cannot be told exactly: {reach.why}")
    show("\nNext: poise dial draws the texts on either side, every one of a whole range")


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
        span = str(reach.span) if PARAMETERS[reach.parameter].kind == "float" else f"{low:.0f} to {high:.0f}"
    return [reach.parameter, f"{reach.value:g}", span, _said(reach.below), _said(reach.above)]


def _said(change: Change | None) -> str:
    if change is None:
        return "-"
    return f"token {change.position + 1}: {_quoted(change.was_text)} to {_quoted(change.becomes_text)}"


def _quoted(text: str) -> str:
    return f"\u201c{one_line(text)}\u201d"


def _reach_record(reach: Reach) -> ReachRecord:
    span = reach.span
    return ReachRecord(
        parameter=reach.parameter, value=reach.value, low=span and span.low.value, high=span and span.high.value,
        low_closed=span and not span.low.after, high_closed=span and span.high.after, below=_change(reach.below),
        above=_change(reach.above), why=reach.why,
    )  # fmt: skip


def _change(change: Change | None) -> ChangeRecord | None:
    if change is None:
        return None
    return ChangeRecord(
        value=change.value, position=change.position, was=change.was_text, becomes=change.becomes_text
    )  # fmt: skip
