"""From what each contestant decoded in each round to medians, ratios and shares of equal lines."""

import math
import statistics
from collections.abc import Callable, Sequence
from typing import Any

from speed.decoding import Decoded


def sentences_per_second(done: Decoded, sentences: int) -> float:
    """Over all batches of a turn."""
    return sentences / math.fsum(done.seconds)


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest of values that at least this share of them does not exceed (nearest rank)."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def throughput_figures(turns: Sequence[Decoded], sentences: int) -> dict[str, Any]:
    """Medians over the rounds of one search in batches."""
    rates = [sentences_per_second(done, sentences) for done in turns]
    return {
        "sentences_per_second": round(statistics.median(rates), 2),
        "sentences_per_second_spread": _spread(rates, 2),
        "output_tokens_per_second": round(statistics.median(d.tokens / math.fsum(d.seconds) for d in turns), 1),
        "output_tokens": turns[-1].tokens,
    }


def latency_figures(turns: Sequence[Decoded]) -> dict[str, Any]:
    """Medians over the rounds of decoding one sentence at a time, in milliseconds."""
    medians, tails = ([1e3 * value for value in values] for values in (_medians(turns), _tails(turns)))
    return {
        "median_ms": round(statistics.median(medians), 2),
        "median_ms_spread": _spread(medians, 2),
        "p95_ms": round(statistics.median(tails), 2),
        "p95_ms_spread": _spread(tails, 2),
    }


def ratios(ours: dict[str, list[Decoded]], theirs: dict[str, list[Decoded]], sentences: int) -> dict[str, Any]:
    """How many times as fast ours is, round by round; above 1 ours is faster.

    Args:
        ours: turns by what was measured: greedy, beam, single.
        theirs: the same of a peer.
        sentences: of a turn in batches.
    """

    def of(name: str, speeds: Callable[[Sequence[Decoded]], list[float]]) -> dict[str, Any]:
        pairs = [a / b for a, b in zip(speeds(ours[name]), speeds(theirs[name]), strict=True)]
        return {
            "median": round(statistics.median(pairs), 3),
            "spread": _spread(pairs, 3),
            "pairs": [round(pair, 3) for pair in pairs],
        }

    def rates(turns: Sequence[Decoded]) -> list[float]:
        return [sentences_per_second(done, sentences) for done in turns]

    return {
        "greedy": of("greedy", rates),
        "beam": of("beam", rates),
        "latency_median": of("single", lambda turns: [1 / value for value in _medians(turns)]),
        "latency_p95": of("single", lambda turns: [1 / value for value in _tails(turns)]),
    }


def same_share(ours: Sequence[str], theirs: Sequence[str]) -> float:
    """Share of lines with the same text."""
    return round(statistics.fmean(a == b for a, b in zip(ours, theirs, strict=True)), 4)


def _medians(turns: Sequence[Decoded]) -> list[float]:
    return [statistics.median(done.seconds) for done in turns]


def _tails(turns: Sequence[Decoded]) -> list[float]:
    return [percentile(done.seconds, 0.95) for done in turns]


def _spread(values: Sequence[float], digits: int) -> list[float]:
    return [round(min(values), digits), round(max(values), digits)]
