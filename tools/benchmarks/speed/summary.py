"""From what each contestant did in each round to medians and ratios."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from speed.turns import Work


def contestant_figures(turns: Sequence[Work], gemm: Sequence[float]) -> dict[str, Any]:
    """The figures of one contestant.

    Args:
        turns: what it did in each round.
        gemm: multiply-adds a second of the products alone, in each round.
    """
    rates = tokens_per_second(turns)
    source, target = sum(turn.source_tokens for turn in turns), sum(turn.target_tokens for turn in turns)
    positions = sum(turn.source_positions + turn.target_positions for turn in turns)
    work = [turn.multiply_adds / turn.seconds for turn in turns]
    padded = [turn.padded_multiply_adds / turn.seconds for turn in turns]
    return {
        "tokens_per_second": round(statistics.median(rates), 1),
        "tokens_per_second_spread": [round(min(rates), 1), round(max(rates), 1)],
        "step_ms": round(1e3 * statistics.median(turn.seconds / turn.steps for turn in turns), 1),
        "target_tokens_per_step": round(target / sum(turn.steps for turn in turns), 1),
        "padding_share": round(1 - (source + target) / positions, 4),
        "gemm_fraction": round(_median_ratio(work, gemm), 4),
        "padded_gemm_fraction": round(_median_ratio(padded, gemm), 4),
        "peak_mib": round(max(turn.peak_mib for turn in turns), 1),
    }


def ratio_figures(ours: Sequence[Work], theirs: Sequence[Work]) -> dict[str, Any]:
    """Our tokens a second over another's, round by round: the median, and the smallest and largest."""
    ratios = [a / b for a, b in zip(tokens_per_second(ours), tokens_per_second(theirs), strict=True)]
    return {
        "median": round(statistics.median(ratios), 3),
        "spread": [round(min(ratios), 3), round(max(ratios), 3)],
        "pairs": [round(ratio, 3) for ratio in ratios],
    }


def fastest(turns: Mapping[str, Sequence[Work]]) -> str | None:
    """The contestant with the highest median of tokens a second; None where there is none."""
    medians = {name: statistics.median(tokens_per_second(done)) for name, done in turns.items()}
    return max(medians, key=lambda name: medians[name]) if medians else None


def tokens_per_second(turns: Sequence[Work]) -> list[float]:
    """Real target tokens a second, end tokens counted, in each round."""
    return [turn.target_tokens / turn.seconds for turn in turns]


def _median_ratio(above: Sequence[float], below: Sequence[float]) -> float:
    return statistics.median(a / b for a, b in zip(above, below, strict=True))
