"""Exported folders: whole or not at all, nothing outside them needed, made once."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import seq2seq
from seq2seq.checkpoint import load_checkpoint
from seq2seq.config import Quantization
from seq2seq.engines import exported as module
from seq2seq.engines.exported import export_checkpoint, load_exported
from seq2seq.errors import CheckpointError, ConfigError

Make = Callable[..., Path]


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture
def installed() -> None:
    pytest.importorskip("ctranslate2", reason="the engine is not installed: pip install 'seq2seq[ctranslate2]'")


def test_without_the_package_one_sentence_says_what_to_do(
    tiny_checkpoint: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ctranslate2", None)
    folder = tiny_checkpoint()
    with pytest.raises(ConfigError, match=r"pip install 'seq2seq\[ctranslate2\]'"):
        seq2seq.load(folder, engine="ctranslate2", device="cpu")
    with pytest.raises(ConfigError, match=r"pip install 'seq2seq\[ctranslate2\]'"):
        export_checkpoint(load_checkpoint(folder), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("installed")
def test_nothing_outside_the_folder_is_needed(tiny_checkpoint: Make, tmp_path: Path) -> None:
    folder = tiny_checkpoint(folder=tmp_path / "checkpoint", tokenizer="unigram")
    expected = seq2seq.load(folder, device="cpu", engine="ctranslate2").translate(["the dog", ""])
    export = export_checkpoint(load_checkpoint(folder), tmp_path / "out")
    assert export.quantization is Quantization.float32 and export.positions == 1024
    shutil.rmtree(folder)
    shutil.rmtree(tmp_path / "home")
    shutil.move(tmp_path / "out", tmp_path / "elsewhere")
    assert not list((tmp_path / "elsewhere").rglob("*.safetensors"))
    loaded = load_exported(tmp_path / "elsewhere")
    assert loaded.export == export and loaded.config.data.max_length == 24
    assert (
        seq2seq.load(tmp_path / "elsewhere", device="cpu", engine="ctranslate2").translate(["the dog", ""]) == expected
    )
    with pytest.raises(CheckpointError, match="exported to CTranslate2; translate with --engine ctranslate2"):
        seq2seq.load(tmp_path / "elsewhere", device="cpu")


@pytest.mark.usefixtures("installed")
def test_damage_is_named(tiny_checkpoint: Make, tmp_path: Path) -> None:
    checkpoint = load_checkpoint(tiny_checkpoint())
    for name, change, message in [
        ("ctranslate2/model.bin", b"nonsense", "ctranslate2/model.bin is damaged"),
        ("export.json", b"{}", "export.json is damaged"),
        ("tokenizer.json", None, "tokenizer.json is missing"),
    ]:
        folder = tmp_path / name.replace("/", "-")
        export_checkpoint(checkpoint, folder)
        if change is None:
            (folder / name).unlink()
        else:
            (folder / name).write_bytes(change)
        with pytest.raises(CheckpointError, match=message):
            load_exported(folder)


@pytest.mark.usefixtures("installed")
def test_an_export_of_another_version_is_named(tiny_checkpoint: Make, tmp_path: Path) -> None:
    export_checkpoint(load_checkpoint(tiny_checkpoint()), tmp_path / "out")
    path, manifest = tmp_path / "out" / "export.json", tmp_path / "out" / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 99}))
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "export.json": module.sha256(path)}))
    with pytest.raises(CheckpointError, match="exported by another version"):
        load_exported(tmp_path / "out")


@pytest.mark.usefixtures("installed")
def test_an_export_that_fails_leaves_nothing(
    tiny_checkpoint: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = load_checkpoint(tiny_checkpoint())

    def full(*arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "sha256", full)  # after the model is written
    with pytest.raises(CheckpointError, match="could not be written .No space left on device"):
        export_checkpoint(checkpoint, tmp_path / "new" / "out")
    assert not list((tmp_path / "new").iterdir())


@pytest.mark.usefixtures("installed")
def test_a_checkpoint_is_exported_once(tiny_checkpoint: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Path] = []

    def counted(checkpoint: Any, output: Path, **options: Any) -> Any:
        calls.append(output)
        return export_checkpoint(checkpoint, output, **options)

    monkeypatch.setattr(module, "export_checkpoint", counted)
    folder = tiny_checkpoint(seed=1, folder=tmp_path / "best")
    first = load_exported(folder).folder
    assert load_exported(tmp_path).folder == first and len(calls) == 1  # the run folder means its best/
    assert tmp_path / "home" in first.parents
    (first / "ctranslate2" / "model.bin").write_bytes(b"damaged")
    load_exported(folder)
    assert len(calls) == 2
    tiny_checkpoint(seed=2, folder=folder)
    assert load_exported(folder).folder != first and len(calls) == 3
    (folder / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(CheckpointError, match="model.safetensors is damaged"):
        load_exported(folder)
