"""Run by an interpreter that has mlx-lm: its processors and samplers on the rows of a file."""

import json
import sys
from importlib.metadata import version

import mlx.core as mx
import numpy as np
from mlx_lm import sample_utils
from mlx_lm.generate import generate_step

PENALTIES = {
    "repetition_penalty": ("repetition_penalty", "repetition_context_size"),
    "presence_penalty": ("presence_penalty", "presence_context_size"),
    "frequency_penalty": ("frequency_penalty", "frequency_context_size"),
}


def edits(settings):
    """mlx-lm's processors with the step that each is, in its order."""
    window = settings.get("penalty_last_n")
    if "logit_bias" in settings:
        bias = {int(i): float(b) for i, b in settings["logit_bias"].items()}
        yield "logit_bias", sample_utils.make_logits_processors(logit_bias=bias)
    for name, (value, size) in PENALTIES.items():
        if name in settings:
            given = {value: settings[name]} | ({} if window is None else {size: window})
            yield name, sample_utils.make_logits_processors(**given)


def cuts(settings, size):
    """mlx-lm's cuts, in the order of its `make_sampler`."""
    if 0 < settings.get("top_p", 0) < 1:
        yield "top_p", lambda x: sample_utils.apply_top_p(x, settings["top_p"])
    if settings.get("min_p", 0) != 0:
        yield "min_p", lambda x: sample_utils.apply_min_p(x, settings["min_p"])
    if "xtc_probability" in settings:
        yield "xtc_probability", lambda x: sample_utils.apply_xtc(x, 1.0, settings.get("xtc_threshold", 0.1), [])
    if 0 < settings.get("top_k", 0) < size:
        yield "top_k", lambda x: sample_utils.apply_top_k(x, settings["top_k"])


def stages(settings, logits, prompt, output):
    """mlx-lm's rows after each of its steps: names of the steps, and (B, V)."""
    rows = [mx.array(row)[None] for row in logits]
    said = [mx.array(np.concatenate(both)) for both in zip(prompt, output, strict=True)]
    for name, processors in edits(settings):
        [processor] = processors
        rows = [processor(tokens, row) for tokens, row in zip(said, rows, strict=True)]
        yield [name], np.array(mx.concatenate(rows))
    all_rows = mx.concatenate(rows)
    all_rows = all_rows - mx.logsumexp(all_rows, axis=-1, keepdims=True)
    for name, cut in cuts(settings, logits.shape[1]):
        all_rows = cut(all_rows)
        yield [name], np.array(all_rows)
    if "temperature" in settings:
        yield ["temperature"], np.array(all_rows * (1.0 / settings["temperature"]))


class Model:
    """A model whose every next token has the same logits; it has nothing to keep between steps."""

    layers = ()

    def __call__(self, tokens, cache=None, **more):
        return mx.zeros((1, tokens.shape[1], 10))


def penalised(prompt, count, **given):
    """The tokens that a penalty lowers in each of mlx-lm's next steps after a prompt, and what it draws."""
    seen = []

    def spy(tokens, logits):
        seen.append(sorted(int(i) for i in np.flatnonzero(np.array(logits)[0])))
        return logits

    processors = [*sample_utils.make_logits_processors(**given), spy]
    drawn = [
        int(token)
        for token, _ in generate_step(
            mx.array(prompt), Model(), max_tokens=count, logits_processors=processors, prompt_cache=[]
        )
    ]
    return seen[:count], drawn


def main(source, target):
    """Read groups of rows, write what mlx-lm makes of them."""
    found, names = {}, []
    with np.load(source) as given:
        for g, settings in enumerate(json.loads(str(given["settings"]))):
            names.append([])
            rows = stages(settings, *(given[f"{part}{g}"] for part in ("logits", "prompt", "output")))
            for j, (steps, after) in enumerate(rows):
                names[-1].append(steps)
                found[f"rows{g}_{j}"] = after.astype(np.float64)
    scope = [
        penalised([7, 8], 3, presence_penalty=1.0),
        penalised([1, 2, 3, 4, 5], 3, presence_penalty=1.0, presence_context_size=2),
        penalised([1, 2, 3], 1, presence_penalty=1.0, presence_context_size=0),
    ]
    about = {"names": json.dumps(names), "scope": json.dumps(scope), "version": f"mlx-lm {version('mlx-lm')}"}
    np.savez(target, **about, **found)


main(*sys.argv[1:])
