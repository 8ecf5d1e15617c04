"""What a model remembers between decoding steps. Nothing of it is kept on a module."""

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
    """Keys and values of the positions one self-attention has seen, in a buffer that grows in blocks."""

    def __init__(self) -> None:
        self.length = 0
        self._buffer: Tensor | None = None  # (2, rows, kv_heads, capacity, head_dim)

    def append(self, key: Tensor, value: Tensor) -> KeyValue:
        """Add new positions and return all.

        Args:
            key: (rows, kv_heads, new_length, head_dim)
            value: (rows, kv_heads, new_length, head_dim)

        Returns:
            keys and values of every position so far, each (rows, kv_heads, length, head_dim).
        """
        start, self.length = self.length, self.length + key.shape[2]
        if self._buffer is None or self.length > self._buffer.shape[3]:
            rows, heads, _, head_dim = key.shape
            capacity = -(-self.length // GROWTH) * GROWTH
            grown = key.new_empty(2, rows, heads, capacity, head_dim)
            if self._buffer is not None:
                grown[:, :, :, :start] = self._buffer[:, :, :, :start]
            self._buffer = grown
        self._buffer[0, :, :, start : self.length] = key
        self._buffer[1, :, :, start : self.length] = value
        keys, values = self._buffer[:, :, :, : self.length]
        return KeyValue(keys, values)

    def select(self, rows: Tensor) -> None:
        """Keep these rows in this order; a row may repeat."""
        if self._buffer is not None:
            self._buffer = self._buffer.index_select(1, rows)


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
