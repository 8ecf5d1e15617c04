"""Attention: one function that weighs values, and one module for its every use."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seq2seq.model.dropout import dropout as drop
from seq2seq.model.positions import Rotation, rotate
from seq2seq.model.state import KeyValue, KeyValueCache


def scaled_dot_product(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    attention_mask: Tensor | None = None,
    is_causal: bool = False,
    dropout: float = 0.0,
    explicit: bool = False,
    watch: Callable[[Tensor], None] | None = None,
) -> Tensor:
    """Values averaged by how well their keys match each query (Vaswani et al. 2017, section 3.2.1).

    A query that may attend to nothing gets zeros. The fused kernel and the explicit softmax agree to rounding.

    Args:
        query: (batch, heads, query_length, head_dim)
        key: (batch, kv_heads, key_length, head_dim); heads is a multiple of kv_heads.
        value: (batch, kv_heads, key_length, head_dim)
        attention_mask: bool, True = may attend, or float, added to the scores; broadcastable to
            (batch, heads, query_length, key_length). None forbids nothing.
        is_causal: query i sees keys up to i; instead of a mask.
        dropout: probability in [0, 1) of losing a weight; pass 0 when not training.
        explicit: compute the weights openly instead of with the fused kernel.
        watch: called with the weights (batch, heads, query_length, key_length); implies explicit.

    Returns:
        (batch, heads, query_length, head_dim)
    """
    if attention_mask is not None and attention_mask.is_floating_point():
        attention_mask = attention_mask.to(query.dtype)
    # torch's fused CPU kernel knows no dropout; its stand-in draws the slow masks that seq2seq.model.dropout avoids.
    if explicit or watch is not None or (dropout > 0 and query.device.type == "cpu"):
        return _explicit(query, key, value, attention_mask, is_causal, dropout, watch)
    grouped = key.shape[1] != query.shape[1]
    if grouped and attention_mask is not None and query.device.type != "cpu":
        # With a mask only CUDA's slow stand-in takes grouped heads as they are; the fused kernel wants them repeated.
        key, value, grouped = _repeat_heads(key, query), _repeat_heads(value, query), False
    return F.scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=attention_mask,
        dropout_p=dropout,
        is_causal=is_causal,
        enable_gqa=grouped,
    )


def _explicit(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    is_causal: bool,
    dropout: float,
    watch: Callable[[Tensor], None] | None,
) -> Tensor:
    key, value = _repeat_heads(key, query), _repeat_heads(value, query)
    if is_causal:
        attention_mask = torch.ones(query.shape[2], key.shape[2], dtype=torch.bool, device=query.device).tril()
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)
    if attention_mask is None:
        weights = scores.softmax(dim=-1)
    else:
        if attention_mask.dtype == torch.bool:
            allowed = attention_mask
        else:
            scores, allowed = scores + attention_mask, attention_mask > float("-inf")
        # The lowest finite number, not minus infinity: a softmax over nothing would be NaN, and so its gradient.
        weights = scores.masked_fill(~allowed, torch.finfo(scores.dtype).min).softmax(dim=-1)
        weights = weights.masked_fill(~allowed, 0.0)
    if watch is not None:
        watch(weights)
    return drop(weights, dropout, training=True) @ value


def _repeat_heads(x: Tensor, query: Tensor) -> Tensor:
    """Keys or values with a head for each of the query's."""
    groups = query.shape[1] // x.shape[1]
    return x if groups == 1 else x.repeat_interleave(groups, dim=1)


