import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seq2seq.data.rows import Flat, Rows, joined

LISTS = st.lists(st.lists(st.integers(-100, 30000), max_size=5), max_size=12)


def rows_of(lists: list[list[int]], pieces: int) -> Rows:
    """Rows in several pieces, some of them perhaps empty, as from files."""
    found = []
    for part in np.array_split(np.arange(len(lists)), pieces):
        chosen = [lists[index] for index in part]
        ids = np.array([number for row in chosen for number in row], np.int16)
        found.append((ids, np.cumsum([0, *map(len, chosen)]).astype(np.int32)))
    return Rows(found)


@given(lists=LISTS, more=LISTS, pieces=st.integers(1, 5), data=st.data())
def test_rows_are_gathered_in_any_order(
    lists: list[list[int]], more: list[list[int]], pieces: int, data: st.DataObject
) -> None:
    rows = joined([rows_of(lists, pieces), rows_of(more, 2)])
    everything = [*lists, *more]
    assert len(rows) == len(everything)
    assert rows.lengths.tolist() == list(map(len, everything))
    assert [rows.view(index).tolist() for index in range(len(rows))] == everything
    chosen = data.draw(st.lists(st.integers(0, len(everything) - 1), max_size=9)) if everything else []
    flat = rows.gather(np.array(chosen, np.int64))
    assert flat.ids.tolist() == [number for index in chosen for number in everything[index]]
    assert flat.lengths.tolist() == [len(everything[index]) for index in chosen]
    if chosen:
        same = Flat.of([rows.view(index) for index in chosen])
        assert (same.ids.dtype, same.ids.tolist()) == (flat.ids.dtype, flat.ids.tolist())


def test_no_row_beyond_the_last() -> None:
    with pytest.raises(IndexError):
        rows_of([[1], [2, 3]], 1).gather(np.array([2]))
