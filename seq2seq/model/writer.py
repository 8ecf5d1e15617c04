"""What models that write text share: they read it step by step, and say which token may come next."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from seq2seq.model.decoder import Decoder
from seq2seq.model.state import DecodingState


class Writer(nn.Module, ABC):
    """A decoder and a head, as a search drives them.

    Attributes:
        decoder: stack for the text that is written.
        head: dim to vocabulary.
    """

    decoder: Decoder
    head: nn.Linear

    @abstractmethod
    def _embed_target(self, tokens: Tensor) -> Tensor:
        """Vectors of the tokens that the decoder reads: (rows, length) -> (rows, length, dim)."""

    @torch.no_grad()
    def step(self, tokens: Tensor, state: DecodingState) -> Tensor:
        """Read further tokens of the text: the whole prompt first, then one column a call.

        Args:
            tokens: ids (rows, new_length)
            state: made by `start`; it is changed.

        Returns:
            logits of the next token, (rows, vocab), a new tensor that the caller may overwrite.
        """
        return new_logits(self.head, self.decoder.step(self._embed_target(tokens), state)[:, -1])


def new_logits(head: nn.Module, features: Tensor) -> Tensor:
    """Logits that may be overwritten, even where a hook of the head has kept what it saw.

    Args:
        head: dim to vocabulary.
        features: hidden states (..., dim)

    Returns:
        (..., vocab)
    """
    logits: Tensor = head(features)
    return logits.clone() if head._forward_hooks else logits
