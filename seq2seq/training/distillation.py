"""Word-level knowledge distillation: a student learns the whole distribution of a teacher at every target token.

Hinton et al. 2015, "Distilling the Knowledge in a Neural Network", section 2; for translation Kim and Rush 2016,
"Sequence-Level Knowledge Distillation", section 3.1. (Their sequence-level kind is the command `seq2seq distil`.)

The teacher reads the same tokens with the same vocabulary. Its weights are no part of the run: a checkpoint of the
student is one like any other.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from seq2seq.checkpoint import load_checkpoint
from seq2seq.config import Config, Task
from seq2seq.data.batch import IGNORE, Batch
from seq2seq.data.cache import key_of
from seq2seq.data.tokenizer import Tokenizers
from seq2seq.errors import CheckpointError, ConfigError
from seq2seq.plain import to_dict
from seq2seq.training import loss
from seq2seq.training.head_in_chunks import LinearHead, loss_in_chunks
from seq2seq.training.objective import Objective


@dataclasses.dataclass(frozen=True, slots=True)
class Teacher:
    """A trained model to learn from.

    Attributes:
        model: in evaluation mode, on the student's device.
        tokenizers: its own, which the student uses too.
        fingerprint: a hash of all that decides what it says: weights, shape and vocabularies.
    """

    model: nn.Module
    tokenizers: Tokenizers
    fingerprint: str


def load_teacher(config: Config, *, device: torch.device) -> Teacher | None:
    """The teacher of a run; None where training.teacher is null.

    Args:
        config: the student's run.
        device: of the student.

    Raises:
        CheckpointError: training.teacher is not a checkpoint, or is damaged.
        ConfigError: the student cannot learn from it: another task, another vocabulary, shorter reach.
    """
    if config.training.teacher is None:
        return None
    try:
        checkpoint = load_checkpoint(config.training.teacher, device=device)
    except CheckpointError as error:
        raise CheckpointError(f"training.teacher: {error}") from error
    if problems := list(_obstacles(config, checkpoint.config)):
        raise ConfigError(problems)
    fingerprint = key_of(
        weights=checkpoint.checksums["model.safetensors"],
        model=to_dict(checkpoint.config.model),
        tokenizers=[checkpoint.tokenizers.source.fingerprint, checkpoint.tokenizers.target.fingerprint],
    )
    return Teacher(checkpoint.model.requires_grad_(False), checkpoint.tokenizers, fingerprint)


def _obstacles(student: Config, teacher: Config) -> Iterator[str]:
    """A sentence on each reason why the one cannot learn from the other."""
    name = f"training.teacher={student.training.teacher}"
    if student.task is not teacher.task:
        yield f"{name} was trained for task={teacher.task.value}, not {student.task.value}; name another teacher."
        return
    for item in dataclasses.fields(student.tokenizer):
        if item.name == "checkpoint":  # where the vocabulary came from is not what it is
            continue
        ours, theirs = (to_dict(config.tokenizer)[item.name] for config in (student, teacher))
        if ours != theirs:
            yield (
                f"tokenizer.{item.name} ({ours}) must be that of {name}, {theirs}: a student reads and writes with its "
                "teacher's vocabulary."
            )
    ours, theirs = ((config.data.source_language, config.data.target_language) for config in (student, teacher))
    if student.task is Task.translation and ours != theirs and ours == theirs[::-1]:
        yield f"{name} translates from {theirs[0]} to {theirs[1]}, the other way round; name another teacher."
    if student.data.documents is not teacher.data.documents:
        yield (
            f"data.documents ({student.data.documents.value}) must be that of {name}, {teacher.data.documents.value}: "
            "else the two read the ends of lines differently."
        )
    longest = student.model.max_length if student.task is Task.language_modelling else student.data.max_length
    if longest > teacher.longest_side:
        key = "model.max_length" if student.task is Task.language_modelling else "data.max_length"
        yield f"{key} ({longest}) is more than the {teacher.longest_side} tokens that {name} can read; lower it."


class DistillationObjective(Objective):
    """A mixture of label-smoothed cross-entropy and the divergence from a teacher.

    (1 - w) cross-entropy + w T^2 KL(teacher || student), both distributions softmax(logits / T) in the divergence.

    Args:
        model: the student.
        teacher: of the same vocabulary; it is used as it is and is not among this module's parameters.
        label_smoothing: of the cross-entropy.
        weight: w in (0, 1].
        temperature: T above 0; T^2 keeps the size of the gradient (Hinton et al. 2015, section 2).
    """

    def __init__(
        self,
        model: nn.Module,
        teacher: nn.Module,
        *,
        label_smoothing: float = 0.0,
        weight: float = 0.5,
        temperature: float = 1.0,
    ) -> None:
        super().__init__(model, label_smoothing=label_smoothing)
        # In a tuple, as a module there would be among parameters(), in train() and in what wrappers of modules share.
        self._teacher = (teacher,)
        self.weight, self.temperature = weight, temperature

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The mixture to minimise and the student's negative log-likelihood, in nats, summed over the targets."""
        teacher: Any = self._teacher[0]
        head: Any = self.model.head
        with torch.no_grad():
            teacher_hidden = loss.features_of(teacher, batch)
        return linear_distillation(
            loss.features_of(self.model, batch),
            head.weight,
            head.bias,
            batch.target_out,
            teacher_hidden,
            teacher.head.weight,
            teacher.head.bias,
            label_smoothing=self.label_smoothing,
            teacher_share=self.weight,
            temperature=self.temperature,
        )


