"""Text to token ids and back, through a server's own tokenizer."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from poise.engines.asker import LOUD, Asker, Ids
from poise.errors import ModelError
from poise.records import Message
from poise.servers.calls import Call, Fault

TEST_TEXT = "Once upon a time, there was a small ship that sailed between the stars"
THINK = ("<think>", "</think>")
# How models write the tokens that end a text; which of them do on a server is tried out.
ENDS = (
    "<|im_end|>", "<|endoftext|>", "</s>", "<|eot_id|>", "<|end_of_text|>", "<|eom_id|>", "<eos>", "<end_of_turn>",
    "<|end|>", "<|return|>", "<|call|>", "<｜end▁of▁sentence｜>", "<|end_of_turn|>", "<|EOT|>", "[EOS]", "<|eos|>",
    "<|END_OF_TURN_TOKEN|>", "<|user|>", "<|observation|>", "<|eot|>", "<turn|>", "<|endofprompt|>", "<EOT>",
)  # fmt: skip
_SPECIAL = re.compile(
    r"<[|｜].*[|｜]>|</?s>|<(?:unk|pad|bos|eos|mask|start_of_turn|end_of_turn|repo_name|reponame|file_sep|filename"
    r"|gh_stars|issue_start|issue_comment|issue_closed|jupyter_\w+|empty_output)>|\[(?:EOS|BOS|PAD|UNK|CLS|SEP|INST|/INST)\]"
)
_BROKEN = "�"  # where bytes are no whole character
_ENOUGH = 64  # tokens in which many a text ends


class RemoteCodec:
    """A server's tokenizer and template, asked once per token.

    Args:
        asker: the server.
        eos_ids: tokens that end a text; None to find them.

    Raises:
        ModelError: the server has no way to turn text into token ids and back, or shows no end of text.
    """

    def __init__(self, asker: Asker, eos_ids: Iterable[int] | None = None) -> None:
        self._asker = asker
        self._texts: dict[int, str] = {}
        self._runs: dict[Ids, str] = {}
        self._said: dict[object, Ids] = {}
        self._anchor: Ids = ()
        self.test_ids = asker.ids([TEST_TEXT], special=True)[0]
        self._anchor = self._find_anchor()
        self.thinking_tags = THINK if len(asker.ids([THINK[0]])[0]) == 1 else None
        self.template_ids = self.chat([Message("user", "a")])
        self.has_template = self.template_ids is not None
        self.eos_ids = frozenset(eos_ids) if eos_ids is not None else self._find_ends()

    def encode(self, text: str, special: bool = False) -> Ids:
        """Token ids of a text; `special` adds what the tokenizer puts around it."""
        key = text, special
        if key not in self._said:
            self._said[key] = self._asker.ids([text], special)[0]
        return self._said[key]

    def chat(self, messages: Sequence[Message], thinking: bool | None = None) -> Ids | None:
        """Token ids of messages through the template; None where the server has none or cannot tell."""
        key = tuple(messages), thinking
        if key not in self._said:
            found = self._asker.chat(messages, thinking)
            if found is None:
                return None
            self._said[key] = found
        return self._said[key]

    def decode(self, ids: Sequence[int], special: bool = False) -> str:
        """Text of token ids, special tokens left out unless asked for."""
        self._learn(ids)
        out: list[str] = []
        run: list[int] = []
        for i in ids:
            if _SPECIAL.fullmatch(self._texts[i]) and not special:
                continue
            if _BROKEN in self._texts[i]:
                run.append(i)
                continue
            out += [self._run(run), self._texts[i]]
            run = []
        return "".join([*out, self._run(run)])

    def _run(self, run: Sequence[int]) -> str:
        """Tokens that are no whole characters each, read together."""
        key = tuple(run)
        if key and key not in self._runs:
            self._runs[key] = self._after_anchor([key])[0]
        return self._runs[key] if key else ""

    def _learn(self, ids: Iterable[int]) -> None:
        new = sorted({*ids} - self._texts.keys())
        self._texts.update(zip(new, self._after_anchor([(i,) for i in new]), strict=True))

    def _after_anchor(self, lists: Sequence[Ids]) -> list[str]:
        if not lists:
            return []
        start, *found = self._asker.words([self._anchor or lists[0], *((*self._anchor, *ids) for ids in lists)])
        return [text[len(start) :] for text in found] if self._anchor else found

    def _find_anchor(self) -> Ids:
        """A token to read in front, for tokenizers that swallow a text's first space."""
        ids = self._asker.ids(["a b"])[0]
        whole, *parts = self._asker.words([ids, *((i,) for i in ids)])
        return ids[:1] if "".join(parts) != whole else ()

    def _find_ends(self) -> frozenset[int]:
        """Tokens that end a text: each is forced upon the server, which then goes on or does not."""
        found = {ids[0] for ids in self._asker.ids(ENDS) if len(ids) == 1}
        ends = {i for i in sorted(found) if self._ends(i)}
        if not ends:
            drawn = self._asker.ask([Call(ids=self.test_ids, max_tokens=_ENOUGH, seed=s) for s in (1, 2, 3)])
            last = {c.token_ids[-1] for a in drawn for c in a.choices if c.finish == "eos" and c.token_ids}
            ends = {i for i in sorted(last) if self._ends(i)}
        if not ends:
            raise ModelError(
                "poise has to know which tokens end a text", f"a server that shows none: {self._asker.about.model}",
                "Give eos_ids: the model's config.json names them",
            )  # fmt: skip
        return frozenset(ends)

    def _ends(self, token: int) -> bool:
        call = Call(ids=self.test_ids, max_tokens=2, fields={"logit_bias": {str(token): LOUD}})
        answer = self._asker.try_one(call)
        if isinstance(answer, Fault):
            return False
        drawn = answer.choices[0]
        return drawn.finish == "eos" and drawn.token_ids in ((), (token,))  # some servers hide what ended a text
