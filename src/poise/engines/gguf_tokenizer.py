"""Rebuilds a fast tokenizer from the vocabulary inside a GGUF file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import BPE

from poise.errors import ModelError

NORMAL, UNKNOWN, CONTROL, USER_DEFINED = 1, 2, 3, 4  # tokenizer.ggml.token_type

# How each family cuts text before merging, under the name that llama.cpp gives it
# (`tokenizer.ggml.pre`), as its published tokenizer.json does. `gpt2`: the pattern built into
# the ByteLevel step; `digits`: every digit alone first, then that pattern.
_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_QWEN2 = _LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
SPLITS: Mapping[str, str] = {
    "smollm": "digits",
    "gpt-2": "gpt2",
    "llama-bpe": _LLAMA3,
    "qwen2": _QWEN2,
    "deepseek-r1-qwen": _QWEN2,
}


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What a GGUF file says about its tokenizer.

    Args:
        kind: ``gpt2`` (byte-level merges) or ``llama`` (SentencePiece), `tokenizer.ggml.model`.
        split: a key of `SPLITS`, `tokenizer.ggml.pre`; empty for SentencePiece.
        tokens: text of every token, in id order.
        types: what each token is: `NORMAL`, `CONTROL`, `USER_DEFINED`, …
        merges: "left right" pairs, likeliest first; empty for SentencePiece.
        scores: one per token, SentencePiece only.
        bos_id: the token that `add_bos` puts in front of a text.
        add_bos: whether a text starts with the begin token.
        add_space: whether SentencePiece puts a space in front of a text.
    """

    kind: str
    split: str
    tokens: Sequence[str]
    types: Sequence[int]
    merges: Sequence[str]
    scores: Sequence[float]
    bos_id: int | None
    add_bos: bool
    add_space: bool


def build(vocabulary: Vocabulary) -> Tokenizer:
    """Rebuild the tokenizer.

    Args:
        vocabulary: what the file says.

    Returns:
        A tokenizer of the `tokenizers` library with the file's ids.

    Raises:
        ModelError: a kind or a split that is not known here.
    """
    if vocabulary.kind == "gpt2":
        tokenizer = _byte_level(vocabulary)
    elif vocabulary.kind == "llama":
        tokenizer = _sentencepiece(vocabulary)
    else:
        raise ModelError(
            "A GGUF tokenizer is of kind gpt2 or llama",
            repr(vocabulary.kind),
            "Use the model's safetensors instead: hf:NAME_OR_DIR",
        )
    for token, kind in zip(vocabulary.tokens, vocabulary.types, strict=True):
        if kind == CONTROL:
            tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True)])
        elif kind == USER_DEFINED:
            tokenizer.add_tokens([AddedToken(token, normalized=False, special=False)])
    if vocabulary.add_bos and vocabulary.bos_id is not None:
        bos = vocabulary.tokens[vocabulary.bos_id]
        begin = processors.TemplateProcessing(single=f"{bos} $A", special_tokens=[(bos, vocabulary.bos_id)])
        earlier = tokenizer.post_processor
        tokenizer.post_processor = processors.Sequence([earlier, begin]) if earlier else begin
    return tokenizer


def _byte_level(vocabulary: Vocabulary) -> Tokenizer:
    split = SPLITS.get(vocabulary.split)
    if split is None:
        raise ModelError(
            f"A GGUF tokenizer cuts text in one of these ways: {', '.join(SPLITS)}",
            repr(vocabulary.split or "none stated"),
            "Use the model's safetensors instead: hf:NAME_OR_DIR",
        )
    ids = {token: i for i, token in enumerate(vocabulary.tokens)}
    merges = [_pair(merge) for merge in vocabulary.merges]
    tokenizer = Tokenizer(BPE(vocab=ids, merges=merges, ignore_merges=split == _LLAMA3))
    plain = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    if split == "gpt2":
        tokenizer.pre_tokenizer = plain
    elif split == "digits":
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), plain])
    else:
        cut = pre_tokenizers.Split(Regex(split), behavior="isolated")
        to_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([cut, to_bytes])
    if split == _QWEN2:
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _pair(merge: str) -> tuple[str, str]:
    left, _, right = merge.partition(" ")
    return left, right


def _sentencepiece(vocabulary: Vocabulary) -> Tokenizer:
    if len(vocabulary.scores) != len(vocabulary.tokens):
        raise ModelError(
            "A SentencePiece vocabulary has one score per token",
            f"{len(vocabulary.scores)} scores, {len(vocabulary.tokens)} tokens",
            "The file is damaged; download it again",
        )
    ids = {token: i for i, token in enumerate(vocabulary.tokens)}
    unknown = next((t for t, kind in zip(vocabulary.tokens, vocabulary.types, strict=True) if kind == UNKNOWN), None)
    merges = _merges_from_scores(vocabulary, ids)
    tokenizer = Tokenizer(BPE(vocab=ids, merges=merges, unk_token=unknown, fuse_unk=True, byte_fallback=True))
    space = normalizers.Replace(" ", "▁")
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), space]) if vocabulary.add_space else space
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    if vocabulary.add_space:
        steps.append(decoders.Strip(" ", 1, 0))
    tokenizer.decoder = decoders.Sequence(steps)
    return tokenizer


def _merges_from_scores(vocabulary: Vocabulary, ids: Mapping[str, int]) -> list[tuple[str, str]]:
    """SentencePiece stores no merges: any two pieces that spell a third may merge, best score first."""
    normal = {t for t, kind in zip(vocabulary.tokens, vocabulary.types, strict=True) if kind == NORMAL}
    found: list[tuple[float, int, int, tuple[str, str]]] = []
    for piece in normal:
        for cut in range(1, len(piece)):
            left, right = piece[:cut], piece[cut:]
            if left in normal and right in normal:
                found.append((-vocabulary.scores[ids[piece]], ids[left], ids[right], (left, right)))
    return [pair for *_, pair in sorted(found)]
