"""Settings as engines write them: read with their own defaults, refused with a reason."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

import poise
from poise.errors import ParameterError, UsageError
from poise.exports import reading
from poise.exports.llama_flags import ALONE, WITH_VALUE
from poise.exports.reading import read_found
from poise.params import SamplingParams


@pytest.mark.parametrize(
    ("text", "format", "label"),
    [
        ('{"temperature": 0.7}', "vllm-server", "temperature=0.7,dialect=vllm"),
        ('{"temperature": 0.7}', "llama-server", "temperature=0.7,top_k=40,top_p=0.95,min_p=0.05,dialect=llama.cpp"),
        ('{"n_predict": 5, "samplers": ["top_k", "temp"], "top_p": 0.5, "top_k": 0, "temperature": 1}', None,
         "temperature=1,order=logit_bias;top_k;temperature;dynatemp_range;mirostat,dialect=llama.cpp"),
        ('{"do_sample": true, "temperature": 0.6}', None, "temperature=0.6,top_k=50"),
        ('{"do_sample": true, "top_k": null, "top_p": 1.0}', None, "temperature=1,top_k=50"),
        ('{"temperature": 0.6, "transformers_version": "5.0"}', None, "temperature=0"),
        ("PARAMETER top_k 20\nFROM x\nSYSTEM \"\"\"be\nPARAMETER nice\"\"\"\nparameter stop \"<|x|>\"", None,
         "temperature=0.8,top_k=20,top_p=0.9,dialect=ollama"),
        ("llama-server -m m.gguf -c 4096 --temp 0 --jinja --top-k 1", None,
         "temperature=0,top_k=1,top_p=0.95,min_p=0.05,dialect=llama.cpp"),
        ("--temperature 0.5 -l 5-inf --logit-bias 7+1.5 --min-p 0 --top-p 1 --top-k 0", None,
         "temperature=0.5,logit_bias=5:-inf;7:1.5,dialect=llama.cpp"),
        ("./llama-cli -m m -fa --sampling-seq kfyt -ot '.*=CPU' --top-k 3 --no-mmap", None,
         "temperature=0.8,top_k=3,order=logit_bias;top_k;typical_p;temperature;dynatemp_range;mirostat,"
         "dialect=llama.cpp"),
        ("llama-server -fa on --samplers 'top_p;typical;temp' --sampler-seq kpt --temp 0.5", None,
         "temperature=0.5,top_k=40,top_p=0.95,"
         "order=logit_bias;top_k;top_p;temperature;dynatemp_range;mirostat,dialect=llama.cpp"),
        ('{"samplers": "tk", "temperature": 0.5}', "llama-server",
         "temperature=0.5,top_k=40,order=logit_bias;temperature;dynatemp_range;top_k;mirostat,dialect=llama.cpp"),
        ("import vllm\np = vllm.SamplingParams(temperature=0.5, max_tokens=7)", None, "temperature=0.5,dialect=vllm"),
        ("x = make_sampler(0.0) if 0 else make_sampler(temp=0.5, top_p=0)", "mlx", "ERROR"),
        ("s = make_sampler(temp=0.5, top_p=0.0)", None, "temperature=0.5,dialect=mlx"),
        ("make_logits_processors(repetition_penalty=1.1, repetition_context_size=0)\nmake_sampler(temp=1.0)", None,
         "temperature=1,repetition_penalty=1.1,penalty_last_n=1048576,dialect=mlx"),
        ('{"mirostat": 2, "top_k": 40, "repeat_penalty": 1.1, "temperature": 1}', "llama-server",
         "temperature=1,mirostat=2,dialect=llama.cpp"),
    ],
)  # fmt: skip
def test_what_is_not_said_is_the_engines_own(text: str, format: str | None, label: str) -> None:
    if label == "ERROR":
        with pytest.raises(UsageError, match="names with values"):
            poise.read(text, format)
    else:
        assert poise.read(text, format).label == label


@pytest.mark.parametrize(
    ("text", "format", "message"),
    [
        ('{"temprature": 1}', "vllm-server", "Every field is one that poise knows of vllm-server, but got 'temprature'."
         " Did you mean temperature?"),
        ('{"do_sample": true, "my_field": 1}', None, "poise knows of transformers, but got 'my_field'"),
        ('{"temperature": "hot"}', "openai", "temperature takes a number, but got 'hot'"),
        ('{"temperature": true}', "openai", "temperature takes a number, but got True"),
        ('{"top_p": 1.5}', "vllm-server", "top_p must lie in [0, 1], but got 1.5"),
        ('{"top_k": 0.5, "temperature": 1}', "vllm-server", "top_k"),
        ('{"do_sample": "yes"}', None, "do_sample is true or false, but got 'yes'"),
        ('{"do_sample": true, "temperature": 0.0}', None, "transformers takes a temperature above 0, but got 0. Say "
         "do_sample: false"),
        ('{"do_sample": true, "num_beams": 4}', None, "poise has no num_beams, which changes transformers's law"),
        ('{"sequence_bias": [[[1, 2], 1.0]], "do_sample": true}', None, "each sequence is one token"),
        ('{"logit_bias": [[1]], "samplers": []}', "llama-server", "logit_bias takes token ids with numbers"),
        ('{"samplers": ["infill"]}', "llama-server", "samplers names samplers that poise has, but got 'infill'"),
        ('{"samplers": ["top_k", "temp", "top_p", "temperature"]}', "llama-server", "samplers names each sampler once: "
         "llama.cpp would apply it again, and poise has each step once, but got temperature twice. Keep one of them"),
        ('{"repeat_last_n": -2, "repeat_penalty": 1.1}', "llama-server", "repeat_last_n must lie in [0, ∞), but got "
         "-2. Mend it, or take it out to have the engine's own"),
        ("--temp -1", "llama.cpp", "--temp must lie in [0"),
        ("make_sampler(temp=1, xtc_probability=0.5, xtc_threshold=0.7)", None, "mlx takes xtc_threshold from 0 to 0.5"),
        ('{"model": "m", "temperature": 0.7}', "ollama", "ollama reads sampling fields in options, and poise has to "
         "know each field beside it, but got 'temperature'. Move it into options"),
        ('{"options": 3}', None, "options holds sampling fields, but got 3"),
        ('{"options": {"tempo": 3}}', None, "'tempo'"),
        ('{"text": "x", "sampling_params": {}, "custom_logit_processor": "x"}', None, "'custom_logit_processor'"),
        ('{"options": {"temperature": 0.7}}', "vllm-server", "'options'"),
        ("llama-cli --sampling-seq kit", None, "names samplers that poise has, but got 'i'"),
        ('{"samplers": "top_k;temperature"}', "llama-server", "names samplers that poise has, but got 'o'"),
        ("llama-cli --sampler-seq ktk", None, "but got top_k twice"),
        ("llama-cli --temp 0.5 --ignore-eos", None, "poise has no ignore-eos, which changes llama.cpp's law, but got "
         "True. Take it out."),
        ("PARAMETER temperature 0.5", "llama.cpp", "a command line of its program, but got PARAMETER"),
        ('{"temperature": 1, "temperature": 2}', "openai", "temperature is there twice"),
        ('{"temperature": NaN}', "openai", "NaN is no JSON"),
        ("[1]", "openai", "one JSON object"),
        ("{", "openai", "one JSON object"),
        ("[" * 100_000, "openai", "plain data"),
        ("\0", None, "a path or a text, but got '\\x00'"),
        ("a\0b={", None, "a path or a text, but got 'a\\x00b={'"),
        ("PARAMETER top_k 1_0", None, "top_k takes a number, but got '1_0'"),
        ("PARAMETER top_k " + "9" * 5000, None, "top_k takes a number, but got '9999"),
        ("PARAMETER temperature hot", None, "temperature takes a number, but got 'hot'"),
        ("PARAMETER tfs_z 0.5\nPARAMETER temperature 1", None, "poise has no tfs_z"),
        ("PARAMETER nonsense 1", "ollama", "Every field is one that poise knows of ollama, but got 'nonsense'"),
        ("FROM x\nPARAMETER", "ollama", "PARAMETER has a name and a value, but got nothing. For example PARAMETER"),
        ("FROM x\nPARAMETER top_k", "ollama", "PARAMETER has a name and a value, but got 'top_k'"),
        ('SYSTEM "abc\nPARAMETER top_k 3', "ollama", 'a Modelfile, but got "abc: its quote is never closed'),
        ("WHAT 1\nPARAMETER top_k 1", "ollama", "The text is a Modelfile"),
        ("--temp", "llama.cpp", "--temp without a value"),
        ("--temp 0.5 --nonsense 3", None, "Every field is one that poise knows of llama.cpp, but got '--nonsense'"),
        ("SamplingParams(temperature=0.5", None, "Python with a call"),
        ("SamplingParams(temperature=f())", None, "temperature is a plain value, but got 'f()'. Write"),
        ("SamplingParams(**x)", None, "names with values"),
        ("print(1)", "vllm", "no call of SamplingParams"),
        ("hello world", None, "a file that can be read, but got hello world"),
        ("hello = world", None, "is a settings file of transformers"),
        ("", None, "a path or a text, but got an empty one"),
        ("missing.json", None, "a file that can be read, but got missing.json: No such file"),
        ("{}", "vlm", "A format is one of transformers"),
        ('{"temperature": 0.7}', None, "could be for transformers, vllm-server, sglang"),
        ('{"temperature": 0.7, "_poise": {"target": "llama.cpp"}}', None, "Settings are JSON for transformers, "),
        ('{"temperature": 0.7}', "llama.cpp", "which is JSON, as llama.cpp's. Name one of these as its --format"),
        ('{"_poise": {"target": "x"}}', None, "The target of _poise is one of"),
        ("make_logits_processors(repetition_penalty=1.1, repetition_context_size=5, frequency_penalty=0.5, "
         "frequency_context_size=6)\nmake_sampler()", None, "All penalties look at as many tokens in poise"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_with_a_reason(text: str, format: str | None, message: str) -> None:
    with pytest.raises((UsageError, ParameterError)) as error:
        poise.read(text, format)
    assert message in str(error.value)
    assert error.value.next_step


def test_flags_have_one_number_of_words_each() -> None:
    assert len({*ALONE, *WITH_VALUE}) == len(ALONE) + len(WITH_VALUE)


def test_fields_that_shape_no_law_are_listed() -> None:
    found = read_found('{"do_sample": true, "top_k": 0, "max_new_tokens": 9, "eos_token_id": [0, 2], "num_beams": 1}')
    assert found.left_out == ("max_new_tokens", "eos_token_id")
    assert found.params == SamplingParams()
    greedy = read_found('{"do_sample": false, "temperature": 0.6}')
    assert greedy.left_out == ("temperature",)


@pytest.mark.parametrize(
    "text",
    [
        'PARAMETER top_k "3"',
        "PARAMETER\ttop_k\t3",
        '  parameter   top_k   """3"""  ',
        '# Modelfile generated by "ollama show"\nLICENSE "line 1\nPARAMETER top_k 9\n"\nPARAMETER top_k 3',
        'LICENSE """He said "yes".\n\nPARAMETER top_k 9"\n"""\nPARAMETER top_k 3\n',
        'FROM x\r\nTEMPLATE """{{ if .System }}"""\r\nPARAMETER top_k 3\r\n',
        'MESSAGE user "hello\nPARAMETER top_k 9"\nPARAMETER top_k 3',
        'PARAMETER stop "a\nPARAMETER top_k 9"\nPARAMETER stop " "\nPARAMETER top_k 3',
        'SYSTEM say "hi\nPARAMETER top_k 3',
    ],
)
def test_modelfiles_are_read_as_ollama_quotes_them(text: str) -> None:
    assert poise.read(text, "ollama").label == "temperature=0.8,top_k=3,top_p=0.9,dialect=ollama"


