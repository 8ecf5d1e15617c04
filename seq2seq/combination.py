"""One model out of several checkpoints: an ensemble, or a translator with a language model beside it."""

import dataclasses
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from seq2seq.checkpoint import Checkpoint, load_checkpoint
from seq2seq.config import Config, EnsembleRule, Positions, Task
from seq2seq.data.tokenizer import EOS
from seq2seq.errors import ConfigError
from seq2seq.model.combined import Ensemble, Fused

LM_WEIGHT = 0.2
"""Of a language model, unless told otherwise."""


@dataclasses.dataclass(frozen=True, slots=True)
class Combination:
    """Which checkpoints predict together, and how.

    Attributes:
        folders: checkpoint or run folders of models that translate, or of language models; the first one's settings
            are those of all.
        ensemble: of several, whether it is log-probabilities or probabilities that are averaged; None: the former.
        ensemble_weights: of several, one for each, above 0; None weighs all alike.
        lm: folder of a language model that is listened to beside a translator.
        lm_weight: what its log-probabilities are multiplied by, above 0; None: LM_WEIGHT.
    """

    folders: Sequence[str | Path]
    ensemble: EnsembleRule | None = None
    ensemble_weights: Sequence[float] | None = None
    lm: str | Path | None = None
    lm_weight: float | None = None

    @property
    def is_one(self) -> bool:
        """A single checkpoint."""
        return len(self.folders) == 1 and self.lm is None

    def problems(self) -> Iterator[str]:
        """Sentences on impossible values, each naming the key, the value and the fix."""
        count = len(self.folders)
        if not count:
            yield "ckpt is not set; name a checkpoint folder, for example runs/wmt_small/best."
        if count == 1 and self.ensemble is not None:
            yield f"ensemble={self.ensemble.value} has no effect with one checkpoint; name several, or leave it out."
        if count == 1 and self.ensemble_weights is not None:
            yield "ensemble_weights has no effect with one checkpoint; name several, or leave it out."
        elif self.ensemble_weights is not None:
            if len(self.ensemble_weights) != count:
                given = len(self.ensemble_weights)
                yield f"ensemble_weights has {given} numbers for {count} checkpoints; give one each."
            if not all(0 < weight < math.inf for weight in self.ensemble_weights):
                shown = " ".join(map(str, self.ensemble_weights))
                yield f"ensemble_weights ({shown}) must all be finite and above 0; leave out a checkpoint of weight 0."
        if self.lm_weight is not None:
            if self.lm is None:
                yield f"lm_weight ({self.lm_weight}) has no effect without lm; name a language model, or leave it out."
            elif not 0 < self.lm_weight < math.inf:
                yield f"lm_weight ({self.lm_weight}) must be a finite number above 0; leave lm out for none."
        if self.lm == "":
            yield "lm is empty; name the checkpoint folder of a language model, or leave it out."


def load_combined(combination: Combination, *, device: torch.device) -> Checkpoint:
    """The checkpoints as one.

    Returns:
        The first checkpoint where it is the only one. Else its settings with the tightest limits of all, its
        tokenizers, and a model/combined.py in evaluation mode.

    Raises:
        CheckpointError: a folder is not a checkpoint, or is damaged.
        ConfigError: the combination is impossible, or a checkpoint does not fit the first.
    """
    if problems := list(combination.problems()):
        raise ConfigError(problems)
    members = [load_checkpoint(folder, device=device) for folder in combination.folders]
    first, *others = members
    if combination.is_one:
        return first
    language_model = None if combination.lm is None else load_checkpoint(combination.lm, device=device)
    refused = [reason for other in others for reason in _misfits(first, other)]
    if language_model is not None:
        refused += _misfits_beside(first, language_model)
    if refused:
        raise ConfigError(refused)
    model = first.model
    if others:
        model = Ensemble(
            [member.model for member in members],
            weights=combination.ensemble_weights,
            of_probs=combination.ensemble is EnsembleRule.probs,
        )
    if language_model is not None:
        weight = LM_WEIGHT if combination.lm_weight is None else combination.lm_weight
        model = Fused(model, language_model.model, weight=weight, begin_id=EOS)
    everyone = members if language_model is None else [*members, language_model]
    config = _within_all(first.config, [member.config for member in members], [other.config for other in everyone])
    joined_length = min(member.metrics.get("joined_length", 0) for member in members)
    metrics = {**first.metrics, "joined_length": joined_length}
    return dataclasses.replace(first, config=config, model=model.eval(), metrics=metrics)


