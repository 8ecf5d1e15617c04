"""How much of each source its output attends to, and how probable each token of the output is, in one forced pass.

    coverage = mean over the source tokens j of min(1, sum over the output tokens i of a_ij)

where a_ij is the weight of source token j in the cross-attention that predicts output token i, the mean over all
decoder layers and heads; output tokens include the end token, source tokens do not. The sum is the coverage of Wu et
al. 2016, section 7 (there its logarithms are summed). An output as long as its source that attends evenly has 1; a
source token that nothing attends to adds nothing.

Measured on multi30k (en-de, 100 reference translations): 0.82 in the mean, 0.67 for the lowest of fifty; with the last
two fifths of the translation missing 0.57, with a second sentence behind the source 0.49. It ranks a whole translation
above one so cut in 98 of 100 pairs. It does not tell a translation of something else (0.76) or a loop (0.89).
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seq2seq.data.collate import padded
from seq2seq.data.tokenizer import BOS, IGNORE, PAD
from seq2seq.evaluation.token_log_probs import token_log_probs
from seq2seq.model.attention import MultiHeadAttention
from seq2seq.model.transformer import EncoderDecoder
from seq2seq.model.twin import twin


@dataclass(frozen=True, slots=True)
class ForcedOutput:
    """What a model says of one output for one source.

    Attributes:
        coverage: from 0 to 1; None where the output has no tokens or the model no cross-attention.
        log_probs: of each output token.
    """

    coverage: float | None
    log_probs: tuple[float, ...]


class Forcer:
    """Has a model predict given outputs, watching its cross-attention; several threads may do so at a time.

    What is watched is a twin of the model: other modules with the same weights. So a search that another thread makes
    meanwhile is not watched, and runs as ever.

    Args:
        model: in evaluation mode. Of one that is no EncoderDecoder nothing is known here.
    """

    def __init__(self, model: Any) -> None:
        self._model = twin(model) if isinstance(model, EncoderDecoder) else None
        self._seen = threading.local()  # weights of each layer, (batch, target_length, source_length)
        for module in [] if self._model is None else self._model.modules():
            if isinstance(module, MultiHeadAttention) and module.cross:
                module.watch = lambda weights: self._seen.layers.append(weights.mean(dim=1))

    @torch.no_grad()
    def __call__(self, sources: Sequence[Sequence[int]], outputs: Sequence[Sequence[int]]) -> list[ForcedOutput]:
        """One batch.

        Args:
            sources: ids, the end token last.
            outputs: ids, the end token last where the output ended by itself.
        """
        if self._model is None:
            return [ForcedOutput(None, ())] * len(sources)
        device = next(self._model.parameters()).device
        ids, mask = padded([np.array(source) for source in sources], padding=PAD)
        read, _ = padded([np.array([BOS, *output[:-1]]) for output in outputs], padding=PAD)
        wanted, _ = padded([np.array(output or [IGNORE]) for output in outputs], padding=IGNORE)
        source_mask, target_out = torch.from_numpy(mask).to(device), torch.from_numpy(wanted).to(device)
        self._seen.layers = []
        log_probs = token_log_probs(
            self._model,
            torch.from_numpy(read).to(device),
            target_out,
            source=torch.from_numpy(ids).to(device),
            source_mask=None if mask.all() else source_mask,
        )
        covered = _coverage(self._seen.layers, source_mask, target_out != IGNORE)
        self._seen.layers = []
        flat = iter(log_probs.tolist())
        return [
            ForcedOutput(coverage if output else None, tuple(next(flat) for _ in output))
            for coverage, output in zip(covered, outputs, strict=True)
        ]


def _coverage(weights: Sequence[Tensor], source_mask: Tensor, written: Tensor) -> list[float]:
    """Coverage of each row.

    Args:
        weights: of each layer, (batch, target_length, source_length)
        source_mask: bool (batch, source_length), True = a real token; the last of them is the end token.
        written: bool (batch, target_length), True = an output token.
    """
    mean = torch.stack([layer.float() for layer in weights]).mean(dim=0)
    mass = (mean * written.unsqueeze(2)).sum(dim=1).clamp(max=1)
    lengths = source_mask.sum(dim=1) - 1  # without the end token
    places = torch.arange(source_mask.shape[1], device=source_mask.device)
    mass = mass * (places < lengths.unsqueeze(1))
    found: list[float] = (mass.sum(dim=1) / lengths.clamp(min=1)).tolist()
    return found
