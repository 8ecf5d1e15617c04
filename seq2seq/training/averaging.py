"""Averages of weights: over time while training (EMA), and over checkpoints at the end."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from seq2seq.training.parallel import shard

Weights = Mapping[str, Tensor]


class ExponentialMovingAverage:
    """Running average of weights, average <- decay * average + (1 - decay) * weights after each step.

    Early on the decay is min(decay, (1 + steps) / (10 + steps)), so that the random start is soon forgotten.

    Args:
        weights: the starting point; copied.
        decay: between 0 and 1.
    """

    def __init__(self, weights: Weights, *, decay: float) -> None:
        self.decay = decay
        self.weights = {name: tensor.clone() for name, tensor in weights.items()}

    @torch.no_grad()
    def update(self, weights: Weights, *, step: int, skipped: Tensor | None = None) -> None:
        """Take in the weights after optimiser step `step` (1 for the first).

        Args:
            weights: of the model.
            step: steps done.
            skipped: () bool, True when the step left the weights alone; then the average stays too. Not waited for
                where it is on another device.
        """
        share = 1 - min(self.decay, (1 + step) / (10 + step))
        if skipped is not None and skipped.device.type == "cpu":
            if skipped:
                return
            skipped = None
        names = [name for name, tensor in self.weights.items() if tensor.is_floating_point()]
        shares = share if skipped is None else [share * ~skipped] * len(names)
        averages, trained = ([shard(tensors[name]) for name in names] for tensors in (self.weights, weights))
        torch._foreach_lerp_(averages, trained, shares)
        for name in self.weights.keys() - set(names):
            self.weights[name].copy_(weights[name])


def mean_weights(checkpoints: Iterable[Weights]) -> dict[str, Tensor]:
    """The mean of several checkpoints' weights, added up in float64 (Vaswani et al. 2017, section 6.1).

    Args:
        checkpoints: the same names and shapes in each; at least one. Read one at a time.

    Raises:
        ValueError: there are none, or one has other names than the first.
    """
    sums: dict[str, Tensor] = {}
    types: dict[str, torch.dtype] = {}
    count = 0
    for weights in checkpoints:
        count += 1
        if sums and weights.keys() != sums.keys():
            raise ValueError(f"checkpoint {count} to average has other names of weights than the first")
        for name, tensor in weights.items():
            types[name] = tensor.dtype
            sums[name] = tensor.double() + sums[name] if name in sums else tensor.double()
    if not count:
        raise ValueError("no checkpoints to average")
    return {name: (total / count).to(types[name]) for name, total in sums.items()}
