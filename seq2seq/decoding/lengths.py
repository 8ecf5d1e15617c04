"""How few and how many tokens a translation may have, by the settings and the length of its source."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from seq2seq.config import DecodingConfig
from seq2seq.decoding.logits import NEVER

SLACK = 10
"""Tokens that max_length_ratio grants beyond the ratio: a short source may well have a longer translation."""


def most_tokens(settings: DecodingConfig, source_length: int) -> int:
    """The most new tokens, the end token included: the smaller one of max_length_ratio's and max_length.

    Args:
        settings: of the search.
        source_length: tokens of the source, without its end token.
    """
    by_ratio = int(settings.max_length_ratio * source_length) + SLACK
    return min(by_ratio, settings.max_length or by_ratio)


def fewest_tokens(settings: DecodingConfig, source_length: int) -> int:
    """The fewest tokens before the end token: the larger one of min_length_ratio's, rounded up, and min_length.

    `most_tokens` prevails where it is less.
    """
    # Less than any real fraction: 0.1 * 30 is a little more than 3.
    return max(settings.min_length, math.ceil(settings.min_length_ratio * source_length - 1e-9))


class FewestTokens:
    """The rule that a text does not end before it has as many tokens.

    Args:
        fewest: of each row of the prompt.
        eos_id: the end token.
    """

    stretch = 1.0

    def __init__(self, fewest: Sequence[int], *, eos_id: int) -> None:
        self.fewest, self.eos_id = torch.tensor(fewest), eos_id

    def __call__(self, log_probs: Tensor, written: Tensor, sentences: Tensor) -> Tensor:
        """Strike out the end token; see Rule."""
        self.fewest = self.fewest.to(sentences.device)
        log_probs[self.fewest[sentences] > written.shape[1], self.eos_id] = NEVER
        return log_probs
