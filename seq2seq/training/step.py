"""One optimiser step: the gradient of some micro-batches as if they were one batch, then one update."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from seq2seq.config import TrainingConfig
from seq2seq.data.batch import Batch
from seq2seq.device import autocast
from seq2seq.training.distillation import DistillationObjective, Teacher
from seq2seq.training.interval import IntervalSums
from seq2seq.training.objective import Objective
from seq2seq.training.optimizer import build_optimizer
from seq2seq.training.r_drop import RDropObjective


class OptimizerStep:
    """Accumulates gradients, divides once by the number of target tokens, clips and updates.

    Args:
        objective: from batch to summed loss.
        optimizer: of its parameters.
        clip_norm: largest norm of the whole gradient; 0 does not clip.
        device: where the model is.
        dtype: of the matrix products.
    """

    def __init__(
        self,
        objective: Objective,
        optimizer: torch.optim.Optimizer,
        *,
        clip_norm: float,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self.objective, self.optimizer = objective, optimizer
        self.clip_norm = clip_norm or math.inf
        self.device, self.dtype = device, dtype
        self.scaler = torch.amp.GradScaler(device.type, enabled=dtype == torch.float16)

    def __call__(self, micro_batches: Sequence[Batch], *, rate: float, sums: IntervalSums) -> Tensor:
        """Do one step.

        Args:
            micro_batches: on the device.
            rate: learning rate.
            sums: gets the losses.

        Returns:
            The norm of the whole gradient before clipping.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        tokens = sum(batch.num_tokens for batch in micro_batches)
        for batch in micro_batches:
            self._accumulate(batch, tokens, sums)
        self.scaler.unscale_(self.optimizer)
        norm = nn.utils.clip_grad_norm_(self.objective.parameters(), self.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        return norm

    def _accumulate(self, batch: Batch, tokens: int, sums: IntervalSums) -> None:
        """Add a micro-batch's share of the gradient of the mean over all tokens of the step."""
        with autocast(self.device, self.dtype):
            smoothed, loss = self.objective(batch)
        self.scaler.scale(smoothed / tokens).backward()  # type: ignore[no-untyped-call]
        sums.add(smoothed, loss, batch.num_tokens)


def build_step(
    settings: TrainingConfig, model: nn.Module, *, dtype: torch.dtype, teacher: Teacher | None = None
) -> OptimizerStep:
    """The step that a run's settings ask for: of the training loop, and of a probe that measures it beforehand.

    Args:
        settings: objective, optimiser and clipping.
        model: on its device.
        dtype: of the matrix products.
        teacher: the model that settings.teacher names.
    """
    return OptimizerStep(
        build_objective(settings, model, teacher),
        build_optimizer(settings, model),
        clip_norm=settings.clip_norm,
        device=next(model.parameters()).device,
        dtype=dtype,
    )


def build_objective(settings: TrainingConfig, model: nn.Module, teacher: Teacher | None) -> Objective:
    """What a run minimises; arguments as for `build_step`."""
    if settings.r_drop:
        return RDropObjective(model, label_smoothing=settings.label_smoothing, alpha=settings.r_drop)
    if teacher is None:
        return Objective(model, label_smoothing=settings.label_smoothing)
    return DistillationObjective(
        model,
        teacher.model,
        label_smoothing=settings.label_smoothing,
        weight=settings.teacher_weight,
        temperature=settings.teacher_temperature,
    )
