"""Measures of an output beside its source, by counting: the same numbers whatever stands beside the line."""

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

NGRAM = 4
"""Tokens of an n-gram of `repetition`."""
LONGEST_UNIT = 8
"""Tokens of the longest unit that `longest_run` sees repeated."""
SLACK = 5
"""Tokens added to both sides of `relative_length`, so that short lines are seldom far off."""
FEWEST_WORDS = 4
"""Words with a letter that both sides need for `copied`: names and numbers alone are rightly the same."""

_WORD = re.compile(r"[^\W\d_]+")


def repetition(tokens: Sequence[int]) -> float:
    """The share of n-grams that stood in the text before: 1 - different / all (seq-rep-n of Welleck et al. 2020).

    Args:
        tokens: ids, without the end token.

    Returns:
        from 0 to below 1; 0 for texts of fewer than NGRAM tokens.
    """
    total = len(tokens) - NGRAM + 1
    if total < 1:
        return 0.0
    return 1 - len({tuple(tokens[start : start + NGRAM]) for start in range(total)}) / total


def longest_run(tokens: Sequence[int]) -> int:
    """The most tokens in one stretch that only repeat what stands just before it.

    For a unit of p tokens, 1 <= p <= LONGEST_UNIT, a stretch is tokens k, k + 1, ... that are each equal to the one p
    places before it; one shorter than the unit does not count. `a b a b a b` has a run of 4.

    Args:
        tokens: ids, without the end token.
    """
    ids = np.asarray(tokens, dtype=np.int64)
    longest = 0
    for unit in range(1, min(LONGEST_UNIT, len(ids) // 2) + 1):
        differs = np.flatnonzero(np.concatenate([[True], ids[unit:] != ids[:-unit], [True]]))
        stretch = int(np.diff(differs).max()) - 1
        if stretch >= unit:
            longest = max(longest, stretch)
    return longest


def relative_length(tokens: int, source_tokens: int, usual: float) -> float:
    """The length of an output beside what the training text has: (tokens + 5) / (usual * source_tokens + 5).

    Args:
        tokens: of the output, without the end token.
        source_tokens: of the source, without the end token.
        usual: target tokens for each source token in the training text.
    """
    return (tokens + SLACK) / (usual * source_tokens + SLACK)


def copied(source: str, output: str) -> float | None:
    """The share of the output's words that stand in the source too, each counted as often as there.

    Words are runs of letters, whatever their case. Scripts without spaces have few of them.

    Returns:
        from 0 to 1; None where either side has fewer than FEWEST_WORDS.
    """
    theirs, ours = (Counter(_WORD.findall(text.casefold())) for text in (source, output))
    if min(theirs.total(), ours.total()) < FEWEST_WORDS:
        return None
    return (theirs & ours).total() / ours.total()
