"""Windows and positions of a stack."""

import pytest
import torch

from seq2seq.config import WindowLayers
from seq2seq.model.encoder import WINDOW_LAYERS, Encoder, layer_windows
from seq2seq.model.layers import LayerSpec

SPEC = LayerSpec(dim=16, num_heads=4, feed_forward_dim=20)
LENGTH = 12


def reach(encoder: Encoder) -> torch.Tensor:
    """bool (LENGTH, LENGTH): does output i depend on input j?"""
    x = torch.randn(1, LENGTH, 16, requires_grad=True)
    rows = [torch.autograd.grad(encoder(x)[0, position].square().sum(), x)[0][0] for position in range(LENGTH)]
    return torch.stack(rows).abs().sum(-1) > 0


def distance() -> torch.Tensor:
    return (torch.arange(LENGTH)[:, None] - torch.arange(LENGTH)).abs()


def test_the_kinds_are_those_of_the_setting() -> None:
    assert list(WINDOW_LAYERS) == [kind.value for kind in WindowLayers]


def test_a_window_reaches_that_many_positions_each_side_and_layer() -> None:
    assert (reach(Encoder(SPEC, num_layers=1, window=2)) == (distance() <= 2)).all()
    assert (reach(Encoder(SPEC, num_layers=3, window=2)) == (distance() <= 6)).all()


def test_alternate_layers_see_everything() -> None:
    assert (reach(Encoder(SPEC, num_layers=1, window=2, window_layers="alternate")) == (distance() <= 2)).all()
    assert reach(Encoder(SPEC, num_layers=2, window=2, window_layers="alternate")).all()
    assert layer_windows(5, 3, "alternate") == [3, None, 3, None, 3]
    assert layer_windows(2, 3, "all") == [3, 3]
    assert layer_windows(2, None, "all") == [None, None]


def test_unknown_kinds_are_refused() -> None:
    with pytest.raises(ValueError, match=r"window_layers \(some\) must be one of all, alternate"):
        Encoder(SPEC, num_layers=1, window_layers="some")
    with pytest.raises(ValueError, match=r"positions \(relative\) must be one of sinusoidal, learned, rotary, alibi"):
        Encoder(SPEC, num_layers=1, positions="relative")
