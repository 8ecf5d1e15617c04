"""Batches that fit: rows of like length within a budget of padded tokens, and halves of what memory does not hold."""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from seq2seq.device import is_out_of_memory
from seq2seq.errors import DecodingError

Item = TypeVar("Item")
Result = TypeVar("Result")


def like_length(
    items: Sequence[Item], *, lengths: Callable[[Item], tuple[int, ...]], budget: int
) -> Iterator[list[Item]]:
    """Items of like length together, the longest first: those that need the most memory show it at once.

    Args:
        items: in any order, which those of the same lengths keep.
        lengths: tokens of an item; of several the first is what it is padded by, and the others decide between equals.
        budget: padded tokens of a batch at most; a longer item makes a batch of its own.
    """
    batch: list[Item] = []
    for item in sorted(items, key=lengths, reverse=True):
        if batch and (len(batch) + 1) * lengths(batch[0])[0] > budget:
            yield batch
            batch = []
        batch.append(item)
    if batch:
        yield batch


def in_halves(
    work: Callable[[Sequence[Item]], list[Result]], items: Sequence[Item], *, too_large: Callable[[Item], str]
) -> list[Result]:
    """The results of all items at once, or of one half after the other where memory does not suffice.

    Args:
        work: items -> a result for each.
        items: one or more.
        too_large: a sentence on an item that memory does not hold even by itself.

    Raises:
        DecodingError: there is such an item.
    """
    try:
        return work(items)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        if len(items) == 1:
            raise DecodingError(too_large(items[0])) from None
    # Out here the error is gone, and with it the frames that held what filled the memory.
    middle = len(items) // 2
    return [
        *in_halves(work, items[:middle], too_large=too_large),
        *in_halves(work, items[middle:], too_large=too_large),
    ]
