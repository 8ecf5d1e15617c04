"""Weights of Hugging Face models into ours: GPT-2 and Marian.

    model = from_gpt2(transformers.GPT2LMHeadModel.from_pretrained(...))
    model = from_marian(transformers.MarianMTModel.from_pretrained(...))

`transformers` itself is not imported: a model is read by the names of its parts.
"""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from seq2seq.config import FeedForward, ModelConfig, Norm, NormPlacement, Positions, Task, TiedEmbeddings
from seq2seq.model.attention import MultiHeadAttention
from seq2seq.model.build import build_model
from seq2seq.model.layers import DecoderLayer, EncoderLayer
from seq2seq.model.transformer import EncoderDecoder, LanguageModel

if TYPE_CHECKING:
    from transformers import GPT2Config, GPT2LMHeadModel, MarianConfig, MarianMTModel

ACTIVATIONS = {
    "relu": FeedForward.relu,
    "gelu": FeedForward.gelu,
    "gelu_new": FeedForward.gelu_tanh,
    "gelu_pytorch_tanh": FeedForward.gelu_tanh,
    "silu": FeedForward.silu,
    "swish": FeedForward.silu,
}
LAYER_NORM_EPSILON = 1e-5


def gpt2_config(theirs: "GPT2Config") -> ModelConfig:
    """Our settings for a GPT-2 (Radford et al. 2019).

    Raises:
        ValueError: it has a setting without a counterpart here, named in the message.
    """
    _refuse(theirs, "layer_norm_epsilon", LAYER_NORM_EPSILON)
    _refuse(theirs, "scale_attn_weights", True)
    _refuse(theirs, "scale_attn_by_inverse_layer_idx", False)
    _refuse(theirs, "add_cross_attention", False)
    return ModelConfig(
        encoder_layers=0,
        decoder_layers=theirs.n_layer,
        dim=theirs.n_embd,
        num_heads=theirs.n_head,
        feed_forward_dim=theirs.n_inner or 4 * theirs.n_embd,
        feed_forward=_activation(theirs.activation_function),
        positions=Positions.learned,
        max_length=theirs.n_positions,
        norm=Norm.layer_norm,
        norm_placement=NormPlacement.pre,
        tied_embeddings=TiedEmbeddings.decoder if theirs.tie_word_embeddings else TiedEmbeddings.none,
        scale_embeddings=False,
        dropout=theirs.resid_pdrop,
        attention_dropout=theirs.attn_pdrop,
        embedding_dropout=theirs.embd_pdrop,
    )


@torch.no_grad()
def from_gpt2(theirs: "GPT2LMHeadModel") -> LanguageModel:
    """A language model with the weights of a GPT-2, in evaluation mode.

    Raises:
        ValueError: it has a setting without a counterpart here, named in the message.
    """
    size = theirs.config.vocab_size
    ours = build_model(
        gpt2_config(theirs.config), task=Task.language_modelling, source_vocab_size=size, target_vocab_size=size
    )
    assert isinstance(ours, LanguageModel)
    transformer = theirs.transformer
    _copy(ours.embedding, transformer.wte)
    _copy(ours.head, theirs.lm_head)
    _copy(ours.decoder.positions, transformer.wpe)
    for layer, block in zip(ours.decoder.layers, transformer.h, strict=True):
        assert isinstance(layer, DecoderLayer)
        _copy(layer.self_attention_norm, block.ln_1)
        _copy(layer.self_attention.query_key_value, block.attn.c_attn, transposed=True)
        _copy(layer.self_attention.output, block.attn.c_proj, transposed=True)
        _copy(layer.feed_forward_norm, block.ln_2)
        _copy(layer.feed_forward.widen, block.mlp.c_fc, transposed=True)
        _copy(layer.feed_forward.narrow, block.mlp.c_proj, transposed=True)
    _copy(ours.decoder.final_norm, transformer.ln_f)
    return ours.to(theirs.dtype).eval()


