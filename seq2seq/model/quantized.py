"""Linear layers whose products are made of 8-bit whole numbers: a CPU makes them several times as fast.

Each row of a weight has a scale, fixed when the model is loaded; the input has one when it comes ("dynamic
quantization"; Jacob et al. 2018, "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
Inference"). What feed-forward blocks narrow gets a scale for each row: nothing evens these rows out before, and the few
large numbers of some would coarsen all others (with SwiGLU that cost 0.007 nats a token on Multi30k; now it is 0.000).
"""

import warnings
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from seq2seq.model.feed_forward import FeedForward, GatedFeedForward
from seq2seq.model.replacing import replace_linear_layers

LEVELS = 127  # of a weight, each side of 0


class QuantizedLinear(nn.Module):
    """A linear layer with an 8-bit weight, by torch's own kernels.

    The numbers of a row depend, in their last bits, on the rows beside it.

    Args:
        layer: what it stands in for; on a CPU, in float32.
        each_row: whether each row of the input gets a scale of its own.
    """

    def __init__(self, layer: nn.Linear, *, each_row: bool = False) -> None:
        super().__init__()
        self.each_row = each_row
        self.in_features, self.out_features = layer.in_features, layer.out_features
        weight = layer.weight.detach().contiguous()
        scales = (weight.abs().amax(dim=1) / LEVELS).clamp_(min=torch.finfo(weight.dtype).tiny)
        with warnings.catch_warnings():  # torch means to make such tensors otherwise one day
            warnings.filterwarnings("ignore", message=".*quantized tensor creation functions.*")
            zeros = torch.zeros(self.out_features, dtype=torch.int64)
            quantized = torch.quantize_per_channel(weight, scales, zeros, 0, torch.qint8)
        self.bias = None if layer.bias is None else layer.bias.detach()
        self.packed = torch.ops.quantized.linear_prepack(quantized, None if each_row else self.bias)
        # Without the VNNI instructions two products of 8 bits each may overflow what adds them up.
        self.one_bit_less = not torch.cpu._is_vnni_supported()

    def forward(self, x: Tensor) -> Tensor:
        """(..., in_features) -> (..., out_features), in float32."""
        result: Tensor
        if not self.each_row:
            result = torch.ops.quantized.linear_dynamic(x, self.packed, self.one_bit_less)
            return result
        largest = x.abs().amax(dim=-1, keepdim=True).clamp_(min=torch.finfo(x.dtype).tiny)
        result = torch.ops.quantized.linear_dynamic(x / largest, self.packed, self.one_bit_less)
        return result.mul_(largest) if self.bias is None else torch.addcmul(self.bias, result, largest)

    def extra_repr(self) -> str:
        """The shape, for print(model)."""
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"

    if TYPE_CHECKING:
        __call__ = forward


def quantize(model: nn.Module) -> None:
    """Put a QuantizedLinear in the place of every linear layer; embeddings keep their float32 numbers.

    Args:
        model: on a CPU, in float32; it can no longer be trained.
    """

    def quantized(parent: nn.Module, layer: nn.Linear) -> QuantizedLinear:
        each_row = isinstance(parent, FeedForward | GatedFeedForward) and layer is parent.narrow
        return QuantizedLinear(layer, each_row=each_row)

    replace_linear_layers(model, quantized)


def is_quantized(model: nn.Module) -> bool:
    """Whether any layer is."""
    return any(isinstance(module, QuantizedLinear) for module in model.modules())
