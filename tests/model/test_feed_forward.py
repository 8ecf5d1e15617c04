"""Feed-forward kinds against their formulas."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from seq2seq.config import FeedForward as Kind
from seq2seq.model.feed_forward import FEED_FORWARDS, FeedForward, GatedFeedForward


def test_the_table_has_the_keys_of_the_setting() -> None:
    assert list(FEED_FORWARDS) == [kind.value for kind in Kind]


@pytest.mark.parametrize(
    ("kind", "activation"),
    [
        ("relu", lambda x: x.clamp(min=0)),
        ("gelu", lambda x: 0.5 * x * (1 + torch.erf(x / 2**0.5))),
        ("gelu_tanh", lambda x: 0.5 * x * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (x + 0.044715 * x**3)))),
        ("silu", lambda x: x / (1 + torch.exp(-x))),
    ],
)
def test_mlp(kind: str, activation: Callable[[Tensor], Tensor]) -> None:
    block = FeedForward(6, 10, kind=kind).double()
    x = torch.randn(2, 3, 6, dtype=torch.float64, requires_grad=True)
    expected = F.linear(
        activation(F.linear(x, block.widen.weight, block.widen.bias)), block.narrow.weight, block.narrow.bias
    )
    torch.testing.assert_close(block(x), expected)
    parameters = [x, *block.parameters()]
    torch.testing.assert_close(
        torch.autograd.grad(block(x).square().sum(), parameters),
        torch.autograd.grad(expected.square().sum(), parameters),
    )


def test_swiglu() -> None:
    block = GatedFeedForward(6, 10, bias=False).double()
    x = torch.randn(2, 3, 6, dtype=torch.float64, requires_grad=True)
    gate, inner = block.gate_widen.weight[:10], block.gate_widen.weight[10:]
    expected = ((x @ gate.T) * torch.sigmoid(x @ gate.T) * (x @ inner.T)) @ block.narrow.weight.T
    torch.testing.assert_close(block(x), expected)
    parameters = [x, *block.parameters()]
    torch.testing.assert_close(
        torch.autograd.grad(block(x).square().sum(), parameters),
        torch.autograd.grad(expected.square().sum(), parameters),
    )


@pytest.mark.parametrize("kind", list(FEED_FORWARDS))
def test_dropout_acts_inside(kind: str) -> None:
    block = FEED_FORWARDS[kind](4, 8, kind=kind, dropout=0.5)
    x = torch.randn(5, 3, 4)
    assert not torch.allclose(block(x), block(x))
    block.eval()
    torch.testing.assert_close(block(x), block(x), rtol=0, atol=0)
