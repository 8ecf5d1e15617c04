"""How fast this machine multiplies matrices of the sizes that a model's training step has."""

import statistics
import time
from collections import Counter
from collections.abc import Mapping

import torch

from speed.shapes import Shape, linear_products


def gemm_speed(shape: Shape, rows: Mapping[str, int], *, repeats: int = 3) -> float:
    """Multiply-adds a second of the products of a training step in float32, nothing else done between them.

    Each product of the model with its weights is run alone, with its output allocated: forward, and the gradients of
    its input and of its weight. A size counts as often as it occurs in the model; its time is the median.

    Args:
        shape: of the model.
        rows: how many rows a typical batch has: source, target, predicted.
        repeats: of each product.
    """
    sizes: Counter[tuple[int, int, int]] = Counter()
    for product in linear_products(shape):
        sizes[rows[product.rows], product.inner, product.outer] += product.count
    seconds, work = 0.0, 0
    for (height, inner, outer), count in sizes.items():
        left, weight = torch.randn(height, inner), torch.randn(outer, inner)
        out, gradient = torch.empty(height, outer), torch.randn(height, outer)
        left_gradient, weight_gradient = torch.empty_like(left), torch.empty_like(weight)
        for first, second, result in (
            (left, weight.t(), out),
            (gradient, weight, left_gradient),
            (gradient.t(), left, weight_gradient),
        ):
            times = []
            for _ in range(repeats + 1):
                start = time.perf_counter()
                torch.mm(first, second, out=result)
                times.append(time.perf_counter() - start)
            seconds += count * statistics.median(times[1:])  # the first touches new memory
            work += count * height * inner * outer
    return work / seconds
