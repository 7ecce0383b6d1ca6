"""Run where SGLang's files are: its penalisers and its sampler for PyTorch, on the rows of a file.

SGLang wants CUDA's kernels, and more packages than these files need; what they import of it and do not use is left out.
"""

import importlib.abc
import importlib.machinery
import importlib.util
import json
import sys
import types
from importlib.metadata import version
from pathlib import Path
from unittest.mock import MagicMock

import numpy as np
import torch

HOME = next(Path(p) / "sglang" for p in sys.path if (Path(p) / "sglang" / "srt").is_dir())
REAL = (
    "sglang.srt.layers.sampler", "sglang.srt.sampling.penaltylib", "sglang.srt.sampling.sampling_batch_info",
    "sglang.srt.sampling.sampling_params",
)  # fmt: skip


class Left(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds SGLang's own files where they are wanted, and something empty for all others."""

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] != "sglang":
            return None
        at = HOME.parent.joinpath(*name.split("."))
        if any(name == real or name.startswith(f"{real}.") for real in REAL):
            file = at / "__init__.py" if at.is_dir() else at.with_suffix(".py")
            folders = [str(at)] if at.is_dir() else None
            return importlib.util.spec_from_file_location(name, file, submodule_search_locations=folders)
        return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec):
        module = types.ModuleType(spec.name)
        module.__path__ = [str(HOME.parent.joinpath(*spec.name.split(".")))]
        module.__getattr__ = lambda name: MagicMock(name=f"{spec.name}.{name}", return_value=False)
        return module

    def exec_module(self, module):
        if module.__name__ == "sglang.srt.utils":
            module.is_npu = lambda: True  # then SGLang does not compile what it could run as it is


sys.meta_path.insert(0, Left())
from sglang.srt.layers.sampler import top_k_top_p_min_p_sampling_from_probs_torch as cut  # noqa: E402
from sglang.srt.sampling import penaltylib  # noqa: E402
from sglang.srt.sampling.sampling_batch_info import SamplingBatchInfo  # noqa: E402
from sglang.srt.sampling.sampling_params import SamplingParams  # noqa: E402

PENALTIES = ("frequency_penalty", "presence_penalty", "repetition_penalty")
CUTS = ("top_k", "top_p", "min_p")


class _Batch:
    """What the penalisers read of a batch of requests."""

    device = "cpu"

    def __init__(self, params, count):
        self.reqs = [types.SimpleNamespace(sampling_params=params)] * count


def edited(params, settings, rows, output):
    """The rows after penalties and biases, as SGLang's overlapped schedule applies them."""
    batch = _Batch(params, len(rows))
    kinds = {penaltylib.BatchedFrequencyPenalizer, penaltylib.BatchedPresencePenalizer,
             penaltylib.BatchedRepetitionPenalizer}  # fmt: skip
    info = object.__new__(SamplingBatchInfo)
    info.vocab_size, info.temperatures = rows.shape[1], torch.ones(len(rows), 1)
    info.penalizer_orchestrator = penaltylib.BatchedPenalizerOrchestrator(info.vocab_size, batch, kinds)
    info.logit_bias, info.grammar_mask = None, None
    if "logit_bias" in settings:
        info.logit_bias = torch.zeros_like(rows)
        for token, bias in settings["logit_bias"].items():
            info.logit_bias[:, int(token)] = bias
    for tokens in torch.tensor(output).T:
        info.penalizer_orchestrator.cumulate_output_tokens(tokens)
    info.update_penalties()
    info.penalizer_orchestrator = None  # as the overlapped schedule has it when it applies what was added up
    info.apply_logits_bias(rows)
    return rows


def stages(settings, logits, prompt, output):
    """SGLang's rows after each part of its sampler: names of the steps, and (B, V)."""
    known = (*PENALTIES, *CUTS, "temperature")
    params = SamplingParams(**{n: settings[n] for n in known if n in settings})
    params.verify(logits.shape[1])
    rows = torch.tensor(logits, dtype=torch.float32)
    on = [n for n in (*PENALTIES, "logit_bias") if n in settings]
    if on:
        rows = edited(params, settings, rows, output)
        yield on, rows.clone()
    if "temperature" in settings:
        rows = rows / params.temperature
        yield ["temperature"], rows
    on = [n for n in CUTS if n in settings]
    if on:
        probs = torch.softmax(rows, dim=-1)
        count = len(rows)
        ks, ps = torch.full((count,), params.top_k), torch.full((count,), params.top_p)
        _, weights, ids, _ = cut(
            probs, ks, ps, torch.full((count,), params.min_p), params.min_p > 0, None, None, return_filtered_probs=True
        )
        kept = torch.zeros_like(probs).scatter_(1, ids.long(), weights) > 0
        yield on, rows.masked_fill(~kept, -float("inf"))


def main(source, target):
    """Read groups of rows, write what SGLang makes of them."""
    found, names = {}, []
    with np.load(source) as given:
        for g, settings in enumerate(json.loads(str(given["settings"]))):
            names.append([])
            rows = stages(settings, *(given[f"{part}{g}"] for part in ("logits", "prompt", "output")))
            for j, (steps, after) in enumerate(rows):
                names[-1].append(steps)
                found[f"rows{g}_{j}"] = after.double().numpy().copy()
    np.savez(target, names=json.dumps(names), version=f"sglang {version('sglang')}", **found)


main(*sys.argv[1:])
