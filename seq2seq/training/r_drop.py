"""R-Drop: two passes under different dropout must not only be right but agree.

Liang et al. 2021, "R-Drop: Regularized Dropout for Neural Networks", equations 1 to 3.
"""

import dataclasses
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from seq2seq.data.batch import IGNORE, Batch
from seq2seq.training import loss
from seq2seq.training.objective import Objective


class RDropObjective(Objective):
    """Half of the paper's loss: the mean cross-entropy of both passes and alpha / 4 (KL(1 || 2) + KL(2 || 1)).

    Half, so that the loss stays comparable with that of one pass; alpha has the paper's meaning.

    Args:
        model: any of the models, with dropout.
        label_smoothing: of the cross-entropy.
        alpha: weight of the divergence; the paper has 5 for translation.
    """

    def __init__(self, model: nn.Module, *, label_smoothing: float = 0.0, alpha: float) -> None:
        super().__init__(model, label_smoothing=label_smoothing)
        self.alpha = alpha

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The loss to minimise and the two passes' mean negative log-likelihood, in nats, summed over the targets."""
        head: Any = self.model.head
        first, second = loss.features_of(self.model, twice(batch)).chunk(2)
        return linear_r_drop(
            first,
            second,
            head.weight,
            head.bias,
            batch.target_out,
            label_smoothing=self.label_smoothing,
            alpha=self.alpha,
        )


def twice(batch: Batch) -> Batch:
    """The rows of a batch and the same rows again: one pass over them is two passes of independent dropout."""

    def doubled(tensor: Tensor | None) -> Tensor | None:
        return None if tensor is None else torch.cat([tensor, tensor])

    return dataclasses.replace(
        batch,
        source=doubled(batch.source),
        source_mask=doubled(batch.source_mask),
        target_in=doubled(batch.target_in),
        target_out=torch.cat([batch.target_out, batch.target_out]),
        num_tokens=2 * batch.num_tokens,
    )


def linear_r_drop(
    first: Tensor,
    second: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    *,
    label_smoothing: float,
    alpha: float,
) -> tuple[Tensor, Tensor]:
    """The loss of `RDropObjective` for a linear head, without ever holding all logits of either pass.

    As `loss.linear_cross_entropy`: rows are taken a chunk at a time, and only the gradients for hidden states and
    weights are kept. First derivatives only.

    Args:
        first: (..., dim), hidden states of the one pass.
        second: (..., dim), of the other.
        weight: (vocab, dim)
        bias: (vocab,) or None
        targets: int64, (...); IGNORE does not count
        label_smoothing: in [0, 1).
        alpha: weight of the divergence.

    Returns:
        The loss to minimise and the passes' mean negative log-likelihood (no gradient), in nats, both summed.
    """
    counted = targets != IGNORE
    pairs = torch.stack([first[counted], second[counted]], dim=1)
    return _LinearRDrop.apply(  # type: ignore[no-any-return, no-untyped-call]
        pairs.flatten(0, 1),
        weight,
        bias,
        targets[counted].repeat_interleave(2),
        (label_smoothing, alpha),
        torch.is_grad_enabled(),
    )


class _LinearRDrop(torch.autograd.Function):
    """Rows 2i and 2i + 1 of hidden states and targets are one target token."""

    @staticmethod
    def forward(
        context: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        settings: tuple[float, float],
        grad_enabled: bool,
    ) -> tuple[Tensor, Tensor]:
        smoothing, alpha = settings
        rows, vocab = hidden.size(0), weight.size(0)
        device = hidden.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype
        summed = torch.float64 if dtype == torch.float64 else torch.float32
        hidden, cast_weight = hidden.to(dtype), weight.to(dtype)
        needs_gradient = grad_enabled and any(context.needs_input_grad)
        total, nats = (hidden.new_zeros((), dtype=summed) for _ in range(2))
        hidden_gradient = torch.empty_like(hidden) if needs_gradient else None
        weight_gradient = torch.zeros_like(weight) if needs_gradient else None
        bias_gradient = torch.zeros_like(bias) if needs_gradient and bias is not None else None
        for start in range(0, rows, chunk := 2 * max(1, loss.CHUNK_ELEMENTS // vocab // 2)):
            here = slice(start, start + chunk)
            logits = hidden[here] @ cast_weight.t()
            if bias is not None:
                logits += bias.to(dtype)
            log_probs = logits.to(summed).log_softmax(dim=-1)
            at_target = targets[here, None]
            chunk_nats = -log_probs.gather(1, at_target).sum() / 2
            nats += chunk_nats
            # (tokens, 2, vocab): by how much log_probs exceed those of the token's other pass
            log_ratio = log_probs.view(-1, 2, vocab)
            log_ratio = log_ratio - log_ratio.flip(1)
            probs = log_probs.exp()
            pairs = probs.view(-1, 2, vocab)
            divergence = (pairs * log_ratio).sum(dim=-1, keepdim=True)
            total += (1 - smoothing) * chunk_nats + alpha / 4 * divergence.sum()
            if smoothing:
                total -= smoothing / vocab / 2 * log_probs.sum()
            if hidden_gradient is None or weight_gradient is None:
                continue
            # d (KL(1 || 2) + KL(2 || 1)) / d logits of 1 = p1 (log p1/p2 - KL(1 || 2)) + p1 - p2
            gradient = log_ratio.sub_(divergence).mul_(pairs).add_(pairs).sub_(pairs.flip(1)).mul_(alpha / 4)
            # d cross-entropy / d logits = probabilities - smoothed one-hot target
            if smoothing:
                probs -= smoothing / vocab
            probs.scatter_add_(1, at_target, probs.new_full(at_target.shape, smoothing - 1))
            gradient = gradient.flatten(0, 1).add_(probs, alpha=0.5)
            if bias_gradient is not None:
                bias_gradient += gradient.sum(dim=0)
            gradient = gradient.to(dtype)
            torch.mm(gradient, cast_weight, out=hidden_gradient[here])
            if weight_gradient.dtype == dtype:
                weight_gradient.addmm_(gradient.t(), hidden[here])
            else:
                weight_gradient += gradient.t() @ hidden[here]
        context.save_for_backward(hidden_gradient, weight_gradient, bias_gradient)
        context.mark_non_differentiable(nats)
        return total, nats

    @staticmethod
    @once_differentiable
    def backward(context: Any, gradient: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        scaled = [None if part is None else part * gradient.to(part.dtype) for part in context.saved_tensors]
        return (*scaled, None, None, None)
