"""Linear layers whose products oneDNN makes, where torch's own library is slow: CPUs with AVX-512 that are not Intel's.

torch multiplies float32 matrices with MKL, which on an AMD EPYC of the fifth generation computes with registers half as
wide as the CPU has; oneDNN, which comes with torch, with the whole. Measured on one core of it, widths from 256 to
2,048: with the five rows of a beam 0.2 to 1.1 of MKL's time, with 64 rows and more 0.4 to 0.55. On a Xeon oneDNN was
slower than MKL with weights as `layout.py` lays them.
"""

import platform
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seq2seq.model.replacing import replace_linear_layers

CPUINFO = Path("/proc/cpuinfo")  # of Linux
FEW_ROWS = 8  # up to here each number of rows has a kernel of its own
PACKED_FOR = 64  # rows; the layout is the same for any number above one, and as fast for that one


class PackedLinear(nn.Linear):
    """A linear layer with a second copy of its weight, in blocks as oneDNN reads them.

    Where gradients are wanted, and in another number format or on another device, it computes with the weight itself. A
    weight that is replaced or written to is packed again; not one that is written to through `.data`, which torch does
    not note.

    Args:
        layer: whose weight and bias it takes over.
    """

    packed: Tensor | None = None
    """The weight for oneDNN; None where that is not for it."""
    stamp: tuple[int, torch.dtype, int] | None = None
    """Of the weight that was packed ..."""
    packed_from: Tensor | None = None
    """... which is kept, so that no other can lie where it did."""

    def __init__(self, layer: nn.Linear) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = layer.in_features, layer.out_features
        self.weight, self.bias = layer.weight, layer.bias
        self._pack()  # now, so that forked processes share it

    def forward(self, x: Tensor) -> Tensor:
        """(..., in_features) -> (..., out_features)."""
        if torch.is_grad_enabled() and (x.requires_grad or self.weight.requires_grad):
            return F.linear(x, self.weight, self.bias)
        return self.of_rows(x.reshape(-1, self.in_features)).view(*x.shape[:-1], self.out_features)

    def of_rows(self, x: Tensor) -> Tensor:
        """(rows, in_features) -> (rows, out_features), for a tensor without gaps; without gradients."""
        # The product with a nonlinearity or a sum behind it in one call is no faster: its setting up takes longer.
        rows, weight = x.shape[0], self.weight
        packed = self.packed if self.stamp == _stamp(weight) else self._pack()
        if packed is None or not rows or x.dtype != torch.float32:
            return F.linear(x, weight, self.bias)
        more = round_up(rows)
        whole = x if more == rows else F.pad(x, (0, 0, 0, more - rows))
        result: Tensor = torch.ops.mkldnn._linear_pointwise(whole, packed, self.bias, "none", [], "")
        return result if more == rows else result[:rows]

    def _pack(self) -> Tensor | None:
        weight, stamp, packed = self.weight.detach(), _stamp(self.weight), None
        if weight.is_cpu and weight.dtype == torch.float32:
            packed = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), PACKED_FOR)
        self.packed, self.packed_from = packed, weight
        self.stamp = stamp  # last: other threads go by it
        return packed

    def __copy__(self) -> "PackedLinear":
        """A twin that shares the packed weight; deep copies and pickles pack theirs when they are used."""
        other = self.__class__.__new__(self.__class__)
        other.__dict__.update(self.__dict__)
        return other

    def __getstate__(self) -> dict[str, Any]:
        """All but the packed weight, which cannot be copied."""
        return {name: value for name, value in self.__dict__.items() if name not in ("packed", "packed_from", "stamp")}

    if TYPE_CHECKING:
        __call__ = forward


def _stamp(weight: Tensor) -> tuple[int, torch.dtype, int]:
    """Another one once the weight has changed: where it lies, its format, how often it was written to."""
    return weight.data_ptr(), weight.dtype, 0 if weight.is_inference() else weight._version


def round_up(rows: int) -> int:
    """The number of rows that a product is made of.

    oneDNN compiles a kernel for each number, which takes as long as dozens of products: so it shall see few numbers.
    """
    if rows <= FEW_ROWS:
        return rows
    step = max(8, 1 << (rows.bit_length() - 4))  # an eighth of the power of two below, at least
    return -(-rows // step) * step


def pack(model: nn.Module) -> None:
    """Put a PackedLinear in the place of every linear layer."""
    replace_linear_layers(model, lambda parent, layer: PackedLinear(layer))


@cache
def onednn_is_faster() -> bool:
    """Whether this machine is of the kind that products by oneDNN are for."""
    return (
        torch.backends.mkl.is_available()  # type: ignore[no-untyped-call]
        and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        and torch.backends.cpu.get_cpu_capability() == "AVX512"
        and _vendor() not in ("", "GenuineIntel")
    )


def _vendor() -> str:
    """What the CPU says of its maker, as `GenuineIntel`; empty where that is not told."""
    try:
        lines = CPUINFO.read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor().rpartition(", ")[2]  # "..., AuthenticAMD" on Windows
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("vendor_id")), "")
