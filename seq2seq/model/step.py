"""One more token for every row: what decoder layers compute, as few operations as it takes.

A decoding step of a small model is many small operations. Calling a module for each, looking up its weights and
bringing its tensors into shape took longer than the products themselves. Here a layer keeps its weights at hand, works
on (rows, dim), adds in place and attends to the source with keys that lie the way the product reads them. It computes
what the modules compute, to rounding; where these are watched, or train, they do it themselves.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seq2seq.model.attention import MultiHeadAttention, scaled_dot_product
from seq2seq.model.feed_forward import ACTIVATIONS, FeedForward, GatedFeedForward
from seq2seq.model.norm import RMSNorm, rms_norm
from seq2seq.model.packed import PackedLinear
from seq2seq.model.positions import Rotation
from seq2seq.model.state import KeyValue, KeyValueCache

if TYPE_CHECKING:
    from seq2seq.model.layers import DecoderLayer

Compute = Callable[[Tensor], Tensor]
"""(rows, width) -> (rows, width of the output), a new tensor."""


class LayerStep:
    """One decoder layer, for one new token of each row.

    Args:
        layer: in evaluation mode; weights that change in place change here too.
    """

    def __init__(self, layer: "DecoderLayer") -> None:
        self.pre_norm = layer.residual.pre_norm
        self.self_attention, self.cross_attention = layer.self_attention, layer.cross_attention
        self.query_key_value = _product(layer.self_attention.query_key_value)
        self.self_output = _product(layer.self_attention.output)
        if layer.cross_attention is not None:
            self.query = _product(layer.cross_attention.query)
            self.cross_output = _product(layer.cross_attention.output)
        self.feed_forward = _feed_forward(layer.feed_forward)
        self.self_norm, self.cross_norm, self.feed_forward_norm = (
            norm_step(norm) for norm in (layer.self_attention_norm, layer.cross_attention_norm, layer.feed_forward_norm)
        )

    @property
    def is_watched(self) -> bool:
        """Whether somebody wants to see the weights of an attention."""
        return self.self_attention.watch is not None or (
            self.cross_attention is not None and self.cross_attention.watch is not None
        )

    def __call__(
        self,
        x: Tensor,
        *,
        cache: KeyValueCache,
        memory: KeyValue | None,
        memory_bias: Tensor | None,
        attention_mask: Tensor | None,
        rotation: Rotation | None,
    ) -> Tensor:
        """One layer further.

        Args:
            x: (rows, dim)
            cache: keys and values of earlier positions; those of x are appended.
            memory: the projected source; with cross-attention.
            memory_bias: added to the scores of the source: (sentences, kv_heads, 1, source_length); None = nothing.
            attention_mask: float, added to the scores; broadcastable to (sentences, heads, beams, columns).
            rotation: rotary positions of x.

        Returns:
            (rows, dim)
        """
        y = self.self_norm(x) if self.pre_norm else x
        x = self._attend_self(y, cache, attention_mask, rotation).add_(x)
        x = x if self.pre_norm else self.self_norm(x)
        if memory is not None:
            y = self.cross_norm(x) if self.pre_norm else x
            x = self._attend_memory(y, memory, memory_bias).add_(x)
            x = x if self.pre_norm else self.cross_norm(x)
        y = self.feed_forward_norm(x) if self.pre_norm else x
        x = self.feed_forward(y).add_(x)
        return x if self.pre_norm else self.feed_forward_norm(x)

    def _attend_self(
        self, x: Tensor, cache: KeyValueCache, attention_mask: Tensor | None, rotation: Rotation | None
    ) -> Tensor:
        attention = self.self_attention
        projected = self.query_key_value(x)
        if rotation is None:
            width = attention.num_heads * attention.head_dim
            query, key_value = projected[:, :width], projected[:, width:]
            keys, values = cache.append_rows(key_value, attention.num_kv_heads)
        else:
            query, key, value = attention.split(projected.unsqueeze(1), rotation)
            keys, values = cache.append(key, value)
        query = query.reshape(cache.sentences, -1, attention.num_heads, attention.head_dim).transpose(1, 2)
        attended = scaled_dot_product(query, keys, values, attention_mask=attention_mask)
        return self.self_output(attended.transpose(1, 2).reshape(x.shape))

    def _attend_memory(self, x: Tensor, memory: KeyValue, bias: Tensor | None) -> Tensor:
        attention = self.cross_attention
        assert isinstance(attention, MultiHeadAttention)
        sentences, kv_heads, length, head_dim = memory.value.shape
        query = self.query(x)
        if x.device.type != "cpu":
            query = query.view(sentences, -1, attention.num_heads, head_dim).transpose(1, 2)
            mask = None if bias is None else bias[:, :1]
            attended = scaled_dot_product(query, memory.key, memory.value, attention_mask=mask)
            return self.cross_output(attended.transpose(1, 2).reshape(x.shape))
        # On a CPU these two products take half the time of the fused kernel, which is made for long queries. The beams
        # of a sentence, and the heads that share keys, are rows of one product.
        query = query.view(sentences, -1, kv_heads, attention.num_heads // kv_heads, head_dim).transpose(1, 2)
        keys = memory.key.transpose(2, 3).flatten(0, 1)
        query = query.reshape(sentences * kv_heads, -1, head_dim)
        scale = head_dim**-0.5
        if bias is None:
            scores = torch.bmm(query, keys).mul_(scale)
        else:
            scores = torch.baddbmm(bias.view(-1, 1, length), query, keys, alpha=scale)
        attended = torch.bmm(scores.softmax(dim=2), memory.value.flatten(0, 1))
        attended = attended.view(sentences, kv_heads, -1, attention.num_heads // kv_heads, head_dim).transpose(1, 2)
        return self.cross_output(attended.reshape(x.shape))


def norm_step(norm: nn.Module) -> Compute:
    """What a norm computes, without its module."""
    if type(norm) is nn.LayerNorm:
        shape, weight, bias, eps = norm.normalized_shape, norm.weight, norm.bias, norm.eps
        return lambda x: torch.layer_norm(x, shape, weight, bias, eps)
    if type(norm) is RMSNorm:
        return lambda x: rms_norm(x, norm.weight, norm.eps)[0]
    return norm


def _product(layer: nn.Module) -> Compute:
    """What a linear layer computes, without its module; another kind of layer as it is."""
    if isinstance(layer, PackedLinear):
        return layer.of_rows
    if type(layer) is not nn.Linear:
        compute: Compute = layer.forward
        return compute
    weight, bias = layer.weight.t(), layer.bias
    if bias is None:
        return lambda x: torch.mm(x, weight)
    return lambda x: torch.addmm(bias, x, weight)


def _feed_forward(block: nn.Module) -> Compute:
    """What a feed-forward block computes, without its modules."""
    assert isinstance(block, FeedForward | GatedFeedForward)
    narrow = _product(block.narrow)
    if isinstance(block, GatedFeedForward):
        widen = _product(block.gate_widen)

        def gated(x: Tensor) -> Tensor:
            gate, inner = widen(x).chunk(2, dim=1)
            return narrow(F.silu(gate).mul_(inner))

        return gated
    widen, activate = _product(block.widen), ACTIVATIONS[block.kind]
    return lambda x: narrow(activate(widen(x)))
