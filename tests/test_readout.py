"""What the curves of dials say, in sentences that one can check by eye."""

from __future__ import annotations

import dataclasses

from poise.curves import curve
from poise.engines.fake import FakeEngine
from poise.pieces import Dial
from poise.records import Prompt
from poise.reports.dialdata import zones
from poise.reports.readout import Human, human_values, less_likely, sentences
from test_curves import FREE, LOOP, made

NONE = Human({})


def surprising(dial: Dial, nll: float, above: float) -> Dial:
    """The dial with texts of another NLL from a value on."""
    pieces = [
        p if p.low < above or p.completion is None
        else dataclasses.replace(p, completion=dataclasses.replace(p.completion, logprobs=(-nll,) * 32))
        for p in dial.pieces
    ]  # fmt: skip
    return dataclasses.replace(dial, pieces=tuple(pieces))


def test_where_looping_stops_and_what_share_loops() -> None:
    """Sixty-four draws that all stop looping at 0.3."""
    dials = [made([(0, 0.3, LOOP), (0.3, 1, FREE)], i) for i in range(64)]
    share, stop = sentences(dials, NONE)
    assert share.startswith("Texts end in a loop over 30% of the range, 95 % interval [")
    assert stop.startswith("From temperature 0.3 on, ")
    assert "at most 5% of them do" in stop


def test_without_a_band_it_says_what_a_band_would_take() -> None:
    dials = [made([(0, 0.3, LOOP), (0.3, 1, FREE)], i) for i in range(4)]
    assert sentences(dials, NONE) == [
        "Texts end in a loop over 30% of the range.",
        "From temperature 0.3 on, at most 5% of them do.",
        "No band: it takes 8 prompts, or 8 draws of each; add --draws 8.",
    ]
    assert sentences([made([(0, 1, FREE)], i) for i in range(8)], NONE) == [
        "No text ends in a loop anywhere in the range."
    ]
    assert sentences([made([(0, 1, None)], i) for i in range(8)], NONE) == []


def test_texts_too_short_to_loop_are_not_said_to_hold_none() -> None:
    assert sentences([made([(0, 1, FREE[:15])], i) for i in range(8)], NONE) == [
        "No text is long enough to loop: that takes 16 tokens."
    ]


def test_less_likely_than_the_human_text_has_a_name() -> None:
    """NLL 1 below 0.6 and 9 above it, against a human text of 3; the loops below 0.2 keep their own name."""
    parts = [(0, 0.2, LOOP), (0.2, 0.6, FREE), (0.6, 1, (*FREE[:-1], 99))]
    dials = [surprising(made(parts, i), 9.0 + 0.01 * i, 0.6) for i in range(8)]
    human = Human({dials[0].prompt: 3.0})
    assert (
        "Texts are more likely than the human text over 0 to 0.6 and less likely over 0.6 to 1; "
        in (sentences(dials, human)[-1])
    )
    apart = less_likely(curve(dials, "nll", reference=human.nll))
    assert [(s.low.value, s.high.value) for s in apart] == [(0.6, 1.0)]
    assert zones(dials, apart) == [(0, 0.2, "repeats"), (0.6, 1.0, "falls apart")]
    assert zones(dials) == [(0, 0.2, "repeats")]


def test_a_human_text_that_cannot_be_scored_is_told() -> None:
    dials = [made([(0, 1, FREE)])]
    other = dataclasses.replace(dials[0].request, prompt=Prompt("a ship", reference=" "))
    found = human_values(FakeEngine(), [dataclasses.replace(dials[0], request=other)])
    assert not found.nll
    assert "not compared with the human one. A text to score has at least one token" in found.note
