"""What a page says of texts that a server drew by itself."""

from __future__ import annotations

from poise.records import Fingerprint
from poise.served import newest_probe
from poise.servers.honours import Finding
from poise.study import Study

_OWN = (
    "The server drew every token by itself, by luck of its own: whether two settings shared any of it is not known, "
    "so that their texts may differ by chance too, and poise cannot draw them again. "
)
NOISE = _OWN + "What it honours of each parameter was found out by a probe, below."
UNPROBED = _OWN + "Nobody looked whether it honours what was asked: poise probe does."


def findings(study: Study) -> list[Finding]:
    """What the newest probe found of the parameters that a study moves, and of what may act beside them.

    Args:
        study: any.

    Returns:
        Findings; none where poise drew, or nobody probed.
    """
    probe = newest_probe(study)
    if probe is None:
        return []
    moved = {name for case in study.use_cases() for trial in study.trials(case) for name in trial.params.active()}
    wanted = moved | {"greedy", "order", "defaults", "seed", "max_tokens"}
    return [f for f in probe.findings if f.name in wanted]


def address(fingerprint: Fingerprint) -> list[str]:
    """What stands for the model on a command line that draws with it again.

    Args:
        fingerprint: of the engine.

    Returns:
        The words: the model's name, or the server's address.

    >>> address(Fingerprint("qwen", "", "", "", "server", "server/vllm", {"url": "http://localhost:8000/v1"}))
    ['http://localhost:8000/v1#qwen']
    """
    url = fingerprint.provenance.get("url")
    if url is None or fingerprint.model.startswith("ollama:"):
        return [fingerprint.model]
    drawn = [] if fingerprint.served else ["--draws-by", "poise"]
    return [f"{url}#{fingerprint.model}", *drawn]
