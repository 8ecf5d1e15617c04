"""The rewritten graph computes the same, without the operations that are slow on a CPU."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx

from seq2seq.training.graph_passes import CpuGraphPass

aten = torch.ops.aten


def traced(function: Callable[..., Tensor], *tensors: Tensor) -> tuple[GraphModule, set[object]]:
    """A function as a graph, rewritten, and the operations in it."""
    module = make_fx(function, tracing_mode="fake")(*tensors)
    CpuGraphPass()(module.graph)
    module.graph.lint()
    module.recompile()
    return module, {node.target for node in module.graph.nodes}


def test_a_bias_is_added_after_the_product() -> None:
    x, weight, bias = torch.randn(6, 5), torch.randn(5, 7), torch.randn(7)
    module, operations = traced(lambda x, weight, bias: aten.addmm(bias, x, weight).relu(), x, weight, bias)
    assert aten.mm.default in operations and aten.addmm.default not in operations
    torch.testing.assert_close(module(x, weight, bias), torch.addmm(bias, x, weight).relu())


@pytest.mark.parametrize("keepdim", [False, True])
@pytest.mark.parametrize("shape", [(6, 5), (3, 4, 5)])
def test_a_sum_over_tokens_is_a_product(shape: tuple[int, ...], keepdim: bool) -> None:
    axes = list(range(len(shape) - 1))
    module, operations = traced(lambda x: aten.sum(x, axes, keepdim), torch.randn(shape))
    assert aten.mm.default in operations and aten.sum.dim_IntList not in operations
    for rows in (shape[0], 9):  # the lengths stay open
        x = torch.randn(rows, *shape[1:])
        torch.testing.assert_close(module(x), x.sum(axes, keepdim))


@pytest.mark.parametrize(
    "function",
    [
        lambda x: aten.sum(x, [1]),
        lambda x: aten.sum(x.bfloat16(), [0]),
        lambda x: aten.sum(x, [0], dtype=torch.float64),
        lambda x: aten.addmm(x[0], x.double().float(), x.T.contiguous() @ x, beta=2),
    ],
    ids=["another axis", "bfloat16", "in float64", "a scaled bias"],
)
def test_other_operations_stay(function: Callable[..., Tensor]) -> None:
    x = torch.randn(6, 5)
    module, operations = traced(function, x)
    assert operations & {aten.sum.dim_IntList, aten.addmm.default}
    torch.testing.assert_close(module(x), function(x))
