"""Muon for the matrices of the layers, AdamW for everything else.

Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks": the momentum of a matrix, USV^T, is
replaced by about UV^T, so that all its directions are learned at the same speed.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from seq2seq.model.attention import MultiHeadAttention
from seq2seq.model.feed_forward import GatedFeedForward

Coefficients = Sequence[tuple[float, float, float]]
"""a, b, c of each step x <- a x + b (x x^T) x + c (x x^T)^2 x."""

FIRST_STEP = {
    2: (6.699793, -16.807712, 11.079033),
    3: (7.706491, -20.398925, 13.665701),
    4: (8.005679, -21.469739, 14.438101),
    5: (8.083160, -21.747260, 14.638350),
}
"""By the number of steps."""
LATER_STEPS = [
    (4.013270, -2.704752, 0.457100),
    (3.893861, -2.631351, 0.450040),
    (3.491672, -2.379166, 0.425954),
    (2.620426, -1.794261, 0.372055),
]
"""The last of them as many as needed."""
SMALLEST = {2: 0.0424, 3: 0.0106, 4: 0.00261, 5: 0.000643}
"""The smallest singular value, over the largest, that so many steps bring to between 0.7 and 1.3."""


def minimax(steps: int) -> Coefficients:
    """Coefficients that raise small singular values fast: four steps do nearly what the five of Jordan et al. do.

    Each step's polynomial is the one nearest to 1 over the interval that the step before leaves (Amsel et al. 2025,
    "The Polar Express", section 3), from [SMALLEST[steps], 1] to [0.7, 1.3]. Every interval is taken 5 % longer at its
    upper end, because beyond it the iteration explodes, and bfloat16 rounds.
    """
    return [FIRST_STEP[steps], *LATER_STEPS[1 - steps :]]


def orthogonalised(matrices: Tensor, coefficients: Coefficients) -> Tensor:
    """About UV^T of each matrix USV^T, by Newton-Schulz iteration.

    Args:
        matrices: (matrices, rows, columns); costs least with rows at most columns.
        coefficients: of the steps, for singular values of at most 1.

    Returns:
        The same shape. A matrix of zeros stays one.
    """
    norm = torch.linalg.matrix_norm(matrices, keepdim=True)
    x: Tensor = matrices / norm.clamp(min=torch.finfo(matrices.dtype).tiny)
    gram = x @ x.mT
    # (sum of S^4)^(1/4) bounds the largest singular value more closely than (sum of S^2)^(1/2), here 1, and is at hand.
    bound = torch.linalg.matrix_norm(gram, keepdim=True).sqrt().clamp(min=0.01)  # only zeros have less
    x, gram = x / bound, gram / bound**2
    for step, (a, b, c) in enumerate(coefficients):
        if step:
            gram = x @ x.mT
        polynomial = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        polynomial.diagonal(dim1=-2, dim2=-1).add_(a)
        x = polynomial @ x
    return x


def matrices_of(model: nn.Module) -> dict[Tensor, list[int]]:
    """The weights of linear layers, except the head, with the rows of each matrix that was put into it.

    Query, key and value, or gate and input, are made in one product, but they are matrices of their own.
    """
    found: dict[Tensor, list[int]] = {}
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and name != "head":
            found.setdefault(module.weight, [module.out_features])
        elif isinstance(module, MultiHeadAttention):
            sizes = [part.shape[0] for part in module.input_projections()]
            if module.cross:
                found[module.key_value.weight] = sizes[1:]
            else:
                found[module.query_key_value.weight] = sizes
        elif isinstance(module, GatedFeedForward):
            found[module.gate_widen.weight] = [module.gate_widen.out_features // 2] * 2
    return found


class Muon(torch.optim.Optimizer):
    """Muon for some matrices and another optimiser for the rest, as one optimiser.

    Args:
        matrices: parameters (rows, columns), and the rows of each of the matrices that one is made of.
        others: the optimiser of all other parameters; its groups and state are this one's too.
        lr: learning rate.
        momentum: decay of the moving average of gradients, in [0, 1); Nesterov's.
        weight_decay: share of the weights, times lr, that each step takes away (Loshchilov & Hutter 2019).
        update_size: root mean square of an update over lr (Liu et al. 2025, "Muon is Scalable for LLM Training",
            section 2.2, who take 0.2).
        steps: of the iteration; a key of SMALLEST.

    Attributes:
        found_inf: () float that a caller may set, as on torch's fused optimisers: if not 0, a step changes no weight
            and no moment. It is not waited for where it is on another device.
        grad_scale: () float that a caller may set likewise: what gradients are to be divided by.
    """

    def __init__(
        self,
        matrices: Mapping[Tensor, Sequence[int]],
        others: torch.optim.Optimizer,
        *,
        lr: float,
        momentum: float,
        weight_decay: float,
        update_size: float,
        steps: int,
    ) -> None:
        settings = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay}
        super().__init__([{"params": list(matrices)}], settings | {"update_size": update_size, "steps": steps})
        self.matrices, self.others = matrices, others
        self.param_groups += others.param_groups
        others.state = self.state
        # What tells a gradient scaler and `OptimizerStep` to hand found_inf over instead of waiting for it. On a CPU
        # there is nothing to wait for, and a step that is left out altogether costs less.
        on_gpu = all(matrix.device.type == "cuda" for matrix in matrices)
        self._step_supports_amp_scaling = on_gpu and getattr(others, "_step_supports_amp_scaling", False)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.others.param_groups, self.others.state = self.param_groups[1:], self.state

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient."""
        found_inf: Tensor | None = getattr(self, "found_inf", None)
        grad_scale: Tensor | None = getattr(self, "grad_scale", None)
        vars(self.others).update(found_inf=found_inf, grad_scale=grad_scale)
        self.others.step()
        settings = self.param_groups[0]
        weights = [weight for weight in settings["params"] if weight.grad is not None]
        gradients = [weight.grad for weight in weights]
        for weight in weights:
            if not self.state[weight]:
                self.state[weight]["momentum"] = torch.zeros_like(weight)
        momenta = [self.state[weight]["momentum"] for weight in weights]
        if grad_scale is not None:
            gradients = list(torch._foreach_div(gradients, grad_scale))
        kept: float | Tensor = 1 - settings["lr"] * settings["weight_decay"]
        skipped = None if found_inf is None else found_inf.bool()
        if skipped is not None:
            # A gradient that is the momentum moves it by exactly nothing, and gives a direction that is finite.
            gradients = [torch.where(skipped, *pair) for pair in zip(momenta, gradients, strict=True)]
            kept = torch.where(skipped, 1.0, kept)
        torch._foreach_lerp_(momenta, gradients, 1 - settings["momentum"])
        torch._foreach_mul_(weights, kept)
        self._add_orthogonalised(weights, torch._foreach_lerp(gradients, momenta, settings["momentum"]), skipped)

    def _add_orthogonalised(
        self, weights: Sequence[Tensor], directions: Sequence[Tensor], skipped: Tensor | None
    ) -> None:
        """Go downhill by the orthogonalised directions; matrices of one shape, lying or standing, are one batch."""
        settings = self.param_groups[0]
        batches: dict[torch.Size, list[tuple[Tensor, Tensor]]] = defaultdict(list)
        for weight, direction in zip(weights, directions, strict=True):
            rows = list(self.matrices[weight])
            for pair in zip(torch.split(weight.detach(), rows), torch.split(direction, rows), strict=True):
                lying = pair if pair[0].shape[0] <= pair[0].shape[1] else (pair[0].mT, pair[1].mT)
                batches[lying[0].shape].append(lying)
        for shape, pairs in batches.items():
            parts, matrices = zip(*pairs, strict=True)
            stacked = torch.stack(matrices)
            turned = orthogonalised(stacked.to(_number_format(stacked)), minimax(settings["steps"]))
            if skipped is not None:
                turned = torch.where(skipped, 0.0, turned)
            size = settings["update_size"] * math.sqrt(shape[1])
            torch._foreach_add_(parts, turned.to(stacked.dtype).unbind(), alpha=-settings["lr"] * size)


def _number_format(matrices: Tensor) -> torch.dtype:
    """bfloat16 where it is fast and the iteration bears it; not on CPUs, many of which only emulate it."""
    return torch.bfloat16 if matrices.device.type == "cuda" and matrices.dtype == torch.float32 else matrices.dtype