def _misfits(first: Checkpoint, other: Checkpoint) -> Iterator[str]:
    """The first reason why two checkpoints are no ensemble."""
    tasks = (Task.translation, Task.language_modelling)
    ours, theirs = first.config, other.config
    if theirs.task is not ours.task or ours.task not in tasks:
        yield (
            f"{other.folder} is a model of task={theirs.task.value} and {first.folder} of task={ours.task.value}: an "
            "ensemble is of models that all translate, or of language models; name such."
        )
        return
    languages = (theirs.data.source_language, theirs.data.target_language)
    if (
        ours.task is Task.translation
        and languages == (ours.data.target_language, ours.data.source_language) != languages[::-1]
    ):
        yield f"{other.folder} translates the other way round than {first.folder}; name another."
        return
    kinds = {ours.translates_decoder_only, theirs.translates_decoder_only}
    if len(kinds) > 1 and Positions.learned in (ours.model.positions, theirs.model.positions):
        yield (
            f"{other.folder} and {first.folder}, of which one is decoder-only, count positions differently, and the "
            "table of learned ones ends; name models without model.positions=learned."
        )
        return
    if ours.data.documents is not theirs.data.documents:
        yield (
            f"{other.folder} was trained with data.documents={theirs.data.documents.value} and {first.folder} with "
            f"{ours.data.documents.value}, so they read the ends of lines differently; name another."
        )
        return
    for side in ("source", "target"):
        if getattr(first.tokenizers, side).fingerprint != getattr(other.tokenizers, side).fingerprint:
            yield _another_vocabulary(other, first, side=side)
            return


def _misfits_beside(first: Checkpoint, language_model: Checkpoint) -> Iterator[str]:
    """The first reason why a language model cannot help a translator."""
    ours, theirs = first.config, language_model.config
    if ours.task is not Task.translation:
        yield f"lm={language_model.folder} has no effect: {first.folder} is no translator; leave it out."
    elif theirs.task is not Task.language_modelling:
        yield f"lm={language_model.folder} is a model of task={theirs.task.value}; name a language model."
    elif ours.translates_decoder_only and theirs.model.positions is Positions.learned:
        yield (
            f"lm={language_model.folder} has a table of positions for a target alone, while {first.folder} is "
            "decoder-only and counts its source too; name one without model.positions=learned."
        )
    elif theirs.data.documents is not ours.data.documents:
        yield (
            f"lm={language_model.folder} was trained on whole files, so it knows no end of a line; name one that was "
            "trained with data.documents=line."
        )
    elif theirs.data.source_language == ours.data.source_language not in (None, ours.data.target_language):
        yield (
            f"lm={language_model.folder} is a model of {theirs.data.source_language}, from which {first.folder} "
            f"translates; name one of {ours.data.target_language}."
        )
    elif language_model.tokenizers.target.fingerprint != first.tokenizers.target.fingerprint:
        yield _another_vocabulary(language_model, first, side="target")


def _another_vocabulary(other: Checkpoint, first: Checkpoint, *, side: str) -> str:
    joint = "" if first.tokenizers.joint and other.tokenizers.joint else f" of the {side}"
    return (
        f"{other.folder} has another vocabulary{joint} than {first.folder}, so their tokens are not the same; name a "
        f"model that was trained with tokenizer.checkpoint={first.folder}."
    )


def _within_all(first: Config, members: Sequence[Config], everyone: Sequence[Config]) -> Config:
    """The first one's settings, with the tightest limits on the lengths of texts."""
    longest = min(config.data.max_length for config in members)
    tables = [config.model.max_length for config in everyone if config.model.positions is Positions.learned]
    model = first.model
    if first.task is Task.language_modelling:
        model = dataclasses.replace(model, max_length=min(config.model.max_length for config in members))
    elif tables:
        model = dataclasses.replace(model, positions=Positions.learned, max_length=min(tables))
    return dataclasses.replace(first, data=dataclasses.replace(first.data, max_length=longest), model=model)
