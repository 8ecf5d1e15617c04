"""Norms of the residual stream: LayerNorm and RMSNorm."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


def layer_norm(dim: int, *, bias: bool) -> nn.Module:
    """Ba et al. 2016; torch's own module."""
    return nn.LayerNorm(dim, eps=1e-5, bias=bias)


class RMSNorm(nn.Module):
    """x / sqrt(mean(x^2) + eps) * weight (Zhang and Sennrich 2019).

    Args:
        dim: width of the residual stream.
        bias: not read; the paper's norm has none, whatever the other layers have.
        eps: added to the mean square.
    """

    def __init__(self, dim: int, *, bias: bool = False, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """(batch, length, dim) -> (batch, length, dim)."""
        if x.device.type != "cpu" or x.dtype != self.weight.dtype or torch.compiler.is_compiling():
            return F.rms_norm(x.to(self.weight.dtype), self.weight.shape, self.weight, self.eps)
        if not torch.is_grad_enabled():
            return rms_norm(x, self.weight, self.eps)[0]
        result: Tensor = _RMSNorm.apply(x, self.weight, self.eps)  # type: ignore[no-untyped-call]
        return result

    if TYPE_CHECKING:
        __call__ = forward


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """RMSNorm of x (..., dim) on any device, and what x was multiplied by before the weight, (..., 1)."""
    mean_square = torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_().div_(x.shape[-1])
    reciprocal = mean_square.add_(eps).rsqrt_()
    return (x * reciprocal).mul_(weight), reciprocal


class _RMSNorm(torch.autograd.Function):
    """On a CPU torch differentiates its RMSNorm step by step, in twice the time.

    With r = 1 / sqrt(mean(x^2) + eps), y = x r w and g the gradient of y:
    dx = r (g w - x r^2 mean(g w x)), dw = sum over tokens of g x r.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        normed, reciprocal = rms_norm(x, weight, eps)
        ctx.save_for_backward(x, reciprocal, weight)
        return normed

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        x, reciprocal, weight = ctx.saved_tensors
        product = (grad * x).flatten(0, -2)  # (tokens, dim)
        weight_grad = product.T @ reciprocal.flatten()
        mean = (product @ weight).view(reciprocal.shape) / x.shape[-1]
        x_grad = torch.addcmul(grad * weight, x, mean * reciprocal.square(), value=-1).mul_(reciprocal)
        return x_grad, weight_grad, None


NORMS: dict[str, Callable[..., nn.Module]] = {"layer_norm": layer_norm, "rms_norm": RMSNorm}
