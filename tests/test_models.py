"""Models by folder and by hub name: what identifies them, and what is refused."""

from __future__ import annotations

import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from poise.errors import FetchError, ModelError
from poise.models import ModelFiles, find

TinyModel = Callable[[str], Path]


def no_conversion(gguf: Path, target: Path) -> None:
    raise AssertionError("nothing here is to be converted")


def look(directory: Path, **options: Any) -> ModelFiles:
    return find(f"hf:{directory}", convert=no_conversion, **options)


def edit(path: Path, **changes: object) -> None:
    """Change fields of a JSON file; None removes one."""
    content = {**json.loads(path.read_text()), **changes}
    removed = {name for name, value in changes.items() if value is None}
    path.write_text(json.dumps({name: value for name, value in content.items() if name not in removed}))


@pytest.fixture
def model(tiny_model: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the tiny Qwen2, which has a template and recommendations; hashes are remembered apart."""
    monkeypatch.setenv("POISE_CACHE", str(tmp_path / "cache"))
    return Path(shutil.copytree(tiny_model("qwen2"), tmp_path / "model"))


@pytest.mark.parametrize("kind", ["gpt2", "llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3"])
def test_every_decoder_is_found(tiny_model: TinyModel, kind: str) -> None:
    found = look(tiny_model(kind))
    assert found.directory == tiny_model(kind)
    for value in (found.weights_sha256, found.tokenizer_sha256, found.template_sha256):
        assert re.fullmatch("[0-9a-f]{64}", value)


def test_recommendations_are_passed_on(model: Path) -> None:
    shipped = look(model).generation_config
    assert shipped is not None
    assert (shipped["temperature"], shipped["top_p"], shipped["top_k"]) == (0.6, 0.95, 20)
    (model / "generation_config.json").unlink()
    assert look(model).generation_config is None


def test_a_copy_is_the_same_model(model: Path, tmp_path: Path) -> None:
    one, two = look(model), look(Path(shutil.copytree(model, tmp_path / "copy")))
    assert (one.weights_sha256, one.tokenizer_sha256) == (two.weights_sha256, two.tokenizer_sha256)
    assert one.template_sha256 == two.template_sha256


def change_weights(model: Path) -> None:
    path = model / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


CHANGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "weights": (change_weights, "weights"),
    "what is computed with them": (lambda m: edit(m / "config.json", rope_theta=5.0), "weights"),
    "where a text ends": (lambda m: edit(m / "generation_config.json", eos_token_id=[2, 0]), "weights"),
    "tokenizer": (lambda m: edit(m / "tokenizer.json", version="1.1"), "tokenizer"),
    "tokenizer settings": (lambda m: edit(m / "tokenizer_config.json", add_bos_token=True), "tokenizer"),
    "template": (lambda m: (m / "chat_template.jinja").write_text("{{ 1 }}"), "template"),
    "template inside settings": (lambda m: edit(m / "tokenizer_config.json", chat_template="{{ 1 }}"), "template"),
    "who wrote it": (lambda m: edit(m / "config.json", transformers_version="0"), ""),
    "a recommendation": (lambda m: edit(m / "generation_config.json", temperature=0.5), ""),
    "a readme": (lambda m: (m / "README.md").write_text("hello"), ""),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_shows_in_its_own_hash_and_no_other(model: Path, name: str) -> None:
    change, expected = CHANGES[name]
    before = look(model)
    change(model)
    after = look(model)
    parts = ("weights", "tokenizer", "template")
    changed = [p for p in parts if getattr(before, f"{p}_sha256") != getattr(after, f"{p}_sha256")]
    assert changed == ([expected] if expected else [])


def test_shards_are_one_model(model: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    AutoModelForCausalLM.from_pretrained(model).save_pretrained(model, max_shard_size="60KB")
    (model / "model.safetensors").unlink(missing_ok=True)
    shards = sorted(model.glob("model-*.safetensors"))
    assert len(shards) > 1
    first = look(model).weights_sha256
    content = shards[1].read_bytes()
    shards[1].write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert look(model).weights_sha256 != first
    shards[1].unlink()
    with pytest.raises(ModelError, match=rf"Every shard .* got {shards[1].name}"):
        look(model)


def pickled(model: Path) -> None:
    (model / "model.safetensors").rename(model / "pytorch_model.bin")


def cut_off(model: Path) -> None:
    content = (model / "model.safetensors").read_bytes()
    (model / "model.safetensors").write_bytes(content[:-10])


def outside(model: Path) -> None:
    (model / "model.safetensors").rename(model.parent / "stolen.safetensors")
    (model / "model.safetensors.index.json").write_text('{"weight_map": {"a": "../stolen.safetensors"}}')


REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "pickled weights": (pickled, r"must be safetensors: a pickle can run code .* got pytorch_model\.bin in "),
    "no weights": (lambda m: (m / "model.safetensors").unlink(), "A model must have weights"),
    "cut-off weights": (cut_off, "A safetensors file must be whole"),
    "Git LFS pointer": (
        lambda m: (m / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\n"),
        "git lfs pull",
    ),
    "absurd header": (
        lambda m: (m / "model.safetensors").write_bytes(b"\xff" * 64),
        "A safetensors file must be whole",
    ),
    "shards outside": (outside, "Every shard listed"),
    "remote code": (
        lambda m: edit(m / "config.json", model_type="strange", auto_map={"AutoModelForCausalLM": "m.M"}),
        r"Python code of its own .* trust_remote_code=True",
    ),
    "remote tokenizer code": (
        lambda m: edit(m / "tokenizer_config.json", auto_map={"AutoTokenizer": ["t.T", None]}),
        "Python code of its own",
    ),
    "encoder-decoder": (
        lambda m: edit(m / "config.json", architectures=["T5ForConditionalGeneration"], is_encoder_decoder=True),
        "A model must be decoder-only.* got T5ForConditionalGeneration",
    ),
    "masked": (lambda m: edit(m / "config.json", architectures=["BertForMaskedLM"]), "A model must be decoder-only"),
    "no architecture": (lambda m: edit(m / "config.json", architectures=None), "none named"),
    "adapter": (lambda m: (m / "adapter_config.json").write_text("{}"), "Merge it into its model first"),
    "no tokenizer": (lambda m: (m / "tokenizer.json").unlink(), "must hold its tokenizer"),
    "no config": (lambda m: (m / "config.json").unlink(), r"must hold config\.json"),
    "broken config": (lambda m: (m / "config.json").write_text("{"), r"config\.json must hold one JSON object"),
    "config of another kind": (lambda m: (m / "config.json").write_text("[]"), "a list in"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_loaded_safely_is_refused(model: Path, name: str) -> None:
    spoil, message = REFUSED[name]
    spoil(model)
    with pytest.raises(ModelError, match=message) as caught:
        look(model)
    assert caught.value.next_step, "an error says what to do next"
    assert caught.value.exit_code == 2


def test_remote_code_is_accepted_by_name_only(model: Path) -> None:
    edit(model / "config.json", model_type="strange", auto_map={"AutoModelForCausalLM": "m.M"})
    assert look(model, trust_remote_code=True).directory == model


def test_code_beside_a_model_that_transformers_has_itself_is_not_needed(model: Path) -> None:
    edit(model / "config.json", auto_map={"AutoModelForCausalLM": "m.M"})
    assert look(model).directory == model


def test_a_pickle_beside_safetensors_is_not_looked_at(model: Path) -> None:
    (model / "pytorch_model.bin").write_bytes(b"a pickle")
    assert look(model).directory == model


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("smollm3", "A model is smollm2, hf:NAME_OR_DIR or gguf:FILE, but got 'smollm3'. A hub name needs its kind"),
        ("smollm2:large", "A model is smollm2, hf:NAME_OR_DIR or gguf:FILE"),
        ("hf", "A model is smollm2, hf:NAME_OR_DIR or gguf:FILE"),
        ("hf:", "hf: takes a folder or a name on the hub"),
        ("hf:./no/such/folder", "hf: takes a folder or a name on the hub"),
        (f"hf:{__file__}", "hf: takes a folder or a name on the hub"),
        ("gguf:", "gguf: takes a file"),
        ("gguf:no-such-file.gguf", "gguf: takes a file"),
        (f"gguf:{__file__}", "A GGUF file starts with the letters GGUF"),
    ],
)
def test_unknown_models(spec: str, message: str) -> None:
    with pytest.raises(ModelError, match=message.replace(".", r"\.")):
        find(spec, convert=no_conversion)


class Hub(http.server.ThreadingHTTPServer):
    """A hub on this machine with the model acme/tiny and, pickled, acme/pickled; it notes what is asked of it."""

    commit = "a" * 40

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), HubHandler)
        pickled = {name: content for name, content in files.items() if not name.endswith(".safetensors")}
        extra = {"pytorch_model.bin": b"a pickle", "run.py": b"code", "onnx/model.safetensors": b"another format"}
        self.models = {"acme/tiny": {**files, **extra}, "acme/pickled": {**pickled, **extra}}
        self.models["acme/pickled"].pop("onnx/model.safetensors")
        self.fetched: set[str] = set()


class HubHandler(http.server.BaseHTTPRequestHandler):
    server: Hub

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        name = "/".join(path.removeprefix("/api/models").split("/")[1:3])
        files = self.server.models.get(name, {})
        headers: dict[str, str] = {"Content-Type": "application/json"}
        if path.startswith(f"/api/models/{name}/tree/"):
            entries = [{"type": "file", "path": n, "size": len(c), "oid": "0" * 40} for n, c in files.items()]
            body = json.dumps(entries).encode()
        elif path.startswith("/api/models/"):
            listed = [{"rfilename": n} for n in files]
            body = json.dumps({"id": name, "sha": Hub.commit, "siblings": listed}).encode()
        else:
            wanted = path.partition(f"/resolve/{Hub.commit}/")[2]
            body = files.get(wanted, b"")
            headers = {"ETag": f'"{abs(hash(body)):064x}"', "X-Repo-Commit": Hub.commit}
            if wanted:
                self.server.fetched.add(wanted)
        if not files:
            body, headers = b"", {"X-Error-Code": "RepoNotFound"}
        self.send_response(200 if files else 404)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_HEAD = do_GET

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def hub(tiny_model: TinyModel) -> Iterator[Hub]:
    files = {path.name: path.read_bytes() for path in tiny_model("llama").iterdir()}
    with Hub(files) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


ASK = """
import sys
from poise.errors import PoiseError
from poise.models import find
try:
    found = find(sys.argv[1], convert=None, trust_remote_code=len(sys.argv) > 2)
    print(*sorted(path.name for path in found.directory.iterdir()))
except PoiseError as error:
    print(type(error).__name__, error)
"""


def ask(home: Path, spec: str, *options: str, **environment: str) -> str:
    """`find` in a process of its own: the hub's library reads its settings when it is imported."""
    settings = {**os.environ, "HF_HOME": str(home / "hf"), "POISE_CACHE": str(home / "cache"), "NO_PROXY": "*"}
    command = [sys.executable, "-c", ASK, spec, *options]
    done = subprocess.run(command, env={**settings, **environment}, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_from_the_hub_only_what_is_needed_then_offline(hub: Hub, tmp_path: Path) -> None:
    address = f"http://127.0.0.1:{hub.server_port}"
    needed = "config.json generation_config.json model.safetensors tokenizer.json tokenizer_config.json"
    assert ask(tmp_path, "hf:acme/tiny", HF_ENDPOINT=address) == needed
    assert hub.fetched == set(needed.split())
    assert ask(tmp_path, "hf:acme/tiny", HF_HUB_OFFLINE="1") == needed
    assert ask(tmp_path, "hf:acme/tiny", HF_ENDPOINT="http://127.0.0.1:9") == needed


def test_python_code_comes_from_the_hub_by_name_only(hub: Hub, tmp_path: Path) -> None:
    address = f"http://127.0.0.1:{hub.server_port}"
    assert "run.py" in ask(tmp_path, "hf:acme/tiny", "trusted", HF_ENDPOINT=address).split()


def test_pickled_weights_are_not_even_downloaded(hub: Hub, tmp_path: Path) -> None:
    said = ask(tmp_path, "hf:acme/pickled", HF_ENDPOINT=f"http://127.0.0.1:{hub.server_port}")
    assert said.startswith(f"{ModelError.__name__} Weights must be safetensors")
    assert "pytorch_model.bin in acme/pickled" in said
    assert hub.fetched == set()


def test_the_hub_knows_no_such_model(hub: Hub, tmp_path: Path) -> None:
    address = f"http://127.0.0.1:{hub.server_port}"
    for spec in ("hf:acme/none", "hf:not a name"):
        said = ask(tmp_path, spec, HF_ENDPOINT=address)
        assert said.startswith(f"{ModelError.__name__} A model must exist on the hub, but got '{spec[3:]}'")


@pytest.mark.parametrize("environment", [{"HF_HUB_OFFLINE": "1"}, {"HF_ENDPOINT": "http://127.0.0.1:9"}])
def test_no_hub_says_the_way_out(tmp_path: Path, environment: dict[str, str]) -> None:
    said = ask(tmp_path, "hf:acme/tiny", **environment)
    assert said.startswith(f"{FetchError.__name__} The hub must be reachable")
    assert "give it as hf:DIR" in said
