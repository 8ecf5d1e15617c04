"""What a hypothesis may write next, judged by what it has written: the interface of rules that searches obey.

A rule sees all rows at once and gets everything it needs with each call, so that a search can reorder and drop rows
without telling it.
"""

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor


class Rule(Protocol):
    """Strikes out tokens (minus infinity) or makes them less or more likely."""

    def __call__(self, log_probs: Tensor, written: Tensor, sentences: Tensor) -> Tensor:
        """The log-probabilities that the search goes by; scores are sums of these.

        Args:
            log_probs: of the next token, (rows, vocab); may be changed in place.
            written: tokens of each row so far, without the prompt, int64 (rows, length).
            sentences: the row of the prompt that each belongs to, int64 (rows,).

        Returns:
            (rows, vocab)
        """


def obeyed(log_probs: Tensor, rules: Sequence[Rule], written: Tensor, sentences: Tensor) -> Tensor:
    """What is left of log-probabilities under all rules, one after another; arguments as for `Rule`."""
    for rule in rules:
        log_probs = rule(log_probs, written, sentences)
    return log_probs
