"""How hypotheses of different lengths are compared: score = log-probability / penalty(length) + reward(length).

A log-probability only falls with every token, so the bare one favours short output. Length counts the new tokens
including the end token; alpha is decoding.length_penalty.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from seq2seq.config import LengthNormalisation
from seq2seq.errors import DecodingError

FORMULAS: dict[LengthNormalisation, str] = {
    LengthNormalisation.gnmt: "score = log_prob / ((5 + length) / 6) ** alpha  (Wu et al. 2016, equation 14)",
    LengthNormalisation.average: "score = log_prob / length ** alpha  (alpha = 1: the mean log-probability of a token)",
    LengthNormalisation.reward: "score = log_prob + alpha * length  (He et al. 2016; alpha = 0.2, say, not 1)",
    LengthNormalisation.none: "score = log_prob  (alpha has no effect)",
}

PENALTIES: dict[LengthNormalisation, Callable[[int, float], float]] = {
    LengthNormalisation.gnmt: lambda length, alpha: ((5 + length) / 6) ** alpha,
    LengthNormalisation.average: lambda length, alpha: length**alpha,
    LengthNormalisation.reward: lambda length, alpha: 1.0,
    LengthNormalisation.none: lambda length, alpha: 1.0,
}


def penalty_table(longest: int, *, normalisation: LengthNormalisation, alpha: float) -> list[float]:
    """Penalties by length, 0 to longest; they never fall and (from length 1) are at least 1.

    Raises:
        ValueError: alpha is below 0, which would reward stopping early beyond what probability does.
        DecodingError: alpha is so large that a penalty is no number any more.
    """
    if not 0 <= alpha < float("inf"):
        raise ValueError(f"length_penalty ({alpha}) must be a number of 0 or more")
    try:
        return [1.0, *(PENALTIES[normalisation](length, alpha) for length in range(1, longest + 1))]
    except OverflowError:
        raise DecodingError(f"length_penalty ({alpha}) is too large; 0 to 2 are usual.") from None


def reward_table(longest: int, *, normalisation: LengthNormalisation, alpha: float) -> list[float]:
    """Rewards by length, 0 to longest, in nats; they never fall."""
    each = alpha if normalisation is LengthNormalisation.reward else 0.0
    return [each * length for length in range(longest + 1)]


def row_limits(max_length: int | Sequence[int] | Tensor, rows: int) -> list[int]:
    """The most new tokens of each row.

    Args:
        max_length: one number for all rows, or one for each; the end token counts.
        rows: how many rows there are.

    Raises:
        ValueError: a number below 1, or not one for each row.
    """
    if isinstance(max_length, int):
        limits = [max_length] * rows
    else:
        limits = [int(limit) for limit in torch.as_tensor(max_length).tolist()]
    if len(limits) != rows:
        raise ValueError(f"max_length has {len(limits)} numbers for {rows} rows")
    if any(limit < 1 for limit in limits):
        raise ValueError(f"max_length ({min(limits)}) must be at least 1")
    return limits
