"""Kinds of norm, and what a LayerSpec refuses; the layers themselves are held by parity and by the laws."""

import pytest
import torch
from torch import nn

from seq2seq.config import Norm, NormPlacement
from seq2seq.model.layers import NORM_PLACEMENTS, NORMS, DecoderLayer, LayerSpec

SPEC = dict(dim=16, num_heads=4, feed_forward_dim=20)


def test_the_tables_have_the_keys_of_the_settings() -> None:
    assert list(NORMS) == [kind.value for kind in Norm]
    assert list(NORM_PLACEMENTS) == [kind.value for kind in NormPlacement]


def test_rms_norm_by_its_formula() -> None:
    norm = NORMS["rms_norm"](16, bias=True).double()
    with torch.no_grad():
        norm.weight.normal_()
    x = torch.randn(3, 5, 16, dtype=torch.float64, requires_grad=True)
    expected = x / (x.square().mean(-1, keepdim=True) + norm.eps).sqrt() * norm.weight
    torch.testing.assert_close(norm(x), expected)
    torch.testing.assert_close(
        torch.autograd.grad(norm(x).pow(3).sum(), [x, norm.weight]),
        torch.autograd.grad(expected.pow(3).sum(), [x, norm.weight]),
    )


@pytest.mark.parametrize("norm", NORMS)
def test_bias_false_leaves_no_bias_anywhere(norm: str) -> None:
    layer = DecoderLayer(LayerSpec(**SPEC, norm=norm, bias=False))
    assert not [name for name, _ in layer.named_parameters() if name.endswith("bias")]


def test_only_pre_norm_stacks_end_in_a_norm() -> None:
    assert isinstance(LayerSpec(**SPEC, norm_placement="pre").make_final_norm(), nn.LayerNorm)
    assert isinstance(LayerSpec(**SPEC, norm_placement="post").make_final_norm(), nn.Identity)


@pytest.mark.parametrize("name", ["feed_forward", "norm", "norm_placement"])
def test_an_unknown_kind_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=rf"{name} \(other\) must be one of "):
        LayerSpec(**SPEC, **{name: "other"})
