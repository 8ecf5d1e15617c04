"""Log-probabilities that a model, or several together, give to the tokens of a text, all at once."""

from typing import Any

import torch
from torch import Tensor

from seq2seq.data.tokenizer import IGNORE
from seq2seq.model.combined import Combined, normalised
from seq2seq.model.transformer import LanguageModel
from seq2seq.model.writer import new_logits

CHUNK = 1 << 24
"""Logits to hold at once."""


def token_log_probs(
    model: Any,
    target_in: Tensor,
    target_out: Tensor,
    *,
    source: Tensor | None = None,
    source_mask: Tensor | None = None,
) -> Tensor:
    """What a model says of each target that counts, row after row, in float32 at least.

    Args:
        model: translates or is a language model; of a Combined, what its members say together.
        target_in: ids that are read, (batch, target_length).
        target_out: ids to be predicted, IGNORE where nothing is, (batch, target_length).
        source: ids (batch, source_length); None where no model reads one.
        source_mask: bool (batch, source_length), True = a real token; None = no padding.

    Returns:
        (number of targets that count,)
    """
    if isinstance(model, Combined):
        read = zip(model.members, model.member_tokens(target_in), strict=True)
        return model.combine(
            [token_log_probs(member, own, target_out, source=source, source_mask=source_mask) for member, own in read]
        )
    if source is None or isinstance(model, LanguageModel):
        features = model.features(target_in)
    else:
        features = model.features(source, target_in, source_mask=source_mask)
    counted = target_out != IGNORE
    return target_log_probs(features[counted], model.head, target_out[counted])


def target_log_probs(features: Tensor, head: Any, targets: Tensor) -> Tensor:
    """Logarithms of softmax(head(features)) at the targets, in float32 at least, never with all logits at once.

    Args:
        features: hidden states (tokens, dim)
        head: dim to vocabulary.
        targets: ids (tokens,)

    Returns:
        (tokens,)
    """
    rows = max(1, CHUNK // head.out_features)
    found = [
        normalised(new_logits(head, some)).gather(1, ids[:, None]).squeeze(1)
        for some, ids in zip(torch.split(features, rows), torch.split(targets, rows), strict=True)
    ]
    return torch.cat(found) if found else features.new_zeros(0)
