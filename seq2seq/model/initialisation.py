"""How weights start, by the recipe of a paper or codebase."""

import math
from collections.abc import Callable, Iterator

from torch import Tensor, nn

from seq2seq.model.attention import MultiHeadAttention
from seq2seq.model.decoder import Decoder
from seq2seq.model.encoder import Encoder
from seq2seq.model.feed_forward import FeedForward, GatedFeedForward
from seq2seq.model.positions import Learned
from seq2seq.model.transformer import DecoderOnlyTranslator, EncoderDecoder, LanguageModel


def xavier(model: nn.Module) -> None:
    """Xavier-uniform matrices, zero biases, embeddings normal with standard deviation dim**-0.5.

    Glorot and Bengio 2010 as fairseq applies it to translation (`fairseq/modules/multihead_attention.py`,
    `fairseq/models/transformer/transformer_base.py`): query, key and value projections with gain 1/sqrt(2), which is
    what one fused matrix of equal parts gets; embeddings and the output projection so that, multiplied by sqrt(dim),
    they have unit variance.
    """
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            _zero(module.bias)
    for module in model.modules():
        if isinstance(module, MultiHeadAttention):
            for part in module.input_projections():
                nn.init.xavier_uniform_(part, gain=1 / math.sqrt(2))
        elif isinstance(module, GatedFeedForward):
            for part in module.gate_widen.weight.data.chunk(2):
                nn.init.xavier_uniform_(part)
    for weight in _token_weights(model):
        nn.init.normal_(weight, std=weight.shape[1] ** -0.5)


def gpt2(model: nn.Module) -> None:
    """Normal with standard deviation 0.02, zero biases; what ends a sublayer is divided by sqrt(number of sublayers).

    Radford et al. 2019, section 2.3 ("scale the weights of residual layers at initialization by a factor of 1/sqrt(N)
    where N is the number of residual layers"): two a layer, three with cross-attention.
    """
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.02)
            _zero(module.bias)
    for stack in model.modules():
        if isinstance(stack, Encoder | Decoder):
            sublayers = len(stack.layers) * (3 if isinstance(stack, Decoder) and stack.cross else 2)
            for module in stack.modules():
                if isinstance(module, MultiHeadAttention):
                    module.output.weight.data.div_(math.sqrt(sublayers))
                elif isinstance(module, FeedForward | GatedFeedForward):
                    module.narrow.weight.data.div_(math.sqrt(sublayers))
    for weight in _token_weights(model):
        nn.init.normal_(weight, std=0.02)


def _token_weights(model: nn.Module) -> Iterator[Tensor]:
    """Embeddings, learned positions and the projection onto a vocabulary."""
    if isinstance(model, EncoderDecoder | DecoderOnlyTranslator | LanguageModel):
        yield model.head.weight
    for module in model.modules():
        if isinstance(module, nn.Embedding | Learned):
            yield module.weight


def _zero(bias: Tensor | None) -> None:
    if bias is not None:
        nn.init.zeros_(bias)


INITIALISATIONS: dict[str, Callable[[nn.Module], None]] = {"xavier": xavier, "gpt2": gpt2}
