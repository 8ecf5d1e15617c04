"""A checkpoint folder: whole or not there, complete in itself, refused in one sentence when damaged."""

import errno
import json
import shutil
from pathlib import Path

import pytest
import safetensors.torch
import torch

from seq2seq.checkpoint import (
    Checkpoint,
    TrainingState,
    load_checkpoint,
    load_config,
    load_training_state,
    resolve,
    save_checkpoint,
    weights_of,
)
from seq2seq.config import Config, Positions, TokenizerKind
from seq2seq.data.tokenizer import CharacterTokenizer, Tokenizers
from seq2seq.errors import CheckpointError
from seq2seq.model.build import build_model


def config() -> Config:
    made = Config()
    made.model.encoder_layers, made.model.decoder_layers, made.model.dim = 1, 2, 16
    made.model.num_heads, made.model.feed_forward_dim, made.model.positions = 2, 24, Positions.learned
    made.tokenizer.kind, made.tokenizer.vocab_size = TokenizerKind.characters, None
    made.data.train, made.data.valid = "corpus/train", "corpus/valid"
    return made


def save(folder: Path, *, training: bool = True, seed: int = 0) -> torch.nn.Module:
    torch.manual_seed(seed)
    tokenizer = CharacterTokenizer("abcdefg ")
    made = config()
    size = tokenizer.vocab_size
    model = build_model(made.model, task=made.task, source_vocab_size=size, target_vocab_size=size)
    state = TrainingState({"random/cpu": torch.get_rng_state()}, {"step": 7}) if training else None
    save_checkpoint(
        folder, config=made, model=model, tokenizers=Tokenizers(tokenizer, tokenizer), metrics={"step": 7},
        training=state, card="# A model\n",
    )  # fmt: skip
    return model


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    model = save(tmp_path / "best")
    loaded = load_checkpoint(tmp_path / "best")
    assert isinstance(loaded, Checkpoint)
    assert loaded.config == config()
    assert loaded.metrics == {"step": 7}
    assert not loaded.model.training
    for name, tensor in weights_of(model).items():
        assert torch.equal(tensor, weights_of(loaded.model)[name])
    assert loaded.tokenizers.source.encode("bad") == CharacterTokenizer("abcdefg ").encode("bad")
    assert load_training_state(tmp_path / "best").values == {"step": 7}


def test_tied_weights_are_saved_once_and_stay_tied(tmp_path: Path) -> None:
    save(tmp_path / "best")
    stored = safetensors.torch.load_file(tmp_path / "best" / "model.safetensors")
    vocab = CharacterTokenizer("abcdefg ").vocab_size
    assert sum(tensor.shape == (vocab, 16) for tensor in stored.values()) == 1
    loaded = load_checkpoint(tmp_path / "best").model
    assert loaded.head.weight is loaded.target_embedding.weight  # type: ignore[union-attr]


def test_only_data_is_in_a_checkpoint(tmp_path: Path) -> None:
    save(tmp_path / "best")
    suffixes = {path.suffix for path in (tmp_path / "best").rglob("*") if path.is_file()}
    assert suffixes == {".json", ".safetensors", ".md"}


def test_a_moved_folder_works(tmp_path: Path) -> None:
    model = save(tmp_path / "here" / "best")
    (tmp_path / "there").mkdir()
    shutil.move(tmp_path / "here" / "best", tmp_path / "there" / "other")
    shutil.rmtree(tmp_path / "here")
    loaded = load_checkpoint(tmp_path / "there" / "other").model
    assert all(torch.equal(tensor, weights_of(loaded)[name]) for name, tensor in weights_of(model).items())


