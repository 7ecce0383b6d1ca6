"""transformers' own processors, in process, in the order that it puts them in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import transformers
from scripts.conformance.judge import Score, Stage, judged, said_of
from scripts.conformance.rows import Group, Wanted, groups
from transformers.generation import logits_process as process
from transformers.generation.configuration_utils import GenerationConfig
from transformers.generation.utils import GenerationMixin

VERSION = transformers.__version__
STEPS: Mapping[type, str] = {
    process.UnbatchedClassifierFreeGuidanceLogitsProcessor: "guidance_scale",
    process.SequenceBiasLogitsProcessor: "logit_bias",
    process.RepetitionPenaltyLogitsProcessor: "repetition_penalty",
    process.NoRepeatNGramLogitsProcessor: "no_repeat_ngram_size",
    process.NoBadWordsLogitsProcessor: "bad_words",
    process.TemperatureLogitsWarper: "temperature",
    process.TopHLogitsWarper: "top_h",
    process.TopKLogitsWarper: "top_k",
    process.TopPLogitsWarper: "top_p",
    process.MinPLogitsWarper: "min_p",
    process.TypicalLogitsWarper: "typical_p",
    process.EpsilonLogitsWarper: "epsilon_cutoff",
    process.EtaLogitsWarper: "eta_cutoff",
}
WANTED = Wanted("transformers", tuple(STEPS.values()))
NEUTRAL = {"top_k": 0, "temperature": 1.0}


class _Output:
    """What guidance reads of a model's answer."""

    def __init__(self, logits: torch.Tensor) -> None:
        self.logits = logits

    def get(self, name: str, default: Any = None) -> Any:
        return default


class Generator(GenerationMixin):
    """Enough of a model to be asked for its processors; called, it gives the logits without the prompt."""

    def __init__(self, unconditional: torch.Tensor) -> None:
        self.config = SimpleNamespace(is_encoder_decoder=False)
        self.unconditional = unconditional

    def __call__(self, *given: Any, **named: Any) -> _Output:
        return _Output(self.unconditional[:, None])


def processors(group: Group, dtype: torch.dtype) -> list[Any]:
    """What `generate` would apply, in its order.

    Args:
        group: settings and the logits without the prompt.
        dtype: of the latter.

    Returns:
        transformers' processors.
    """
    given = {n: v for n, v in group.settings.items() if n not in ("logit_bias", "bad_words", "dialect")}
    config = GenerationConfig(do_sample=True, **{**NEUTRAL, **given})
    if "logit_bias" in group.settings:
        config.sequence_bias = {(i,): float(b) for i, b in group.settings["logit_bias"].items()}
    if "bad_words" in group.settings:
        config.bad_words_ids = [list(w) for w in group.settings["bad_words"]]
    config._eos_token_tensor = None
    model = Generator(torch.tensor(group.unconditional, dtype=dtype))
    length = group.prompt.shape[1]
    return list(model._get_logits_processor(config, input_ids_seq_length=length, device="cpu"))


def stages(group: Group, dtype: torch.dtype = torch.float32) -> Iterator[list[Stage]]:
    """transformers' rows after each of its processors.

    Args:
        group: rows and settings.
        dtype: in which it computes.

    Yields:
        The stages of each row.
    """
    ids = torch.tensor(np.concatenate([group.prompt, group.output], axis=1))
    scores = torch.tensor(group.logits, dtype=dtype)
    after: list[tuple[str, np.ndarray]] = []
    for processor in processors(group, dtype):
        scores = processor(ids, scores)
        after.append((STEPS[type(processor)], scores.double().numpy()))
    for i in range(len(group.logits)):
        yield [Stage((name,), rows[i]) for name, rows in after]


def compared(rows: int, seed: int = 1, dtype: torch.dtype = torch.float32) -> Score:
    """The law against transformers.

    Args:
        rows: how many random ones.
        seed: of the draw.
        dtype: in which transformers computes.

    Returns:
        What was found.
    """
    score = Score("transformers")
    for group in groups(WANTED, rows, seed):
        for i, row in enumerate(stages(group, dtype)):
            assert [s for stage in row for s in stage.steps] == list(group.params.steps), "transformers' order"
            found = judged(group.logits[i].astype(np.float64), group.settings, said_of(group, i), row)
            score.add(found, f"seed {seed}, row {score.rows}: {group.settings}")
    return score
