"""Weights of Hugging Face models into ours: GPT-2 and Marian; and ours into Marian.

    model = from_gpt2(transformers.GPT2LMHeadModel.from_pretrained(...))
    model = from_marian(transformers.MarianMTModel.from_pretrained(...))

    checkpoint = seq2seq.checkpoint.load_checkpoint("runs/plain/best")
    to_marian(checkpoint.model, checkpoint.config.model).save_pretrained("marian")

Only `to_marian` imports `transformers`: a model of theirs is read by the names of its parts, and `marian_weights` has
ours under these names.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from seq2seq.config import FeedForward, ModelConfig, Norm, NormPlacement, Positions, Task, TiedEmbeddings
from seq2seq.data.tokenizer import BOS, EOS, PAD, UNK
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
MARIAN_ACTIVATIONS = {
    FeedForward.relu: "relu",
    FeedForward.gelu: "gelu",
    FeedForward.gelu_tanh: "gelu_new",
    FeedForward.silu: "swish",
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


def marian_settings(ours: EncoderDecoder, config: ModelConfig) -> dict[str, Any]:
    """What a MarianConfig for our model holds, by name.

    Marian's own models start a translation with the padding token. Ours start with BOS, which a MarianConfig can name
    too, so nothing of the embeddings is touched.

    Args:
        ours: the model; the sizes of its vocabularies are read.
        config: what it was built from.

    Raises:
        ValueError: it has a setting without a counterpart in Marian, named in the message.
    """
    if config.encoder_layers == 0:
        raise ValueError("encoder_layers=0 has no counterpart in Marian, whose models have an encoder")
    _refuse(config, "positions", Positions.sinusoidal)
    _refuse(config, "norm", Norm.layer_norm)
    _refuse(config, "norm_placement", NormPlacement.post)
    _refuse(config, "bias", True)
    _refuse(config, "attention_window", None)
    if config.num_kv_heads not in (None, config.num_heads):
        _refuse(config, "num_kv_heads", None)
    if config.feed_forward not in MARIAN_ACTIVATIONS:
        known = ", ".join(kind.value for kind in MARIAN_ACTIVATIONS)
        raise ValueError(f"feed_forward={config.feed_forward.value} has no counterpart in Marian; only {known} have")
    return {
        "vocab_size": ours.source_embedding.num_embeddings,
        "decoder_vocab_size": ours.target_embedding.num_embeddings,
        "max_position_embeddings": config.max_length,
        "encoder_layers": config.encoder_layers,
        "decoder_layers": config.decoder_layers,
        "d_model": config.dim,
        "encoder_attention_heads": config.num_heads,
        "decoder_attention_heads": config.num_heads,
        "encoder_ffn_dim": config.feed_forward_dim,
        "decoder_ffn_dim": config.feed_forward_dim,
        "activation_function": MARIAN_ACTIVATIONS[config.feed_forward],
        "dropout": config.dropout,
        "attention_dropout": config.attention_dropout,
        "activation_dropout": config.activation_dropout,
        "scale_embedding": config.scale_embeddings,
        "share_encoder_decoder_embeddings": config.tied_embeddings is TiedEmbeddings.all,
        "tie_word_embeddings": config.tied_embeddings is not TiedEmbeddings.none,
        "pad_token_id": PAD,
        "bos_token_id": BOS,
        "eos_token_id": EOS,
        "decoder_start_token_id": BOS,
        "forced_eos_token_id": None,  # an output that is cut at its greatest length does not end
    }


def marian_weights(ours: EncoderDecoder) -> dict[str, Tensor]:
    """Our weights by the names that they have in a MarianMTModel; they share our memory where they can.

    Its position tables are left out, which are made and not stored. `final_logits_bias` is the bias of our head, zeros
    where that has none.
    """
    head = ours.head
    bias = head.weight.new_zeros(head.out_features) if head.bias is None else head.bias
    weights = {
        "model.encoder.embed_tokens.weight": ours.source_embedding.weight,
        "model.decoder.embed_tokens.weight": ours.target_embedding.weight,
        "lm_head.weight": head.weight,
        "final_logits_bias": bias.unsqueeze(0),
    }
    if ours.source_embedding.weight is ours.target_embedding.weight:
        weights["model.shared.weight"] = ours.source_embedding.weight
    for side, stack in (("encoder", ours.encoder), ("decoder", ours.decoder)):
        for number, layer in enumerate(stack.layers):
            assert isinstance(layer, EncoderLayer | DecoderLayer)
            for name, module in _marian_parts(layer):
                for kind in ("weight", "bias"):
                    weights[f"model.{side}.layers.{number}.{name}.{kind}"] = module[kind]
    return {name: weight.detach() for name, weight in weights.items()}


@torch.no_grad()
def to_marian(ours: EncoderDecoder, config: ModelConfig) -> "MarianMTModel":
    """A MarianMTModel with our weights, in evaluation mode: the inverse of `from_marian`.

    Its `generate` starts and ends as our decoding does and never writes the tokens that ours never writes; the search
    and its length limits are the caller's. Arguments and errors as for `marian_settings`.
    """
    from transformers import GenerationConfig, MarianConfig, MarianMTModel

    weight = ours.head.weight
    theirs = MarianMTModel(MarianConfig(**marian_settings(ours, config))).to(weight.device, weight.dtype)
    weights = marian_weights(ours)
    missing, unexpected = theirs.load_state_dict(weights, strict=False)
    missing = [name for name in missing if "embed_positions" not in name]
    assert not missing and not unexpected, (missing, unexpected)
    theirs.generation_config = GenerationConfig(
        pad_token_id=PAD,
        bos_token_id=BOS,
        eos_token_id=EOS,
        decoder_start_token_id=BOS,
        bad_words_ids=[[PAD], [BOS], [UNK]],
    )
    return theirs.eval()


def _marian_parts(layer: EncoderLayer | DecoderLayer) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """The modules of a layer by their names in Marian, each as its weight and bias."""
    yield from _marian_projections("self_attn", layer.self_attention)
    yield "self_attn_layer_norm", _tensors(layer.self_attention_norm)
    if isinstance(layer, DecoderLayer):
        assert layer.cross_attention is not None
        yield from _marian_projections("encoder_attn", layer.cross_attention)
        yield "encoder_attn_layer_norm", _tensors(layer.cross_attention_norm)
    yield "fc1", _tensors(layer.feed_forward.widen)
    yield "fc2", _tensors(layer.feed_forward.narrow)
    yield "final_layer_norm", _tensors(layer.feed_forward_norm)


def _marian_projections(name: str, ours: MultiHeadAttention) -> Iterator[tuple[str, dict[str, Tensor]]]:
    modules = [ours.query, ours.key_value] if ours.cross else [ours.query_key_value]
    dim = ours.output.in_features
    parts = [_tensors(module) for module in modules]
    joint = {kind: torch.cat([part[kind] for part in parts]) for kind in ("weight", "bias")}
    for place, letter in enumerate("qkv"):
        yield f"{name}.{letter}_proj", {kind: tensor[place * dim : (place + 1) * dim] for kind, tensor in joint.items()}
    yield f"{name}.out_proj", _tensors(ours.output)


def _tensors(module: Any) -> dict[str, Tensor]:
    return {"weight": module.weight, "bias": module.bias}


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
        given, known = (getattr(value, "value", value) for value in (getattr(config, name), expected))
        raise ValueError(f"{name}={given} has no counterpart; only {known} has")


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
