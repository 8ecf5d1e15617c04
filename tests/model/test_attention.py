"""scaled_dot_product and MultiHeadAttention beside what the laws in test_transformer.py and the parity tests show."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from seq2seq.model.attention import MultiHeadAttention, scaled_dot_product

BATCH, HEADS, QUERIES, KEYS, HEAD_DIM = 2, 4, 3, 5, 6


def tensors(kv_heads: int, keys: int = KEYS) -> tuple[Tensor, Tensor, Tensor]:
    query = torch.randn(BATCH, HEADS, QUERIES, HEAD_DIM, dtype=torch.float64, requires_grad=True)
    key = torch.randn(BATCH, kv_heads, keys, HEAD_DIM, dtype=torch.float64, requires_grad=True)
    value = torch.randn(BATCH, kv_heads, keys, HEAD_DIM, dtype=torch.float64, requires_grad=True)
    return query, key, value


def by_definition(query: Tensor, key: Tensor, value: Tensor, allowed: Tensor) -> Tensor:
    """One query at a time: softmax over the keys it may attend to; zeros when there is none."""
    output = torch.zeros_like(query)
    for batch in range(BATCH):
        for head in range(HEADS):
            kv_head = head * key.shape[1] // HEADS
            for position in range(QUERIES):
                keys = allowed[batch, head, position].nonzero()[:, 0]
                scores = key[batch, kv_head, keys] @ query[batch, head, position] / HEAD_DIM**0.5
                output[batch, head, position] = scores.softmax(0) @ value[batch, kv_head, keys]
    return output


@given(
    kv_heads=st.sampled_from([1, 2, 4]),
    explicit=st.booleans(),
    as_float=st.booleans(),
    allowed=st.lists(st.booleans(), min_size=BATCH * QUERIES * KEYS, max_size=BATCH * QUERIES * KEYS),
)
def test_masks_by_definition_and_zeros_for_nothing(
    kv_heads: int, explicit: bool, as_float: bool, allowed: list[bool]
) -> None:
    torch.manual_seed(0)
    query, key, value = tensors(kv_heads)
    mask = torch.tensor(allowed).view(BATCH, 1, QUERIES, KEYS)
    given_mask = torch.zeros(mask.shape, dtype=torch.float64).masked_fill(~mask, float("-inf")) if as_float else mask
    output = scaled_dot_product(query, key, value, attention_mask=given_mask, explicit=explicit)
    expected = by_definition(query, key, value, mask.expand(-1, HEADS, -1, -1))
    torch.testing.assert_close(output, expected.detach(), rtol=0, atol=1e-12)
    gradients = torch.autograd.grad(output.sum(), [query, key, value])
    assert all(gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize("explicit", [True, False])
@pytest.mark.parametrize("kv_heads", [1, 2, 4])
def test_causal_flag_by_definition(explicit: bool, kv_heads: int) -> None:
    query, key, value = tensors(kv_heads, keys=QUERIES)
    allowed = torch.ones(QUERIES, QUERIES, dtype=torch.bool).tril().expand(BATCH, HEADS, -1, -1)
    output = scaled_dot_product(query, key, value, is_causal=True, explicit=explicit)
    torch.testing.assert_close(output, by_definition(query, key, value, allowed), rtol=0, atol=1e-12)


def test_a_watcher_gets_the_weights_and_changes_nothing() -> None:
    query, key, value = tensors(2)
    seen: list[Tensor] = []
    output = scaled_dot_product(query, key, value, watch=seen.append)
    torch.testing.assert_close(output, scaled_dot_product(query, key, value), rtol=0, atol=1e-12)
    (weights,) = seen
    assert weights.shape == (BATCH, HEADS, QUERIES, KEYS)
    torch.testing.assert_close(weights.sum(-1), torch.ones(BATCH, HEADS, QUERIES, dtype=torch.float64))


def test_dropout_loses_weights_and_keeps_the_expectation() -> None:
    query, key, _ = tensors(4)
    torch.manual_seed(1)
    ones = torch.ones(BATCH, 4, KEYS, 1, dtype=torch.float64)
    totals = torch.stack([scaled_dot_product(query, key, ones, dropout=0.4) for _ in range(500)])
    assert totals.std() > 0.1
    assert totals.mean().item() == pytest.approx(1.0, abs=0.02)


def test_beams_share_one_memory() -> None:
    attention = MultiHeadAttention(16, num_heads=4, num_kv_heads=2, cross=True).double()
    memory, x = torch.randn(2, 5, 16, dtype=torch.float64), torch.randn(6, 2, 16, dtype=torch.float64)
    mask = (torch.arange(5) < torch.tensor([[5], [3]]))[:, None, None, :]
    shared = attention(x, memory, attention_mask=mask)
    copied = attention(x, memory.repeat_interleave(3, 0), attention_mask=mask.repeat_interleave(3, 0))
    torch.testing.assert_close(shared, copied)


@pytest.mark.parametrize("cross", [True, False])
def test_parameters_are_those_of_the_fused_products(cross: bool) -> None:
    attention = MultiHeadAttention(16, num_heads=4, num_kv_heads=2, cross=cross, bias=False)
    shapes = {name: tuple(parameter.shape) for name, parameter in attention.named_parameters()}
    inputs = {"query.weight": (16, 16), "key_value.weight": (16, 16)} if cross else {"query_key_value.weight": (32, 16)}
    assert shapes == {**inputs, "output.weight": (16, 16)}
    assert [tuple(part.shape) for part in attention.input_projections()] == [(16, 16), (8, 16), (8, 16)]


def test_impossible_numbers_of_heads_are_refused() -> None:
    with pytest.raises(ValueError, match=r"dim \(10\) must be a multiple of num_heads \(4\)"):
        MultiHeadAttention(10, num_heads=4)
    with pytest.raises(ValueError, match=r"num_heads \(4\) must be a multiple of num_kv_heads \(3\)"):
        MultiHeadAttention(8, num_heads=4, num_kv_heads=3)
    with pytest.raises(ValueError, match=r"num_kv_heads \(0\)"):
        MultiHeadAttention(8, num_heads=4, num_kv_heads=0)
