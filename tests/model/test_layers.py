"""What a LayerSpec makes and refuses; the layers themselves are held by parity and by the laws."""

import pytest
from torch import nn

from seq2seq.config import NormPlacement
from seq2seq.model.layers import NORM_PLACEMENTS, DecoderLayer, LayerSpec
from seq2seq.model.norm import NORMS

SPEC = dict(dim=16, num_heads=4, feed_forward_dim=20)


def test_the_placements_are_those_of_the_setting() -> None:
    assert list(NORM_PLACEMENTS) == [kind.value for kind in NormPlacement]


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
