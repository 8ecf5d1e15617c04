"""The position-wise feed-forward block: an MLP with ReLU, GELU or SiLU, or the gated SwiGLU."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.nn import functional as F

from seq2seq.model.dropout import Dropout

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu_,  # in place: its gradient needs only the result
    "gelu": F.gelu,
    "gelu_tanh": partial(F.gelu, approximate="tanh"),
    "silu": F.silu,
}


class FeedForward(nn.Module):
    """Widen, apply a nonlinearity, narrow: the MLP of Vaswani et al. 2017, section 3.3.

    Args:
        dim: width of input and output.
        inner_dim: width between.
        kind: "relu"; "gelu" (Hendrycks and Gimpel 2016); "gelu_tanh", its approximation in GPT-2; "silu" (ibid.).
        dropout: probability in [0, 1), after the nonlinearity, while training.
        bias: whether the projections have one.
    """

    def __init__(
        self, dim: int, inner_dim: int, *, kind: str = "relu", dropout: float = 0.0, bias: bool = True
    ) -> None:
        super().__init__()
        self.kind = kind
        self.widen = nn.Linear(dim, inner_dim, bias=bias)
        self.dropout = Dropout(dropout)
        self.narrow = nn.Linear(inner_dim, dim, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, length, dim) -> (batch, length, dim)."""
        # As one list of tokens: torch's linear returns a view for three axes, and writing into a view costs two copies.
        inner = self.widen(x.flatten(0, -2))
        inner = ACTIVATIONS[self.kind](inner)
        result: Tensor = self.narrow(self.dropout(inner))
        return result.view(x.shape)

    if TYPE_CHECKING:
        __call__ = forward


class GatedFeedForward(nn.Module):
    """SwiGLU: one half of the widened input, through SiLU, multiplies the other (Shazeer 2020).

    Args:
        dim: width of input and output.
        inner_dim: width of each half; two thirds of an MLP's gives the same number of parameters.
        kind: "swiglu".
        dropout: probability in [0, 1), after the product, while training.
        bias: whether the projections have one.
    """

    def __init__(
        self, dim: int, inner_dim: int, *, kind: str = "swiglu", dropout: float = 0.0, bias: bool = True
    ) -> None:
        super().__init__()
        self.gate_widen = nn.Linear(dim, 2 * inner_dim, bias=bias)
        self.dropout = Dropout(dropout)
        self.narrow = nn.Linear(inner_dim, dim, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, length, dim) -> (batch, length, dim)."""
        gate, inner = self.gate_widen(x).chunk(2, dim=-1)
        result: Tensor = self.narrow(self.dropout(F.silu(gate) * inner))
        return result

    if TYPE_CHECKING:
        __call__ = forward


FEED_FORWARDS: dict[str, type[FeedForward] | type[GatedFeedForward]] = {
    **dict.fromkeys(ACTIVATIONS, FeedForward),
    "swiglu": GatedFeedForward,
}
