"""How weights lie in memory while a model is used, not trained."""

import torch
from torch import nn

from seq2seq.model.packed import onednn_is_faster, pack


@torch.no_grad()
def for_few_rows(model: nn.Module) -> None:
    """Lay out the matrices of linear layers so that products with few rows are fast on a CPU; numbers stay.

    Where oneDNN is the faster library for them (see packed.py), layers get a copy in its own layout. Elsewhere a weight
    then lies as (in, out) in memory, the order in which a product reads it, and need not be rearranged. (Measured on
    one core of a Xeon, width 256, float32: with the five rows of a beam products take 0.6 to 0.8 of the time, with 64
    rows 0.7 to 0.9, with 320 rows about as long.) A weight that is shared with an embedding gets a copy: looking up
    rows needs them as they were.

    Args:
        model: on a CPU; it can no longer be trained as one whose weights are shared.
    """
    if onednn_is_faster() and all(weight.dtype == torch.float32 for weight in model.parameters()):
        pack(model)
        return
    embedded = {id(layer.weight) for layer in model.modules() if isinstance(layer, nn.Embedding)}
    for layer in model.modules():
        if isinstance(layer, nn.Linear):
            weight = layer.weight.t().contiguous().t()
            if id(layer.weight) in embedded:
                layer.weight = nn.Parameter(weight, requires_grad=False)
            else:
                layer.weight.data = weight
