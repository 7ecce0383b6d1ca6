"""A server's tokenizer, asked once per token: broken characters, swallowed spaces, special tokens, ends."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from poise.engines.remote_codec import RemoteCodec
from poise.errors import ModelError
from poise.records import Message
from poise.servers.calls import Answer, Call, Choice, Fault

SPECIAL = {256: "<|im_end|>", 257: "</s>", 258: "<think>", 259: "<|im_start|>"}


class Bytes:
    """Stands for an asker of a server whose tokens are bytes, with a few special ones."""

    about = SimpleNamespace(model="bytes")
    ends = frozenset({256})

    def __init__(self, swallows: bool = False) -> None:
        self.swallows, self.asked = swallows, 0

    def ids(self, texts: Sequence[str], special: bool = False) -> list[tuple[int, ...]]:
        known = {text: i for i, text in SPECIAL.items()}
        return [(known[t],) if t in known else ((259,) if special else ()) + tuple(t.encode()) for t in texts]

    def words(self, lists: Sequence[tuple[int, ...]]) -> list[str]:
        self.asked += len(lists)
        said = [b"".join(SPECIAL[i].encode() if i in SPECIAL else bytes([i]) for i in ids) for ids in lists]
        texts = [text.decode("utf-8", "replace") for text in said]
        return [t.removeprefix(" ") for t in texts] if self.swallows else texts

    def chat(self, messages: Sequence[Message], thinking: bool | None = None) -> tuple[int, ...] | None:
        return (259, *messages[-1].content.encode(), 256)

    def try_one(self, call: Call) -> Answer | Fault:
        token = int(next(iter(call.fields["logit_bias"])))
        if token == 257:
            return Fault("rejected", "no such token")
        ended = token in self.ends
        return Answer(
            (Choice("", finish="eos" if ended else "length", token_ids=(token,) if ended else (token, token)),)
        )

    def ask(self, calls: Sequence[Call]) -> list[Answer]:
        return [Answer((Choice("", finish="length", token_ids=(1, 2)),)) for _ in calls]


def codec(asker: Any, **given: Any) -> RemoteCodec:
    return RemoteCodec(asker, **given)


@pytest.mark.parametrize("swallows", [False, True])
def test_text_is_read_as_the_server_reads_it_at_once(swallows: bool) -> None:
    made = codec(Bytes(swallows))
    for text in (" a ship", "naïve 日本語 🚀", "  two  spaces ", "\n"):
        assert made.decode(tuple(text.encode())) == text
    for end in range(1, 12):
        ids = tuple("🚀 日本".encode())[:end]
        assert made.decode(ids) == bytes(ids).decode("utf-8", "replace")


def test_special_tokens_are_left_out_unless_asked_for() -> None:
    made = codec(Bytes())
    ids = (259, *b"hi", 256, 258, *b"x")
    assert made.decode(ids) == "hi<think>x"
    assert made.decode(ids, special=True) == "<|im_start|>hi<|im_end|><think>x"
    split = "é".encode()
    assert made.decode((split[0], 256, split[1])) == "é"


def test_each_token_is_asked_for_once() -> None:
    asker = Bytes()
    made = codec(asker)
    made.decode(tuple(b"abcabc"))
    before = asker.asked
    made.decode(tuple(b"cba"))
    assert asker.asked == before


def test_ends_are_tried_out_and_templates_read() -> None:
    made = codec(Bytes())
    assert made.eos_ids == {256}
    assert made.thinking_tags == ("<think>", "</think>")
    assert made.has_template
    assert made.chat([Message("user", "hi")]) == (259, *b"hi", 256)
    assert made.encode("a", special=True) == (259, 97)
    assert codec(Bytes(), eos_ids=[7]).eos_ids == {7}


def test_a_server_that_ends_nothing() -> None:
    asker = Bytes()
    asker.ends = frozenset()
    with pytest.raises(ModelError, match=r"which tokens end a text, but got a server that shows none: bytes"):
        codec(asker)
