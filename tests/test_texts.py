"""Stop strings across token borders, and thinking kept apart."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from poise import texts

WORDS = ["a", "b", "ab", "ba", ".", "\n"]


def decode(ids: Sequence[int]) -> str:
    return "".join(WORDS[i] for i in ids)


def test_the_earliest_stop_string_counts_not_the_first_listed() -> None:
    assert texts.stop_position("one. two! three", ["!", "."]) == 3
    assert texts.stop_position("one", ["."]) is None


def test_a_stop_string_is_found_across_token_borders() -> None:
    assert texts.ends_with_stop(decode, [2, 1], ["bb"])  # "ab" + "b"
    assert not texts.ends_with_stop(decode, [2, 0], ["bb"])


@given(ids=st.lists(st.integers(0, 5), min_size=1, max_size=80), stop=st.text("ab.\n", min_size=1, max_size=3))
def test_stopping_is_noticed_at_the_very_token(ids: list[int], stop: str) -> None:
    """Feeding one token at a time, the first True comes where the whole text first holds the string."""
    noticed = next((n for n in range(1, len(ids) + 1) if texts.ends_with_stop(decode, ids[:n], [stop])), None)
    true = next((n for n in range(1, len(ids) + 1) if stop in decode(ids[:n])), None)
    assert noticed == true


def test_thinking_is_split_off() -> None:
    tags = ("<think>", "</think>")
    assert texts.split_thinking("<think>\na\n</think>\nb", tags, opened=False) == ("a", "b")
    assert texts.split_thinking("a</think>b", tags, opened=True) == ("a", "b")
    assert texts.split_thinking("plain", tags, opened=False) == ("", "plain")
    assert texts.split_thinking("<think>never ends", tags, opened=False) == ("never ends", "")
    assert texts.split_thinking("<think>x</think>y", None, opened=False) == ("", "<think>x</think>y")
