"""Chunks of text to arrays of ids: what preparing a corpus spends its time on.

Free of torch and Arrow, so that the processes of `workers.py` start quickly and stay small.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from seq2seq.config import Task
from seq2seq.data.files import Pair
from seq2seq.data.filters import DropCounts, Filter
from seq2seq.data.tokenizer import EOS, IGNORE, UNK, Tokenizer, Tokenizers
from seq2seq.errors import DataError

Number = type[np.signedinteger[Any]]
Column = tuple[npt.NDArray[Any], npt.NDArray[np.int32] | None]
"""Ids and, unless they are one long row, offsets: row i is ids[offsets[i]:offsets[i + 1]]."""


class BadPairError(Exception):
    """A pair cannot be encoded.

    Args:
        index: of the pair in its chunk.
        reason: a sentence without the place, which only the text's source can name.
    """

    def __init__(self, index: int, reason: str) -> None:
        super().__init__(index, reason)
        self.index, self.reason = index, reason


@dataclass(frozen=True, slots=True)
class Encoded:
    """A chunk of text as ids.

    Attributes:
        columns: source and target; of a language model's text one column without offsets.
        drops: pairs read and left out.
    """

    columns: Sequence[Column]
    drops: DropCounts


@dataclass(frozen=True, slots=True)
class PairEncoder:
    """Encodes chunks of pairs; see `TokenDataset` for what the columns hold.

    Args:
        tokenizers: text to ids.
        task: what the targets are.
        filter: rules for pairs to leave out; None keeps every one.
    """

    tokenizers: Tokenizers
    task: Task
    filter: Filter | None

    @property
    def numbers(self) -> list[Number]:
        """The number format of each column."""
        return [number_of(self.tokenizers.source.vocab_size), number_of(self.tokenizers.target.vocab_size)]

    def __call__(self, pairs: Sequence[Pair]) -> Encoded:
        """Encode a chunk.

        Raises:
            BadPairError: a label is unknown or missing.
        """
        sources, targets = self._ids(pairs)
        drops = DropCounts(read=len(pairs))
        if self.filter is not None:
            keep, drops = self.filter.keep(_lengths(sources), _lengths(targets))
            sources, targets = list(itertools.compress(sources, keep)), list(itertools.compress(targets, keep))
        target_end = {Task.translation: EOS, Task.classification: None, Task.tagging: IGNORE}[self.task]
        ends = (EOS, target_end)
        columns = [
            column(rows, number, end=end)
            for rows, number, end in zip((sources, targets), self.numbers, ends, strict=True)
        ]
        return Encoded(columns, drops)

    def _ids(self, pairs: Sequence[Pair]) -> tuple[list[list[int]], list[list[int]]]:
        """Ids of both sides without end tokens."""
        sources, targets = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        if self.task is Task.translation:
            return self.tokenizers.source.encode_batch(sources), self.tokenizers.target.encode_batch(targets)
        labels = self._labels(targets)
        if self.task is Task.classification:
            return self.tokenizers.source.encode_batch(sources), labels
        return self._words([text.split() for text in sources], labels)

    def _labels(self, targets: Sequence[str]) -> list[list[int]]:
        labels = []
        for index, target in enumerate(targets):
            try:  # a pair without a label will be dropped and counted where pairs are, so that is not an unknown one
                empty = self.filter is not None and not target.strip()
                labels.append([] if empty else self.tokenizers.target.encode(target))
            except DataError as error:
                raise BadPairError(index, str(error)) from None
        return labels

    def _words(self, words: list[list[str]], labels: list[list[int]]) -> tuple[list[list[int]], list[list[int]]]:
        """Pieces of words, and a label at the first piece of each."""
        for index, (row, tags) in enumerate(zip(words, labels, strict=True)):
            if len(row) != len(tags):
                raise BadPairError(
                    index,
                    f"{len(row)} words in the source and {len(tags)} labels; give each whitespace-separated word one "
                    "label.",
                )
        pieces = iter(self.tokenizers.source.encode_batch(list(itertools.chain.from_iterable(words))))
        encoded: tuple[list[list[int]], list[list[int]]] = ([], [])
        for tags in labels:
            ids: list[int] = []
            marks: list[int] = []
            for tag in tags:
                piece = next(pieces) or [UNK]  # a word may be made of what normalisation removes
                ids += piece
                marks += [tag] + [IGNORE] * (len(piece) - 1)
            encoded[0].append(ids)
            encoded[1].append(marks)
        return encoded


@dataclass(frozen=True, slots=True)
class StreamEncoder:
    """Encodes chunks of a language model's text as one long row.

    Args:
        tokenizer: text to ids.
        end: close each text with the end token.
    """

    tokenizer: Tokenizer
    end: bool

    @property
    def numbers(self) -> list[Number]:
        """The number format of the column."""
        return [number_of(self.tokenizer.vocab_size)]

    def __call__(self, pairs: Sequence[Pair]) -> Encoded:
        """Encode a chunk."""
        rows = self.tokenizer.encode_batch([text for _, text in pairs])
        ids, _ = column(rows, *self.numbers, end=EOS if self.end else None)
        return Encoded([(ids, None)], DropCounts(read=len(pairs)))


def number_of(vocab_size: int) -> Number:
    """The smallest number format that holds every id and IGNORE; half the file is half the memory it takes mapped."""
    return np.int16 if vocab_size <= np.iinfo(np.int16).max else np.int32


def column(
    rows: Sequence[Sequence[int]], number: Number, *, end: int | None
) -> tuple[npt.NDArray[Any], npt.NDArray[np.int32]]:
    """Rows as one array of ids and the offsets of each, `end` behind every row unless it is None."""
    lengths = _lengths(rows) + (end is not None)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    flat = itertools.chain.from_iterable(rows)
    if end is None:
        return np.fromiter(flat, number, int(offsets[-1])), offsets
    ids = np.empty(int(offsets[-1]), number)
    inner = np.ones(len(ids), np.bool_)
    inner[offsets[1:] - 1] = False
    ids[inner] = np.fromiter(flat, number, len(ids) - len(rows))
    ids[offsets[1:] - 1] = end
    return ids, offsets


def _lengths(rows: Sequence[Sequence[int]]) -> npt.NDArray[np.int64]:
    return np.fromiter(map(len, rows), np.int64, len(rows))