def test_a_flipped_bit_in_any_file_is_found(tmp_path: Path) -> None:
    save(tmp_path / "best")
    names = [path.relative_to(tmp_path / "best") for path in (tmp_path / "best").rglob("*") if path.is_file()]
    assert len(names) >= 7
    for name in names:
        shutil.rmtree(tmp_path / "copy", ignore_errors=True)
        shutil.copytree(tmp_path / "best", tmp_path / "copy")
        content = bytearray((tmp_path / "copy" / name).read_bytes())
        content[len(content) // 2] ^= 0x10
        (tmp_path / "copy" / name).write_bytes(content)
        with pytest.raises(CheckpointError, match="copy"):
            load_checkpoint(tmp_path / "copy")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    save(tmp_path / "best")
    (tmp_path / "best" / "tokenizer.json").unlink()
    with pytest.raises(CheckpointError, match=r"tokenizer\.json is missing"):
        load_checkpoint(tmp_path / "best")


@pytest.mark.parametrize("failing", ["os.rename", "os.fsync", "safetensors.torch.save_file"])
def test_a_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str) -> None:
    save(tmp_path / "last", seed=1)
    before = (tmp_path / "last" / "model.safetensors").read_bytes()

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as context:
        context.setattr(failing, full)
        with pytest.raises(CheckpointError, match="No space left on device"):
            save(tmp_path / "last", seed=2)
    assert (tmp_path / "last" / "model.safetensors").read_bytes() == before
    load_checkpoint(tmp_path / "last")
    assert [path.name for path in tmp_path.iterdir()] == ["last"]


def test_a_displaced_checkpoint_keeps_its_contents(tmp_path: Path) -> None:
    save(tmp_path / "last", seed=1)
    before = (tmp_path / "last" / "model.safetensors").read_bytes()
    model = save(tmp_path / "other", seed=2)
    tokenizer = CharacterTokenizer("abcdefg ")
    save_checkpoint(
        tmp_path / "last", config=config(), model=model, tokenizers=Tokenizers(tokenizer, tokenizer), metrics={},
        displaced=tmp_path / "checkpoints" / "step-7",
    )  # fmt: skip
    assert (tmp_path / "checkpoints" / "step-7" / "model.safetensors").read_bytes() == before
    load_checkpoint(tmp_path / "last")


def test_a_run_folder_means_its_best(tmp_path: Path) -> None:
    save(tmp_path / "run" / "last")
    assert resolve(tmp_path / "run") == tmp_path / "run" / "last"
    save(tmp_path / "run" / "best")
    assert resolve(tmp_path / "run") == tmp_path / "run" / "best"


def test_what_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="there is no such folder"):
        load_checkpoint(tmp_path / "nothing")
    with pytest.raises(CheckpointError, match="not a checkpoint folder"):
        load_checkpoint(tmp_path)
    save(tmp_path / "run" / "last")
    with pytest.raises(CheckpointError, match=r"best: there is none before the first validation; give .*run, whose"):
        load_checkpoint(tmp_path / "run" / "best")
    save(tmp_path / "best", training=False)
    with pytest.raises(CheckpointError, match="no training state"):
        load_training_state(tmp_path / "best")


def test_another_format_is_refused(tmp_path: Path) -> None:
    from seq2seq.files import sha256

    save(tmp_path / "best")
    path = tmp_path / "best" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 99}))
    manifest = json.loads((tmp_path / "best" / "manifest.json").read_text()) | {"config.json": sha256(path)}
    (tmp_path / "best" / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(CheckpointError, match="format 99, this version reads 1"):
        load_checkpoint(tmp_path / "best")


def test_a_setting_that_is_gone_is_passed_over(tmp_path: Path) -> None:
    """Checkpoints hold data.subword_nbest, and another default of data.subword_alpha, from before."""
    save(tmp_path / "best")
    path = tmp_path / "best" / "config.json"
    for sampling, alpha in (("none", None), ("both", 0.1)):
        stored = json.loads(path.read_text())
        stored["config"]["data"] |= {"subword_sampling": sampling, "subword_alpha": 0.1, "subword_nbest": 64}
        path.write_text(json.dumps(stored))
        data = load_config(tmp_path / "best").data
        assert (data.subword_sampling.value, data.subword_alpha) == (sampling, alpha)


def test_an_empty_manifest_vouches_for_nothing(tmp_path: Path) -> None:
    save(tmp_path / "best")
    (tmp_path / "best" / "manifest.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"does not list model\.safetensors"):
        load_checkpoint(tmp_path / "best")
