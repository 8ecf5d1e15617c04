"""Which training pairs are left out, and the table that says how many."""

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

RATIO_SLACK = 8
"""Tokens by which sides may differ whatever their ratio: "Yes." may be a sentence in the other language."""


@dataclass(slots=True)
class DropCounts:
    """How many pairs were read and why some were left out; each is counted under the first rule it breaks."""

    read: int = 0
    empty: int = 0
    """A side without a token."""
    too_long: int = 0
    """A side longer than data.max_length tokens."""
    length_ratio: int = 0
    """One side longer than data.max_length_ratio times the other, plus RATIO_SLACK tokens."""

    @property
    def kept(self) -> int:
        """Pairs that are trained on."""
        return self.read - self.empty - self.too_long - self.length_ratio

    def __add__(self, other: "DropCounts") -> "DropCounts":
        return DropCounts(*(getattr(self, item.name) + getattr(other, item.name) for item in fields(self)))

    def __str__(self) -> str:
        """One table, five lines."""
        rows = {
            "pairs read": self.read,
            "dropped: a side is empty": self.empty,
            "dropped: longer than data.max_length": self.too_long,
            "dropped: beyond data.max_length_ratio": self.length_ratio,
            "pairs kept": self.kept,
        }
        return "\n".join(f"{label:<40}{count:>12,}" for label, count in rows.items())


@dataclass(frozen=True, slots=True)
class Filter:
    """The rules for training pairs. Lengths are in tokens, the end token included.

    Args:
        max_length: longest side.
        max_length_ratio: how many times longer than the other a side may be, RATIO_SLACK apart; None for tasks
            whose target is not text.
    """

    max_length: int
    max_length_ratio: float | None

    def keep(
        self, source_lengths: npt.NDArray[np.int64], target_lengths: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.bool_], DropCounts]:
        """Which pairs stay: a mask over them, and the count of each rule.

        Args:
            source_lengths: (pairs,) tokens of each source without end token.
            target_lengths: (pairs,) likewise.
        """
        shorter, longer = np.minimum(source_lengths, target_lengths), np.maximum(source_lengths, target_lengths)
        empty = shorter == 0
        too_long = ~empty & (longer + 1 > self.max_length)
        unlike = np.zeros_like(empty)
        if self.max_length_ratio is not None:
            limit = self.max_length_ratio * (shorter + 1) + RATIO_SLACK
            unlike = ~empty & ~too_long & (longer + 1 > limit)
        counts = DropCounts(len(empty), int(empty.sum()), int(too_long.sum()), int(unlike.sum()))
        return ~(empty | too_long | unlike), counts
