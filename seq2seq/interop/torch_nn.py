"""Weights between our layers and their counterparts in `torch.nn`.

load_torch(ours, theirs)     # theirs -> ours
store_torch(ours, theirs)    # ours -> theirs
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from seq2seq.model.attention import MultiHeadAttention
from seq2seq.model.decoder import Decoder
from seq2seq.model.encoder import Encoder
from seq2seq.model.feed_forward import FeedForward
from seq2seq.model.layers import DecoderLayer, EncoderLayer

Pairs = Iterator[tuple[Tensor, Tensor]]


@torch.no_grad()
def load_torch(ours: nn.Module, theirs: nn.Module) -> None:
    """Copy the weights of a `torch.nn` module into ours.

    Args:
        ours: MultiHeadAttention, EncoderLayer, DecoderLayer, Encoder or Decoder.
        theirs: nn.MultiheadAttention, nn.TransformerEncoderLayer, nn.TransformerDecoderLayer, nn.TransformerEncoder
            or nn.TransformerDecoder, in this order.

    Raises:
        ValueError: the two are not counterparts, or differ in shape, norm placement, biases or number of layers.
    """
    for our, their in list(_pairs(ours, theirs)):
        our.copy_(their)


@torch.no_grad()
def store_torch(ours: nn.Module, theirs: nn.Module) -> None:
    """Copy our weights into a `torch.nn` module; arguments and errors as for `load_torch`."""
    for our, their in list(_pairs(ours, theirs)):
        their.copy_(our)


def _pairs(ours: nn.Module, theirs: nn.Module) -> Pairs:
    """Tensors of ours, each with the tensor (or part of one) that holds the same numbers in theirs."""
    for kind, (their_kind, pairs) in COUNTERPARTS.items():
        if isinstance(ours, kind):
            if not isinstance(theirs, their_kind):
                raise ValueError(f"{type(theirs).__name__} is not the counterpart of {kind.__name__}")
            for our, their in pairs(ours, theirs):
                if our.shape != their.shape:
                    raise ValueError(f"{kind.__name__}: {tuple(our.shape)} here, {tuple(their.shape)} in torch.nn")
                yield our, their
            return
    raise ValueError(f"{type(ours).__name__} has no counterpart in torch.nn")


def _attention(ours: MultiHeadAttention, theirs: nn.MultiheadAttention) -> Pairs:
    if theirs.in_proj_weight is None or theirs.bias_k is not None or theirs.add_zero_attn:
        raise ValueError("nn.MultiheadAttention with kdim, vdim, add_bias_kv or add_zero_attn has no counterpart here")
    if (ours.num_heads, ours.num_heads) != (theirs.num_heads, ours.num_kv_heads):
        raise ValueError(
            f"{ours.num_heads} query and {ours.num_kv_heads} key/value heads here, {theirs.num_heads} in torch.nn"
        )
    dim = theirs.embed_dim
    weight, bias = theirs.in_proj_weight, theirs.in_proj_bias
    if ours.cross:
        yield from _linear(ours.query, weight[:dim], None if bias is None else bias[:dim])
        yield from _linear(ours.key_value, weight[dim:], None if bias is None else bias[dim:])
    else:
        yield from _linear(ours.query_key_value, weight, bias)
    yield from _linear(ours.output, theirs.out_proj.weight, theirs.out_proj.bias)


def _encoder_layer(ours: EncoderLayer, theirs: nn.TransformerEncoderLayer) -> Pairs:
    _check_placement(ours, theirs)
    yield from _attention(ours.self_attention, theirs.self_attn)
    yield from _norm(ours.self_attention_norm, theirs.norm1)
    yield from _feed_forward(ours.feed_forward, theirs)
    yield from _norm(ours.feed_forward_norm, theirs.norm2)


def _decoder_layer(ours: DecoderLayer, theirs: nn.TransformerDecoderLayer) -> Pairs:
    _check_placement(ours, theirs)
    if ours.cross_attention is None:
        raise ValueError("a DecoderLayer without cross-attention has no counterpart in torch.nn")
    yield from _attention(ours.self_attention, theirs.self_attn)
    yield from _norm(ours.self_attention_norm, theirs.norm1)
    yield from _attention(ours.cross_attention, theirs.multihead_attn)
    yield from _norm(ours.cross_attention_norm, theirs.norm2)
    yield from _feed_forward(ours.feed_forward, theirs)
    yield from _norm(ours.feed_forward_norm, theirs.norm3)


def _stack(ours: Encoder | Decoder, theirs: nn.TransformerEncoder | nn.TransformerDecoder) -> Pairs:
    if len(ours.layers) != len(theirs.layers):
        raise ValueError(f"{len(ours.layers)} layers here, {len(theirs.layers)} in torch.nn")
    for our_layer, their_layer in zip(ours.layers, theirs.layers, strict=True):
        yield from _pairs(our_layer, their_layer)
    if theirs.norm is None or isinstance(ours.final_norm, nn.Identity):
        if theirs.norm is not None or not isinstance(ours.final_norm, nn.Identity):
            raise ValueError("one of the two stacks has a final norm (pre-norm) and the other has none")
    else:
        yield from _norm(ours.final_norm, theirs.norm)


def _check_placement(ours: EncoderLayer | DecoderLayer, theirs: Any) -> None:
    if ours.residual.pre_norm != theirs.norm_first:
        raise ValueError(f"pre-norm is {ours.residual.pre_norm} here, norm_first {theirs.norm_first} in torch.nn")


def _feed_forward(ours: nn.Module, theirs: Any) -> Pairs:
    if not isinstance(ours, FeedForward):
        raise ValueError(f"{type(ours).__name__} has no counterpart in torch.nn")
    yield from _linear(ours.widen, theirs.linear1.weight, theirs.linear1.bias)
    yield from _linear(ours.narrow, theirs.linear2.weight, theirs.linear2.bias)


def _norm(ours: nn.Module, theirs: nn.Module) -> Pairs:
    if not isinstance(ours, nn.LayerNorm) or not isinstance(theirs, nn.LayerNorm):
        raise ValueError(f"the norm is {type(ours).__name__} here, {type(theirs).__name__} in torch.nn")
    if ours.eps != theirs.eps:
        raise ValueError(f"LayerNorm's eps is {ours.eps} here, {theirs.eps} in torch.nn")
    yield from _linear(ours, theirs.weight, theirs.bias)


def _linear(ours: nn.Linear | nn.LayerNorm, weight: Tensor, bias: Tensor | None) -> Pairs:
    yield ours.weight, weight
    if (ours.bias is None) != (bias is None):
        raise ValueError("one of the two has biases and the other has none")
    if bias is not None:
        yield ours.bias, bias


COUNTERPARTS: dict[type[nn.Module], tuple[type[nn.Module], Callable[[Any, Any], Pairs]]] = {
    MultiHeadAttention: (nn.MultiheadAttention, _attention),
    EncoderLayer: (nn.TransformerEncoderLayer, _encoder_layer),
    DecoderLayer: (nn.TransformerDecoderLayer, _decoder_layer),
    Encoder: (nn.TransformerEncoder, _stack),
    Decoder: (nn.TransformerDecoder, _stack),
}