class MultiHeadAttention(nn.Module):
    """Multi-head attention, one class for self-, cross-, grouped-query and multi-query use.

    Vaswani et al. 2017, "Attention Is All You Need", section 3.2.2; shared key/value heads from Shazeer 2019 and
    Ainslie et al. 2023. Self-attention makes query, key and value in one product, cross-attention key and value.

    `watch`, when set to a function, receives the weights (batch, heads, query_length, key_length) of each call.

    Args:
        dim: width of inputs and output; a multiple of num_heads.
        num_heads: heads of the query.
        num_kv_heads: heads of key and value; None or num_heads gives the paper's attention, 1 gives multi-query.
        cross: attend to a memory instead of to the input itself.
        dropout: probability in [0, 1), applied to the weights while training.
        bias: whether the four projections have one.

    Raises:
        ValueError: dim is not a multiple of num_heads, or num_heads of num_kv_heads.
    """

    def __init__(
        self,
        dim: int,
        *,
        num_heads: int,
        num_kv_heads: int | None = None,
        cross: bool = False,
        dropout: float = 0.0,
        bias: bool = True,
    ) -> None:
        super().__init__()
        num_kv_heads = num_heads if num_kv_heads is None else num_kv_heads
        if dim % num_heads:
            raise ValueError(f"dim ({dim}) must be a multiple of num_heads ({num_heads})")
        if num_kv_heads < 1 or num_heads % num_kv_heads:
            raise ValueError(f"num_heads ({num_heads}) must be a multiple of num_kv_heads ({num_kv_heads})")
        self.num_heads, self.num_kv_heads, self.head_dim = num_heads, num_kv_heads, dim // num_heads
        self.dropout = dropout
        self.watch: Callable[[Tensor], None] | None = None
        kv_dim = num_kv_heads * self.head_dim
        self.cross = cross
        if cross:
            self.query = nn.Linear(dim, dim, bias=bias)
            self.key_value = nn.Linear(dim, 2 * kv_dim, bias=bias)
        else:
            self.query_key_value = nn.Linear(dim, dim + 2 * kv_dim, bias=bias)
        self.output = nn.Linear(dim, dim, bias=bias)

    def forward(
        self,
        x: Tensor,
        memory: Tensor | KeyValue | None = None,
        *,
        attention_mask: Tensor | None = None,
        is_causal: bool = False,
        rotation: Rotation | None = None,
        cache: KeyValueCache | None = None,
    ) -> Tensor:
        """Attend from x to memory (cross) or to x and the positions before it (self).

        Args:
            x: (batch, query_length, dim)
            memory: (sentences, key_length, dim), or its `project_memory`; for cross-attention only. The batch may be
                a multiple of the sentences, with the rows of a sentence side by side (the beams of a search).
            attention_mask: bool, True = may attend, or float, added to the scores; broadcastable to
                (batch, heads, query_length, key_length), in cross-attention with sentences for batch.
            is_causal: query i sees keys up to i; instead of a mask.
            rotation: rotary positions of x.
            cache: keys and values of earlier positions; those of x are appended. The batch may be a multiple of its
                sentences, as of the memory's; attention_mask then has sentences for batch, a query for each row and
                position, and a key for each column of the cache.

        Returns:
            (batch, query_length, dim)
        """
        if self.cross:
            assert memory is not None
            key, value = memory if isinstance(memory, KeyValue) else self.project_memory(memory)
            query = self.query(x)
        else:
            query, key, value = self.split(self.query_key_value(x), rotation)
            if cache is not None:
                key, value = cache.append(key, value)
            else:
                key, value = key.transpose(1, 2), value.transpose(1, 2)
        # The beams of a sentence become query positions over the one copy of what is remembered.
        query = query.reshape(key.shape[0], -1, self.num_heads, self.head_dim).transpose(1, 2)
        attended = scaled_dot_product(
            query,
            key,
            value,
            attention_mask=attention_mask,
            is_causal=is_causal,
            dropout=self.dropout if self.training else 0.0,
            watch=self.watch,
        )
        result: Tensor = self.output(attended.transpose(1, 2).reshape(x.shape))
        return result

    def project_memory(self, memory: Tensor) -> KeyValue:
        """Keys and values of a memory (sentences, key_length, dim), to be used by many calls."""
        projected = self.key_value(memory).unflatten(-1, (2, self.num_kv_heads, self.head_dim))
        key, value = projected.unbind(dim=2)
        return KeyValue(key.transpose(1, 2), value.transpose(1, 2))

    def input_projections(self) -> tuple[Tensor, Tensor, Tensor]:
        """Views of the weights that make query, key and value, each (its width, dim)."""
        kv_dim = self.num_kv_heads * self.head_dim
        if self.cross:
            key, value = torch.split(self.key_value.weight.data, kv_dim)
            return self.query.weight.data, key, value
        sizes = [self.num_heads * self.head_dim, kv_dim, kv_dim]
        query, key, value = torch.split(self.query_key_value.weight.data, sizes)
        return query, key, value

    def split(self, projected: Tensor, rotation: Rotation | None) -> tuple[Tensor, Tensor, Tensor]:
        """Query, key and value of what query_key_value has made, (batch, length, its width).

        Args:
            projected: (batch, length, (num_heads + 2 * num_kv_heads) * head_dim)
            rotation: rotary positions.

        Returns:
            each (batch, length, its heads, head_dim)
        """
        sizes = [self.num_heads, self.num_kv_heads, self.num_kv_heads]
        projected = projected.view(*projected.shape[:2], -1, self.head_dim)
        if rotation is None:
            query, key, value = torch.split(projected, sizes, dim=2)
        else:
            query_key, value = torch.split(projected, [sizes[0] + sizes[1], sizes[2]], dim=2)
            query, key = torch.split(rotate(query_key, rotation), sizes[:2], dim=2)
        return query, key, value

    if TYPE_CHECKING:
        __call__ = forward
