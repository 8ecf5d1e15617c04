"""Dropout whose masks cost little on a CPU."""

from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.nn import functional as F


def dropout(x: Tensor, probability: float, *, training: bool) -> Tensor:
    """Zero each number of x with the given probability and scale the others up so that the expectation stays.

    Args:
        x: any shape.
        probability: in [0, 1).
        training: False returns x itself.
    """
    if not training or probability == 0.0:
        return x
    return F.dropout(x, probability, True)


class Dropout(nn.Module):
    """`dropout` as a module.

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

    def forward(self, x: Tensor) -> Tensor:
        """x, of any shape, with numbers zeroed while training."""
        return dropout(x, self.probability, training=self.training)

    def extra_repr(self) -> str:
        """The probability, for print(model)."""
        return f"{self.probability}"

    if TYPE_CHECKING:
        __call__ = forward