@pytest.mark.parametrize(
    ("text", "params", "left_out", "unsaid"),
    [
        ('{"top_p": 0.5, "temperature": 0.7, "samplers": ["top_k", "temperature"]}', {"temperature": 0.7, "top_k": 40},
         ("top_p",), {"top_k": 40}),
        ('{"mirostat": 2, "top_k": 5, "repeat_penalty": 1.1, "temperature": 0.7}',
         {"temperature": 0.7, "mirostat": 2}, ("top_k", "repeat_penalty"), {}),
        ('{"mirostat": 2, "temperature": 0.7, "samplers": ["top_k"]}', {"temperature": 0.7, "mirostat": 2}, (), {}),
        ('{"repeat_last_n": 32, "temperature": 0.7, "top_k": 0, "top_p": 1, "min_p": 0}', {"temperature": 0.7},
         ("repeat_last_n",), {}),
    ],
)  # fmt: skip
def test_what_is_said_and_does_not_act_is_listed(
    text: str, params: dict[str, Any], left_out: tuple[str, ...], unsaid: dict[str, float]
) -> None:
    found = read_found(text, "llama-server")
    assert found.params.active() == params
    assert found.left_out == left_out
    assert found.unsaid == unsaid


@pytest.mark.parametrize(
    ("text", "format", "name"),
    [
        ("llama-cli --repeat-penalty 1.1 --repeat-last-n -1", "llama.cpp", "penalty_last_n"),
        ('{"repeat_penalty": 1.1, "repeat_last_n": -1}', "llama-server", "penalty_last_n"),
        ('{"dry_multiplier": 0.8, "dry_penalty_last_n": -1}', "llama-server", "dry_last_n"),
        ("general.sampling.penalty_repeat = 1.1\ngeneral.sampling.penalty_last_n = -1", "gguf", "penalty_last_n"),
        ("PARAMETER repeat_penalty 1.1\nPARAMETER repeat_last_n -1", "ollama", "penalty_last_n"),
    ],
)
def test_a_window_of_the_whole_context_is_the_one_that_is_written_for_it(text: str, format: str, name: str) -> None:
    found = poise.read(text, format)
    assert getattr(found, name) == 1_048_576
    again = poise.export(found, format)
    assert poise.read(again.text, format) == found
    assert all(o.kind == "exact" for o in again.outcomes)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="UTF-8"):
        poise.read(path)
    with pytest.raises(UsageError, match="the folder"):
        poise.read(tmp_path)


