"""Position kinds against their formulas."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from seq2seq.config import Positions as PositionsKind
from seq2seq.model.positions import (
    POSITIONS,
    ALiBi,
    Learned,
    Positions,
    Rotary,
    Sinusoidal,
    alibi_slopes,
    rotate,
)

SHAPE = dict(num_heads=2, max_length=8)


def test_the_table_has_the_keys_of_the_setting() -> None:
    assert list(POSITIONS) == [kind.value for kind in PositionsKind]


def test_sinusoidal_is_the_papers_formula_in_halves() -> None:
    dim, start = 6, 20  # beyond max_length: the table grows
    added = Sinusoidal(dim, **SHAPE)(torch.zeros(1, 4, dim), start=start)[0]
    for offset in range(4):
        for wave in range(dim // 2):
            angle = (start + offset) / 10000 ** (2 * wave / dim)
            assert added[offset, wave] == pytest.approx(math.sin(angle), abs=1e-6)
            assert added[offset, dim // 2 + wave] == pytest.approx(math.cos(angle), abs=1e-6)


def test_learned_adds_its_rows() -> None:
    positions = Learned(4, **SHAPE)
    torch.testing.assert_close(positions(torch.ones(2, 3, 4), start=5), (1 + positions.weight[5:8]).expand(2, 3, 4))
    with pytest.raises(ValueError, match=r"9 positions, .* holds 8 \(max_length\)"):
        positions(torch.ones(2, 3, 4), start=6)


@given(shift=st.integers(0, 50), distance=st.integers(0, 20))
def test_rotary_scores_depend_on_the_distance_alone(shift: int, distance: int) -> None:
    positions = Rotary(12, **SHAPE).double()
    generator = torch.Generator().manual_seed(0)
    query, key = torch.randn(2, 1, 1, 2, 6, generator=generator, dtype=torch.float64)

    def score(query_position: int, key_position: int) -> torch.Tensor:
        turned_query = rotate(query, positions.rotation(1, start=query_position))
        turned_key = rotate(key, positions.rotation(1, start=key_position))
        return (turned_query * turned_key).sum(-1)

    torch.testing.assert_close(score(shift + distance, shift), score(distance, 0), rtol=0, atol=1e-5)
    torch.testing.assert_close(score(shift, shift), (query * key).sum(-1), rtol=0, atol=1e-5)


def test_rotary_turns_the_pair_of_i_and_i_plus_half_a_head() -> None:
    x = torch.zeros(1, 3, 1, 4)
    x[..., 1] = 1.0
    turned = rotate(x, Rotary(4, num_heads=1, max_length=2).rotation(3))
    for position in range(3):
        angle = position / 10000 ** (2 / 4)
        expected = torch.tensor([0, math.cos(angle), 0, math.sin(angle)])
        torch.testing.assert_close(turned[0, position, 0], expected)


def test_alibi_lowers_scores_by_slope_times_distance() -> None:
    bias = ALiBi(8, **SHAPE).bias(2, 5)  # queries at positions 3 and 4
    assert bias.shape == (2, 2, 5)
    for head, slope in enumerate([2**-4, 2**-8]):
        torch.testing.assert_close(bias[head, 0], -slope * torch.tensor([3.0, 2.0, 1.0, 0.0, 1.0]))
        torch.testing.assert_close(bias[head, 1], -slope * torch.tensor([4.0, 3.0, 2.0, 1.0, 0.0]))


def test_alibi_slopes_are_the_papers() -> None:
    assert alibi_slopes(8) == [2.0**-power for power in range(1, 9)]
    assert alibi_slopes(1) == [2.0**-8]
    # 6 heads: those of 4, then every other one of 8 (the authors' get_slopes).
    assert alibi_slopes(6) == [2.0**-2, 2.0**-4, 2.0**-6, 2.0**-8, 2.0**-1, 2.0**-3]


def test_the_base_class_is_no_position() -> None:
    none = Positions(8, **SHAPE)
    x = torch.randn(1, 3, 8)
    assert none(x, start=4) is x and none.rotation(3) is None and none.bias(3, 3) is None


def test_impossible_widths_are_refused() -> None:
    with pytest.raises(ValueError, match="sinusoidal positions need an even dim, not 7"):
        Sinusoidal(7, num_heads=1, max_length=8)
    with pytest.raises(ValueError, match="a head has 3"):
        Rotary(12, num_heads=4, max_length=8)


@pytest.mark.parametrize("kind", [Sinusoidal, Rotary, ALiBi])
def test_fixed_tables_are_not_saved(kind: type[Positions]) -> None:
    assert kind(8, **SHAPE).state_dict() == {}


@pytest.mark.parametrize("kind", ["sinusoidal", "rotary"])
def test_a_table_that_grew_while_decoding_serves_training(kind: str) -> None:
    positions = POSITIONS[kind](8, num_heads=2, max_length=4)
    x = torch.randn(1, 3, 2, 4, requires_grad=True)
    with torch.inference_mode():
        positions(torch.randn(1, 9, 8))
        positions.rotation(9)
    rotation = positions.rotation(3, start=5)
    turned = x if rotation is None else rotate(x, rotation)
    (turned.flatten(2) + positions(torch.zeros(1, 3, 8), start=5)).square().sum().backward()
    assert x.grad is not None and x.grad.abs().sum() > 0
