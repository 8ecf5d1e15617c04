"""The coverage penalty: how little of the source a hypothesis has attended to (Wu et al. 2016, equation 14).

coverage = weight * sum over source tokens i of log(min(sum over written tokens j of p_ij, 1)), with p_ij the attention
that the step which wrote j paid to i: the mean over the heads of the last decoder layer's cross-attention. (In the
paper there is one layer of attention, with one head.) Source tokens include the end token, written ones too. The
penalty is never above 0, and 0 where every source token has got as much attention as one written token can pay.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from seq2seq.decoding.logits import precise
from seq2seq.model.layers import DecoderLayer
from seq2seq.model.state import DecodingState
from seq2seq.model.transformer import EncoderDecoder
from seq2seq.model.twin import twin


class Attending:
    """A translation model that shows what its last decoder layer attends to.

    What is watched is a twin of the model, so that other threads search with the model, or with twins of theirs, as if
    they were alone. It serves one search.

    Args:
        model: an encoder-decoder.
    """

    def __init__(self, model: EncoderDecoder) -> None:
        self._model = twin(model)
        layer = self._model.decoder.layers[-1]
        assert isinstance(layer, DecoderLayer) and layer.cross_attention is not None
        self._seen: list[Tensor] = []
        layer.cross_attention.watch = self._seen.append

    def start(self, source: Tensor, *, source_mask: Tensor | None = None) -> DecodingState:
        """The model's own start; a state that it made itself would not show what is attended to."""
        return self._model.start(source, source_mask=source_mask)

    def step(self, tokens: Tensor, state: DecodingState) -> Tensor:
        """The model's own step; see Decodable."""
        self._seen.clear()
        return self._model.step(tokens, state)

    def attention(self, rows: int) -> Tensor:
        """Attention that the last step paid to each source token, summed over the tokens it read.

        Args:
            rows: of the step.

        Returns:
            (rows, source_length)
        """
        (weights,) = self._seen
        # (sentences, heads, beams * new_length, source_length): the beams of a sentence are queries of one call.
        mean = weights.mean(dim=1)
        return mean.reshape(rows, -1, mean.shape[2]).sum(dim=1)


class Coverage:
    """What the live hypotheses of a beam search have attended to.

    Args:
        weight: of the penalty (the paper has 0.2), above 0.
        attention: (rows) -> attention that the last step of the model paid, (rows, source_length).
        source_mask: bool (sentences, source_length), True = a real token; rows begin as one for each sentence.

    Raises:
        ValueError: weight is not above 0.
    """

    def __init__(self, weight: float, attention: Callable[[int], Tensor], source_mask: Tensor) -> None:
        if not weight > 0:
            raise ValueError(f"coverage_penalty ({weight}) must be above 0")
        self.weight, self._attention = weight, attention
        self.source_lengths: list[int] = source_mask.sum(dim=1).tolist()
        self._covered = (~source_mask).to(precise(source_mask.device))  # what is no token needs no attention

    def slack(self, sentence: int) -> float:
        """By how much, over twice e, a penalty moves when every score that the attention weighs moves by up to e.

        A weight then changes by a factor of at most exp(2 e), and so does a sum of them.
        """
        return self.weight * self.source_lengths[sentence]

    def step(self) -> Tensor:
        """Count the step that the model has just made; returns the penalty of what ends with it, (rows,)."""
        self._covered = self._covered + self._attention(len(self._covered))
        least = torch.finfo(torch.float32).tiny  # attention may round to 0
        return self.weight * self._covered.clamp(least, 1).log().sum(dim=1)

    def select(self, rows: Tensor) -> None:
        """Keep these rows in this order, as the state does."""
        self._covered = self._covered[rows]
