import weakref
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from seq2seq.errors import DecodingError
from seq2seq.fitting import in_halves, like_length

SIZES = st.lists(st.tuples(st.integers(1, 23), st.integers(0, 3)), max_size=30)


@given(SIZES, st.integers(1, 200))
def test_batches_hold_each_item_once_and_keep_their_budget(sizes: list[tuple[int, int]], budget: int) -> None:
    items = list(enumerate(sizes))
    batches = list(like_length(items, lengths=lambda item: item[1], budget=budget))
    # The longest first; of the same length those whose second is longer; of the same lengths in the order given.
    assert [item for batch in batches for item in batch] == sorted(
        items, key=lambda item: (-item[1][0], -item[1][1], item[0])
    )
    padded = [len(batch) * max(length for _, (length, _) in batch) for batch in batches]
    assert all(tokens <= budget or len(batch) == 1 for batch, tokens in zip(batches, padded, strict=True))
    for batch, tokens in zip(batches[:-1], padded[:-1], strict=True):  # none ends before it must
        assert tokens + tokens // len(batch) > budget


@given(st.integers(1, 40), st.integers(1, 10))
def test_halves_have_the_results_of_the_whole(count: int, most: int) -> None:
    tried: list[int] = []

    def work(items: Sequence[int]) -> list[int]:
        tried.append(len(items))
        if len(items) > most:
            raise torch.OutOfMemoryError("out of memory")
        return [item**2 for item in items]

    assert in_halves(work, range(count), too_large=str) == [item**2 for item in range(count)]
    assert tried[0] == count and sum(size for size in tried if size <= most) == count


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory."), RuntimeError("can't allocate memory"), MemoryError()]
)
def test_what_does_not_fit_by_itself_is_named(error: Exception) -> None:
    def work(items: Sequence[str]) -> list[int]:
        if "long" in items:
            raise error
        return [len(item) for item in items]

    with pytest.raises(DecodingError, match=r"^long is too long$") as raised:
        in_halves(work, ["a", "b", "long", "c"], too_large=lambda item: f"{item} is too long")
    assert raised.value.__suppress_context__


def test_other_errors_are_not_memory() -> None:
    tried = []

    def work(items: Sequence[int]) -> list[int]:
        tried.append(len(items))
        raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes differ"):
        in_halves(work, [1, 2], too_large=str)
    assert tried == [2]


def test_what_filled_the_memory_is_gone_before_the_halves() -> None:
    filled: list[weakref.ref[torch.Tensor]] = []

    def work(items: Sequence[int]) -> list[int]:
        assert all(reference() is None for reference in filled)
        tensor = torch.zeros(len(items))
        if len(items) > 1:
            filled.append(weakref.ref(tensor))
            raise torch.OutOfMemoryError("out of memory")
        return list(items)

    assert in_halves(work, [1, 2, 3, 4], too_large=str) == [1, 2, 3, 4]
    assert len(filled) == 3
