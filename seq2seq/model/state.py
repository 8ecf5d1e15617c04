"""What a model remembers between decoding steps. Nothing of it is kept on a module."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seq2seq.model.masks import additive, order_mask

if TYPE_CHECKING:
    from seq2seq.model.step import LayerStep

GROWTH = 64  # columns by which a cache grows: rare enough to be cheap, small enough not to waste memory
CROWDED = 24  # columns above twice those in use from which the others are worth looking for


class KeyValue(NamedTuple):
    """Projected keys and values, each (batch, kv_heads, key_length, head_dim)."""

    key: Tensor
    value: Tensor


class Moves(NamedTuple):
    """Entries that take the place of others, which are wanted no more; no place is both."""

    source: Tensor
    """int64 (number,)"""
    target: Tensor
    """int64 (number,)"""

    def apply(self, x: Tensor, *, dim: int = 0) -> None:
        """Move entries of this dimension."""
        if len(self.source):
            x.index_copy_(dim, self.target, x.index_select(dim, self.source))


class KeyValueCache:
    """Keys and values that one self-attention has seen, in columns: what the rows of a sentence wrote, side by side.

    They lie column after column in a buffer that grows in blocks.

    Args:
        sentences: rows of an `append` are a multiple of it.
    """

    def __init__(self, sentences: int) -> None:
        self.sentences, self.columns = sentences, 0
        self._buffer: Tensor | None = None  # (room for columns, room for sentences, 2, kv_heads, head_dim)
        self._used: Tensor | None = None  # of the buffer, its first sentences
        self._views: KeyValue | None = None  # of the buffer, each (sentences, kv_heads, room for columns, head_dim)

    def append(self, key: Tensor, value: Tensor) -> KeyValue:
        """Add new columns and return all.

        Args:
            key: (rows, new_length, kv_heads, head_dim)
            value: (rows, new_length, kv_heads, head_dim)

        Returns:
            keys and values of every column so far, each (sentences, kv_heads, columns, head_dim). A call adds
            new_length columns for each row of a sentence, the first row's first.
        """
        kv_heads, head_dim = key.shape[2:]
        # Not -1: a state may have no rows.
        new = key.shape[0] * key.shape[1] // max(self.sentences, 1)
        shape, place = (self.sentences, new, kv_heads, head_dim), self._room_for(new, key, kv_heads, head_dim)
        place[:, :, 0].copy_(key.reshape(shape).transpose(0, 1))
        place[:, :, 1].copy_(value.reshape(shape).transpose(0, 1))
        return self._so_far()

    def append_rows(self, key_value: Tensor, kv_heads: int) -> KeyValue:
        """As `append`, for one position of each row and in one go.

        Args:
            key_value: all heads of the key, then all of the value: (rows, 2 * kv_heads * head_dim)
            kv_heads: number of them.
        """
        new, head_dim = key_value.shape[0] // max(self.sentences, 1), key_value.shape[1] // (2 * kv_heads)
        place = self._room_for(new, key_value, kv_heads, head_dim)
        place.copy_(key_value.view(self.sentences, new, 2, kv_heads, head_dim).transpose(0, 1))
        return self._so_far()

    def _room_for(self, new: int, like: Tensor, kv_heads: int, head_dim: int) -> Tensor:
        """Where as many new columns go: (new, sentences, 2, kv_heads, head_dim)."""
        start, self.columns = self.columns, self.columns + new
        if self._buffer is None or self._buffer.shape[0] < self.columns:
            grown = like.new_empty(_room(self.columns), self.sentences, 2, kv_heads, head_dim)
            if self._buffer is not None:
                grown[:start] = self._buffer[:start, : self.sentences]
            self._use(grown)
        assert self._used is not None
        return self._used[start : self.columns]

    def _so_far(self) -> KeyValue:
        assert self._views is not None
        return KeyValue(*(view.narrow(2, 0, self.columns) for view in self._views))

    def truncate(self, columns: int) -> None:
        """Forget all but the first `columns` columns."""
        self.columns = min(self.columns, columns)

    def select(self, sentences: Tensor, columns: Tensor) -> None:
        """Keep these.

        Args:
            sentences: int64 (new_sentences,), numbers of present ones; one may repeat.
            columns: int64 (new_columns, new_sentences): which columns of each.
        """
        self.sentences = len(sentences)
        if self._buffer is None:
            return
        self.columns = len(columns)
        kept = self._buffer.new_empty(_room(self.columns), self.sentences, *self._buffer.shape[2:])
        places = (columns * self._buffer.shape[1] + sentences).flatten()
        torch.index_select(self._buffer.flatten(0, 1), 0, places, out=kept[: self.columns].flatten(0, 1))
        self._use(kept)

    def keep_first(self, sentences: int, moves: Moves) -> None:
        """Keep as many sentences with all their columns, the first ones after some have moved."""
        self.sentences = sentences
        if self._buffer is not None:
            moves.apply(self._buffer[: self.columns], dim=1)
            self._use(self._buffer)

    def _use(self, buffer: Tensor) -> None:
        self._buffer, self._used = buffer, buffer[:, : self.sentences]
        self._views = KeyValue(*(self._used[:, :, place].permute(1, 2, 0, 3) for place in (0, 1)))


def _room(columns: int) -> int:
    """Columns of a buffer that is to hold so many, and some more."""
    return (columns // GROWTH + 1) * GROWTH


class DecodingState:
    """Caches of self-attention, keys and values of the source, and which row sees what of them.

    Rows are hypotheses. Those of one sentence (the beams of a search) lie side by side, as many for each sentence as
    for any other, and share what is remembered of it: the source is there once, and what a row wrote stays where it is
    while other rows go on from it. So reordering the beams moves no key and no value: it only changes which columns a
    row sees. Columns that no row sees any more are dropped from time to time. (Copying the past of each row instead
    took a tenth of the time of beam search.)

    Args:
        rows: number of rows; at first one for each sentence.
        num_layers: decoder layers.
        memory: keys and values of the source for each layer, each (rows, kv_heads, source_length, head_dim); empty
            without cross-attention. They become the state's own: it may write over them.
        memory_mask: bool (rows, 1, 1, source_length), True = may attend; None = no padding.
        layer_steps: what computes a single new token of each row; None = the layers themselves.
        padding: int64 (rows,), how many of the first tokens of each row are padding, which none of its others sees;
            None = no padding. `length` and the order of positions count it.
    """

    def __init__(
        self,
        rows: int,
        *,
        num_layers: int,
        memory: list[KeyValue] | None = None,
        memory_mask: Tensor | None = None,
        layer_steps: "list[LayerStep] | None" = None,
        padding: Tensor | None = None,
    ) -> None:
        self.length = 0  # tokens consumed so far, the same for every row
        self.sentences, self.beams = rows, 1
        self.caches = [KeyValueCache(rows) for _ in range(num_layers)]
        self.memory = [_as_read(*pair) for pair in memory or []]
        self.memory_mask = memory_mask
        self.layer_steps = layer_steps
        self._memory_bias: Tensor | None = None
        self._visible: Tensor | None = None  # bool (sentences, beams, columns); None = each row sees all columns
        self._positions: Tensor | None = None  # int64 (sentences, columns): where in its text a column stands
        self.padding = padding
        if padding is not None:
            self._visible = torch.ones(rows, 1, 0, dtype=torch.bool, device=padding.device)
            self._positions = torch.empty(rows, 0, dtype=torch.int64, device=padding.device)
        self._in_use = 0  # columns that some row of each sentence saw when they were last looked through

    @property
    def rows(self) -> int:
        """Number of rows."""
        return self.sentences * self.beams

    @property
    def memory_bias(self) -> Tensor | None:
        """The memory's mask as what is added to scores, for each of the keys' heads: (rows, kv_heads, 1, source)."""
        if self._memory_bias is None and self.memory_mask is not None and self.memory:
            key = self.memory[0].key
            self._memory_bias = additive(self.memory_mask, key.dtype).repeat(1, key.shape[1], 1, 1)
        return self._memory_bias

    @property
    def row_padding(self) -> Tensor | None:
        """Padding before the tokens of each row, int64 (rows,)."""
        return self.padding if self.padding is None else self.padding.repeat_interleave(self.beams)

    def extend(self, new_length: int, device: torch.device) -> None:
        """Make room for as many new positions of every row; the caches of the layers are to follow."""
        if self._visible is not None and self._positions is not None:
            own = torch.eye(self.beams, dtype=torch.bool, device=device)
            if new_length == 1:  # at every step: so with the fewest operations
                position = torch.full((self.beams,), self.length, device=device)
            else:
                own = own.repeat_interleave(new_length, dim=1)
                position = torch.arange(self.length, self.length + new_length, device=device).repeat(self.beams)
            seen = own.expand(self.sentences, -1, -1)
            if self.padding is not None:
                seen = seen & (position >= self.padding.unsqueeze(1)).unsqueeze(1)
            self._visible = torch.cat([self._visible, seen], dim=2)
            self._positions = torch.cat([self._positions, position.expand(self.sentences, -1)], dim=1)
        self.length += new_length

    def attention_mask(self, order: Tensor | None, is_causal: bool) -> tuple[Tensor | None, bool]:
        """Who sees which columns.

        Args:
            order: of positions: bool (new_length, length) or float (heads, new_length, length), None = each new
                position sees all; see masks.py.
            is_causal: each sees those up to its own, instead of order; the state has seen nothing before.

        Returns:
            The mask for queries (sentences, heads, beams * new_length, head_dim) of the newest columns (None, bool or
            float, broadcastable to (sentences, heads, beams * new_length, columns)), and the flag.
        """
        if self._visible is None or self._positions is None:
            return order, is_causal
        if is_causal:
            order = order_mask(self.length, self.length, causal=True, window=None, device=self._visible.device)
        if order is None:
            return self._visible.unsqueeze(1), False
        # (..., new_length, length) -> (sentences, 1 or heads, beams * new_length, columns)
        by_column = (
            order.view(-1, *order.shape[-2:])[:, :, self._positions].permute(2, 0, 1, 3).repeat(1, 1, self.beams, 1)
        )
        visible = self._visible.repeat_interleave(order.shape[-2], dim=1).unsqueeze(1)
        if order.dtype == torch.bool:
            return by_column & visible, False
        return by_column.masked_fill(~visible, float("-inf")), False

    def select(self, rows: Tensor) -> None:
        """Keep these rows in this order.

        It is quickest where sentences that are left out give their places to the last ones and all others stay where
        they are: see `decoding/remaining.py`.

        Args:
            rows: int64 (new_rows,), numbers of present rows; one may repeat (a beam), be left out, change place.
        """
        sentence_of_row = rows.cpu().numpy() // self.beams
        everyone = np.arange(self.sentences)
        if np.array_equal(sentence_of_row, everyone.repeat(self.beams)):  # as at most steps
            sentences, beams = everyone, self.beams
        else:
            sentences, beams = _blocks(sentence_of_row)
        changed = np.flatnonzero(sentences != np.arange(len(sentences)))
        moved = len(changed) > 0 or len(sentences) != self.sentences
        kept = torch.from_numpy(sentences).to(rows.device)
        if beams > 1 or self._visible is not None:
            self._see(rows, len(sentences), beams)
        self.sentences, self.beams = len(sentences), beams
        crowded = self._visible is not None and self._visible.shape[2] > 2 * self._in_use + CROWDED
        moves = None
        if moved and (sentences[changed] >= len(sentences)).all():  # no place is written before it is read
            moves = Moves(*(torch.from_numpy(places).to(rows.device) for places in (sentences[changed], changed)))
        if crowded or (moved and moves is None):
            self._drop_columns(kept)
        elif moved and moves is not None:
            if self._positions is not None:
                self._positions = self._positions[kept]
            for cache in self.caches:
                cache.keep_first(len(sentences), moves)
        if moved:
            self.padding = None if self.padding is None else self.padding.index_select(0, kept)
            self.memory = [_kept(pair, kept, moves) for pair in self.memory]
            if self.memory_mask is not None:
                self.memory_mask, self._memory_bias = self.memory_mask.index_select(0, kept), None

    def truncate(self, length: int) -> None:
        """Go back: forget what every row read after its first `length` tokens.

        Raises:
            ValueError: length is below 0, or more than has been read.
        """
        if not 0 <= length <= self.length:
            raise ValueError(f"length ({length}) must be from 0 to the {self.length} tokens read so far")
        if self._visible is None or self._positions is None:
            for cache in self.caches:
                cache.truncate(length)
        else:  # the columns of a sentence lie in no order of theirs: nobody sees those any more, `select` drops them
            forgotten = self._positions >= length
            self._visible = self._visible & ~forgotten.unsqueeze(1)
            self._positions = self._positions.masked_fill(forgotten, 0)
        self.length = length

    def _see(self, rows: Tensor, sentences: int, beams: int) -> None:
        """Each new row sees what the row did that it goes on from."""
        device = rows.device
        if self._visible is None:
            self._visible = torch.ones(self.sentences, self.beams, self.length, dtype=torch.bool, device=device)
            self._positions = torch.arange(self.length, device=device).expand(self.sentences, -1)
        self._visible = self._visible.flatten(0, 1)[rows].view(sentences, beams, self._visible.shape[2])

    def _drop_columns(self, sentences: Tensor) -> None:
        """Keep these sentences of the caches, and of their columns those that some row still sees."""
        if self._visible is None or self._positions is None:
            columns = torch.arange(self.length, device=sentences.device)[:, None].expand(-1, len(sentences))
        else:
            used = self._visible.any(dim=1)
            self._in_use = int(used.sum(dim=1).max()) if len(sentences) else 0
            # Those in use first, in their order, and where there are fewer than elsewhere some that nobody sees.
            order = used.to(torch.uint8).argsort(dim=1, descending=True, stable=True)[:, : self._in_use]
            self._visible = self._visible.gather(2, order.unsqueeze(1).expand(-1, self.beams, -1))
            self._positions = self._positions[sentences].gather(1, order)
            columns = order.t()
            if self.beams == 1 and self.padding is None:  # then each sees all that is left
                self._visible = self._positions = None
        for cache in self.caches:
            cache.select(sentences, columns)


def _as_read(key: Tensor, value: Tensor) -> KeyValue:
    """Keys and values as products with few queries read them fastest: see `_in_memory`."""
    return KeyValue(_in_memory(_in_memory(key).contiguous()), value.contiguous())


def _in_memory(key: Tensor) -> Tensor:
    """Keys as they lie in memory: on a CPU as (rows, kv_heads, head_dim, source_length); and the way back."""
    return key.transpose(2, 3) if key.device.type == "cpu" else key


def _kept(pair: KeyValue, rows: Tensor, moves: Moves | None) -> KeyValue:
    """These rows of keys and values, which lie as they did; in their own place where moves lead there."""
    key, value = _in_memory(pair.key), pair.value
    if moves is None:
        return KeyValue(_in_memory(key.index_select(0, rows)), value.index_select(0, rows))
    moves.apply(key)
    moves.apply(value)
    return KeyValue(_in_memory(key[: len(rows)]), value[: len(rows)])


def _blocks(sentence_of_row: NDArray[np.int64]) -> tuple[NDArray[np.int64], int]:
    """Cut rows into the largest equal blocks that each lie within one sentence.

    Returns:
        the sentence of each block, and the rows of a block.
    """
    rows = len(sentence_of_row)
    if not rows:
        return sentence_of_row, 1
    starts = np.flatnonzero(np.concatenate([[True], sentence_of_row[1:] != sentence_of_row[:-1]]))
    size = int(np.gcd.reduce(np.diff(np.append(starts, rows))))
    return sentence_of_row[::size], size