def linear_distillation(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    teacher_hidden: Tensor,
    teacher_weight: Tensor,
    teacher_bias: Tensor | None,
    *,
    label_smoothing: float,
    teacher_share: float,
    temperature: float,
) -> tuple[Tensor, Tensor]:
    """The mixture of `DistillationObjective` for two linear heads, without ever holding all logits of either.

    First derivatives only; none for the teacher.

    Args:
        hidden: the student's, (..., dim)
        weight: (vocab, dim)
        bias: (vocab,) or None
        targets: int64, (...); IGNORE does not count
        teacher_hidden: (..., teacher_dim)
        teacher_weight: (vocab, teacher_dim)
        teacher_bias: (vocab,) or None
        label_smoothing: in [0, 1).
        teacher_share: w.
        temperature: T.

    Returns:
        The mixture to minimise and the plain negative log-likelihood (no gradient), in nats, both summed.
    """
    counted = targets != IGNORE
    targets = targets[counted]
    guide = LinearHead(teacher_hidden[counted].to(hidden.dtype), teacher_weight, teacher_bias)

    def chunk_loss(logits: Tensor, rows: slice, needs_gradient: bool) -> tuple[Tensor, Tensor]:
        softened = logits if temperature == 1 else (logits / temperature).log_softmax(dim=-1)
        entropy, nats = loss.chunk_cross_entropy(
            logits, targets[rows], label_smoothing
        )  # logits: now log-probabilities
        log_ratio = guide.logits(rows).div_(temperature)
        torch.log_softmax(log_ratio, dim=-1, out=log_ratio)
        teacher_probs = log_ratio.exp()
        divergence = log_ratio.sub_(softened).mul_(teacher_probs).sum()
        if needs_gradient:
            # d T^2 KL / d logits = T (probabilities - the teacher's), both at temperature T
            probs = logits.exp_()
            excess = teacher_probs.neg_().add_(probs if temperature == 1 else softened.exp_())
            loss.cross_entropy_gradient_(probs, targets[rows], label_smoothing).mul_(1 - teacher_share)
            probs.add_(excess, alpha=teacher_share * temperature)
        return (1 - teacher_share) * entropy + teacher_share * temperature**2 * divergence, nats

    of_mean_logits = -(1 - teacher_share) * label_smoothing
    return loss_in_chunks(hidden[counted], weight, bias, chunk_loss, of_mean_logits=of_mean_logits)
