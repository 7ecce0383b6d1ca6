"""What temperature does to two use cases: the article's second script."""

import sys

import poise

engine = poise.load(*sys.argv[1:] or ["smollm2"])
for name, values in (("creative-story", [0.2, 0.9]), ("technical-explanation", [0.9, 0.7])):
    prompt = poise.load_use_case(name).prompts[0].text
    for c in poise.sweep(engine, prompt, poise.grid(temperature=values), baselines=False, max_tokens=185).completions():
        print(f"\n=== {name}, {c.request.params.label} ===\n{prompt}{c.text}")
