"""One optimiser step: the gradient of some micro-batches as if they were one batch, then one update."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from seq2seq.config import TrainingConfig
from seq2seq.data.batch import Batch
from seq2seq.data.collate import halves
from seq2seq.device import autocast, is_out_of_memory, release_memory
from seq2seq.errors import TrainingError
from seq2seq.training.compilation import compile_layers
from seq2seq.training.distillation import DistillationObjective, Teacher
from seq2seq.training.distributed import Ranks
from seq2seq.training.interval import IntervalSums
from seq2seq.training.objective import Objective
from seq2seq.training.optimizer import build_optimizer
from seq2seq.training.parallel import exchange, parallelised, shard, whole
from seq2seq.training.r_drop import RDropObjective


@dataclass(slots=True)
class StepResult:
    """What a step did; tensors are on the device, so that nothing waits for them until somebody reads them.

    Attributes:
        norm: (), the norm of the whole gradient before clipping.
        skipped: () bool, True when the loss or the norm was not finite: then nothing was updated.
        splits: how often a micro-batch was cut in two because it did not fit into memory.
    """

    norm: Tensor
    skipped: Tensor
    splits: int


class OptimizerStep:
    """Accumulates gradients, divides once by the number of target tokens, clips and updates.

    A step whose loss or gradient norm is not finite updates nothing. A micro-batch that does not fit into memory is cut
    in two by its rows, again and again down to one row: the loss is a sum over tokens, so that without dropout the
    gradient is the same to rounding; with dropout the parts draw masks of their own. Of several ranks none cuts: it
    would exchange gradients at another time than the others.

    Args:
        objective: from batch to summed loss, perhaps parallelised: what `parallel.parallelised` gives.
        optimizer: of its parameters.
        clip_norm: largest norm of the whole gradient; 0 does not clip.
        device: where the model is.
        dtype: of the matrix products.
        may_split: cut what does not fit into memory; else the allocator's error is raised.
        ranks: those that take the step together; None is this process alone.
    """

    def __init__(
        self,
        objective: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        clip_norm: float,
        device: torch.device,
        dtype: torch.dtype,
        may_split: bool = True,
        ranks: Ranks | None = None,
    ) -> None:
        self.may_split, self.ranks = may_split, ranks or Ranks()
        self.objective, self.optimizer = objective, optimizer
        self.clip_norm = clip_norm or math.inf
        self.device, self.dtype = device, dtype
        self.scaler = torch.amp.GradScaler(device.type, enabled=dtype == torch.float16)

    def __call__(self, micro_batches: Sequence[Batch], *, rate: float, sums: IntervalSums) -> StepResult:
        """Do one step.

        Args:
            micro_batches: this rank's, on the device.
            rate: learning rate.
            sums: gets the losses.

        Raises:
            TrainingError: there is not enough memory for one row, or for a batch on one of several ranks.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        own_tokens = sum(batch.num_tokens for batch in micro_batches)
        (tokens,) = self.ranks.sum(own_tokens)
        parts = list(micro_batches)
        while isinstance(losses := self._accumulate(parts, tokens / self.ranks.world_size), int):
            self.optimizer.zero_grad(set_to_none=True)  # how much of the failed part was added is not known
            release_memory(self.device)
            parts[losses : losses + 1] = self._halves(parts[losses])
        norm = self._gradient_norm()
        skipped = ~norm.isfinite()
        nn.utils.clip_grads_with_norm_(self.objective.parameters(), self.clip_norm, norm)
        self._update(skipped)
        self.optimizer.zero_grad(set_to_none=True)
        splits = len(parts) - len(micro_batches)
        sums.add(*losses, own_tokens, skipped=skipped, splits=splits)
        return StepResult(norm, skipped, splits)

    def _accumulate(self, batches: Sequence[Batch], tokens: float) -> tuple[Tensor, Tensor] | int:
        """Add up the gradient of the mean over all tokens of the step; the ranks exchange theirs with the last batch.

        Args:
            batches: parts of the step.
            tokens: all ranks' together divided by their number: gradients are averaged over the ranks.

        Returns:
            The smoothed and plain loss summed over the tokens, in nats; or the number of the batch that did not fit
            into memory.
        """
        smoothed_sum = loss_sum = torch.zeros((), device=self.device)
        for number, batch in enumerate(batches):
            try:
                with exchange(self.objective, now=number == len(batches) - 1):
                    with autocast(self.device, self.dtype):
                        smoothed, loss = self.objective(batch)
                    # 0 * infinity is NaN: a loss that is not finite makes the gradient so, for every rank to see
                    share = (1 + 0 * smoothed.detach()) / tokens
                    self.scaler.scale(smoothed * share).backward()
            except (RuntimeError, MemoryError) as error:
                if not self.may_split or not is_out_of_memory(error):
                    raise
                if self.ranks.world_size > 1:
                    raise TrainingError(
                        f"there is not enough memory on {self.device} for a batch of {len(batch.target_out)} sentences "
                        f"of up to {max(batch.lengths)} tokens; lower training.batch_tokens and raise "
                        "training.accumulation as much."
                    ) from error
                return number  # the error is let go of before the next attempt: it holds on to the tensors
            smoothed_sum, loss_sum = smoothed_sum + smoothed.detach(), loss_sum + loss
        return smoothed_sum, loss_sum

    def _halves(self, batch: Batch) -> tuple[Batch, Batch]:
        rows, length = len(batch.target_out), max(batch.lengths)
        if rows < 2:
            raise TrainingError(
                f"There is not enough memory on {self.device} for one sentence of {length} tokens by itself, so that a "
                "smaller training.batch_tokens does not help; use a smaller model or shorter sentences, or a device "
                "with more memory."
            )
        return halves(batch)

    def _gradient_norm(self) -> Tensor:
        """() norm of the whole gradient, on every rank; the loss scale (float16) is taken out."""
        gradients = [parameter.grad for parameter in self.objective.parameters() if parameter.grad is not None]
        norm = whole(nn.utils.get_total_norm(gradients))
        if self.scaler.is_enabled():
            # The scaler looks for infinities by itself, on each rank: one that any has found is made known to all.
            torch._foreach_mul_([shard(gradient) for gradient in gradients], 1 + 0 * norm)
            norm = norm / self.scaler.scale(torch.ones_like(norm))
            self.scaler.unscale_(self.optimizer)
        return norm

    def _update(self, skipped: Tensor) -> None:
        """One update, unless `skipped`."""
        if getattr(self.optimizer, "_step_supports_amp_scaling", False):
            self.optimizer.found_inf = skipped.float()  # type: ignore[attr-defined]  # fused kernels decide on the device
            self.optimizer.step()
            del self.optimizer.found_inf  # type: ignore[attr-defined]
        elif not skipped:
            self.optimizer.step()
        self.scaler.update()


def build_step(
    settings: TrainingConfig,
    model: nn.Module,
    *,
    dtype: torch.dtype,
    teacher: Teacher | None = None,
    may_split: bool = True,
    ranks: Ranks | None = None,
) -> OptimizerStep:
    """The step that a run's settings ask for: of the training loop, and of a probe that measures it beforehand.

    Args:
        settings: objective, optimiser, clipping, and whether layers are compiled.
        model: on its device.
        dtype: of the matrix products.
        teacher: the model that settings.teacher names.
        may_split: as for `OptimizerStep`.
        ranks: as for `OptimizerStep`.
    """
    if settings.compile:
        compile_layers(model, dtype=dtype)
    ranks = ranks or Ranks()
    objective = parallelised(build_objective(settings, model, teacher), settings.parallel, ranks)
    return OptimizerStep(
        objective,
        build_optimizer(settings, model),  # after the objective: shards are other parameters
        clip_norm=settings.clip_norm,
        device=next(model.parameters()).device,
        dtype=dtype,
        may_split=may_split,
        ranks=ranks,
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
