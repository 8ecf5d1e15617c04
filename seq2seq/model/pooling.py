"""From hidden states to one vector of a sequence."""

from collections.abc import Callable

from torch import Tensor


def mean_pooling(x: Tensor, mask: Tensor | None) -> Tensor:
    """Mean over real tokens; zeros where there is none.

    Args:
        x: (batch, length, dim)
        mask: bool (batch, length), True = a real token; None = all are.

    Returns:
        (batch, dim)
    """
    if mask is None:
        return x.mean(dim=1)
    count = mask.sum(dim=1, keepdim=True).clamp(min=1)
    return x.masked_fill(~mask[:, :, None], 0.0).sum(dim=1) / count


def first_pooling(x: Tensor, mask: Tensor | None) -> Tensor:
    """The first token's vector: (batch, length, dim) -> (batch, dim)."""
    return x[:, 0]


POOLINGS: dict[str, Callable[[Tensor, Tensor | None], Tensor]] = {"mean": mean_pooling, "first": first_pooling}