def test_what_has_no_end_is_never_read_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "LARGEST", 100)
    large = tmp_path / "large.json"
    large.write_text("{" + " " * 200)
    with pytest.raises(UsageError, match=r"at most 100 bytes, unless it is GGUF, but got more in .*large\.json"):
        poise.read(large)
    link = tmp_path / "link.json"
    link.symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "pipe")
    for path in (link, Path("/dev/zero"), tmp_path / "pipe"):
        for format in (None, "vllm-server", "gguf"):
            with pytest.raises(UsageError, match="which is a device or a pipe"):
                poise.read(path, format)
    link.unlink()
    link.symlink_to(large)
    large.write_text('\ufeff{"do_sample": true, "top_k": 0}', encoding="utf-8")
    assert poise.read(link) == SamplingParams()


@pytest.mark.parametrize("format", [None, "ollama"])
def test_a_request_of_ollamas_api(format: str | None) -> None:
    text = '{"model": "m", "prompt": "x", "stream": false, "options": {"temperature": 0.7, "num_ctx": 9, "top_k": 0}}'
    found = read_found(text, format)
    assert found.params.label == "temperature=0.7,top_p=0.9,dialect=ollama"
    assert found.left_out == ("model", "prompt", "stream", "num_ctx")
    assert found.unsaid == {"top_p": 0.9}
    assert poise.read('{"temperature": 0.7, "top_k": 0}', "ollama") == found.params


@pytest.mark.parametrize("format", [None, "sglang"])
def test_a_request_of_sglangs_generate(format: str | None) -> None:
    text = '{"text": "x", "sampling_params": {"temperature": 0.7, "max_new_tokens": 9}, "custom_logit_processor": null}'
    found = read_found(text, format)
    assert found.params.label == "temperature=0.7,dialect=sglang"
    assert found.left_out == ("text", "max_new_tokens")
