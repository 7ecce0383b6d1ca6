"""Flags of llama.cpp that do not shape the law."""

from __future__ import annotations

# Each is followed by one word. Checked against common/arg.cpp of llama-cpp-python 0.3.36, which lacks some older ones.
WITH_VALUE = (
    "-m", "--model", "-mu", "--model-url", "-hf", "-hfr", "--hf-repo", "-hff", "--hf-file", "-hft", "--hf-token", "-dr",
    "--docker-repo", "-a", "--alias", "--tags", "-p", "--prompt", "-sys", "--system-prompt", "-sysf",
    "--system-prompt-file", "-f", "--file", "-bf", "--binary-file", "-n", "--predict", "--n-predict", "--keep", "-c",
    "--ctx-size", "-b", "--batch-size", "-ub", "--ubatch-size", "-t", "--threads", "-tb", "--threads-batch", "-C",
    "--cpu-mask", "-Cr", "--cpu-range", "--cpu-strict", "--prio", "--poll", "-Cb", "--cpu-mask-batch", "-Crb",
    "--cpu-range-batch", "--cpu-strict-batch", "--prio-batch", "--poll-batch", "--numa", "-dev", "--device", "-ngl",
    "--gpu-layers", "--n-gpu-layers", "-sm", "--split-mode", "-ts", "--tensor-split", "-mg", "--main-gpu", "-ot",
    "--override-tensor", "-ncmoe", "--n-cpu-moe", "-ncffn", "--n-cpu-ffn", "-fitt", "--fit-target", "-fitc",
    "--fit-ctx", "--rpc", "-lm", "--load-mode", "-ctk", "--cache-type-k", "-ctv", "--cache-type-v", "-dt",
    "--defrag-thold", "-cram", "--cache-ram", "--cache-reuse", "-ctxcp", "--ctx-checkpoints", "--swa-checkpoints",
    "--rope-scaling", "--rope-scale", "--rope-freq-base", "--rope-freq-scale", "--yarn-orig-ctx", "--yarn-ext-factor",
    "--yarn-attn-factor", "--yarn-beta-slow", "--yarn-beta-fast", "-gan", "--grp-attn-n", "-gaw", "--grp-attn-w",
    "--override-kv", "--lora", "--lora-scaled", "--control-vector", "--control-vector-scaled", "-mm", "--mmproj",
    "-mmu", "--mmproj-url", "--image", "--audio", "--video", "--image-min-tokens", "--image-max-tokens", "-s", "--seed",
    "-r", "--reverse-prompt", "--in-prefix", "--in-suffix", "--prompt-cache", "--grammar", "--grammar-file", "-j",
    "--json-schema", "-jf", "--json-schema-file", "--chat-template", "--chat-template-file", "--chat-template-kwargs",
    "--reasoning-format", "--reasoning-budget", "--reasoning-budget-message", "--adaptive-decay", "-np", "--parallel",
    "-ns", "--sequences", "--pooling", "--attention", "--host", "--port", "--path", "--api-prefix", "--api-key",
    "--api-key-file", "--ssl-key-file", "--ssl-cert-file", "-to", "--timeout", "--threads-http", "--slot-save-path",
    "-sps", "--slot-prompt-similarity", "--media-path", "--models-dir", "--models-preset", "--models-max",
    "--sleep-idle-seconds", "--log-file", "-lv", "--verbosity", "--log-verbosity", "-md", "--model-draft", "-hfd",
    "--hf-repo-draft", "-cd", "--ctx-size-draft", "-devd", "--device-draft", "-ngld", "--gpu-layers-draft",
    "--n-gpu-layers-draft", "-td", "--threads-draft", "-tbd", "--threads-batch-draft", "-ctkd", "--cache-type-k-draft",
    "-ctvd", "--cache-type-v-draft", "--draft", "--draft-n", "--draft-max", "--draft-min", "--draft-n-min",
    "--draft-p-min", "--draft-p-split", "--spec-type", "-lcs", "--lookup-cache-static", "-lcd",
    "--lookup-cache-dynamic",
)  # fmt: skip
# No word that begins with a dash has to follow: a bare one, such as on, is skipped.
ALONE = (
    "--jinja", "--no-jinja", "--mlock", "--mmap", "--no-mmap", "-cnv", "--conversation", "-no-cnv", "--no-conversation",
    "-st", "--single-turn", "-i", "--interactive", "-if", "--interactive-first", "-mli", "--multiline-input", "-co",
    "--color", "-fa", "--flash-attn", "-fit", "--fit", "--reasoning", "-rea", "--log-disable", "--log-colors",
    "--log-prefix", "--no-log-prefix", "--log-timestamps", "--no-log-timestamps", "-v", "--verbose", "--log-verbose",
    "--verbose-prompt", "-sp", "--special", "--simple-io", "--no-warmup", "--warmup", "--metrics", "--slots",
    "--no-slots", "--props", "-cb", "--cont-batching", "-nocb", "--no-cont-batching", "-e", "--escape", "--no-escape",
    "--perf", "--no-perf", "--show-timings", "--no-show-timings", "--display-prompt", "--no-display-prompt", "-ptc",
    "--in-prefix-bos", "--prompt-cache-all", "--prompt-cache-ro", "--context-shift", "--no-context-shift", "--swa-full",
    "-kvu", "--kv-unified", "-no-kvu", "--no-kv-unified", "-kvo", "--kv-offload", "-nkvo", "--no-kv-offload",
    "--repack", "-nr", "--no-repack", "--no-host", "--op-offload", "--no-op-offload", "-cmoe", "--cpu-moe",
    "--check-tensors", "--mmproj-auto", "--no-mmproj", "--no-mmproj-auto", "--mmproj-offload", "--no-mmproj-offload",
    "--offline", "--cache-prompt", "--no-cache-prompt", "--webui", "--no-webui", "--ui", "--no-ui", "--embedding",
    "--embeddings", "--rerank", "--reranking", "--prefill-assistant", "--no-prefill-assistant", "-bs",
    "--backend-sampling", "--lora-init-without-apply", "--spm-infill", "--reuse-port",
)  # fmt: skip


def flag_takes(flag: str) -> int | None:
    """How many words follow a flag that shapes no law.

    Args:
        flag: as it is written.

    Returns:
        Their number; None for a flag that is not known.

    >>> flag_takes("--model"), flag_takes("--jinja"), flag_takes("--nonsense")
    (1, 0, None)
    """
    return 1 if flag in WITH_VALUE else 0 if flag in ALONE else None
