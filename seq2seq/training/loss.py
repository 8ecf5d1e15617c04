"""Label-smoothed cross-entropy of a linear head, without ever holding all logits at once.

The vocabulary projection dominates small models. With 4,096 target tokens and 8,000 words the logits alone are
131 MB, and a plain implementation holds them four times (logits, log-probabilities, their gradient, its copy).
Here rows are taken a chunk at a time: logits, loss and the gradients for hidden states and weights are made while
the chunk is in the cache, and only those gradients are kept for the backward pass.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

IGNORE = -100
"""A target that does not count."""

CHUNK_ELEMENTS = 2**22
"""Logits in one chunk: 16 MB of float32, which stays in the last-level cache of the CPUs measured."""


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        context: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        label_smoothing: float,
        grad_enabled: bool,
    ) -> tuple[Tensor, Tensor]:
        rows, vocab = hidden.size(0), weight.size(0)
        dtype = torch.get_autocast_dtype(hidden.device.type) if _autocasts(hidden) else hidden.dtype
        hidden, cast_weight = hidden.to(dtype), weight.to(dtype)
        # needs_input_grad alone is also true under no_grad, where validation would pay for gradients nobody wants
        needs_gradient = grad_enabled and any(context.needs_input_grad)
        summed = torch.float64 if dtype == torch.float64 else torch.float32
        loss = hidden.new_zeros((), dtype=summed)
        everywhere = hidden.new_zeros((), dtype=summed)
        hidden_gradient = torch.empty_like(hidden) if needs_gradient else None
        weight_gradient = torch.zeros_like(weight) if needs_gradient else None
        bias_gradient = torch.zeros_like(bias) if needs_gradient and bias is not None else None
        chunk = max(1, CHUNK_ELEMENTS // vocab)
        # the same memory for every chunk: fresh memory costs a page fault for every 4 KB
        products = hidden.new_empty(min(chunk, rows), vocab)
        for start in range(0, rows, chunk):
            here = slice(start, start + chunk)
            logits = torch.mm(hidden[here], cast_weight.t(), out=products[: min(chunk, rows - start)]).to(summed)
            if bias is not None:
                logits += bias
            at_target = logits.gather(1, targets[here, None])
            log_probabilities = torch.log_softmax(logits, dim=-1, out=logits)
            chunk_loss = -log_probabilities.gather(1, targets[here, None])
            loss += chunk_loss.sum()
            everywhere += (chunk_loss + at_target).sum()  # the logarithms of the softmax's denominators
            if hidden_gradient is None or weight_gradient is None:
                continue
            # d loss / d logits = probabilities - smoothed one-hot target; its part that is the same for every word
            # is added below, once for all rows
            gradient = log_probabilities.exp_()
            gradient.scatter_add_(1, targets[here, None], gradient.new_full((gradient.size(0), 1), label_smoothing - 1))
            if bias_gradient is not None:
                bias_gradient += gradient.sum(dim=0)
            gradient = gradient.to(dtype)
            torch.mm(gradient, cast_weight, out=hidden_gradient[here])
            if weight_gradient.dtype == dtype:
                weight_gradient.addmm_(gradient.t(), hidden[here])
            else:
                weight_gradient += gradient.t() @ hidden[here]
        smoothed_loss = loss.clone()  # autograd wants two tensors, since only one has a gradient
        if label_smoothing:
            # The mean of a row's logits needs no logits: it is the hidden state times the mean of the weights.
            share, mean_weight = label_smoothing, weight.to(summed).mean(dim=0)
            mean_logits = (hidden.to(summed) @ mean_weight).sum()
            if bias is not None:
                mean_logits += rows * bias.to(summed).mean()
            smoothed_loss = (1 - share) * loss + share * (everywhere - mean_logits)
            if hidden_gradient is not None and weight_gradient is not None:
                hidden_gradient -= share * mean_weight
                weight_gradient -= share / vocab * hidden.to(summed).sum(dim=0)
            if bias_gradient is not None:
                bias_gradient -= share * rows / vocab
        context.save_for_backward(hidden_gradient, weight_gradient, bias_gradient)
        context.mark_non_differentiable(loss)
        return smoothed_loss, loss

    @staticmethod
    @once_differentiable
    def backward(context: Any, gradient: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        hidden_gradient, weight_gradient, bias_gradient = context.saved_tensors
        return (
            hidden_gradient * gradient.to(hidden_gradient.dtype),
            weight_gradient * gradient.to(weight_gradient.dtype),
            None if bias_gradient is None else bias_gradient * gradient.to(bias_gradient.dtype),
            None,
            None,
            None,
        )


def _autocasts(hidden: Tensor) -> bool:
    return torch.is_autocast_enabled(hidden.device.type)


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
    return _LinearCrossEntropy.apply(  # type: ignore[no-any-return, no-untyped-call]
        hidden[counted], weight, bias, targets[counted], label_smoothing, torch.is_grad_enabled()
    )


def features_of(model: Any, batch: Any) -> Tensor:
    """The final hidden states of any of the four models for a batch: what its head turns into logits."""
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
