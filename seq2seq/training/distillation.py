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
from torch.autograd.function import once_differentiable

from seq2seq.checkpoint import load_checkpoint
from seq2seq.config import Config, Positions, Task
from seq2seq.data.batch import IGNORE, Batch
from seq2seq.data.cache import key_of
from seq2seq.data.tokenizer import Tokenizers
from seq2seq.errors import ConfigError
from seq2seq.files import sha256
from seq2seq.plain import to_dict
from seq2seq.training import loss
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
    checkpoint = load_checkpoint(config.training.teacher, device=device)
    if problems := list(_obstacles(config, checkpoint.config)):
        raise ConfigError(problems)
    fingerprint = key_of(
        weights=sha256(checkpoint.folder / "model.safetensors"),
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
    if teacher.model.positions is Positions.learned and longest > teacher.model.max_length:
        key = "model.max_length" if student.task is Task.language_modelling else "data.max_length"
        yield f"{key} ({longest}) is more than the {teacher.model.max_length} tokens that {name} can read; lower it."


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

    As `loss.linear_cross_entropy`: rows are taken a chunk at a time, and only the gradients for the student's hidden
    states and weights are kept. First derivatives only; none for the teacher.

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
    return _LinearDistillation.apply(  # type: ignore[no-any-return, no-untyped-call]
        hidden[counted],
        weight,
        bias,
        targets[counted],
        (teacher_hidden[counted], teacher_weight, teacher_bias),
        (label_smoothing, teacher_share, temperature),
        torch.is_grad_enabled(),
    )


class _LinearDistillation(torch.autograd.Function):
    @staticmethod
    def forward(
        context: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        teacher: tuple[Tensor, Tensor, Tensor | None],
        settings: tuple[float, float, float],
        grad_enabled: bool,
    ) -> tuple[Tensor, Tensor]:
        smoothing, share, temperature = settings
        rows, vocab = hidden.size(0), weight.size(0)
        device = hidden.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype
        summed = torch.float64 if dtype == torch.float64 else torch.float32
        student = _Head(hidden, weight, bias, dtype)
        guide = _Head(*teacher, dtype)
        needs_gradient = grad_enabled and any(context.needs_input_grad)
        mixture, nats = (hidden.new_zeros((), dtype=summed) for _ in range(2))
        hidden_gradient = torch.empty_like(student.hidden) if needs_gradient else None
        weight_gradient = torch.zeros_like(weight) if needs_gradient else None
        bias_gradient = torch.zeros_like(bias) if needs_gradient and bias is not None else None
        for start in range(0, rows, chunk := max(1, loss.CHUNK_ELEMENTS // vocab)):
            here = slice(start, start + chunk)
            logits = student.logits(here).to(summed)
            log_probs = logits.log_softmax(dim=-1)
            soft = log_probs if temperature == 1 else (logits / temperature).log_softmax(dim=-1)
            teacher_soft = (guide.logits(here).to(summed) / temperature).log_softmax(dim=-1)
            teacher_probs = teacher_soft.exp()
            at_target = targets[here, None]
            chunk_nats = -log_probs.gather(1, at_target).sum()
            nats += chunk_nats
            divergence = (teacher_probs * teacher_soft.sub_(soft)).sum()
            mixture += (1 - share) * (1 - smoothing) * chunk_nats + share * temperature**2 * divergence
            if smoothing:
                mixture -= (1 - share) * smoothing / vocab * log_probs.sum()
            if hidden_gradient is None or weight_gradient is None:
                continue
            # d cross-entropy / d logits = probabilities - smoothed one-hot target;
            # d T^2 KL / d logits = T (probabilities - the teacher's), both at temperature T
            gradient = log_probs.exp()
            soft_probs = gradient if temperature == 1 else soft.exp_()
            divergence_gradient = (soft_probs - teacher_probs).mul_(share * temperature)
            if smoothing:
                gradient -= smoothing / vocab
            gradient.scatter_add_(1, at_target, gradient.new_full(at_target.shape, smoothing - 1))
            gradient = gradient.mul_(1 - share).add_(divergence_gradient)
            if bias_gradient is not None:
                bias_gradient += gradient.sum(dim=0)
            gradient = gradient.to(dtype)
            torch.mm(gradient, student.weight, out=hidden_gradient[here])
            if weight_gradient.dtype == dtype:
                weight_gradient.addmm_(gradient.t(), student.hidden[here])
            else:
                weight_gradient += gradient.t() @ student.hidden[here]
        context.save_for_backward(hidden_gradient, weight_gradient, bias_gradient)
        context.mark_non_differentiable(nats)
        return mixture, nats

    @staticmethod
    @once_differentiable
    def backward(context: Any, gradient: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        scaled = [None if part is None else part * gradient.to(part.dtype) for part in context.saved_tensors]
        return (*scaled, None, None, None, None)


class _Head:
    """Hidden states and a linear layer over them, in one number format."""

    def __init__(self, hidden: Tensor, weight: Tensor, bias: Tensor | None, dtype: torch.dtype) -> None:
        self.hidden, self.weight = hidden.to(dtype), weight.to(dtype)
        self.bias = None if bias is None else bias.to(dtype)

    def logits(self, rows: slice) -> Tensor:
        """(rows, vocab)."""
        logits = self.hidden[rows] @ self.weight.t()
        return logits if self.bias is None else logits.add_(self.bias)
