"""Label-smoothed cross-entropy of a linear head, without ever holding all logits at once."""

from typing import Any

import torch
from torch import Tensor

from seq2seq.training.head_in_chunks import loss_in_chunks

IGNORE = -100
"""A target that does not count."""


def linear_cross_entropy(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    *,
    label_smoothing: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Cross-entropy of softmax(hidden @ weight.T + bias), summed over the targets that count.

    Label smoothing as in Szegedy et al. 2016, "Rethinking the Inception Architecture", section 7, and
    `torch.nn.functional.cross_entropy`: the target distribution is (1 - s) one-hot + s / vocab everywhere.
    First derivatives only.

    Args:
        hidden: (..., dim)
        weight: (vocab, dim)
        bias: (vocab,) or None
        targets: int64, (...); IGNORE does not count
        label_smoothing: s in [0, 1).

    Returns:
        The smoothed loss to minimise and the plain negative log-likelihood (no gradient), in nats, both *summed*:
        the caller divides once by the number of tokens, so that no result depends on how a batch was cut.
    """
    counted = targets != IGNORE
    targets = targets[counted]

    def chunk_loss(logits: Tensor, rows: slice, needs_gradient: bool) -> tuple[Tensor, Tensor]:
        loss, nats = chunk_cross_entropy(logits, targets[rows], label_smoothing)
        if needs_gradient:
            cross_entropy_gradient_(logits.exp_(), targets[rows], label_smoothing)
        return loss, nats

    return loss_in_chunks(hidden[counted], weight, bias, chunk_loss, of_mean_logits=-label_smoothing)


def chunk_cross_entropy(logits: Tensor, targets: Tensor, label_smoothing: float) -> tuple[Tensor, Tensor]:
    """Smoothed loss of a chunk, but for its part -s times the rows' mean logits, and plain negative log-likelihood.

    Args:
        logits: (rows, vocab); become log-probabilities.
        targets: int64, (rows,)
        label_smoothing: s.
    """
    at_target = logits.gather(1, targets[:, None]).sum()
    nats = -torch.log_softmax(logits, dim=-1, out=logits).gather(1, targets[:, None]).sum()
    # (1 - s) nats + s times the logarithms of the softmax's denominators, of which each is a row's nats + at_target
    return nats + label_smoothing * at_target, nats


def cross_entropy_gradient_(probs: Tensor, targets: Tensor, label_smoothing: float) -> Tensor:
    """Make d `chunk_cross_entropy` / d logits of the probabilities: less 1 - s at the targets."""
    return probs.scatter_add_(1, targets[:, None], probs.new_full((len(targets), 1), label_smoothing - 1))


def features_of(model: Any, batch: Any) -> Tensor:
    """The final hidden states of any of the models for a batch: what its head turns into logits."""
    if batch.source is None:
        features = model.features(batch.target_in)
    elif batch.target_in is None:
        features = model.features(batch.source, source_mask=batch.source_mask)
    else:
        features = model.features(batch.source, batch.target_in, source_mask=batch.source_mask)
    assert isinstance(features, Tensor)
    return features


def batch_loss(model: Any, batch: Any, *, label_smoothing: float = 0.0) -> tuple[Tensor, Tensor]:
    """`linear_cross_entropy` of a model's head on one `Batch`.

    Returns:
        Smoothed loss and negative log-likelihood, in nats, summed over `batch.num_tokens` targets.
    """
    head = model.head
    return linear_cross_entropy(
        features_of(model, batch), head.weight, head.bias, batch.target_out, label_smoothing=label_smoothing
    )
