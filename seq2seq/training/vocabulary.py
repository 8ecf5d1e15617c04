"""Whose vocabulary a run has: its own, learned from its text, or that of a model that is there already."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from seq2seq.checkpoint import load_config, resolve, verify
from seq2seq.config import Config, Task
from seq2seq.data.tokenizer import Tokenizers
from seq2seq.errors import CheckpointError, ConfigError, Seq2SeqError
from seq2seq.plain import to_dict
from seq2seq.training.distillation import Teacher


def given_tokenizers(config: Config, *, resumed: Path | None, teacher: Teacher | None) -> Tokenizers | None:
    """The tokenizers that a run does not learn itself; None where it does.

    Args:
        config: the run.
        resumed: the checkpoint that it goes on from, whose tokenizers prevail.
        teacher: that it learns from.

    Raises:
        CheckpointError: tokenizer.checkpoint is not a checkpoint, or is damaged.
        ConfigError: its vocabulary does not serve this run.
    """
    if resumed is not None:
        return Tokenizers.load(resumed)
    if teacher is not None:
        return teacher.tokenizers
    return None if config.tokenizer.checkpoint is None else _tokenizers_of(config.tokenizer.checkpoint, config)


def _tokenizers_of(folder: str, config: Config) -> Tokenizers:
    """A checkpoint's tokenizers as this run needs them: a language model takes those of one side."""
    try:
        path = resolve(folder)
        verify(path)
        theirs, tokenizers = load_config(path), Tokenizers.load(path)
    except Seq2SeqError as error:
        raise CheckpointError(f"tokenizer.checkpoint: {error}") from error
    if problems := list(_obstacles(config, theirs, name=f"tokenizer.checkpoint={folder}")):
        raise ConfigError(problems)
    if config.task is Task.language_modelling:
        of_source = theirs.task is Task.translation and config.data.source_language == theirs.data.source_language
        one = tokenizers.source if of_source else tokenizers.target
        return Tokenizers(one, one)
    return tokenizers


def _obstacles(ours: Config, theirs: Config, *, name: str) -> Iterator[str]:
    """A sentence on each reason why a run cannot have another's vocabulary."""
    text = (Task.translation, Task.language_modelling)
    if theirs.task not in text:
        yield f"{name} is a model of task={theirs.task.value}; name one that translates, or a language model."
        return
    languages = (ours.data.source_language, ours.data.target_language)
    if (
        ours.task is theirs.task is Task.translation
        and not ours.tokenizer.joint
        and languages == (theirs.data.target_language, theirs.data.source_language) != languages[::-1]
    ):
        yield f"{name} translates the other way round, so its two vocabularies are of the wrong sides; name another."
    if ours.data.documents is not theirs.data.documents:
        yield (
            f"data.documents ({ours.data.documents.value}) must be that of {name}, {theirs.data.documents.value}: its "
            "vocabulary spells spaces and the ends of lines so."
        )
    for item in dataclasses.fields(ours.tokenizer):
        if item.name == "checkpoint" or (item.name == "joint" and ours.task is not theirs.task):
            continue
        here, there = (to_dict(config.tokenizer)[item.name] for config in (ours, theirs))
        if here != there:
            yield f"tokenizer.{item.name} ({here}) must be that of {name}, {there}: the vocabulary is one and the same."
