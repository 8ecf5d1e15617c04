"""R-Drop: two passes under different dropout must not only be right but agree.

Liang et al. 2021, "R-Drop: Regularized Dropout for Neural Networks", equations 1 to 3.
"""

import dataclasses
from typing import Any

import torch
from torch import Tensor, nn

from seq2seq.data.batch import IGNORE, Batch
from seq2seq.training import loss
from seq2seq.training.head_in_chunks import loss_in_chunks
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

    First derivatives only.

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
    # rows 2i and 2i + 1 are one target token
    hidden = torch.stack([first[counted], second[counted]], dim=1).flatten(0, 1)
    targets = targets[counted].repeat_interleave(2)

    def chunk_loss(logits: Tensor, rows: slice, needs_gradient: bool) -> tuple[Tensor, Tensor]:
        entropy, nats = loss.chunk_cross_entropy(logits, targets[rows], label_smoothing)
        # (tokens, 2, vocab): by how much log-probabilities exceed those of the token's other pass
        pairs = logits.view(-1, 2, logits.size(1))
        log_ratio = pairs - pairs.flip(1)
        probs = logits.exp_()
        divergence = (pairs * log_ratio).sum(dim=-1, keepdim=True)
        if needs_gradient:
            # d (KL(1 || 2) + KL(2 || 1)) / d logits of 1 = p1 (log p1/p2 - KL(1 || 2)) + p1 - p2
            gradient = log_ratio.sub_(divergence).mul_(pairs).add_(pairs).sub_(pairs.flip(1))
            loss.cross_entropy_gradient_(probs, targets[rows], label_smoothing).div_(2)
            pairs.add_(gradient, alpha=alpha / 4)
        return entropy / 2 + alpha / 4 * divergence.sum(), nats / 2

    return loss_in_chunks(hidden, weight, bias, chunk_loss, of_mean_logits=-label_smoothing / 2, rows_together=2)
