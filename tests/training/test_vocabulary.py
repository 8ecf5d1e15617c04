from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from seq2seq.checkpoint import load_checkpoint, load_config, save_checkpoint
from seq2seq.config import Config, Documents, Task, TokenizerKind
from seq2seq.configure import run_config
from seq2seq.data.tokenizer import Tokenizer, Tokenizers
from seq2seq.errors import CheckpointError, ConfigError
from seq2seq.train import run
from seq2seq.training.vocabulary import given_tokenizers

Make = Callable[..., Path]


def user_of(folder: Path, task: Task = Task.language_modelling, **tokenizer: Any) -> Config:
    config = Config(task=task)
    config.tokenizer = load_config(folder).tokenizer
    config.tokenizer.checkpoint = str(folder)
    for name, value in tokenizer.items():
        setattr(config.tokenizer, name, value)
    return config


def given(config: Config) -> Tokenizers:
    found = given_tokenizers(config, resumed=None, teacher=None)
    assert found is not None
    return found


def test_a_run_that_names_no_checkpoint_learns_its_own() -> None:
    assert given_tokenizers(Config(), resumed=None, teacher=None) is None


def test_a_run_that_goes_on_keeps_its_own(tiny_checkpoint: Make, tmp_path: Path) -> None:
    own, other = tiny_checkpoint(tokenizer="bpe"), tiny_checkpoint()
    config = user_of(other)
    config.tokenizer.checkpoint = str(tmp_path / "gone")
    found = given_tokenizers(config, resumed=own, teacher=None)
    assert found is not None and found.target.fingerprint == load_checkpoint(own).tokenizers.target.fingerprint


@pytest.mark.parametrize(("language", "side"), [("en", "source"), ("de", "target"), (None, "target")])
def test_a_language_model_takes_the_side_of_its_language(
    tiny_checkpoint: Make, tiny_tokenizers: dict[str, Tokenizer], tmp_path: Path, language: str | None, side: str
) -> None:
    known = load_checkpoint(tiny_checkpoint())
    known.config.data.source_language, known.config.data.target_language = "en", "de"
    known.config.tokenizer.joint = False
    two = Tokenizers(tiny_tokenizers["characters"], tiny_tokenizers["bytes"])
    save_checkpoint(tmp_path / "two", config=known.config, model=known.model, tokenizers=two, metrics={})
    config = user_of(tmp_path / "two", joint=True)
    config.data.source_language = language
    found = given(config)
    assert found.joint and found.target.fingerprint == getattr(two, side).fingerprint
    translator = user_of(tmp_path / "two", Task.translation)
    assert given(translator).source.fingerprint == two.source.fingerprint
    assert given(translator).target.fingerprint == two.target.fingerprint


REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "size": ("translation", {"tokenizer.vocab_size": 50}, r"vocab_size \(50\) must be that of tokenizer.ch.*, 8000"),
    "kind": ("translation", {"tokenizer.kind": TokenizerKind.bpe}, r"kind \(bpe\) must be that of .*, unigram"),
    "labels": ("tagging", {}, "is a model of task=tagging; name one that translates"),
    "documents": ("translation", {"data.documents": Documents.file}, r"documents \(file\) must be that of .*, line"),
}


@pytest.mark.parametrize(("task", "changes", "sentence"), REFUSED.values(), ids=REFUSED)
def test_a_vocabulary_that_does_not_serve_is_refused(
    tiny_checkpoint: Make, task: str, changes: dict[str, Any], sentence: str
) -> None:
    folder = tiny_checkpoint(task)
    config = user_of(folder)
    for key, value in changes.items():
        part, name = key.split(".")
        setattr(getattr(config, part), name, value)
    with pytest.raises(ConfigError, match=sentence):
        given(config)


def test_two_vocabularies_of_the_other_direction_are_refused(tiny_checkpoint: Make, tmp_path: Path) -> None:
    known = load_checkpoint(tiny_checkpoint())
    known.config.data.source_language, known.config.data.target_language = "en", "de"
    known.config.tokenizer.joint = False
    save_checkpoint(tmp_path / "two", config=known.config, model=known.model, tokenizers=known.tokenizers, metrics={})
    config = user_of(tmp_path / "two", Task.translation)
    config.data.source_language, config.data.target_language = "de", "en"
    with pytest.raises(ConfigError, match="the other way round"):
        given(config)


def test_a_checkpoint_that_is_not_there_is_named_by_its_key(tiny_checkpoint: Make, tmp_path: Path) -> None:
    config = user_of(tiny_checkpoint())
    config.tokenizer.checkpoint = str(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match=r"tokenizer\.checkpoint: .*nowhere: there is no such folder"):
        given(config)


def test_a_language_model_is_trained_on_a_translators_vocabulary(tiny_run: Callable[..., list[str]]) -> None:
    program = "python -m seq2seq.train"
    translator = run_config(tiny_run("translation", "training.steps=2", "training.validate_every=2"), program)
    run(translator)
    folder = Path(translator.run_dir) / "best"
    # The text has no capital letters, so a vocabulary of its own would be another one.
    words = tiny_run("language_modelling", f"tokenizer.checkpoint={folder}", "training.steps=2")
    config = run_config([*words, "training.validate_every=2"], program)
    run(config)
    theirs, ours = load_checkpoint(folder), load_checkpoint(Path(config.run_dir) / "best")
    assert ours.tokenizers.target.fingerprint == theirs.tokenizers.target.fingerprint
    assert "A" in ours.tokenizers.target.decode(ours.tokenizers.target.encode("A"))
