"""What a model is trained on at once: padded id tensors and how many of their tokens count."""

from dataclasses import dataclass

import torch
from torch import Tensor

from seq2seq.data.tokenizer import IGNORE as IGNORE


@dataclass(frozen=True, slots=True)
class Batch:
    """Sentences of one batch, padded on the right.

    Attributes:
        source: (batch, source_length) int64; None for a language model.
        source_mask: (batch, source_length) bool, True = a real token; None when no source is padded.
        target_in: (batch, target_length) int64, what the decoder reads: begin token first; a language model's tokens.
            None for classification and tagging.
        target_out: int64, what is to be predicted, IGNORE where nothing is: (batch, target_length), for
            classification (batch,), for tagging (batch, source_length).
        num_tokens: entries of target_out that are not IGNORE.
    """

    source: Tensor | None
    source_mask: Tensor | None
    target_in: Tensor | None
    target_out: Tensor
    num_tokens: int

    @property
    def lengths(self) -> tuple[int, int]:
        """Padded tokens of a source and of a target; 0 where there is none."""
        source = 0 if self.source is None else self.source.size(1)
        return source, self.target_out.size(1) if self.target_out.dim() == 2 else 0

    def to(self, device: torch.device | str) -> "Batch":
        """The same batch on `device`."""

        def moved(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else tensor.to(device, non_blocking=True)

        return Batch(
            source=moved(self.source),
            source_mask=moved(self.source_mask),
            target_in=moved(self.target_in),
            target_out=self.target_out.to(device, non_blocking=True),
            num_tokens=self.num_tokens,
        )
