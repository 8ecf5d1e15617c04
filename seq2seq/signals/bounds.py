"""Bounds on signals: which outputs are flagged, and which of two outputs for the same source is the better one.

badness = the sum over an output's flags of 1 + excess, where excess, from 0 to 1, is how far the signal is out of its
bound on the way to the worst value there is (0 where a flag has no number). So fewer flags win, then smaller excess.
Flags of the source, which no output can mend, do not count.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from seq2seq.errors import ConfigError
from seq2seq.ranges import number, outside_ranges
from seq2seq.signals.signals import Signals


class Flag(Enum):
    """Why an output is not to be trusted; the values are how a report says it."""

    unfinished = "output stopped at its length limit"
    empty = "no output for a line that is not blank"
    too_short = "output much shorter than usual for its source"
    too_long = "output much longer than usual for its source"
    repetition = "output repeats itself"
    copied = "output has the words of the source"
    low_coverage = "output leaves much of the source aside"
    low_confidence = "the model finds its own output improbable"
    unreadable = "source of characters that the vocabulary does not have"


@dataclass(frozen=True, slots=True)
class Bounds:
    """What signals must keep to; a line with a signal outside is flagged.

    The defaults flag one of the first 400 test lines of multi30k (en-de, 3+3 layers, beam 5), by its coverage. There
    the hundredth lowest has a confidence of 0.48, a coverage of 0.55 and a relative_length of 0.63 (highest 1.36).
    Text of another kind or a weaker model may want other bounds.

    Raises:
        ConfigError: a bound is out of its range.
    """

    min_relative_length: float = number(0.5, at_least=0)
    """Least relative_length; 0 flags no output as too short."""
    max_relative_length: float = number(2.0, above=0)
    """Greatest relative_length."""
    max_repetition: float = number(0.2, at_least=0, at_most=1)
    """Greatest repetition beyond the source's own; 1 flags none."""
    max_run: int = number(8, at_least=0)
    """Greatest longest_run, in tokens, beyond the source's own (times length_ratio)."""
    max_copied: float = number(0.7, above=0, at_most=1)
    """Greatest share of output words that stand in the source; 1 flags none."""
    min_coverage: float = number(0.5, at_least=0, at_most=1)
    """Least coverage; 0 flags none."""
    min_confidence: float = number(0.3, at_least=0, at_most=1)
    """Least confidence; 0 flags none."""
    usual_length_ratio: float | None = number(None, above=0)
    """Target tokens for each source token that count as usual; None takes those of the training text, or 1 where the
    checkpoint does not know them (it was made before they were noted, or is an average)."""
    max_unreadable: float = number(0.5, above=0, at_most=1)
    """Greatest share of unknown and byte tokens in the source; 1 flags none."""

    def __post_init__(self) -> None:
        problems = [*outside_ranges(self, "")]
        if not problems and self.min_relative_length >= self.max_relative_length:
            problems.append(
                f"min_relative_length ({self.min_relative_length}) must be below max_relative_length "
                f"({self.max_relative_length})."
            )
        if problems:
            raise ConfigError(problems)


class Judgement(NamedTuple):
    """What bounds say of an output."""

    flags: tuple[Flag, ...]
    badness: float
    margin: float
    """How close a signal is to its bound that the neighbours in a batch may move by rounding; infinite for none."""

    @property
    def mendable(self) -> bool:
        """Whether another output might do better."""
        return self.badness > 0

    @property
    def is_exact(self) -> bool:
        """Whether badness comes from counting alone, so that no neighbour moves it."""
        return not {Flag.low_coverage, Flag.low_confidence} & set(self.flags)


def judged(signals: Signals, bounds: Bounds) -> Judgement:
    """The flags of an output."""
    excesses = dict(_flags(signals, bounds))
    moved = [(signals.coverage, bounds.min_coverage), (signals.confidence, bounds.min_confidence)]
    return Judgement(
        flags=tuple(excesses),
        badness=math.fsum(1 + excess for flag, excess in excesses.items() if flag is not Flag.unreadable),
        margin=min(abs(value - bound) if value is not None and bound else math.inf for value, bound in moved),
    )


def _flags(signals: Signals, bounds: Bounds) -> Iterator[tuple[Flag, float]]:
    """Each flag with its excess."""
    if not signals.finished:
        yield Flag.unfinished, 0.0
    if signals.length_ratio == 0:
        yield Flag.empty, 1.0
    yield from _below(Flag.too_short, signals.relative_length, bounds.min_relative_length)
    length = signals.relative_length
    if length is not None and length > bounds.max_relative_length:
        yield Flag.too_long, 1 - bounds.max_relative_length / length
    if (excess := _repetition(signals, bounds)) is not None:
        yield Flag.repetition, excess
    if signals.copied is not None and signals.copied > bounds.max_copied:
        yield Flag.copied, (signals.copied - bounds.max_copied) / (1 - bounds.max_copied)
    yield from _below(Flag.low_coverage, signals.coverage, bounds.min_coverage)
    yield from _below(Flag.low_confidence, signals.confidence, bounds.min_confidence)
    if signals.unknown + signals.byte_fallback > bounds.max_unreadable * signals.source_tokens:
        yield Flag.unreadable, 0.0


def _below(flag: Flag, value: float | None, bound: float) -> Iterator[tuple[Flag, float]]:
    if value is not None and value < bound:
        yield flag, 1 - value / bound


def _repetition(signals: Signals, bounds: Bounds) -> float | None:
    """The greater excess of repeated n-grams and of the longest run over what the source has; None within bounds."""
    if signals.repetition is None or signals.longest_run is None or signals.length_ratio is None:
        return None
    excesses = []
    share = signals.repetition - (signals.source_repetition or 0)
    if share > bounds.max_repetition:
        excesses.append((share - bounds.max_repetition) / (1 - bounds.max_repetition))
    run = signals.longest_run - (signals.source_longest_run or 0) * signals.length_ratio
    if run > bounds.max_run:
        excesses.append(1 - bounds.max_run / run)
    return max(excesses, default=None)
