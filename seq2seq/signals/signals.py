"""The signals of one output, and those of a line from its parts."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Signals:
    """Measures of an output beside its source. What is not known is None.

    Of a line that was split: counts and log_prob are sums over its parts, score, coverage and the ratios means
    weighted by tokens, confidence the weighted geometric mean; repetition, runs, copied, weakest and margin are those
    of the worst part.
    """

    source_tokens: int
    """Tokens of the source, without the end token."""
    unknown: int = 0
    """Of these, how many are the unknown token: characters that the vocabulary cannot represent."""
    byte_fallback: int = 0
    """Of these, how many are single bytes of characters that no piece of the vocabulary has."""
    tokens: int = 0
    """Tokens of the output, the end token included where it ended by itself; of labels, how many."""
    finished: bool = True
    """Whether the output ended by itself, not at its length limit."""
    score: float = 0.0
    """What hypotheses are ranked by: log_prob with the length normalisation of the search."""
    log_prob: float = 0.0
    """Natural logarithm of the output's probability under the model."""
    confidence: float | None = 1.0
    """exp(log_prob / tokens): the geometric mean of the probabilities of the output's tokens; None with a language
    model beside the translator, for sums with its log-probabilities are none of a probability."""
    weakest: float | None = None
    """The lowest of these probabilities."""
    margin: float | None = None
    """Score of the best hypothesis less that of the second; None unless two or more were asked for (n_best). Of
    labels: the lead of the likeliest label in nats, for tagging that of the least certain word."""
    length_ratio: float | None = None
    """Output tokens for each source token, end tokens left out."""
    relative_length: float | None = None
    """(output tokens + 5) / (usual * source tokens + 5), where usual is the ratio of the training text; 1 is usual."""
    repetition: float | None = None
    """The share of the output's 4-grams of tokens that stood in it before."""
    source_repetition: float | None = None
    """The same of the source."""
    longest_run: int | None = None
    """The most output tokens in one stretch that only repeats the 1 to 8 tokens just before it."""
    source_longest_run: int | None = None
    """The same of the source."""
    copied: float | None = None
    """The share of the output's words that stand in the source too; None with fewer than 4 words on a side."""
    coverage: float | None = None
    """The share of the source that the output attends to (see evaluation/coverage.py); None for models without
    cross-attention."""


def combined(parts: Sequence[Signals]) -> Signals | None:
    """The signals of a line from those of its parts; None for no part."""
    if len(parts) < 2:
        return parts[0] if parts else None
    tokens, source_tokens = sum(part.tokens for part in parts), sum(part.source_tokens for part in parts)
    log_prob = math.fsum(part.log_prob for part in parts)

    def mean(name: str) -> float | None:
        """Weighted by source tokens."""
        values = [getattr(part, name) for part in parts]
        if any(value is None for value in values):
            return None
        return math.fsum(value * part.source_tokens for value, part in zip(values, parts, strict=True)) / source_tokens

    def worst(name: str, choose: Any) -> Any:
        return choose((getattr(part, name) for part in parts if getattr(part, name) is not None), default=None)

    return Signals(
        source_tokens=source_tokens,
        unknown=sum(part.unknown for part in parts),
        byte_fallback=sum(part.byte_fallback for part in parts),
        tokens=tokens,
        finished=all(part.finished for part in parts),
        score=math.fsum(part.score for part in parts) / len(parts),
        log_prob=log_prob,
        confidence=None if any(part.confidence is None for part in parts) else math.exp(log_prob / max(tokens, 1)),
        weakest=worst("weakest", min),
        margin=worst("margin", min),
        length_ratio=mean("length_ratio"),
        relative_length=mean("relative_length"),
        repetition=worst("repetition", max),
        source_repetition=worst("source_repetition", max),
        longest_run=worst("longest_run", max),
        source_longest_run=worst("source_longest_run", max),
        copied=worst("copied", max),
        coverage=mean("coverage"),
    )
