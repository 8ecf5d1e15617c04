"""What a run's training text looks like once it is tokens, and how it falls into batches."""

from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from seq2seq.config import Task
from seq2seq.data.batch import IGNORE
from seq2seq.data.batching import EpochPlan, PackedBatches, PairBatches
from seq2seq.data.prepare import Prepared
from seq2seq.data.token_cache import TokenStream

Counts = npt.NDArray[np.int64]

FEW_BATCHES = 50
"""A language model's epoch of so few batches is counted token by token."""
TAGGED_SAMPLE = 2000
"""Lines whose labels are counted to tell how many labels a token has."""


@dataclass(frozen=True, slots=True)
class Lengths:
    """Tokens of one side of the training text, end tokens included.

    Attributes:
        tokens: in all.
        mean: of a line, as the others.
        median: half of the lines are longer.
        percentile_95: one in twenty is longer.
        percentile_99: one in a hundred is longer.
        longest: the longest line.
    """

    tokens: int
    mean: float
    median: float
    percentile_95: float
    percentile_99: float
    longest: int


@dataclass(frozen=True, slots=True)
class CorpusStatistics:
    """The training text in numbers.

    Attributes:
        examples: pairs or lines that are trained on; a language model's blocks of an epoch.
        tokens: of all sides.
        source: lengths of the sources; None for a language model.
        target: lengths of the targets; None where they are no text.
        dropped: pairs left out by each rule of the filter, `read` and `kept` among them; None for a language model.
    """

    examples: int
    tokens: int
    source: Lengths | None
    target: Lengths | None
    dropped: dict[str, int] | None


@dataclass(frozen=True, slots=True)
class EpochShape:
    """The batches of one epoch.

    Attributes:
        rows: (batches,) sentences or blocks.
        lengths: (batches,) padded tokens of a row, both sides together.
        longest: (batches,) padded tokens of a row's longer side.
        tokens: real ones of the epoch, both sides.
        target_tokens: predictions of the epoch.
    """

    rows: Counts
    lengths: Counts
    longest: Counts
    tokens: int
    target_tokens: int

    @property
    def batches(self) -> int:
        """Micro-batches of the epoch."""
        return len(self.rows)

    @property
    def padding(self) -> float:
        """Share of the epoch's padded tokens that are padding."""
        return 1 - self.tokens / int((self.rows * self.lengths).sum())

    def worst(self) -> list[int]:
        """Positions of the batches that need most memory: the most padded tokens, then the longest rows if others."""
        most = int((self.rows * self.lengths).argmax())
        longest = int(np.lexsort((self.rows, self.longest))[-1])
        alike = self.rows[most] == self.rows[longest] and self.lengths[most] == self.lengths[longest]
        return [most] if alike else [most, longest]


def lengths_of(tokens: npt.NDArray[np.int32]) -> Lengths:
    """Of lines with these numbers of tokens, at least one line."""
    median, percentile_95, percentile_99 = np.percentile(tokens, [50, 95, 99]).tolist()
    total = int(tokens.sum(dtype=np.int64))
    return Lengths(total, total / len(tokens), median, percentile_95, percentile_99, int(tokens.max()))


def corpus_statistics(prepared: Prepared, *, task: Task, epoch: EpochShape) -> CorpusStatistics:
    """The training text of a run, each corpus once."""
    if isinstance(prepared.train, TokenStream):
        return CorpusStatistics(int(epoch.rows.sum()), len(prepared.train), None, None, None)
    source = lengths_of(np.concatenate([dataset.source_lengths for dataset in prepared.train]))
    target = None
    if task is Task.translation:
        target = lengths_of(np.concatenate([dataset.target_lengths for dataset in prepared.train]))
    assert prepared.drop_counts is not None
    drops = prepared.drop_counts
    dropped = {**asdict(drops), "kept": drops.kept}
    tokens = source.tokens + (target.tokens if target else 0)
    return CorpusStatistics(sum(map(len, prepared.train)), tokens, source, target, dropped)


def epoch_shape(batches: PairBatches | PackedBatches, plan: EpochPlan) -> EpochShape:
    """How big the batches of an epoch are, without making them.

    Args:
        batches: of the run.
        plan: one of their epochs.
    """
    examples = [plan.examples(position) for position in range(len(plan))]
    rows = np.fromiter(map(len, examples), np.int64, len(examples))
    if isinstance(batches, PackedBatches):
        return _blocks(plan, rows, batches.context)
    order, starts = np.concatenate(examples), np.cumsum(rows) - rows
    task = batches.datasets[0].task
    source = np.concatenate([dataset.source_lengths for dataset in batches.datasets]).astype(np.int64)[order]
    target = np.concatenate([dataset.target_lengths for dataset in batches.datasets]).astype(np.int64)[order]
    lengths = longest = np.maximum.reduceat(source, starts)
    tokens = int(source.sum())
    if task is Task.translation:
        targets = np.maximum.reduceat(target, starts)
        lengths, longest = lengths + targets, np.maximum(longest, targets)
        return EpochShape(rows, lengths, longest, tokens + int(target.sum()), int(target.sum()))
    if task is Task.classification:
        return EpochShape(rows, lengths, longest, tokens, len(order))
    return EpochShape(rows, lengths, longest, tokens, round(tokens * _labels_of_a_token(batches)))


def _blocks(plan: EpochPlan, rows: Counts, context: int) -> EpochShape:
    """A language model's epoch: all blocks are full, but in a text that is shorter than one."""
    if len(rows) > FEW_BATCHES:
        lengths = np.full(len(rows), context, np.int64)
        tokens = int((rows * lengths).sum())
    else:
        made = [plan[position] for position in range(len(plan))]
        lengths = np.array([batch.target_out.shape[1] for batch in made], np.int64)
        tokens = sum(batch.num_tokens for batch in made)
    return EpochShape(rows, lengths, lengths, tokens, tokens)


def _labels_of_a_token(batches: PairBatches) -> float:
    """Labels for each token of a tagger's text: one a word, counted in the first lines of each corpus."""
    labels = tokens = 0
    for dataset in batches.datasets:
        for index in range(min(len(dataset), TAGGED_SAMPLE)):
            target = dataset.target(index)
            labels, tokens = labels + int((target != IGNORE).sum()), tokens + len(target)
    return labels / tokens