def marian_config(theirs: "MarianConfig") -> ModelConfig:
    """Our settings for a Marian model (Junczys-Dowmunt et al. 2018).

    Raises:
        ValueError: it has a setting without a counterpart here, named in the message.
    """
    _refuse(theirs, "decoder_attention_heads", theirs.encoder_attention_heads)
    _refuse(theirs, "decoder_ffn_dim", theirs.encoder_ffn_dim)
    shared = theirs.share_encoder_decoder_embeddings
    if theirs.tie_word_embeddings:
        tied = TiedEmbeddings.all if shared else TiedEmbeddings.decoder
    else:
        _refuse(theirs, "share_encoder_decoder_embeddings", False)
        tied = TiedEmbeddings.none
    return ModelConfig(
        encoder_layers=theirs.encoder_layers,
        decoder_layers=theirs.decoder_layers,
        dim=theirs.d_model,
        num_heads=theirs.encoder_attention_heads,
        feed_forward_dim=theirs.encoder_ffn_dim,
        feed_forward=_activation(theirs.activation_function),
        positions=Positions.sinusoidal,
        max_length=theirs.max_position_embeddings,
        norm=Norm.layer_norm,
        norm_placement=NormPlacement.post,
        tied_embeddings=tied,
        scale_embeddings=theirs.scale_embedding,
        dropout=theirs.dropout,
        attention_dropout=theirs.attention_dropout,
        activation_dropout=theirs.activation_dropout,
        embedding_dropout=theirs.dropout,
    )


@torch.no_grad()
def from_marian(theirs: "MarianMTModel") -> EncoderDecoder:
    """A translation model with the weights of a Marian model, in evaluation mode.

    Its `final_logits_bias` becomes the bias of our head. Marian starts a translation with its padding token.

    Raises:
        ValueError: it has a setting without a counterpart here, named in the message.
    """
    encoder, decoder = theirs.model.encoder, theirs.model.decoder
    ours = build_model(
        marian_config(theirs.config),
        task=Task.translation,
        source_vocab_size=encoder.embed_tokens.num_embeddings,
        target_vocab_size=decoder.embed_tokens.num_embeddings,
    )
    assert isinstance(ours, EncoderDecoder)
    _copy(ours.source_embedding, encoder.embed_tokens)
    _copy(ours.target_embedding, decoder.embed_tokens)
    _copy(ours.head, theirs.lm_head)
    ours.head.bias = nn.Parameter(theirs.final_logits_bias[0].clone())
    for layer, block in zip(ours.encoder.layers, encoder.layers, strict=True):
        assert isinstance(layer, EncoderLayer)
        _marian_attention(layer.self_attention, block.self_attn)
        _copy(layer.self_attention_norm, block.self_attn_layer_norm)
        _marian_feed_forward(layer, block)
    for layer, block in zip(ours.decoder.layers, decoder.layers, strict=True):
        assert isinstance(layer, DecoderLayer) and layer.cross_attention is not None
        _marian_attention(layer.self_attention, block.self_attn)
        _copy(layer.self_attention_norm, block.self_attn_layer_norm)
        _marian_attention(layer.cross_attention, block.encoder_attn)
        _copy(layer.cross_attention_norm, block.encoder_attn_layer_norm)
        _marian_feed_forward(layer, block)
    return ours.to(theirs.dtype).eval()


def _marian_attention(ours: MultiHeadAttention, theirs: Any) -> None:
    parts = [theirs.q_proj, theirs.k_proj, theirs.v_proj]
    if ours.cross:
        _copy(ours.query, parts.pop(0))
        _copy_parts(ours.key_value, parts)
    else:
        _copy_parts(ours.query_key_value, parts)
    _copy(ours.output, theirs.out_proj)


def _marian_feed_forward(layer: EncoderLayer | DecoderLayer, theirs: Any) -> None:
    _copy(layer.feed_forward.widen, theirs.fc1)
    _copy(layer.feed_forward.narrow, theirs.fc2)
    _copy(layer.feed_forward_norm, theirs.final_layer_norm)


def _activation(name: str) -> FeedForward:
    if name not in ACTIVATIONS:
        raise ValueError(f"activation_function={name} has no counterpart here; known are {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]


def _refuse(config: Any, name: str, expected: object) -> None:
    """Complain about a setting that is not the only one known here."""
    if getattr(config, name) != expected:
        raise ValueError(f"{name}={getattr(config, name)} has no counterpart here; only {expected} has")


def _copy(ours: Any, theirs: Any, *, transposed: bool = False) -> None:
    """Copy weight and bias of one module; GPT-2's matrices are (in, out), and so transposed."""
    weight: Tensor = theirs.weight
    ours.weight.copy_(weight.T if transposed else weight)
    if getattr(theirs, "bias", None) is not None:
        ours.bias.copy_(theirs.bias)


def _copy_parts(ours: nn.Linear, parts: list[Any]) -> None:
    """Copy several projections into the one product that does them all."""
    ours.weight.copy_(torch.cat([part.weight for part in parts]))
    ours.bias.copy_(torch.cat([part.bias for part in parts]))
