"""What torch's compiler does not do by itself on a CPU: a change of the graph before it writes its loops.

Measured for the layers of a small model, these two take 6 % off the time of a compiled layer; without them it is as
fast as one that is not compiled.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx
from torch._inductor.custom_graph_pass import CustomGraphPass, get_hash_for_files

aten = torch.ops.aten


class CpuGraphPass(CustomGraphPass):
    """Rewrites float32 operations on the CPU; others stay as they are.

    - A product with a bias becomes a product and a sum: the sum is fused with what follows, while the product's own
      bias costs a pass over the result beforehand.
    - A sum over all tokens (gradients of biases and norms) becomes a product with ones: the loop that the compiler
      writes for it goes down a strip of columns at a time and misses the cache at every row.
    """

    def __call__(self, graph: fx.Graph) -> None:
        """Rewrite a graph in place."""
        for node in list(graph.nodes):
            if node.op != "call_function" or not _is_float32_on_cpu(node.meta.get("val")):
                continue
            if node.target is aten.addmm.default and not node.kwargs:
                _replace(graph, node, _product_and_sum)
            elif node.target is aten.sum.dim_IntList and not node.kwargs and _sums_tokens(node):
                _replace(graph, node, _product_with_ones)

    def uuid(self) -> bytes:
        """What the compiler's cache knows this pass by."""
        return get_hash_for_files((__file__,))


class _Builder:
    """Adds operations to a graph, each with the shape of its result."""

    def __init__(self, graph: fx.Graph) -> None:
        self.graph = graph

    def __call__(self, operation: Any, *arguments: Any, **keywords: Any) -> fx.Node:
        node = self.graph.call_function(operation, arguments, keywords)
        node.meta["val"] = operation(*fx.map_arg(arguments, _value), **keywords)
        return node


def _replace(graph: fx.Graph, node: fx.Node, build: Callable[[_Builder, fx.Node], fx.Node]) -> None:
    with graph.inserting_before(node), node.meta["val"].fake_mode:
        node.replace_all_uses_with(build(_Builder(graph), node))
    graph.erase_node(node)


def _product_and_sum(add: _Builder, node: fx.Node) -> fx.Node:
    bias, left, right = node.args
    return add(aten.add.Tensor, add(aten.mm.default, left, right), bias)


def _product_with_ones(add: _Builder, node: fx.Node) -> fx.Node:
    x: Any = node.args[0]
    rows = add(aten.reshape.default, x, [-1, _value(x).shape[-1]])
    ones = add(
        aten.full.default, [1, add(aten.sym_size.int, rows, 0)], 1.0, dtype=torch.float32, device=torch.device("cpu")
    )
    return add(aten.reshape.default, add(aten.mm.default, ones, rows), [1] * (node.meta["val"].ndim - 1) + [-1])


def _sums_tokens(node: fx.Node) -> bool:
    x, axes = node.args[:2]
    axis_count = _value(x).ndim
    return axis_count > 1 and list(axes) == list(range(axis_count - 1))  # type: ignore[arg-type]


def _is_float32_on_cpu(value: Any) -> bool:
    return isinstance(value, Tensor) and value.device.type == "cpu" and value.dtype == torch.float32


def _value(node: Any) -> Any:
    """The shape and format of what a node computes."""
    return node.meta["val"]
