"""What temperature does to one prompt: the article's first script."""

import sys

import poise

engine = poise.load(*sys.argv[1:] or ["smollm2"])
prompt, settings = "What are some of the best strategies within NFL Fantasy", poise.grid(temperature=[0.3, 0.5, 0.9])
for c in poise.sweep(engine, prompt, settings, baselines=False, max_tokens=190).completions():
    print(f"\n=== {c.request.params.label} ===\n{prompt}{c.text}")
