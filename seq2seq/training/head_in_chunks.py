"""A loss of a linear head and its gradients, without ever holding all logits at once.

The vocabulary projection dominates small models. With 4,096 target tokens and 8,000 words the logits alone are
131 MB, and a plain implementation holds them four times (logits, log-probabilities, their gradient, its copy).
Here rows are taken a chunk at a time: logits, loss and the gradients for hidden states and weights are made while
the chunk is in the cache, and only those gradients are kept for the backward pass.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

CHUNK_ELEMENTS = 2**22
"""Logits in one chunk: 16 MB of float32, which stays in the last-level cache of the CPUs measured."""

ChunkLoss: TypeAlias = Callable[[Tensor, slice, bool], tuple[Tensor, Tensor]]
"""(logits, their rows, whether the gradient is wanted) -> the chunk's loss and negative log-likelihood, both summed.

The logits are (rows, vocab), float32 or float64, and the callee's to overwrite; where the gradient is wanted, they must
hold d loss / d logits in the end.
"""


def loss_in_chunks(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    chunk_loss: ChunkLoss,
    *,
    of_mean_logits: float = 0.0,
    rows_together: int = 1,
) -> tuple[Tensor, Tensor]:
    """The sum of a loss over chunks of the rows of a linear head's logits. First derivatives only.

    Args:
        hidden: (rows, dim)
        weight: (vocab, dim)
        bias: (vocab,) or None
        chunk_loss: called for one chunk after the other.
        of_mean_logits: times the sum over rows of a row's mean logit is added to the loss. A term that treats all
            words alike (label smoothing has one) costs next to nothing here, and a pass over the logits in chunk_loss.
        rows_together: how many consecutive rows must not be parted; it divides rows.

    Returns:
        The loss to minimise and the plain negative log-likelihood (no gradient), both summed.
    """
    return _LossInChunks.apply(  # type: ignore[no-any-return, no-untyped-call]
        hidden, weight, bias, chunk_loss, of_mean_logits, rows_together, torch.is_grad_enabled()
    )


class LinearHead:
    """Hidden states and a linear layer over them, in the number format of their products.

    Args:
        hidden: (rows, dim)
        weight: (vocab, dim)
        bias: (vocab,) or None

    Attributes:
        summed: the dtype of logits and sums, which are never kept in 8 bits.
    """

    def __init__(self, hidden: Tensor, weight: Tensor, bias: Tensor | None) -> None:
        device = hidden.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype
        self.hidden, self.weight, self.bias = hidden.to(dtype), weight.to(dtype), bias
        self.summed = torch.float64 if dtype == torch.float64 else torch.float32
        self._products: Tensor | None = None

    def logits(self, rows: slice) -> Tensor:
        """(rows, vocab), in the memory of the call before; the first call must be for the most rows."""
        hidden = self.hidden[rows]
        # fresh memory for every chunk would cost a page fault for every 4 KB
        if self._products is None:
            self._products = hidden.new_empty(hidden.size(0), self.weight.size(0))
        logits = torch.mm(hidden, self.weight.t(), out=self._products[: hidden.size(0)]).to(self.summed)
        return logits if self.bias is None else logits.add_(self.bias)


class _LossInChunks(torch.autograd.Function):
    @staticmethod
    def forward(
        context: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        chunk_loss: ChunkLoss,
        of_mean_logits: float,
        together: int,
        grad_enabled: bool,
    ) -> tuple[Tensor, Tensor]:
        rows, vocab = hidden.size(0), weight.size(0)
        head = LinearHead(hidden, weight, bias)
        # needs_input_grad alone is also true under no_grad, where validation would pay for gradients nobody wants
        needs_gradient = grad_enabled and any(context.needs_input_grad)
        loss, nats = (hidden.new_zeros((), dtype=head.summed) for _ in range(2))
        hidden_gradient = torch.empty_like(head.hidden) if needs_gradient else None
        weight_gradient = torch.zeros_like(weight) if needs_gradient else None
        bias_gradient = torch.zeros_like(bias) if needs_gradient and bias is not None else None
        for start in range(0, rows, chunk := together * max(1, CHUNK_ELEMENTS // vocab // together)):
            here = slice(start, start + chunk)
            logits = head.logits(here)
            one_loss, one_nats = chunk_loss(logits, here, needs_gradient)
            loss += one_loss
            nats += one_nats
            if hidden_gradient is None or weight_gradient is None:
                continue
            if bias_gradient is not None:
                bias_gradient += logits.sum(dim=0)
            gradient = logits.to(head.hidden.dtype)
            torch.mm(gradient, head.weight, out=hidden_gradient[here])
            if weight_gradient.dtype == gradient.dtype:
                weight_gradient.addmm_(gradient.t(), head.hidden[here])
            else:
                weight_gradient += gradient.t() @ head.hidden[here]
        if of_mean_logits:
            # The mean of a row's logits needs no logits: it is the hidden state times the mean of the weights. (Not
            # by @, which autocast would do in 8 bits.)
            mean_weight, hidden_sum = weight.to(head.summed).mean(dim=0), head.hidden.to(head.summed).sum(dim=0)
            loss += of_mean_logits * (mean_weight * hidden_sum).sum()
            if bias is not None:
                loss += of_mean_logits * rows * bias.to(head.summed).mean()
            if hidden_gradient is not None and weight_gradient is not None:
                hidden_gradient += of_mean_logits * mean_weight
                weight_gradient += of_mean_logits / vocab * hidden_sum
            if bias_gradient is not None:
                bias_gradient += of_mean_logits * rows / vocab
        context.save_for_backward(hidden_gradient, weight_gradient, bias_gradient)
        context.mark_non_differentiable(nats)
        return loss, nats

    @staticmethod
    @once_differentiable
    def backward(context: Any, gradient: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        scaled = [None if part is None else part * gradient.to(part.dtype) for part in context.saved_tensors]
        return (*scaled, None, None, None, None)
