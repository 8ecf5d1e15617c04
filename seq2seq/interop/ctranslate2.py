"""Our weights as a model of CTranslate2, a library that decodes Transformers fast on CPUs and GPUs, also in int8.

    checkpoint = seq2seq.checkpoint.load_checkpoint("runs/plain/best")
    specification = to_ctranslate2(checkpoint.model, checkpoint.config.model, checkpoint.tokenizers, positions=1024)
    specification.save("folder")

The model is described by the package's own specifications, so that every kind of layer that it has can be told. It
starts an output with BOS and adds EOS to a source by itself. Only `to_ctranslate2` imports the package.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from seq2seq.config import FeedForward, ModelConfig, Norm, NormPlacement, Positions, Quantization
from seq2seq.data.tokenizer import BOS, EOS, UNK, Tokenizer, Tokenizers
from seq2seq.errors import ConfigError
from seq2seq.model.attention import MultiHeadAttention
from seq2seq.model.feed_forward import GatedFeedForward
from seq2seq.model.layers import DecoderLayer, EncoderLayer
from seq2seq.model.positions import Learned, Sinusoidal
from seq2seq.model.positions import Positions as PositionsModule
from seq2seq.model.transformer import EncoderDecoder

if TYPE_CHECKING:
    from ctranslate2.specs import TransformerSpec

ACTIVATIONS = {
    FeedForward.relu: "RELU",
    FeedForward.gelu: "GELU",
    FeedForward.gelu_tanh: "GELUTanh",
    FeedForward.silu: "SWISH",
    FeedForward.swiglu: "SWISH",
}
"""What they call the nonlinearity of each feed-forward block."""
EPSILONS = {Norm.layer_norm: 1e-5, Norm.rms_norm: 1e-6}
"""Of our norms; theirs is one number for the whole model."""


def inexpressible(config: ModelConfig) -> str | None:
    """What a model has that theirs cannot have, as "setting=value"; None when there is nothing."""
    if config.positions is Positions.alibi:
        return "model.positions=alibi"
    if config.attention_window is not None:
        return f"model.attention_window={config.attention_window}"
    return None


@torch.no_grad()
def to_ctranslate2(
    ours: nn.Module,
    config: ModelConfig,
    tokenizers: Tokenizers,
    *,
    positions: int,
    quantization: Quantization = Quantization.float32,
) -> "TransformerSpec":
    """A specification of their model with our weights, ready to be saved.

    Args:
        ours: the model.
        config: what it was built from.
        tokenizers: of both sides; their pieces become the model's vocabulary.
        positions: how many positions a table of sinusoids is written for; not read for other kinds.
        quantization: number format of the weights.

    Raises:
        ConfigError: the model is no translator, or has what theirs cannot have, named in the message.
    """
    from ctranslate2.specs import TransformerDecoderSpec, TransformerEncoderSpec, TransformerSpec
    from ctranslate2.specs.common_spec import Activation

    if not isinstance(ours, EncoderDecoder):
        raise ConfigError("Only encoder-decoders of task=translation can be exported to CTranslate2.")
    if reason := inexpressible(config):
        raise ConfigError(f"{reason} has no counterpart in CTranslate2, so this model cannot be exported to it.")
    rotary = config.positions is Positions.rotary
    shape: dict[str, Any] = {
        "pre_norm": config.norm_placement is NormPlacement.pre,
        "activation": Activation[ACTIVATIONS[config.feed_forward]],
        "ffn_glu": config.feed_forward is FeedForward.swiglu,
        "rms_norm": config.norm is Norm.rms_norm,
        "rotary_dim": config.dim // config.num_heads if rotary else None,
        "rotary_interleave": False,  # number i is paired with i + head_dim / 2
    }
    if config.num_kv_heads not in (None, config.num_heads):
        shape["num_heads_kv"] = config.num_kv_heads
    theirs = TransformerSpec(
        TransformerEncoderSpec(config.encoder_layers, config.num_heads, **shape),
        TransformerDecoderSpec(config.decoder_layers, config.num_heads, **shape),
    )
    for stack, our_stack, their_embedding, our_embedding in (
        (theirs.encoder, ours.encoder, theirs.encoder.embeddings[0], ours.source_embedding),
        (theirs.decoder, ours.decoder, theirs.decoder.embeddings, ours.target_embedding),
    ):
        their_embedding.weight = _array(our_embedding.weight)
        stack.scale_embeddings = ours.embedding_scale
        table = _table(our_stack.positions, positions)
        if table is not None:
            stack.position_encodings.encodings = table
        if config.norm_placement is NormPlacement.pre:
            _fill_norm(stack.layer_norm, our_stack.final_norm)
        for their_layer, our_layer in zip(stack.layer, our_stack.layers, strict=True):
            assert isinstance(our_layer, EncoderLayer | DecoderLayer)
            _fill_layer(their_layer, our_layer)
    _fill_linear(theirs.decoder.projection, ours.head.weight, ours.head.bias)
    theirs.register_source_vocabulary(_vocabulary(tokenizers.source))
    theirs.register_target_vocabulary(_vocabulary(tokenizers.target))
    special = tokenizers.target.pieces([BOS, EOS, UNK])
    theirs.config.bos_token, theirs.config.eos_token, theirs.config.unk_token = special
    theirs.config.decoder_start_token = special[0]
    theirs.config.add_source_eos = True
    theirs.config.layer_norm_epsilon = EPSILONS[config.norm]
    theirs.validate()
    theirs.optimize(quantization=quantization.value)
    return theirs


def _fill_layer(theirs: Any, ours: EncoderLayer | DecoderLayer) -> None:
    _fill_attention(theirs.self_attention, ours.self_attention, ours.self_attention_norm)
    if isinstance(ours, DecoderLayer):
        assert ours.cross_attention is not None
        _fill_attention(theirs.attention, ours.cross_attention, ours.cross_attention_norm)
    block = ours.feed_forward
    if isinstance(block, GatedFeedForward):
        (gate, inner), biases = block.gate_widen.weight.chunk(2), _chunked(block.gate_widen.bias)
        _fill_linear(theirs.ffn.linear_0, gate, biases[0])
        _fill_linear(theirs.ffn.linear_0_noact, inner, biases[1])
    else:
        _fill_module(theirs.ffn.linear_0, block.widen)
    _fill_module(theirs.ffn.linear_1, block.narrow)
    _fill_norm(theirs.ffn.layer_norm, ours.feed_forward_norm)


def _fill_attention(theirs: Any, ours: MultiHeadAttention, norm: nn.Module) -> None:
    # The projections that are made in one product lie one below the other in theirs as in ours.
    parts = [ours.query, ours.key_value] if ours.cross else [ours.query_key_value]
    for linear, part in zip(theirs.linear, [*parts, ours.output], strict=True):
        _fill_module(linear, part)
    _fill_norm(theirs.layer_norm, norm)


def _fill_norm(theirs: Any, ours: Any) -> None:
    theirs.gamma = _array(ours.weight)
    if hasattr(theirs, "beta"):  # theirs always has one
        theirs.beta = np.zeros_like(theirs.gamma) if ours.bias is None else _array(ours.bias)


def _fill_module(theirs: Any, ours: Any) -> None:
    _fill_linear(theirs, ours.weight, ours.bias)


def _fill_linear(theirs: Any, weight: Tensor, bias: Tensor | None) -> None:
    theirs.weight = _array(weight)
    if bias is not None:
        theirs.bias = _array(bias)


def _chunked(bias: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
    if bias is None:
        return None, None
    first, second = bias.chunk(2)
    return first, second


def _table(ours: PositionsModule, length: int) -> NDArray[np.float32] | None:
    """Vectors of the positions that are added to embeddings: (positions, dim); None where none are."""
    if isinstance(ours, Learned):
        return _array(ours.weight)
    if isinstance(ours, Sinusoidal):
        zeros = torch.zeros(1, length, ours.dim, device=ours.table.device)
        return _array(ours(zeros)[0])
    return None


def _vocabulary(tokenizer: Tokenizer) -> list[str]:
    pieces = tokenizer.pieces(range(tokenizer.vocab_size))
    assert len(set(pieces)) == len(pieces), "two ids are spelled alike"
    return pieces


def _array(tensor: Tensor) -> NDArray[np.float32]:
    """A copy in float32: what they quantise, they quantise in place."""
    return np.array(tensor.detach().float().cpu().numpy(), order="C")
