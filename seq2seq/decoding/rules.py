"""What a hypothesis may write next, judged by what it has written: the interface of rules that searches obey.

A rule sees all rows at once and gets everything it needs with each call, so that a search can reorder and drop rows
without telling it.
"""

import math
from collections.abc import Sequence
from typing import Protocol

from torch import Tensor


class Rule(Protocol):
    """Strikes out tokens (minus infinity) or makes them less or more likely."""

    @property
    def stretch(self) -> float:
        """By how many nats, at most, a value given back moves when one of log_probs moves by one; 1 or more.

        Rules that only strike out have 1. It keeps margins true: see SearchResult.margins.
        """

    def __call__(self, log_probs: Tensor, written: Tensor, sentences: Tensor) -> Tensor:
        """What the search goes by in place of the model's log-probabilities; scores are sums of these.

        Args:
            log_probs: of the next token, (rows, vocab); may be changed in place.
            written: tokens of each row so far, without the prompt, int64 (rows, length).
            sentences: the row of the prompt that each belongs to, int64 (rows,).

        Returns:
            (rows, vocab), nothing above 0: beam search stops where it can since sums only fall.
        """


def obeyed(log_probs: Tensor, rules: Sequence[Rule], written: Tensor, sentences: Tensor) -> Tensor:
    """What is left of log-probabilities under all rules, one after another; arguments as for `Rule`.

    The log-probabilities given stay as they are: they are what the model says, which hypotheses report too.
    """
    ruled = log_probs.clone()
    for rule in rules:
        ruled = rule(ruled, written, sentences)
    return ruled


def stretch(rules: Sequence[Rule]) -> float:
    """That of several rules, one after another."""
    return math.prod(rule.stretch for rule in rules)
