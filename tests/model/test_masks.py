"""Masks against their definition, position by position."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from seq2seq.model.masks import padding_mask, self_attention_mask

CPU = torch.device("cpu")


@given(
    query_length=st.integers(1, 6),
    earlier=st.integers(0, 5),
    causal=st.booleans(),
    window=st.none() | st.integers(1, 8),
    lengths=st.none() | st.lists(st.integers(0, 11), min_size=2, max_size=2),
    biased=st.booleans(),
)
def test_self_attention_mask(
    query_length: int, earlier: int, causal: bool, window: int | None, lengths: list[int] | None, biased: bool
) -> None:
    key_length = query_length + earlier
    real = None if lengths is None else torch.arange(key_length) < torch.tensor(lengths)[:, None]
    bias = torch.randn(3, query_length, key_length) if biased else None
    mask, is_causal = self_attention_mask(
        query_length, key_length, causal=causal, window=window, padding=padding_mask(real), bias=bias, device=CPU
    )
    for batch in range(2):
        for query in range(query_length):
            for key in range(key_length):
                position = query + earlier
                allowed = not (causal and key > position)
                allowed &= window is None or abs(position - key) <= window
                allowed &= real is None or bool(real[batch, key])
                if is_causal:
                    assert mask is None and earlier == 0
                    assert allowed == (key <= query)
                elif mask is None:
                    assert allowed
                else:
                    seen = mask.broadcast_to(2, 3, query_length, key_length)[batch, :, query, key]
                    if bias is None:
                        assert (seen == allowed).all()
                    else:
                        assert (seen == (bias[:, query, key] if allowed else float("-inf"))).all()


@pytest.mark.parametrize("length", [1, 5])
def test_no_mask_is_made_where_none_is_needed(length: int) -> None:
    settings = dict(bias=None, padding=None, device=CPU)
    assert self_attention_mask(length, length, causal=False, **settings) == (None, False)
    assert self_attention_mask(length, length, causal=True, **settings) == (None, length > 1)
    assert self_attention_mask(1, length, causal=True, **settings) == (None, False)  # a decoding step
    assert self_attention_mask(1, length, causal=True, window=length - 1, **settings) == (None, False)
    assert padding_mask(None) is None
