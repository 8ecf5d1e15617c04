"""What a model remembers between decoding steps. Nothing of it is kept on a module."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

GROWTH = 64  # positions by which a cache grows: rare enough to be cheap, small enough not to waste memory


class KeyValue(NamedTuple):
    """Projected keys and values, each (batch, kv_heads, key_length, head_dim)."""

    key: Tensor
    value: Tensor


class KeyValueCache:
    """Keys and values of the positions one self-attention has seen.

    They lie position after position, (length, rows, 2, kv_heads, head_dim), at the beginning of a flat buffer that
    grows in blocks. A new position is written at the end, and reordering the rows copies what is filled and nothing
    else, into a second buffer that then changes places with the first: with a buffer of the usual
    (rows, kv_heads, capacity, head_dim), reordering the beams took longer than the step of the model between.
    """

    def __init__(self) -> None:
        self.length = 0
        self._filled: Tensor | None = None  # (length, rows, 2, kv_heads, head_dim), a view of the buffer
        self._buffer: Tensor | None = None
        self._spare: Tensor | None = None

    def append(self, key: Tensor, value: Tensor) -> KeyValue:
        """Add new positions and return all.

        Args:
            key: (rows, kv_heads, new_length, head_dim)
            value: (rows, kv_heads, new_length, head_dim)

        Returns:
            keys and values of every position so far, each (rows, kv_heads, length, head_dim).
        """
        rows, kv_heads, new_length, head_dim = key.shape
        start, self.length = self.length, self.length + new_length
        shape = (self.length, rows, 2, kv_heads, head_dim)
        if self._buffer is None or self._buffer.numel() < math.prod(shape):
            self._buffer = _room(shape, key)
            if self._filled is not None:
                _beginning(self._buffer, self._filled.shape).copy_(self._filled)
        self._filled = _beginning(self._buffer, shape)
        self._filled[start:, :, 0] = key.permute(2, 0, 1, 3)
        self._filled[start:, :, 1] = value.permute(2, 0, 1, 3)
        keys, values = self._filled.permute(2, 1, 3, 0, 4)
        return KeyValue(keys, values)

    def select(self, rows: Tensor) -> None:
        """Keep these rows in this order; a row may repeat. rows: int64 (new_rows,)."""
        if self._filled is None:
            return
        shape = (self.length, len(rows), *self._filled.shape[2:])
        if self._spare is None or self._spare.numel() < math.prod(shape):
            self._spare = _room(shape, self._filled)
        selected = _beginning(self._spare, shape)
        torch.index_select(self._filled, 1, rows, out=selected)
        self._filled, self._buffer, self._spare = selected, self._spare, self._buffer


def _room(shape: Sequence[int], like: Tensor) -> Tensor:
    """A flat buffer for that shape, the first axis rounded up to whole blocks."""
    blocks = -(-shape[0] // GROWTH)
    return like.new_empty(blocks * GROWTH * math.prod(shape[1:]))


def _beginning(buffer: Tensor, shape: Sequence[int]) -> Tensor:
    """The first numbers of a flat buffer as a tensor of that shape."""
    return buffer[: math.prod(shape)].view(*shape)


class DecodingState:
    """Caches of self-attention by row, and keys and values of the source by sentence.

    Rows are hypotheses; several rows (the beams of a search) may belong to one sentence, whose cross-attention keys
    and values exist once as long as the rows lie in contiguous blocks of equal size, and are dropped with the
    sentence's last row.

    Args:
        rows: number of rows; at first one for each sentence.
        num_layers: decoder layers.
        memory: keys and values of the source for each layer, each (rows, kv_heads, source_length, head_dim); empty
            without cross-attention.
        memory_mask: bool (rows, 1, 1, source_length), True = may attend; None = no padding.
    """

    def __init__(
        self,
        rows: int,
        *,
        num_layers: int,
        memory: list[KeyValue] | None = None,
        memory_mask: Tensor | None = None,
    ) -> None:
        self.length = 0  # tokens consumed so far, the same for every row
        self.caches = [KeyValueCache() for _ in range(num_layers)]
        self.memory = memory or []
        self.memory_mask = memory_mask
        self._sentence_of_row = np.arange(rows)

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self._sentence_of_row)

    def select(self, rows: Tensor) -> None:
        """Keep these rows in this order.

        Args:
            rows: int64 (new_rows,), numbers of present rows; one may repeat (a beam), be left out, change place.
        """
        for cache in self.caches:
            cache.select(rows)
        sentence_of_row = self._sentence_of_row[rows.cpu().numpy()]
        if self.memory and len(sentence_of_row):
            blocks, self._sentence_of_row = _blocks(sentence_of_row)
            self._select_memory(blocks)
        else:
            self._sentence_of_row = sentence_of_row

    def _select_memory(self, sentences: NDArray[np.int64]) -> None:
        present = self.memory[0].key.shape[0]
        if len(sentences) == present and (sentences == np.arange(present)).all():
            return
        kept = torch.from_numpy(sentences).to(self.memory[0].key.device)
        self.memory = [KeyValue(key.index_select(0, kept), value.index_select(0, kept)) for key, value in self.memory]
        if self.memory_mask is not None:
            self.memory_mask = self.memory_mask.index_select(0, kept)


def _blocks(
    sentence_of_row: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Cut rows into the largest equal blocks that each lie within one sentence.

    Returns:
        the sentence of each block, and the block of each row.
    """
    rows = len(sentence_of_row)
    starts = np.flatnonzero(np.concatenate([[True], sentence_of_row[1:] != sentence_of_row[:-1]]))
    size = int(np.gcd.reduce(np.diff(np.append(starts, rows))))
    return sentence_of_row[::size], np.arange(rows) // size
