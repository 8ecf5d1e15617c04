"""Norms against their formulas and against torch."""

import pytest
import torch
from torch.nn import functional as F

from seq2seq.config import Norm
from seq2seq.model.norm import NORMS, RMSNorm


def test_the_table_has_the_keys_of_the_setting() -> None:
    assert list(NORMS) == [kind.value for kind in Norm]


@pytest.mark.parametrize("shape", [(3, 5, 16), (7, 16), (0, 5, 16)])
def test_rms_norm_and_its_gradients(shape: tuple[int, ...]) -> None:
    norm = RMSNorm(16).double()
    with torch.no_grad():
        norm.weight.normal_()
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    expected = x / (x.square().mean(-1, keepdim=True) + norm.eps).sqrt() * norm.weight
    torch.testing.assert_close(norm(x), expected)
    torch.testing.assert_close(expected, F.rms_norm(x, (16,), norm.weight, norm.eps))
    torch.testing.assert_close(
        torch.autograd.grad(norm(x).pow(3).sum(), [x, norm.weight]),
        torch.autograd.grad(expected.pow(3).sum(), [x, norm.weight]),
    )


def test_rms_norm_of_zeros_is_zeros() -> None:
    norm = RMSNorm(4)
    x = torch.zeros(2, 4, requires_grad=True)
    y = norm(x)
    y.sum().backward()
    assert (y == 0).all() and x.grad is not None and x.grad.isfinite().all()


def test_rms_norm_of_half_precision_counts_in_the_weights_format() -> None:
    norm, x = RMSNorm(8), torch.randn(3, 8, dtype=torch.bfloat16)
    torch.testing.assert_close(norm(x), norm(x.float()))


def test_layer_norm_is_torchs() -> None:
    norm, x = NORMS["layer_norm"](8, bias=False), torch.randn(3, 8)
    torch.testing.assert_close(norm(x), F.layer_norm(x, (8,)))
    assert norm.bias is None
