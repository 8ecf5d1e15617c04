"""Many rows of numbers of different lengths, kept in a few long arrays, perhaps mapped from files."""

import bisect
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Row = npt.NDArray[Any]
"""(length,) integers."""
Piece = tuple[npt.NDArray[Any], npt.NDArray[np.int32]]
"""Ids and offsets: row i is ids[offsets[i]:offsets[i + 1]]."""


@dataclass(frozen=True, slots=True)
class Flat:
    """Some rows, one behind the other.

    Attributes:
        ids: (sum of lengths,) integers.
        lengths: (rows,) of each row.
    """

    ids: npt.NDArray[Any]
    lengths: npt.NDArray[np.int64]

    @staticmethod
    def of(rows: Sequence[Row]) -> "Flat":
        """Rows that are arrays of their own; at least one."""
        return Flat(np.concatenate(rows), np.fromiter(map(len, rows), np.int64, len(rows)))

    def rows(self) -> list[Row]:
        """The inverse of `of`, as views."""
        return np.split(self.ids, np.cumsum(self.lengths)[:-1])


class Rows:
    """Rows of ids: views into a few long arrays.

    Args:
        pieces: the arrays; each begins with the row behind the last of the one before.
    """

    def __init__(self, pieces: Sequence[Piece]) -> None:
        self._pieces = pieces
        self._starts = list(itertools.accumulate((len(offsets) - 1 for _, offsets in pieces), initial=0))
        self._firsts = np.array(self._starts[:-1], np.int64)
        self.lengths: npt.NDArray[np.int32] = np.empty(self._starts[-1], np.int32)
        """(rows,) tokens of each row."""
        for (_, offsets), start, stop in zip(pieces, self._starts, self._starts[1:], strict=False):
            np.subtract(offsets[1:], offsets[:-1], out=self.lengths[start:stop])

    def __len__(self) -> int:
        return len(self.lengths)

    def view(self, index: int) -> npt.NDArray[Any]:
        """Row `index`, in the number format that it is stored in; no copy."""
        piece = bisect.bisect_right(self._starts, index) - 1
        ids, offsets = self._pieces[piece]
        row = index - self._starts[piece]
        return ids[offsets[row] : offsets[row + 1]]

    def gather(self, indices: npt.NDArray[np.int64]) -> Flat:
        """Rows `indices` in this order. Its work in Python is by piece, not by row.

        Args:
            indices: (rows,), each from 0 to len(self) - 1.
        """
        lengths = self.lengths[indices].astype(np.int64)
        in_piece = np.searchsorted(self._firsts, indices, side="right") - 1
        order = np.argsort(in_piece, kind="stable")
        cells = Cells.of(lengths, order)
        found = np.zeros(0, np.int16)
        bounds = np.flatnonzero(np.diff(in_piece[order], prepend=-1)).tolist()
        for first, last in itertools.pairwise([*bounds, len(order)]):
            chosen = order[first:last]
            piece = int(in_piece[chosen[0]])
            ids, offsets = self._pieces[piece]
            if first == 0:
                found = np.empty(int(lengths.sum()), ids.dtype)
            start, stop = cells.bounds[first], cells.bounds[last]
            begin = offsets[indices[chosen] - self._starts[piece]]
            found[cells.there[start:stop]] = ids[np.repeat(begin, lengths[chosen]) + cells.within[start:stop]]
        return Flat(found, lengths)


@dataclass(frozen=True, slots=True)
class Cells:
    """Where the numbers of rows go that are visited in another order than they lie in.

    Attributes:
        bounds: the first cell, in order of visit, of each row, and the end.
        within: (cells,) number of each cell in its row, in order of visit.
        there: (cells,) where each cell lies.
    """

    bounds: list[int]
    within: npt.NDArray[np.int64]
    there: npt.NDArray[np.int64]

    @staticmethod
    def of(lengths: npt.NDArray[np.int64], order: npt.NDArray[np.int64]) -> "Cells":
        """Cells of rows of `lengths` lying one behind the other, visited in `order`."""
        visited = lengths[order]
        bounds = np.concatenate([[0], np.cumsum(visited)])
        within = np.arange(bounds[-1]) - np.repeat(bounds[:-1], visited)
        lies = np.cumsum(lengths) - lengths
        return Cells(bounds.tolist(), within, np.repeat(lies[order], visited) + within)


def joined(rows: Sequence[Rows]) -> Rows:
    """The rows of several, one behind the other."""
    return rows[0] if len(rows) == 1 else Rows([piece for one in rows for piece in one._pieces])
