"""Dropout (Srivastava et al. 2014) whose masks cost little on a CPU.

torch draws one double from a Mersenne twister for each number, which takes as long as the matrix products of a small
model. Here one seed is drawn from torch's generator for each call, so that torch's random state alone still decides
everything, and numpy's SFC64 turns it into a byte for each number; `tools/benchmarks/dropout.py` measures both.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

LEVELS = 2**8
"""A byte decides, so that a call drops with a multiple of 1 / LEVELS: one of the two beside the probability, and never
the whole of it, so that above (LEVELS - 1) / LEVELS one number in LEVELS still stays."""


def dropout(x: Tensor, probability: float, *, training: bool) -> Tensor:
    """Zero each number of x with the given probability and scale the others up so that the expectation stays.

    Args:
        x: any shape.
        probability: in [0, 1).
        training: False returns x itself.

    Returns:
        x's shape and number format.
    """
    if not training or probability == 0.0:
        return x
    if x.device.type != "cpu":
        return F.dropout(x, probability, True)
    if torch.compiler.is_compiling():
        return _traced(x, probability)
    result: Tensor = _Dropout.apply(x, None, probability)  # type: ignore[no-untyped-call]
    return result


def dropout_add(x: Tensor, residual: Tensor, probability: float, *, training: bool) -> Tensor:
    """Sum of residual and dropout(x), in one pass over memory where that pays; arguments as for `dropout`."""
    if not training or probability == 0.0:
        return residual + x
    if x.device.type != "cpu":
        return residual + F.dropout(x, probability, True)
    if torch.compiler.is_compiling():
        return residual + _traced(x, probability)
    result: Tensor = _Dropout.apply(x, residual, probability)  # type: ignore[no-untyped-call]
    return result


def keep_mask(shape: torch.Size, probability: float) -> tuple[Tensor, float]:
    """Which numbers stay, and what to multiply them by.

    Args:
        shape: of the mask.
        probability: of a zero, in [0, 1); above 255/256 it is 255/256, below met on average over calls, to 2 ** -28.

    Returns:
        int8 of that shape, 1 = stays; a product of float and int8 is several times faster than one of float and bool.
        The scale: one over the share that stays on average.
    """
    seed = int(torch.randint(2**63 - 1, ()).item())
    size = shape.numel()
    # Which of the two multiples is itself drawn, so that on average over calls it is the probability. All that is ever
    # left out is 256/256, which would leave nothing to scale up.
    threshold, rest = divmod(probability * LEVELS, 1)
    threshold = min(threshold + (seed % 2**20 < rest * 2**20), LEVELS - 1)
    drawn = np.random.SFC64(seed).random_raw(-(-size // 8)).view(np.uint8)[:size]
    stays = drawn >= np.uint8(threshold)
    return torch.from_numpy(stays.view(np.int8)).view(shape), LEVELS / (LEVELS - threshold)


def _traced(x: Tensor, probability: float) -> Tensor:
    """Dropout for torch.compile: the mask as above, from the same random state, the product fused with its neighbours.

    The compiler's own random numbers take longer than the mask.
    """
    mask, scale = _drawn_mask(x.detach(), probability)
    dropped: Tensor = x * mask * scale
    return dropped


# The tag keeps the compiler from taking two draws for one.
@torch.library.custom_op("seq2seq::keep_mask", mutates_args=(), tags=(torch.Tag.nondeterministic_seeded,))
def _drawn_mask(x: Tensor, probability: float) -> tuple[Tensor, Tensor]:
    """`keep_mask` of x's shape as one operation of a graph; the scale as a tensor, ()."""
    mask, scale = keep_mask(x.shape, probability)
    return mask, torch.tensor(scale)


@_drawn_mask.register_fake
def _(x: Tensor, probability: float) -> tuple[Tensor, Tensor]:
    return torch.empty(x.shape, dtype=torch.int8, device=x.device), torch.empty((), device=x.device)


class _Dropout(torch.autograd.Function):
    """Saves one byte for each number."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, residual: Tensor | None, probability: float) -> Tensor:
        mask, ctx.scale = keep_mask(x.shape, probability)
        ctx.save_for_backward(mask)
        ctx.format = x.dtype
        if residual is None:
            return x.mul(mask).mul_(ctx.scale)
        return torch.addcmul(residual, x, mask, value=ctx.scale)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None, None]:
        (mask,) = ctx.saved_tensors
        residual_grad = grad if ctx.needs_input_grad[1] else None
        return grad.mul(mask).mul_(ctx.scale).to(ctx.format), residual_grad, None


class Dropout(nn.Module):
    """`dropout` and `dropout_add` as a module.

    Args:
        probability: of a zero, in [0, 1).

    Raises:
        ValueError: probability is outside [0, 1).
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        if not 0 <= probability < 1:
            raise ValueError(f"dropout probability ({probability}) must be at least 0 and below 1")
        self.probability = probability

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """x, of any shape, with numbers zeroed while training; added to the residual if there is one."""
        if residual is None:
            return dropout(x, self.probability, training=self.training)
        return dropout_add(x, residual, self.probability, training=self.training)

    def extra_repr(self) -> str:
        """The probability, for print(model)."""
        return f"{self.probability}"

    if TYPE_CHECKING:
        __call__ = forward
