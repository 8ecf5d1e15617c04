"""8-bit linear layers: near the float32 ones, row by row, whatever the input."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from seq2seq.model.feed_forward import GatedFeedForward
from seq2seq.model.quantized import QuantizedLinear, is_quantized, quantize


@pytest.fixture(scope="module")
def layer() -> nn.Linear:
    torch.manual_seed(1)
    return nn.Linear(48, 20)


def as_written(layer: nn.Linear, x: torch.Tensor) -> torch.Tensor:
    """What the 8-bit layer approximates, with both sides rounded as it may round them, in float64."""
    weight = layer.weight.double()
    scales = weight.abs().amax(dim=1, keepdim=True) / 127
    return x.double() @ ((weight / scales).round() * scales).T + (0 if layer.bias is None else layer.bias.double())


@given(seed=st.integers(0, 999), rows=st.integers(1, 6), scale=st.sampled_from([1e-6, 1.0, 1e6]))
def test_each_row_is_as_near_as_its_own_8_bits_allow(layer: nn.Linear, seed: int, rows: int, scale: float) -> None:
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, 48, generator=random) * torch.logspace(0, 3, rows)[:, None] * scale
    found, expected = QuantizedLinear(layer, each_row=True)(x), as_written(layer, x)
    step = 2 * x.abs().amax(dim=1, keepdim=True) / 127  # with one bit less
    most = step / 2 * layer.weight.abs().sum(dim=1) * 1.02 + 1e-5
    assert found.dtype == torch.float32 and ((found - expected).abs() <= most).all()


@given(seed=st.integers(0, 999), rows=st.integers(1, 6), scale=st.sampled_from([1e-6, 1.0, 1e6]))
def test_rows_together_are_as_near_as_the_largest_allows(layer: nn.Linear, seed: int, rows: int, scale: float) -> None:
    x = torch.randn(rows, 48, generator=torch.Generator().manual_seed(seed)) * scale
    most = x.abs().max() / 127 * layer.weight.abs().sum(dim=1) * 1.02 + 1e-5
    assert ((QuantizedLinear(layer)(x) - as_written(layer, x)).abs() <= most).all()


@pytest.mark.parametrize("each_row", [False, True])
def test_rows_of_zeros_give_the_bias(layer: nn.Linear, each_row: bool) -> None:
    x = torch.zeros(2, 3, 48)
    found = QuantizedLinear(layer, each_row=each_row)(x)
    torch.testing.assert_close(found, layer.bias.expand(2, 3, 20), rtol=0, atol=0)
    bare = nn.Linear(48, 20, bias=False)
    assert not QuantizedLinear(bare, each_row=each_row)(x).any()


def test_a_weight_of_zeros(layer: nn.Linear) -> None:
    empty = nn.Linear(48, 20)
    nn.init.zeros_(empty.weight)
    torch.testing.assert_close(QuantizedLinear(empty)(torch.randn(3, 48)), empty.bias.expand(3, 20))


def test_neighbours_change_the_last_bits_only(layer: nn.Linear) -> None:
    quantized, row, giant = QuantizedLinear(layer, each_row=True), torch.randn(1, 48), 1e4 * torch.randn(1, 48)
    alone = quantized(row)
    torch.testing.assert_close(quantized(torch.cat([row, giant]))[:1], alone, rtol=0.02, atol=0.02)


def test_all_linear_layers_of_a_model_are_replaced(layer: nn.Linear) -> None:
    embedding, block = nn.Embedding(20, 48), GatedFeedForward(48, 16)
    model = nn.Sequential(embedding, block, nn.Sequential(nn.Linear(48, 48), nn.ReLU()), layer)
    before = model(torch.arange(20))
    assert not is_quantized(model)
    quantize(model)
    assert is_quantized(model) and not any(type(module) is nn.Linear for module in model.modules())
    assert [module.each_row for module in (block.gate_widen, block.narrow)] == [False, True]
    assert model[0] is embedding and (before - model(torch.arange(20))).abs().max() < 0.05
